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

#define PART_SAID 1024

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
	/* What it said in its last life, which was a short one, and so far in this; while both are the same, nothing of it is logged. */
	char said[2][PART_SAID];
	size_t n_said[2];
	int last_status;
	bool is_held;
	unsigned n_same; /* lives that said nothing new */
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
/* It has ended with this wait status: plans the next start, and says so in its log, unless it was the same the last time. */
void part_on_exit(struct part *p, int status, bool again);
void part_describe_exit(
        int status, char out[64]); /* "ended with code 1", "was ended by signal 9" */
