/*
 * What the keepers' parent and the keepers forked from it have in common: no exec lies between them, so descriptors and
 * this struct are simply there. Owned by main, read-only after the start. One thread per process.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "base/cc.h"

/* 0 is /dev/null; 1 and 2 are the parent's log, and /dev/null in keepers. Keepers close everything from FD_PRIVATE on. */
enum keeper_fd {
	FD_NULL = 0,
	FD_SIGNAL = 3, /* a signalfd: whoever reads it gets his own signals */
	FD_SPOOL =
	        4, /* no process may open and close the same file a second time: that drops its locks */
	FD_BEGUN = 5, /* see report.h */
	FD_PRIVATE = 6,
};

struct keeper_base {
	char mark[64]; /* "BERTH_KEEPER=<data directory>-", to be followed by the epoch */
	pid_t parent;
	bool is_root; /* then jobs run as the account of their message, and keepers as the server's */
	uid_t server_uid;
	gid_t server_gid;
	struct limits_pool *pool;    /* shared by all of them: keeper/limits.h */
	struct driver_paths *driver; /* the parent's, as it was at the fork: keeper/driver.h */
};

struct attempt_id {
	uint64_t job;
	int64_t task;
	uint32_t attempt;
	uint64_t epoch;
};

/* Asks a keeper to end its attempt. The value: enum spool_cause, plus STOP_FORCE, plus STOP_HELD: its child is killed as well
 * because it hangs before exec (held.h), so that this is what it ends of. */
#define STOP_SIGNAL (SIGRTMIN + 1)
#define STOP_FORCE  0x100
#define STOP_HELD   0x200

/* How a forked process ends. Anything else, a signal too, means that it was cut short and must be swept after. */
enum keeper_exit {
	KEEPER_DONE = 0,
	KEEPER_DONE_WORKDIR =
	        3, /* done; the parent, which is root, removes its working directory */
};
