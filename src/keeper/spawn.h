/*
 * Starts the first process of an attempt or an exec: session, account, directory, CPUs, descriptors, then exec.
 * Everything in the struct is borrowed. One thread. Either exec has succeeded when this returns, or nothing is left of it.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/launch.h"
#include "wire/spool.h"

struct spawn {
	const struct keeper_base *base;
	struct launch *l; /* its env gets the mark of the epoch, in the room behind its end */
	int stdio[3];     /* become 0, 1, 2 */
	bool is_tty;      /* stdio[0] becomes the controlling terminal */
	int cwd_fd;       /* -1: l->cwd is entered with the rights of the account */
};

struct spawn_failure {
	enum spool_cause cause; /* SPOOL_SETUP_FAILED or SPOOL_EXEC_FAILED */
	int code;               /* exit code: 125; 126 or 127 */
};

MUST_CHECK int spawn_run(
        const struct spawn *s, pid_t *ret_pid, struct spawn_failure *ret_failure, struct err *err);
