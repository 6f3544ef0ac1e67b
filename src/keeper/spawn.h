/*
 * Starts the first process of an attempt or an exec: session, account, directory, CPUs, descriptors, then exec.
 * Everything in the struct is borrowed. One thread. Either exec has succeeded when this returns, or nothing is left of it.
 */
#pragma once

#include "base/err.h"
#include "keeper/driver.h"
#include "keeper/keeper.h"
#include "keeper/limits.h"
#include "wire/launch.h"
#include "wire/spool.h"

struct spawn {
	const struct keeper_base *base;
	const struct launch *l;
	int stdio[3]; /* become 0, 1, 2 */
	bool is_tty;  /* stdio[0] becomes the controlling terminal */
	const struct limits *limits;
	const struct driver *driver;
	int cwd_fd; /* -1: l->cwd is entered with the rights of the account */
};

struct spawn_failure {
	enum spool_cause cause; /* SPOOL_SETUP_FAILED or SPOOL_EXEC_FAILED */
	int code;               /* exit code: 125; 126 or 127 */
};

/* Puts the mark of the epoch into the environment of a decoded message; room holds it, as long as that is used. */
#define SPAWN_MARK 96
void spawn_mark(const struct keeper_base *base, struct launch *l, char room[SPAWN_MARK]);

MUST_CHECK int spawn_run(
        const struct spawn *s, pid_t *ret_pid, struct spawn_failure *ret_failure, struct err *err);
