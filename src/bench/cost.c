#include "bench/bench.h"

#include "bench/ledgers.h"
#include "bench/series.h"
#include "bench/tenants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAUNCH_ROUNDS 5
#define START_ROUNDS  9
#define STARTS        300
#define STARTS_FEW    30 /* on a device, where each takes a second */

static const unsigned whole[] = {1000};

/* -- launch -- */

static bool measure_overhead(struct bench *b)
{
	/* What the driver that does nothing has for a UUID. */
	static const char nobody[] = "GPU-00000000-0000-0000-0000-000000000000";
	struct ledgers ledgers;
	char *text;

	if (!ledgers_make(b, nobody, whole, 1, &ledgers))
		return false;
	struct seat seat = {.ledgers = ledgers.path[0], .has_null_driver = true};
	if (!tenant_run(b, &seat, WORDS("overhead"), &text))
		return false;
	bench_row(b,
	        (struct seen){tenant_number(text, "launch"), "ns", .bound = AT_MOST, .limit = 30,
	                .is_not_judged = b->is_quick},
	        "added to a launch");
	bench_row(
	        b, (struct seen){tenant_number(text, "graph"), "ns"}, "added to a graph's launch");
	bench_row(b, (struct seen){tenant_number(text, "memory"), "ns"},
	        "added to an allocation and its release");
	free(text);
	return true;
}

static bool take_launch(struct bench *b, const char *ledgers, double *least)
{
	const struct seat seat = {.ledgers = ledgers};
	char *text;

	if (!tenant_run(b, &seat, WORDS("launch"), &text))
		return false;
	double ns = tenant_number(text, "launch");
	*least = ns < *least ? ns : *least;
	free(text);
	return true;
}

bool measure_launch(struct bench *b)
{
	double bare = 1e18, sliced = 1e18;
	struct ledgers ledgers;

	if (!measure_overhead(b) || !ledgers_make(b, b->uuid, whole, 1, &ledgers))
		return false;
	for (int i = 0; i < (b->is_quick ? 1 : LAUNCH_ROUNDS); i++)
		if (!take_launch(b, NULL, &bare) || !take_launch(b, ledgers.path[0], &sliced))
			return false;
	bench_row(b, (struct seen){bare, "ns"}, "a launch through this driver, in no slice");
	bench_row(b, (struct seen){sliced, "ns"}, "the same in a slice");
	return true;
}

/* -- start -- */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* All at once, every tenth with a context; until the last has ended. */
static bool start_all(struct bench *b, const char *ledgers, unsigned n, double *ret_ms)
{
	static struct tenant tenants[STARTS];
	const struct seat seat = {.ledgers = ledgers};
	double began_ms = now_ms();
	bool ok = true;
	char *text;

	memset(tenants, 0, sizeof tenants);
	for (unsigned i = 0; ok && i < n; i++)
		ok = tenant_begin(b, &seat, i % 10 ? WORDS("init") : WORDS("context"), &tenants[i]);
	for (unsigned i = 0; ok && i < n; i++) {
		ok = tenant_end(b, &tenants[i], &text);
		if (ok)
			free(text);
	}
	*ret_ms = now_ms() - began_ms;
	for (unsigned i = 0; i < n; i++)
		tenant_kill(&tenants[i], NULL);
	return ok;
}

/* With and without in turns; the first round warms up. */
bool measure_start(struct bench *b)
{
	unsigned n = b->is_simulated && !b->is_quick ? STARTS : STARTS_FEW;
	unsigned n_rounds = b->is_quick ? 1 : START_ROUNDS;
	double bare[START_ROUNDS + 1], sliced[START_ROUNDS + 1];
	struct ledgers ledgers;

	if (!ledgers_make(b, b->uuid, whole, 1, &ledgers))
		return false;
	for (unsigned i = 0; i <= n_rounds; i++)
		if (!start_all(b, NULL, n, &bare[i]) ||
		        !start_all(b, ledgers.path[0], n, &sliced[i]))
			return false;
	double without_ms = series_median(bare + 1, n_rounds),
	       with_ms = series_median(sliced + 1, n_rounds);
	bench_row(b, (struct seen){without_ms, "ms"},
	        "start of %u processes, every tenth with a context", n);
	bench_row(b,
	        (struct seen){with_ms / without_ms, "times", .bound = AT_MOST, .limit = 1.1,
	                .is_not_judged = b->is_quick},
	        "the same in one slice");
	return true;
}
