/*
 * A program that puts itself into the background (`PROGRAM -d`), and is found again there by whoever comes later: by the pid
 * that it writes into a file, and by a variable that only it and what it starts carry. Told by words on the stdin of
 * another `PROGRAM`. Strings are borrowed; descriptors handed out belong to the caller. Any thread. libc only. All of it happens with the
 * rights of the caller: what he may not look into is not there, what he may not signal stays. Of files only plain ones are used.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

struct background {
	const char *program; /* path */
	const char *name;    /* of it, for ps */
	char *const *env;    /* all of it, `mark` too */
	const char *mark;    /* K=V */
	const char *pid_path;
	const char *log_path; /* made, for the caller's account; what it says is added */
};

/* The first process, a child of ours: when it has ended with status 0, background_find knows the one that it left. 0 or an errno. */
MUST_CHECK int background_start(const struct background *b, pid_t *ret_pid);
/* One that says `word` to it, a child of ours, which may wait for an answer. 0 or an errno. */
MUST_CHECK int background_tell(const struct background *b, const char *word, pid_t *ret_pid);
/* A descriptor of its process (pidfd); -1: nobody is there, or somebody else. */
MUST_CHECK int background_find(const struct background *b);
/* SIGKILL for whatever carries its mark. */
void background_kill(const struct background *b);
/* Waits so long for the end behind a pidfd. */
MUST_CHECK bool background_is_gone_within(int pidfd, uint64_t wait_ms);
