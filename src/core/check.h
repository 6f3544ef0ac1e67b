/*
 * The invariants of the world, checked whole: for tests, fuzzing and `berth doctor`. Pure; costs O(everything).
 */
#pragma once

#include "core/world.h"

/* 0, or INTERNAL with the first invariant that does not hold. */
MUST_CHECK int world_check(const struct world *w, struct err *err);
