/*
 * Runs a recording of a server (wire/recording.h) through the code that made it: the core applies what happened, and the
 * scheduler plans again. Time is the recording's. Either every plan is compared with the one that was recorded, or another policy
 * plans, and attempts take as long and end as they did. A tally is the caller's (replay_done). One thread.
 * What is no recording, or is damaged, is refused with its line; a plan that differs is no error.
 */
#pragma once

#include "cli/bench_place_run.h"
#include "wire/recording.h"

/* So many waited so long. */
struct replay_wait {
	int64_t ms;
	uint64_t n;
};
struct replay_class {
	uint64_t started; /* for the first time */
	uint64_t waiting; /* at the end, for nothing but their turn and room */
	struct replay_wait *waits;
	size_t n_waits, cap_waits;
};

struct replay {
	const char *path;
	char policy[32];
	uint64_t line; /* that is read; counts from 1 */
	struct replay_class classes[CLASSES];
	int64_t from_ms, until_ms; /* of the recording */
	uint64_t submitted, plans, placements;
	/* thousandths of devices, times milliseconds: all, given out, and free beside something on the same device */
	double all, used, broken;
	uint64_t
	        differs_at; /* the first line with another plan than the recorded one; 0: there is none */
	char difference[300];
};

/* The plans of the recording are made again and compared. r is zeroed. */
MUST_CHECK int replay_file(struct replay *r, const char *path, struct err *err);
/* Another policy plans, or the same again. write: NULL, or the file that what comes of it is recorded in. r is zeroed. */
MUST_CHECK int replay_by_policy(
        struct replay *r, const char *path, const char *policy, const char *write, struct err *err);
void replay_done(struct replay *r);

/* How long `part` (0 to 1) of those of a class waited at most; those that still wait as long as they did. */
int64_t replay_wait_at(const struct replay_class *c, double part);
double replay_mean_wait(const struct replay_class *c);
