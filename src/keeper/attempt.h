/*
 * The keeper itself: from the message to the record of the end, for one attempt or one exec.
 * Runs in a process of its own, forked by the parent; takes everything that process has, and never returns.
 */
#pragma once

#include "keeper/keeper.h"
#include "wire/launch.h"

NORETURN void attempt_run(const struct keeper_base *base, struct launch *l, unsigned group);
