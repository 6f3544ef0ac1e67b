/*
 * One program that the supervisor keeps alive, with its log. Belongs to the supervisor's loop; same thread.
 */
#pragma once

#include <sys/types.h>

#include "cli/parts.h"
#include "cli/rotlog.h"

#define PART_BACKOFF_FIRST_MS 50
#define PART_BACKOFF_MOST_MS  2000
#define PART_WELL_MS          10000 /* who lived so long begins again with the first wait */

/* Below it that directory can be reached, whatever is closed above it: /proc/self/fd/3/berth-server. */
#define PART_DIR_FD   3
#define PART_DIR_PATH "/proc/self/fd/3"

struct part {
	const char *name; /* "server" */
	char *program;    /* path */
	struct parts_argv argv;
	bool drop_rights; /* runs as uid, gid */
	uid_t uid;
	gid_t gid;
	char *account; /* for its groups */
	bool by_descriptor; /* uid cannot reach the program: its directory is opened before, and stays open as PART_DIR_FD */
	pid_t pid; /* 0: not running */
	int pipe;  /* what it says; -1 */
	struct rotlog log;
	unsigned backoff_ms;
	uint64_t started_ms;
	uint64_t restart_ms; /* when to start it again; 0: not to be */
};

MUST_CHECK int part_init(struct part *p, const char *name, const char *data_dir, struct err *err);
void part_done(struct part *p);

MUST_CHECK int part_start(struct part *p, struct err *err);
void part_signal(const struct part *p, int sig);
/* Takes what it said; closes the pipe at its end. */
void part_read(struct part *p);
/* It has ended with this wait status: plans the next start, and says so in its log. */
void part_on_exit(struct part *p, int status, bool again);
void part_describe_exit(
        int status, char out[64]); /* "ended with code 1", "was ended by signal 9" */
