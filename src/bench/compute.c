#include "bench/bench.h"

#include "bench/ledgers.h"
#include "bench/series.h"
#include "bench/tenants.h"
#include "bench/turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* -- tenants that work at the same time -- */

static void series_done_all(struct series *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		series_done(&all[i]);
}

/* One of each kind, in these slices, or in none. An idle one has an empty series. */
static bool work(struct bench *b, const struct ledgers *ledgers, const char *const *kinds,
        unsigned n, unsigned seconds, struct series *ret)
{
	struct tenant tenants[LEDGERS_MAX] = {0};
	char text_of_seconds[16], *text;
	bool ok = true;

	snprintf(text_of_seconds, sizeof text_of_seconds, "%u", seconds);
	memset(ret, 0, n * sizeof *ret);
	for (unsigned i = 0; ok && i < n; i++) {
		struct seat seat = {
		        .ledgers = ledgers ? ledgers->path[i] : NULL, .n_players = n, .place = i};
		ok = tenant_begin(b, &seat, WORDS("work", kinds[i], text_of_seconds), &tenants[i]);
	}
	for (unsigned i = 0; ok && i < n; i++) {
		ok = tenant_end(b, &tenants[i], &text);
		if (!ok)
			break;
		if (strcmp(kinds[i], "idle") != 0 && !series_parse(text, &ret[i]))
			ok = bench_fail(b, "a tenant did not work for long enough");
		free(text);
	}
	for (unsigned i = 0; i < n; i++)
		tenant_kill(&tenants[i], NULL);
	if (!ok)
		series_done_all(ret, n);
	return ok;
}

static bool work_in_slices(struct bench *b, const unsigned *weights, const char *const *kinds,
        unsigned n, unsigned seconds, struct series *ret)
{
	struct ledgers ledgers;

	return ledgers_make(b, b->uuid, weights, n, &ledgers) &&
	       work(b, &ledgers, kinds, n, seconds, ret);
}

static bool not_long_enough(struct bench *b)
{
	return bench_fail(b, "tenants did not work at the same time for long enough");
}

/* -- shares -- */

static double off(double is, double should_be)
{
	return larger(is - should_be, should_be - is);
}

/* In percentage points, of any second. */
static bool worst_error(struct bench *b, const unsigned *weights, const char *kind, double *ret)
{
	const char *kinds[] = {kind, kind};
	struct series all[2];
	double parts[2], worst = 0;
	size_t k;

	if (!work_in_slices(b, weights, kinds, 2, b->is_quick ? 3 : 6, all))
		return false;
	for (k = 0; series_window(all, 2, k, parts); k++)
		for (int i = 0; i < 2; i++)
			worst = larger(worst,
			        off(100 * parts[i] / (parts[0] + parts[1]), weights[i] / 10.0));
	series_done_all(all, 2);
	*ret = worst;
	return k > 0 || not_long_enough(b);
}

static bool row_share(struct bench *b, const unsigned *weights, const char *kind)
{
	double worst;

	if (!worst_error(b, weights, kind, &worst))
		return false;
	bench_row(b, (struct seen){worst, "%", .bound = AT_MOST, .limit = 2},
	        "share error over 1 s, %u:%u, %s", weights[0] / 10, weights[1] / 10, kind);
	return true;
}

bool measure_shares(struct bench *b)
{
	static const char *const kinds[] = {"10us", "1ms", "mixed", "graph"};
	static const unsigned weights[][2] = {{500, 500}, {300, 700}, {100, 900}};

	if (b->is_quick)
		return row_share(b, weights[1], "10us") && row_share(b, weights[2], "graph");
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (size_t w = 0; w < sizeof weights / sizeof *weights; w++)
			if (!row_share(b, weights[w], kinds[k]))
				return false;
	return true;
}

/* -- throughput: of a device, as a part of 1 -- */

struct throughput {
	double bare, alone, beside, both, unheld; /* the best of all rounds */
};

static bool take_rate(struct bench *b, struct series *all, unsigned n, double *best)
{
	double rate;
	bool ok = series_rate(&all[0], &rate) || not_long_enough(b);

	series_done_all(all, n);
	if (ok)
		*best = larger(*best, rate);
	return ok;
}

static bool take_sum(struct bench *b, struct series *all, double *best)
{
	double parts[2], sum = 0;
	size_t k;

	for (k = 0; series_window(all, 2, k, parts); k++)
		sum += (parts[0] + parts[1]) / 1e6;
	series_done_all(all, 2);
	if (k)
		*best = larger(*best, sum / (double)k);
	return k > 0 || not_long_enough(b);
}

static bool one_round(struct bench *b, const char *kind, struct throughput *t)
{
	static const unsigned whole[] = {1000}, halves[] = {500, 500};
	const char *const two[] = {kind, kind}, *const with_idle[] = {kind, "idle"};
	unsigned seconds = b->is_quick ? 2 : 5;
	struct series all[2];

	return work(b, NULL, two, 1, seconds, all) && take_rate(b, all, 1, &t->bare) &&
	       work_in_slices(b, whole, two, 1, seconds, all) && take_rate(b, all, 1, &t->alone) &&
	       work_in_slices(b, halves, with_idle, 2, seconds, all) &&
	       take_rate(b, all, 2, &t->beside) &&
	       work_in_slices(b, halves, two, 2, seconds, all) && take_sum(b, all, &t->both) &&
	       work(b, NULL, two, 2, seconds, all) && take_sum(b, all, &t->unheld);
}

static bool row_throughput(struct bench *b, const char *kind)
{
	struct throughput t = {0};

	for (int i = 0; i < (b->is_quick ? 1 : ROUNDS); i++)
		if (!one_round(b, kind, &t))
			return false;
	bench_row(b, (struct seen){100 - 100 * t.alone / t.bare, "%", .bound = AT_MOST, .limit = 1},
	        "lost in a slice of its own, %s", kind);
	bench_row(b, (struct seen){100 * t.beside / t.bare, "%", .bound = AT_LEAST, .limit = 98},
	        "of the device beside an idle one, %s", kind);
	bench_row(b, (struct seen){100 * t.both / t.bare, "%", .bound = AT_LEAST, .limit = 97},
	        "sum of two at 50:50, %s", kind);
	bench_row(
	        b, (struct seen){100 * t.unheld / t.bare, "%"}, "the same, nobody held, %s", kind);
	return true;
}

bool measure_throughput(struct bench *b)
{
	return row_throughput(b, "10us") &&
	       (b->is_quick || (row_throughput(b, "1ms") && row_throughput(b, "graph")));
}

/* -- what decides a turn's length -- */

static bool row_turns(struct bench *b, char *const *texts)
{
	struct turns t;

	if (!turns_parse(texts[0], texts[1], &t))
		return bench_fail(b, "contexts did not take turns");
	bench_row(b, (struct seen){t.turn_ns / 1e6, "ms"},
	        "a turn by the driver itself, median of %zu", t.n);
	bench_row(b, (struct seen){t.gap_ns / 1e3, "us"},
	        "a switch of contexts, median (taken for %d us)", LEDGERS_SWITCH_NS / 1000);
	return true;
}

bool measure_switch(struct bench *b)
{
	const struct seat bare = {0};
	struct tenant tenants[2] = {0};
	char *texts[2] = {0};

	if (b->is_simulated) {
		bench_note(b, "a switch of contexts",
		        "not on a simulated device: its kernels compute nothing");
		return true;
	}
	bool ok = tenant_begin(b, &bare, WORDS("stamp", "3"), &tenants[0]) &&
	          tenant_begin(b, &bare, WORDS("stamp", "3"), &tenants[1]) &&
	          tenant_end(b, &tenants[0], &texts[0]) && tenant_end(b, &tenants[1], &texts[1]) &&
	          row_turns(b, texts);
	for (int i = 0; i < 2; i++) {
		tenant_kill(&tenants[i], NULL);
		free(texts[i]);
	}
	return ok;
}
