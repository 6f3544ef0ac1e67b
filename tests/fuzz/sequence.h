/*
 * A random life of a world: events that fit and events that do not, plans, restarts from what was stored, and at the end a
 * quiet time in which everything that can end must end. After every step all invariants are checked whole.
 * The same seed and the same number of steps make the same life. Single thread.
 */
#pragma once

#include "base/err.h"

struct sequence_stats {
	uint64_t events, refused, starts, jobs, tasks, restarts, finals;
};

/* 0, or a negative kind with what does not hold; *ret_step is then the step. */
MUST_CHECK int sequence_run(uint64_t seed, uint32_t steps, struct sequence_stats *stats,
        uint32_t *ret_step, struct err *err);
/* The same with dice that are read from bytes; what is left to throw after the last one comes from a fixed seed. */
#define SEQ_BYTES_STEPS 600
MUST_CHECK int sequence_run_bytes(const uint8_t *bytes, size_t size, struct sequence_stats *stats,
        uint32_t *ret_step, struct err *err);
