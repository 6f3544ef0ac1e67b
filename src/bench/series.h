/*
 * What tenants had done at which time, as they printed it: lines of nanoseconds and microseconds of work.
 * A series owns its samples until series_done. Pure; one thread. False: the text holds less than is asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SERIES_SETTLE_S 0.5 /* after its first sample it counts */
#define SERIES_WINDOW_S 1.0
#define SERIES_STEP_S   0.25

struct sample {
	double s, work_us;
};
struct series {
	struct sample *v;
	size_t n;
};

bool series_parse(const char *text, struct series *ret);
void series_done(struct series *s);

/* Work per second of time, once settled. */
bool series_rate(const struct series *s, double *ret);
/* The work of each of n in the k-th window in which all of them worked; false: there are no more. */
bool series_window(const struct series *all, size_t n, size_t k, double *ret_work_us);

/* The middle one; changes their order. n is not 0. */
double series_median(double *v, size_t n);
