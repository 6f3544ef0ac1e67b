/*
 * The execs beside an attempt, as its keeper sees them: other keepers, each with a shared lock on the attempt's byte for them (wire/spool.h).
 * Nothing is owned. One thread. Cannot fail.
 */
#pragma once

#include <stdint.h>

/* They are told to end, and none begins any more: their byte is ours when this returns. */
void execs_end(uint64_t epoch);
