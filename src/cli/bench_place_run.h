/*
 * Runs of `berth bench place`: arrivals of a trace's tasks, by the protocol of the published comparison, placed by the
 * scheduler's own code. Tallies are the caller's. Any one thread; nothing fails.
 */
#pragma once

#include "cli/trace.h"

enum task_class { CPU_ONLY, PART_SMALL, PART_LARGE, ONE, SEVERAL, EIGHT, CLASSES };

extern const char *const task_class_names[CLASSES];

struct place_tally {
	double share, share_squared; /* of all devices allocated, summed over the runs */
	uint64_t arrived[CLASSES], rejected[CLASSES];
	double waited[CLASSES]; /* in mean durations; with departures */
	uint64_t decisions, took_ns, runs;
	uint64_t wrong; /* audited decisions that an exhaustive search made otherwise */
};

struct place_run {
	uint32_t demand; /* in thousandths of the devices */
	uint32_t load;   /* 0: nothing leaves; or what is asked for at a time, in the same */
	bool is_random;  /* any node that has room */
	bool is_audited;
};

/* One run with this order of arrivals, on a place fresh from trace_place(). */
void place_run(const struct place_run *r, struct place *p, const struct trace *t, uint64_t seed,
        struct place_tally *sum);
