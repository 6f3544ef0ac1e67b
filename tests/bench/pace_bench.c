/*
 * Turns on a device: what each tenant gets, what is lost, what others wait, in virtual time; and what a launch costs in the
 * machine's. usage: pace_bench [SEEDS], as a table for each. The first half repeats to the last digit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pace_model.h"
#include "shim/pace_judge.h"

static const struct {
	const char *name;
	enum model_load load;
	uint64_t ns;
} loads[] = {
        {"10us", LOAD_KERNELS, 10 * US},
        {"100us", LOAD_KERNELS, 100 * US},
        {"1ms", LOAD_KERNELS, MS},
        {"mix", LOAD_MIX, 0},
        {"jump", LOAD_JUMP, 0},
        {"rjump", LOAD_RJUMP, 0},
        {"unknown", LOAD_UNKNOWN, 0},
        {"train", LOAD_TRAIN, 0},
        {"20ms", LOAD_KERNELS, 20 * MS},
        {"500ms", LOAD_KERNELS, 500 * MS},
};
#define N_LOADS (sizeof(loads) / sizeof(*loads))

struct figures {
	double e01, e1, mean, e10, sum;
};

static void measure(
        unsigned weight, unsigned load, uint64_t seed, bool is_unpaced, struct figures *worst)
{
	struct model_params params = model_defaults(seed);
	struct model *m;
	unsigned a, b;
	double e, mean, sum;

	params.is_unpaced = is_unpaced;
	m = model_new(&params);
	a = model_tenant(m, weight, 1000, 0);
	b = model_tenant(m, 1000 - weight, 1000, 0);
	model_proc(m, a, 0, loads[load].load, loads[load].ns);
	model_proc(m, b, 0, loads[load].load, loads[load].ns);
	model_run(m, 21 * S);
	e = model_error(m, a, weight / 1000.0, 100, 2000, NULL);
	worst->e01 = e > worst->e01 ? e : worst->e01;
	e = model_error(m, a, weight / 1000.0, 1000, 2000, &mean);
	worst->e1 = e > worst->e1 ? e : worst->e1;
	worst->mean = mean > worst->mean ? mean : worst->mean;
	e = model_error(m, a, weight / 1000.0, 10000, 2000, NULL);
	worst->e10 = e > worst->e10 ? e : worst->e10;
	sum = (model_busy_ms(m, a, 0, 2000, 21000) + model_busy_ms(m, b, 0, 2000, 21000)) / 190;
	worst->sum = sum < worst->sum ? sum : worst->sum;
	model_free(m);
}

static void row(unsigned weight, uint64_t seeds, bool is_unpaced)
{
	static const char *const kinds[] = {"e1 max/mean", "e10 max", "e0.1 max", "sum"};
	struct figures all[N_LOADS];
	char name[32];

	snprintf(name, sizeof(name), "%s%u/%u", is_unpaced ? "none " : "", weight / 10,
	        100 - weight / 10);
	for (unsigned i = 0; i < N_LOADS; i++) {
		all[i] = (struct figures){.sum = 100};
		for (uint64_t seed = 1; seed <= seeds; seed++)
			measure(weight, i, seed, is_unpaced, &all[i]);
	}
	for (unsigned kind = 0; kind < 4; kind++) {
		printf("%-10s %-12s", name, kinds[kind]);
		for (unsigned i = 0; i < N_LOADS; i++) {
			const struct figures *f = &all[i];

			if (kind == 0)
				printf(" %4.1f/%-4.1f", f->e1, f->mean);
			else
				printf(" %-9.2f", kind == 1 ? f->e10 : kind == 2 ? f->e01 : f->sum);
		}
		printf("\n");
	}
	fflush(stdout);
}

static void latency(uint32_t flags)
{
	printf("%-23s", flags ? "p50/p99, latency" : "p50/p99");
	for (unsigned i = 0; i < N_LOADS; i++) {
		struct model_params params = model_defaults(1);
		struct model *m = model_new(&params);
		unsigned a = model_tenant(m, 500, 1000, flags), b = model_tenant(m, 500, 1000, 0);
		unsigned p = model_proc(m, a, 0, LOAD_INFER, 0);

		model_proc(m, b, 0, loads[i].load, loads[i].ns);
		model_run(m, 21 * S);
		printf(" %4.1f/%-4.1f", (double)model_latency_ns(m, p, 50) / 1e6 - 2.01,
		        (double)model_latency_ns(m, p, 99) / 1e6 - 2.01);
		model_free(m);
	}
	printf("\n");
}

/* Collectives in 11 s of jobs on two devices each, of weights until one is 0. */
static double collectives(const unsigned *weights, uint64_t seed, bool is_unpaced)
{
	struct model_params params = model_defaults(seed);
	struct model *m;
	unsigned firsts[4], n = 0;
	double done = 0;

	params.is_unpaced = is_unpaced;
	m = model_new(&params);
	for (; n < 4 && weights[n]; n++) {
		unsigned t = model_tenant(m, weights[n], 1000, PACE_MULTI);
		unsigned other = model_proc(m, t, 1, LOAD_PEER, 0);

		firsts[n] = model_proc(m, t, 0, LOAD_PEER, 0);
		model_pair(m, firsts[n], other);
	}
	model_run(m, 12 * S);
	for (unsigned i = 0; i < n; i++)
		done += (double)model_collectives(m, firsts[i]);
	model_free(m);
	return done;
}

static void gangs(uint64_t seeds)
{
	static const unsigned weights[][4] = {{500, 500}, {300, 700}, {100, 900}, {333, 333, 333}};
	static const unsigned solo[] = {1000, 0};

	printf("collectives of jobs on two devices each, %% of one alone: the worst; nobody held\n");
	for (unsigned i = 0; i < sizeof(weights) / sizeof(*weights); i++) {
		double worst = 100, free = 100;

		for (uint64_t seed = 1; seed <= seeds; seed++) {
			double one = collectives(solo, seed, false);
			double part = 100 * collectives(weights[i], seed, false) / one;

			worst = part < worst ? part : worst;
			part = 100 * collectives(weights[i], seed, true) / one;
			free = part < free ? part : free;
		}
		for (unsigned n = 0; n < 4 && weights[i][n]; n++)
			printf("%s%u", n ? ":" : "", weights[i][n]);
		printf(" %.1f; %.1f\n", worst, free);
	}
}

/* -- in the machine's time -- */

static uint64_t on_now(void *arg)
{
#if defined(__x86_64__)
	return (uint64_t)((unsigned __int128)__builtin_ia32_rdtsc() * 1717986918 >>
	                  32); /* as at 2.5 GHz */
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
#endif
}

static void on_wake(void *arg, uint32_t *word)
{
}

static void on_kick(void *arg)
{
}

static bool on_seize(void *arg, unsigned slot)
{
	return false;
}

static void on_let_go(void *arg, unsigned slot)
{
}

static void on_record(void *arg, unsigned mark, void *const *streams, unsigned n)
{
}

static bool on_query(void *arg, unsigned mark, uint64_t *ret_ns)
{
	*ret_ns = 0;
	return true;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The best of some rounds: ns for each launch of which the driver's part takes no time. */
static double launch_ns(bool is_shared, bool is_waited_for)
{
	static struct pace_page page;
	static struct pace p, other;
	struct pace_hooks hooks = {
	        on_now, on_wake, on_kick, on_seize, on_let_go, on_record, on_query, NULL, NULL};
	double best = 1e9;
	enum { N = 200000 };

	memset(&page, 0, sizeof(page));
	memset(&p, 0, sizeof(p));
	memset(&other, 0, sizeof(other));
	page.head = (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI};
	pace_parameters(&page.head, 150000);
	page.word = PACE_WORD(0, PACE_OPEN, 0, 0);
	for (unsigned i = 0; i < 2; i++)
		page.tenants[i] = (struct pace_tenant){.weight_milli = 500, .cap_milli = 1000};
	pace_join(&p, &page, &page, 0, 0, &hooks);
	if (is_shared)
		pace_join(&other, &page, &page, 1, 1, &hooks);
	page.word = PACE_WORD(0, PACE_OPEN, 0, 0);
	page.tables[0].end_ns = is_waited_for ? PACE_NEVER - 1 : PACE_NEVER;
	for (unsigned round = 0; round < 15; round++) {
		double from = seconds();

		for (unsigned i = 0; i < N; i++) {
			struct pace_launch l = {.key = 42 + i % 7};
			struct pace_wait w;

			if (!pace_try(&p, &l, &w))
				abort();
			pace_launched(&p, &l, (void *)(uintptr_t)8);
		}
		from = (seconds() - from) / N * 1e9;
		best = from < best ? from : best;
	}
	return best;
}

int main(int argc, char **argv)
{
	uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 3;

	printf("a launch, ns: alone %.1f, others are there %.1f, others wait %.1f\n",
	        launch_ns(false, false), launch_ns(true, false), launch_ns(true, true));
	if (!seeds)
		return 0;
	printf("%-23s", "");
	for (unsigned i = 0; i < N_LOADS; i++)
		printf(" %-9s", loads[i].name);
	printf("\n");
	row(300, seeds, false);
	row(500, seeds, false);
	row(100, seeds, false);
	row(500, 1, true);
	printf("added to a graph of 2 ms beside each, ms\n");
	latency(0);
	latency(PACE_LATENCY);
	gangs(seeds);
	return 0;
}
