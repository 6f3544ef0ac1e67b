/*
 * The first processes of an attempt or an exec: one, or with `-n` one for each task, which know each other by their rank. They are
 * started one after the other, all or none; the first that fails decides how the attempt ends, and the keeper ends the others.
 * The struct belongs to the keeper; the message, whose environment and CPUs are replaced for each task, and the streams are borrowed.
 * One thread. When a start fails, those before it may have begun: the caller ends them.
 *
 * DESIGN. MASTER_PORT is a port that was free on 127.0.0.1 when the attempt began. The keeper holds it with a socket that is bound and
 * does not listen, so that the kernel gives it to nobody who asks for any port. Whoever sets SO_REUSEADDR, as servers
 * do, can listen on it: the task, and also a stranger who asks for just this one.
 */
#pragma once

#include "keeper/spawn.h"
#include "keeper/streams.h"

struct ranks {
	uint32_t n;
	uint32_t n_living;
	pid_t pids[LAUNCH_RANKS]; /* 0: not started, or gone */
	bool is_over;             /* one has failed, or all have ended */
	bool has_failed;
	uint32_t failed;
	int wait_status; /* of the one that failed, else 0 */
};

/* s: without stdio, which is filled in for each. Starts none behind one that has failed by then. */
MUST_CHECK int ranks_start(struct ranks *r, struct spawn *s, struct launch *l, struct streams *io,
        struct spawn_failure *ret_failure, struct err *err);
/* Of a process that has ended; of a stranger: nothing. */
void ranks_take_end(struct ranks *r, pid_t pid, int wait_status);
