/*
 * Slices as the agent would make them: for each a directory with a ledger, and one page on which they take turns.
 * Files only, in the directory of the run; nothing is kept open. Who makes them says which device, and how large a slice is.
 */
#pragma once

#include "bench/bench.h"

#define LEDGERS_MAX       2
#define LEDGERS_SWITCH_NS 150000 /* what a change of contexts is taken for */

struct ledgers {
	char path[LEDGERS_MAX][BENCH_PATH]; /* BERTH_SLICES of each */
};

/* One slice for each weight, in thousandths; one alone has a device whose compute nobody else wants. */
bool ledgers_make(struct bench *b, const char *uuid, const unsigned *weights, unsigned n,
        struct ledgers *ret);
