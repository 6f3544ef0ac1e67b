/*
 * What slices are measured with, on a GPU or a simulated one: this device, what was found out about it, and the rows that say
 * what was seen. Everything here is one process of one thread, which starts tenants (tenants.h) and looks at the device (card.h).
 * The directory is the caller's, who removes it; a tenant does not outlive this process. So nothing is left, however it ends.
 * A function that returns false has said why in `why`, and whatever it was to give was not given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PATH          4096
#define BENCH_HINT_SIMULATE "--simulate 8GiB measures a simulated device"

/* -- what stands for the whole run -- */
struct bench {
	const char *dir;         /* in memory, for links and ledgers */
	const char *shim_dir;    /* the interposer: libcuda.so.1 and libnvidia-ml.so.1 */
	const char *null_driver; /* a libcuda that does nothing */
	bool is_quick; /* a few cases, seconds instead of minutes, and no verdict on times of the machine */

	bool is_simulated;
	char uuid[96], model[96], driver[96], cuda[16];
	uint64_t total_bytes;   /* of the device */
	uint64_t limit_bytes;   /* of each slice: a quarter of what was free */
	uint64_t context_bytes; /* that a context takes */

	const char *section; /* of the rows that are printed now */
	unsigned n_ledgers;  /* directories made so far */
	unsigned n_missed;
	char why[400];
	/* Of an error only: its code in tables/errors.def, else "unavailable"; the next step, or NULL. */
	const char *code, *hint;
};

__attribute__((format(printf, 2, 3))) bool bench_fail(struct bench *b, const char *fmt, ...);

/* -- what is said: each is one line of JSON on stdout -- */
enum bound { NO_BOUND, EXACTLY, AT_MOST, AT_LEAST };
struct seen {
	double value;
	const char *unit; /* "bytes", "%", "ns", ...; "" counts something */
	enum bound bound;
	double limit;
	bool is_not_judged; /* the bound is shown, and no more */
};
void bench_head(const struct bench *b);
void bench_begins(const struct bench *b); /* the section */
/* The text says what was measured. */
__attribute__((format(printf, 3, 4))) void bench_row(
        struct bench *b, struct seen seen, const char *fmt, ...);
void bench_note(const struct bench *b, const char *figure, const char *note);
/* The section could not be measured: b->why. It counts as missed. */
void bench_failed(struct bench *b);
/* Nothing could. */
void bench_error(const struct bench *b);

/* -- sections -- */
bool measure_memory(struct bench *b);
bool measure_race(struct bench *b);
bool measure_shares(struct bench *b);
bool measure_throughput(struct bench *b);
bool measure_launch(struct bench *b);
bool measure_start(struct bench *b);
bool measure_switch(struct bench *b);
