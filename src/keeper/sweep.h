/*
 * After a keeper that was killed: ends everything of its attempt that still lives, and writes its ENDED.
 * Runs in a process of its own, forked by the parent, so that the parent goes on; never returns. It holds the attempt's
 * lock meanwhile, so that for the agent the attempt ends only now.
 *
 * DESIGN. What belongs to an attempt is found by its mark in the environment; by its session, if that is led by such a
 * process or by nobody; by descent from such a process. And, where the keeper was a child of this parent: its orphans
 * became children of the parent, the only ones outside the parent's session. All of it is stopped, again and again until
 * nothing new turns up, and only then killed: so nothing forks away from it, and descent stays visible.
 */
#pragma once

#include "keeper/keeper.h"
#include "wire/launch.h"

enum sweep_what {
	SWEEP_ATTEMPT, /* all of the epoch, and its ENDED if it has none */
	SWEEP_ORPHANS, /* only what an exec left to the parent: its attempt lives */
};

/* l: a LAUNCH_SWEEP, or of the same form. tries: how often it was begun before. */
NORETURN void sweep_run(const struct keeper_base *base, const struct launch *l,
        enum sweep_what what, unsigned tries);
/* The same for an attempt, by a process that holds its lock already. */
NORETURN void sweep_locked(const struct keeper_base *base, const struct launch *l);
