/*
 * The invariants of the world, checked whole: for tests, fuzzing and `berth doctor`. Pure; costs O(everything).
 */
#pragma once

#include "core/world.h"

/* What a job says of itself, without the world: CORRUPT with the first contradiction. Costs what the job is long. */
MUST_CHECK int job_check(const struct job *j, struct err *err);

/* 0, or INTERNAL or CORRUPT with the first invariant that does not hold. */
MUST_CHECK int world_check(const struct world *w, struct err *err);
