/*
 * Turns on a device, in virtual time: what each tenant gets of it, how long others wait, and what becomes of it when the owner
 * is killed, stopped, or lies. The same code as in programs; only clock, futexes and device are a model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "pace_model.h"
#include "shim/pace_judge.h"

/* The same figures again would tell a sanitizer nothing new. */
#ifdef __SANITIZE_ADDRESS__
#define SEEDS 1
#else
#define SEEDS 3
#endif

struct load {
	const char *name;
	enum model_load load;
	uint64_t ns;
	double solo; /* per cent of the time that its kernels run when it is alone */
	double e1;
};

static const struct load loads[] = {
        {"10 us", LOAD_KERNELS, 10 * US, 100, 2},
        {"100 us", LOAD_KERNELS, 100 * US, 100, 2},
        {"1 ms", LOAD_KERNELS, MS, 100, 2},
        {"mix", LOAD_MIX, 0, 100, 2},
        {"jump", LOAD_JUMP, 0, 100, 2},
        {"unknown", LOAD_UNKNOWN, 0, 100, 2},
        {"train", LOAD_TRAIN, 0, 98.6, 2},
        {"20 ms", LOAD_KERNELS, 20 * MS, 100, 2.5},
};

/* Two of the same kind, the first with `weight` of a thousand; fails where a bar is missed. */
static void share(const struct load *l, unsigned weight, uint64_t seed)
{
	struct model_params params = model_defaults(seed);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, weight, 1000, 0), b = model_tenant(m, 1000 - weight, 1000, 0);
	double e1, e10, sum;

	model_proc(m, a, 0, l->load, l->ns);
	model_proc(m, b, 0, l->load, l->ns);
	model_run(m, 13 * S);
	e1 = model_error(m, a, weight / 1000.0, 1000, 2000, NULL);
	e10 = model_error(m, a, weight / 1000.0, 10000, 2000, NULL);
	sum = (model_busy_ms(m, a, 0, 2000, 13000) + model_busy_ms(m, b, 0, 2000, 13000)) / 110 /
	      l->solo * 100;
	if (e1 >= l->e1 || e10 >= (l->ns > 10 * MS ? 1 : 0.6) || (weight == 500 && sum < 97))
		fail_msg("%s at %u, seed %u: e1 %.2f, e10 %.2f, sum %.2f", l->name, weight,
		        (unsigned)seed, e1, e10, sum);
	model_free(m);
}

static void test_share(void **state)
{
	for (unsigned i = 0; i < sizeof(loads) / sizeof(*loads); i++)
		for (uint64_t seed = 1; seed <= SEEDS; seed++)
			share(&loads[i], 300, seed);
}

static void test_share_of_others(void **state)
{
	for (unsigned i = 0; i < sizeof(loads) / sizeof(*loads); i++)
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			share(&loads[i], 500, seed);
			share(&loads[i], 100, seed);
		}
}

/* Who hands over while its work is still queued runs beside the next one: the bars must see it. */
static void test_early_hand_over_is_seen(void **state)
{
	struct model_params params = model_defaults(1);
	struct model *m;
	unsigned a, b;

	params.early_ns = 4 * MS;
	m = model_new(&params);
	a = model_tenant(m, 300, 1000, 0);
	b = model_tenant(m, 700, 1000, 0);
	model_proc(m, a, 0, LOAD_TRAIN, 0);
	model_proc(m, b, 0, LOAD_TRAIN, 0);
	model_run(m, 13 * S);
	if (model_error(m, a, 0.3, 1000, 2000, NULL) < 3)
		fail_msg("%.2f", model_error(m, a, 0.3, 1000, 2000, NULL));
	model_free(m);
}

static void test_many_tenants(void **state)
{
	struct model_params params = model_defaults(1);
	struct model *m = model_new(&params);

	for (unsigned i = 0; i < 8; i++)
		model_proc(m, model_tenant(m, 125, 1000, 0), 0, i % 2 ? LOAD_KERNELS : LOAD_MIX,
		        100 * US);
	model_run(m, 13 * S);
	for (unsigned i = 0; i < 8; i++)
		assert_true(model_error(m, i, 0.125, 1000, 2000, NULL) < 2);
	model_free(m);
}

/* Processes of one tenant share its part, whatever their number; streams change nothing. */
static void test_processes_of_a_tenant(void **state)
{
	struct model_params params = model_defaults(1);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, 300, 1000, 0), b = model_tenant(m, 700, 1000, 0);
	double owned;

	for (unsigned i = 0; i < 3; i++)
		model_streams(m, model_proc(m, a, 0, LOAD_KERNELS, 100 * US), 1 + i);
	model_streams(m, model_proc(m, b, 0, LOAD_KERNELS, 100 * US), 4);
	model_run(m, 13 * S);
	owned = (double)model_owned_ns(m, a) /
	        (double)(model_owned_ns(m, a) + model_owned_ns(m, b));
	assert_true(owned > 0.29 && owned < 0.315);
	model_free(m);
}

/* Collectives of tenants of two devices in 11 s, for weights until one is 0; overlap_ns 0: as it is. */
static double collectives(const unsigned *weights, uint32_t overlap_ns, uint64_t seed)
{
	struct model_params params = model_defaults(seed);
	struct model *m = model_new(&params);
	unsigned firsts[PACE_TENANTS], n = 0;
	double done = 0;

	for (; weights[n]; n++) {
		unsigned t = model_tenant(m, weights[n], 1000, PACE_MULTI);
		unsigned other = model_proc(m, t, 1, LOAD_PEER, 0);

		firsts[n] = model_proc(m, t, 0, LOAD_PEER, 0);
		model_pair(m, firsts[n], other);
	}
	for (unsigned i = 0; overlap_ns && i < 2 * n; i++)
		model_pace(m, i)->head.overlap_ns = model_pace(m, i)->head.multi_ns = overlap_ns;
	model_run(m, 12 * S);
	for (unsigned i = 0; i < n; i++)
		done += (double)model_collectives(m, firsts[i]);
	model_free(m);
	return done;
}

/* Devices whose judges do not know of each other serve the same gang at the same time. */
static void test_collectives(void **state)
{
	static const struct {
		unsigned weights[4], least; /* in per cent of what one does alone */
	} gangs[] = {{{500, 500}, 80}, {{300, 700}, 70}, {{100, 900}, 70}, {{333, 333, 333}, 70}};
	static const unsigned solo[] = {1000, 0};

	for (unsigned i = 0; i < sizeof(gangs) / sizeof(*gangs); i++)
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			double part = 100 * collectives(gangs[i].weights, 0, seed) /
			              collectives(solo, 0, seed);

			if (part < gangs[i].least)
				fail_msg("gangs %u, seed %u: %.1f", i, (unsigned)seed, part);
		}
	/* Without overlap they wait for each other. */
	assert_true(collectives(gangs[0].weights, UINT32_MAX, 1) < collectives(solo, 0, 1) / 50);
}

/* Beside gangs those of one device have their share, also one who comes now and then. */
static void test_beside_gangs(void **state)
{
	static const struct {
		enum model_load load;
		double least; /* per cent of the device */
	} singles[] = {{LOAD_KERNELS, 37}, {LOAD_INFER, 14}};

	for (unsigned i = 0; i < 2; i++)
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct model_params params = model_defaults(seed);
			struct model *m = model_new(&params);
			double busy;

			for (unsigned gang = 0; gang < 2; gang++) {
				unsigned t = model_tenant(m, 300, 1000, PACE_MULTI);
				unsigned p = model_proc(m, t, 0, LOAD_PEER, 0);

				model_pair(m, p, model_proc(m, t, 1, LOAD_PEER, 0));
			}
			model_proc(m, model_tenant(m, 400, 1000, 0), 0, singles[i].load, 100 * US);
			model_run(m, 12 * S);
			busy = model_busy_ms(m, 2, 0, 2000, 12000) / 100;
			if (busy < singles[i].least)
				fail_msg("load %u, seed %u: %.1f", i, (unsigned)seed, busy);
			model_free(m);
		}
}

/* The p99 of what is added to a graph of 2 ms, in us, beside kernels of `ns`. */
static uint64_t added_us(uint64_t ns, uint32_t flags, uint64_t seed)
{
	struct model_params params = model_defaults(seed);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, 500, 1000, flags), b = model_tenant(m, 500, 1000, 0);
	unsigned p = model_proc(m, a, 0, LOAD_INFER, 0);
	uint64_t us;

	model_proc(m, b, 0, LOAD_KERNELS, ns);
	model_run(m, 11 * S);
	us = (model_latency_ns(m, p, 99) - 2010 * US) / US;
	model_free(m);
	return us;
}

static void test_latency(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		assert_true(added_us(100 * US, 0, seed) < 1500);
		assert_true(added_us(500 * MS, PACE_LATENCY, seed) < 5000);
		assert_true(added_us(500 * MS, 0, seed) < 20000);
	}
}

static void test_caps(void **state)
{
	static const unsigned caps[] = {100, 300, 500, 800};

	for (unsigned i = 0; i < 4 * 5; i++) {
		struct model_params params = model_defaults(1 + i % 3);
		struct model *m = model_new(&params);
		unsigned cap = caps[i / 5], a = model_tenant(m, 500, cap, 0);
		const struct load *l = &loads[i % 5 == 4 ? 7 : i % 5];
		double owned;

		model_proc(m, a, 0, l->load, l->ns);
		model_run(m, 12 * S);
		owned = (double)model_owned_ns(m, a) / (11 * S) * 1000;
		if (owned < cap - 5 || owned > cap + 5)
			fail_msg("%s capped at %u owned %.1f", l->name, cap, owned);
		model_free(m);
	}
}

/* Beside each other, and beside one without. */
static void test_caps_of_several(void **state)
{
	struct model_params params = model_defaults(1);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, 200, 200, 0), b = model_tenant(m, 300, 300, 0), c;

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, b, 0, LOAD_MIX, 0);
	model_run(m, 11 * S);
	assert_true(model_owned_ns(m, a) > 19 * S / 10 && model_owned_ns(m, a) < 205 * S / 100);
	assert_true(model_owned_ns(m, b) > 28 * S / 10 && model_owned_ns(m, b) < 305 * S / 100);
	c = model_tenant(m, 500, 1000, 0);
	model_proc(m, c, 0, LOAD_KERNELS, MS);
	model_run(m, 21 * S);
	assert_true(model_owned_ns(m, a) < 405 * S / 100);
	assert_true(model_owned_ns(m, c) > 48 * S / 10);
	model_free(m);
}

static void test_gaps_are_bridged(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct model_params params = model_defaults(seed);
		struct model *m = model_new(&params);
		unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 500, 1000, 0);
		double owned;

		model_proc(m, a, 0, LOAD_GAP, 200 * US);
		model_proc(m, b, 0, LOAD_KERNELS, 100 * US);
		model_run(m, 11 * S);
		owned = 100 * (double)model_owned_ns(m, a) /
		        (double)(model_owned_ns(m, a) + model_owned_ns(m, b));
		assert_true(owned > 49 && owned < 51);
		model_free(m);
	}
}

/* Per cent of the device that is used beside a neighbour who does `load`. */
static double used(enum model_load load, uint64_t ns)
{
	struct model_params params = model_defaults(1);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 500, 1000, 0);
	double sum;

	model_proc(m, a, 0, LOAD_KERNELS, ns);
	model_proc(m, b, 0, load, 0);
	model_run(m, 13 * S);
	sum = model_busy_ms(m, a, 0, 2000, 13000) + model_busy_ms(m, b, 0, 2000, 13000);
	model_free(m);
	return sum / 110;
}

static void test_nothing_is_wasted(void **state)
{
	assert_true(used(LOAD_IDLE, 10 * US) > 99);
	assert_true(used(LOAD_IDLE, 100 * US) > 99.5);
	assert_true(used(LOAD_SLEEPY, 100 * US) > 98);
}

/* Estimates settle, also of a kernel that is sixty times in one piece. */
static void test_estimates_settle(void **state)
{
	struct model_params params = model_defaults(1);
	struct model *m = model_new(&params);
	unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 500, 1000, 0);
	unsigned p = model_proc(m, a, 0, LOAD_KERNELS, 4 * US), n = 0;

	model_proc(m, b, 0, LOAD_KERNELS, 4 * US);
	model_run(m, 3 * S);
	for (unsigned i = 0; i < PACE_COSTS; i++) {
		const struct pace_cost *cost = &model_pace(m, p)->costs[i];

		if (cost->key == 1) {
			assert_in_range(cost->est_ns, 3800, 5000);
			n++;
		}
	}
	assert_int_equal(n, 1);
	model_free(m);
}

static const struct model_params *two(
        struct model **ret, struct model_params *params, uint64_t seed)
{
	unsigned a, b;

	*params = model_defaults(seed);
	*ret = model_new(params);
	a = model_tenant(*ret, 500, 1000, 0);
	b = model_tenant(*ret, 500, 1000, 0);
	model_proc(*ret, a, 0, seed % 2 ? LOAD_KERNELS : LOAD_MIX, 100 * US);
	model_proc(*ret, b, 0, LOAD_KERNELS, 100 * US);
	return params;
}

static void test_the_owner_is_killed(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct model_params params;
		struct model *m;
		unsigned at = 100 + (unsigned)(seed * 7919 % 97);

		two(&m, &params, seed);
		model_run(m, S + at * MS + seed * 13331);
		model_kill(m, 0);
		model_run(m, S + 400 * MS);
		/* A turn, and 2 ms; and the millisecond in which the context goes. */
		if (model_gap_ms(m, 1, 0, 1000 + at, 1400) > 7 + 2 + 1)
			fail_msg("seed %u: %u ms", (unsigned)seed,
			        model_gap_ms(m, 1, 0, 1000 + at, 1400));
		assert_true(model_busy_ms(m, 1, 0, 1300, 1400) > 97);
		model_free(m);
	}
}

static void test_the_owner_is_stopped(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model_params params;
		struct model *m;
		unsigned at = 100 + (unsigned)(seed * 7919 % 97);

		two(&m, &params, seed);
		model_run(m, S + at * MS + seed * 13331);
		model_stop(m, 0, true);
		model_run(m, S + 600 * MS);
		/* A turn, what it takes until the next begins without a drain, and 2 ms. */
		assert_true(model_gap_ms(m, 1, 0, 1000 + at, 1600) <= 7 + 14 + 2 + 1);
		assert_true(model_busy_ms(m, 1, 0, 1400, 1600) > 190);
		model_stop(m, 0, false);
		model_run(m, 2 * S);
		assert_true(model_busy_ms(m, 0, 0, 1800, 2000) > 80);
		model_free(m);
	}
}

static uint64_t owned_by_all(struct model *m)
{
	return model_owned_ns(m, 0) + model_owned_ns(m, 1);
}

/* Killed with the lock, after each of its stores: the accounts are as if it had never begun. */
static void test_a_judge_is_killed(void **state)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n <= sizeof(struct pace_table) / 8; n += n < 20 ? 1 : 13) {
		struct model_params params;
		struct model *m;
		struct pace_page *page;
		uint64_t word, *table, before;

		two(&m, &params, 1);
		model_run(m, S + 200 * MS);
		page = model_page(m, 0);
		before = owned_by_all(m);
		assert_true(before > 190 * MS && before <= 200 * MS);
		word = page->word;
		table = (uint64_t *)&page->tables[(PACE_NUMBER(word) + 1) & 1];
		for (unsigned i = 0; i < n; i++)
			table[i] = UINT64_C(0x5a5a5a5a5a5a5a5a) + i;
		page->word = PACE_WORD(
		        PACE_OWNER(word), PACE_STATE(word) | PACE_LOCKED, 0, PACE_NUMBER(word));
		model_kill(m, 0);
		model_run(m, S + 400 * MS);
		assert_in_range(owned_by_all(m), before, 400 * MS);
		sum = n ? sum : owned_by_all(m);
		assert_int_equal(owned_by_all(m), sum);
		assert_true(model_busy_ms(m, 1, 0, 1300, 1400) > 97);
		model_free(m);
	}
}

/* One that holds the lock, is alive, and does not move. */
static void test_a_judge_is_stopped(void **state)
{
	struct model_params params;
	struct model *m;
	struct pace_page *page;
	uint64_t word;

	two(&m, &params, 1);
	model_run(m, S + 200 * MS);
	page = model_page(m, 0);
	word = page->word;
	page->word =
	        PACE_WORD(PACE_OWNER(word), PACE_STATE(word) | PACE_LOCKED, 0, PACE_NUMBER(word));
	model_stop(m, 0, true);
	model_run(m, S + 600 * MS);
	assert_true(model_gap_ms(m, 1, 0, 1200, 1600) <= 20 + 7 + 14 + 2);
	assert_true(model_busy_ms(m, 1, 0, 1400, 1600) > 190);
	model_free(m);
}

/* Whatever is written into the page, nobody crashes, and nobody waits for ever once that has ended. */
static void test_the_page_is_spoilt(void **state)
{
	uint64_t rng = 88172645463325252;

	for (unsigned round = 0; round < 200; round++) {
		struct model_params params;
		struct model *m;
		struct pace_page *page;

		two(&m, &params, 1 + round);
		model_run(m, S + 50 * MS);
		page = model_page(m, 0);
		for (unsigned i = 0; i < 400; i++) {
			uint64_t at;

			rng ^= rng << 13;
			rng ^= rng >> 7;
			rng ^= rng << 17;
			at = PACE_WORD_AT / 8 + rng % ((PACE_TENANTS_AT - PACE_WORD_AT) / 8);
			if (i % 8 == 0)
				at = PACE_WORD_AT / 8;
			if (i % 8 == 1)
				at = (PACE_PROCS_AT + rng % 128) / 8;
			((uint64_t *)page)[at] = i % 3 ? rng : i % 2 ? UINT64_MAX : 0;
			model_run(m, model_now(m) + (rng >> 32) % MS);
		}
		memset(page->tables, 0,
		        sizeof(page->tables)); /* accounts are what was written there, for a while */
		model_run(m, model_now(m) + 2 * S);
		for (unsigned i = 0; i < 2; i++) {
			unsigned now_ms = (unsigned)(model_now(m) / MS);

			if (model_busy_ms(m, i, 0, now_ms - 500, now_ms) < 25)
				fail_msg("round %u: %u had %.1f ms of 500", round, i,
				        model_busy_ms(m, i, 0, now_ms - 500, now_ms));
		}
		model_free(m);
	}
}

static void test_a_page_is_looked_at(void **state)
{
	static struct pace_page page;

	assert_false(pace_is_valid(&page, sizeof(page)));
	page.head.magic = PACE_MAGIC;
	page.head.abi = PACE_ABI;
	assert_true(pace_is_valid(&page, sizeof(page)));
	assert_false(pace_is_valid(&page, sizeof(page) - 1));
	memset(&page.head.tsc_hz, 0xff, 64);
	pace_sanitize(&page.head);
	assert_true(page.head.quantum_ns <= 100 * MS && page.head.mark_ns <= page.head.ahead_ns);
}

/* What a row's tenant owed, or was owed, is not the next one's, as soon as somebody has looked between them. */
static void test_a_row_is_given_to_another(void **state)
{
	struct pace_case c = {.now_ns = S};
	struct pace_table t = {.at_ns = S, .least_ns = 5 * S};
	struct pace_verdict v = {.owner = PACE_NOBODY, .state = PACE_FREE};

	pace_parameters(&c.head, 0);
	for (unsigned i = 0; i < 3; i++)
		t.accounts[i] = (struct pace_account){
		        .virtual_ns = 50 * S, .bucket_ns = -S, .missed_ns = S, .exhausted = 1};
	/* One who was nobody's when he held it, one who has his row still, one who has left processes in it. */
	t.accounts[0].holds = 2;
	c.seen[1].weight_milli = 300;
	c.seen[2] = (struct pace_seen){.weight_milli = 1, .is_here = true};
	pace_decide(&c, &t, &v);
	assert_true(t.accounts[0].virtual_ns == t.least_ns);
	assert_true(t.accounts[0].bucket_ns == 0);
	assert_int_equal(t.accounts[0].missed_ns, 0);
	assert_int_equal(t.accounts[0].exhausted, 0);
	for (unsigned i = 1; i < 3; i++)
		assert_true(t.accounts[i].virtual_ns == (int64_t)(50 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_share),
	        cmocka_unit_test(test_share_of_others),
	        cmocka_unit_test(test_early_hand_over_is_seen),
	        cmocka_unit_test(test_many_tenants),
	        cmocka_unit_test(test_processes_of_a_tenant),
	        cmocka_unit_test(test_collectives),
	        cmocka_unit_test(test_beside_gangs),
	        cmocka_unit_test(test_latency),
	        cmocka_unit_test(test_caps),
	        cmocka_unit_test(test_caps_of_several),
	        cmocka_unit_test(test_gaps_are_bridged),
	        cmocka_unit_test(test_nothing_is_wasted),
	        cmocka_unit_test(test_estimates_settle),
	        cmocka_unit_test(test_the_owner_is_killed),
	        cmocka_unit_test(test_the_owner_is_stopped),
	        cmocka_unit_test(test_a_judge_is_killed),
	        cmocka_unit_test(test_a_judge_is_stopped),
	        cmocka_unit_test(test_the_page_is_spoilt),
	        cmocka_unit_test(test_a_page_is_looked_at),
	        cmocka_unit_test(test_a_row_is_given_to_another),
	};

	return cmocka_run_group_tests_name("shim/pace", tests, NULL, NULL);
}
