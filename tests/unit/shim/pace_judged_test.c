/*
 * Turns between jobs of different accounts, in virtual time: they may only read the device's page, and the agent judges. What
 * each of them gets, and what becomes of that when one lies, is stopped or killed, and when the agent is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "pace_model.h"

static struct model *model_judged(uint64_t seed)
{
	struct model_params params = model_defaults(seed);

	params.is_judged = true;
	return model_new(&params);
}

static double sum_of(const struct model *m, unsigned n, unsigned from_ms, unsigned to_ms)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += model_busy_ms(m, i, 0, from_ms, to_ms);
	return sum / (to_ms - from_ms) * 100;
}

static void share(enum model_load load, uint64_t ns, unsigned weight, uint64_t seed)
{
	struct model *m = model_judged(seed);
	unsigned a = model_tenant(m, weight, 1000, 0), b = model_tenant(m, 1000 - weight, 1000, 0);
	double e1, sum;

	model_proc(m, a, 0, load, ns);
	model_proc(m, b, 0, load, ns);
	model_run(m, 5 * S);
	e1 = model_error(m, a, weight / 1000.0, 1000, 2000, NULL);
	sum = sum_of(m, 2, 2000, 5000) / (load == LOAD_TRAIN ? 0.986 : 1);
	if (e1 >= 2 || sum < 96)
		fail_msg("load %d of %u us at %u, seed %u: e1 %.2f, sum %.2f", load,
		        (unsigned)(ns / US), weight, (unsigned)seed, e1, sum);
	model_free(m);
}

static void test_share(void **state)
{
	static const struct {
		enum model_load load;
		uint64_t ns;
	} loads[] = {{LOAD_KERNELS, 10 * US}, {LOAD_KERNELS, 100 * US}, {LOAD_KERNELS, MS},
	        {LOAD_MIX, 0}, {LOAD_JUMP, 0}, {LOAD_UNKNOWN, 0}, {LOAD_TRAIN, 0}};

	for (unsigned i = 0; i < sizeof(loads) / sizeof(*loads); i++) {
		share(loads[i].load, loads[i].ns, 500, 1 + i % 3);
		share(loads[i].load, loads[i].ns, 300, 2 + i % 3);
		share(loads[i].load, loads[i].ns, 100, 3 + i % 3);
	}
}

/* Of one account two, of others one each: the judge knows attempts only. */
static void test_several(void **state)
{
	struct model *m = model_judged(1);

	for (unsigned i = 0; i < 4; i++)
		model_proc(m, model_tenant(m, 100 * (1 + i), 1000, 0), 0,
		        i % 2 ? LOAD_KERNELS : LOAD_MIX, 100 * US);
	model_run(m, 8 * S);
	for (unsigned i = 0; i < 4; i++)
		assert_true(model_error(m, i, 0.1 * (1 + i), 1000, 2000, NULL) < 2);
	model_free(m);
}

static void test_caps(void **state)
{
	struct model *m = model_judged(1);
	unsigned a = model_tenant(m, 200, 200, 0), b = model_tenant(m, 300, 300, 0);

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, b, 0, LOAD_KERNELS, 100 * US);
	model_run(m, 7 * S);
	assert_true(model_busy_ms(m, a, 0, 2000, 7000) / 50 > 18.5);
	assert_true(model_busy_ms(m, a, 0, 2000, 7000) / 50 < 20.5);
	assert_true(model_busy_ms(m, b, 0, 2000, 7000) / 50 > 28);
	assert_true(model_busy_ms(m, b, 0, 2000, 7000) / 50 < 30.5);
	model_free(m);
}

/* Jobs that hold two devices, and whose kernels wait for each other. */
static void test_collectives(void **state)
{
	struct model *m = model_judged(1);
	unsigned first = 0;

	for (unsigned i = 0; i < 2; i++) {
		unsigned t = model_tenant(m, 500, 1000, PACE_MULTI);
		unsigned p = model_proc(m, t, 0, LOAD_PEER, 0),
		         q = model_proc(m, t, 1, LOAD_PEER, 0);

		model_pair(m, p, q);
		first = i ? first : p;
	}
	model_run(m, 11 * S);
	assert_true(model_collectives(m, first) > 400);
	assert_true(model_collectives(m, first + 2) > 400);
	model_free(m);
}

/* Nobody wants the device: the agent sleeps; also beside one who uses it alone. */
static void test_no_look_when_idle(void **state)
{
	struct model *m = model_judged(1);
	unsigned a = model_tenant(m, 300, 1000, 0), b = model_tenant(m, 700, 1000, 0);
	uint64_t looks;

	model_proc(m, a, 0, LOAD_SLEEPY, 0);
	model_proc(m, b, 0, LOAD_IDLE, 0);
	model_run(m, S + 700 * MS);
	looks = model_judge_looks(m);
	assert_true(looks > 0);
	model_run(m, S + 1100 * MS);
	assert_int_equal(model_judge_looks(m), looks);
	model_free(m);
	m = model_judged(1);
	a = model_tenant(m, 300, 1000, 0);
	b = model_tenant(m, 700, 1000, 0);
	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, b, 0, LOAD_IDLE, 0);
	model_run(m, 2 * S);
	looks = model_judge_looks(m);
	model_run(m, 3 * S);
	assert_int_equal(model_judge_looks(m), looks);
	assert_true(sum_of(m, 1, 2000, 3000) > 99);
	model_free(m);
}

/* A tenant writes whatever it likes into its own page. */
static void test_a_liar(void **state)
{
	struct model *m = model_judged(7);
	unsigned a = model_tenant(m, 300, 1000, 0), b = model_tenant(m, 600, 1000, 0),
	         liar = model_tenant(m, 100, 1000, 0);
	unsigned char *own = (unsigned char *)model_own(m, liar, 0);
	double mine, others;

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, b, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, liar, 0, LOAD_KERNELS, 100 * US);
	srand(1);
	for (uint64_t at = S; at < 9 * S; at += MS / 2) {
		model_run(m, at);
		for (unsigned i = 0; i < 200; i++)
			own[512 + (unsigned)rand() % (sizeof(struct pace_page) - 512)] =
			        (unsigned char)rand();
		for (unsigned i = 0; i < 64; i++)
			own[PACE_PROCS_AT + 128 + (unsigned)rand() % 64] = (unsigned char)rand();
	}
	mine = model_busy_ms(m, a, 0, 2000, 9000);
	others = model_busy_ms(m, b, 0, 2000, 9000);
	assert_true(mine / (mine + others) > 0.31 && mine / (mine + others) < 0.36);
	model_free(m);
}

/* It says for ever that the device has something of it, or wants it for ever and does not take it. */
static void test_a_claim_that_never_ends(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct model *m = model_judged(1);
		unsigned a = model_tenant(m, 500, 1000, 0), liar = model_tenant(m, 500, 1000, 0);
		struct pace_proc *line = &model_own(m, liar, 0)->procs[1];

		model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
		model_proc(m, liar, 0, LOAD_IDLE, 0);
		for (uint64_t at = S; at < 5 * S; at += MS) {
			model_run(m, at);
			*line = (struct pace_proc){.pid = (uint32_t)at,
			        .submitted_ns = kind ? 0 : 1000 * S,
			        .want_ns = at};
		}
		assert_true(model_busy_ms(m, a, 0, 2000, 5000) / 30 > 45);
		model_free(m);
	}
}

/* It is always about to drain, by what it says: who judges does not look without sleeping for as long as that. */
static void test_a_drain_that_is_always_near(void **state)
{
	struct model *m = model_judged(1);
	unsigned a = model_tenant(m, 500, 1000, 0), liar = model_tenant(m, 500, 1000, 0);
	struct pace_proc *line = &model_own(m, liar, 0)->procs[1];
	uint64_t looks;

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, liar, 0, LOAD_IDLE, 0);
	model_run(m, S);
	looks = model_judge_looks(m);
	for (uint64_t at = S; at < 2 * S; at += 50 * US) {
		bool is_owner = PACE_OWNER(model_page(m, 0)->word) == liar;

		*line = (struct pace_proc){.pid = 1,
		        .submitted_ns = is_owner ? 100 * US : 0,
		        .done_ns = at,
		        .want_ns = at};
		model_run(m, at + 50 * US);
	}
	looks = model_judge_looks(m) - looks;
	if (looks > 50000)
		fail_msg("%u looks", (unsigned)looks);
	assert_true(model_busy_ms(m, a, 0, 1000, 2000) / 10 > 45);
	model_free(m);
}

static void test_a_tenant_is_stopped(void **state)
{
	struct model *m = model_judged(1);
	unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 500, 1000, 0);

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_stop(m, model_proc(m, b, 0, LOAD_KERNELS, 100 * US), false);
	model_run(m, 2 * S);
	model_stop(m, 1, true);
	model_run(m, 4 * S);
	assert_in_range(model_gap_ms(m, a, 0, 2000, 4000), 0, 22);
	assert_true(model_busy_ms(m, a, 0, 2100, 4000) / 19 > 98);
	model_stop(m, 1, false);
	model_run(m, 8 * S);
	assert_true(model_busy_ms(m, b, 0, 5000, 8000) / 30 > 47);
	model_free(m);
}

static void test_a_tenant_is_killed(void **state)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct model *m = model_judged(seed);
		unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 500, 1000, 0);

		model_proc(m, a, 0, LOAD_MIX, 0);
		model_proc(m, b, 0, LOAD_KERNELS, 100 * US);
		model_run(m, S + 500 * MS + seed * 777 * US);
		model_kill(m, 1);
		model_run(m, 3 * S);
		assert_in_range(model_gap_ms(m, a, 0, 1400, 3000), 0, 16);
		assert_true(model_busy_ms(m, a, 0, 1600, 3000) / 14 > 97);
		model_free(m);
	}
}

/* Nobody judges: all go on, as on a device that nobody holds. Somebody judges again: they are held again. */
static void test_the_agent_is_killed(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct model *m = model_judged(seed);
		unsigned a = model_tenant(m, 200, 1000, 0), b = model_tenant(m, 800, 1000, 0);

		model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
		model_proc(m, b, 0, LOAD_MIX, 0);
		model_run(m, 2 * S + seed * 777 * US);
		model_judge_absent(m, true);
		model_run(m, 4 * S);
		assert_in_range(model_gap_ms(m, a, 0, 1900, 4000), 0, 180);
		assert_in_range(model_gap_ms(m, b, 0, 1900, 4000), 0, 180);
		assert_true(sum_of(m, 2, 2200, 4000) > 90);
		model_judge_absent(m, false);
		/* What was launched meanwhile, as far ahead as queues are deep, runs first. */
		model_run(m, 8 * S);
		if (model_error(m, a, 0.2, 1000, 5000, NULL) > 2)
			fail_msg("%.1f", model_error(m, a, 0.2, 1000, 5000, NULL));
		model_free(m);
	}
}

/* Whose lines nobody reads does not wait for what never comes; the others take turns. */
static void test_a_tenant_without_a_seat(void **state)
{
	struct model *m = model_judged(1);
	unsigned a = model_tenant(m, 500, 1000, 0), b = model_tenant(m, 250, 1000, 0),
	         c = model_tenant(m, 250, 1000, 0);

	model_proc(m, a, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, b, 0, LOAD_KERNELS, 100 * US);
	model_proc(m, c, 0, LOAD_KERNELS, 100 * US);
	model_run(m, 2 * S);
	model_unseat(m, c);
	model_run(m, 5 * S);
	assert_in_range(model_gap_ms(m, c, 0, 1900, 5000), 0, 40);
	assert_true(model_busy_ms(m, c, 0, 3000, 5000) / 20 > 30);
	assert_true(model_busy_ms(m, a, 0, 3000, 5000) > 1.5 * model_busy_ms(m, b, 0, 3000, 5000));
	model_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_share),
	        cmocka_unit_test(test_several),
	        cmocka_unit_test(test_caps),
	        cmocka_unit_test(test_collectives),
	        cmocka_unit_test(test_no_look_when_idle),
	        cmocka_unit_test(test_a_liar),
	        cmocka_unit_test(test_a_claim_that_never_ends),
	        cmocka_unit_test(test_a_drain_that_is_always_near),
	        cmocka_unit_test(test_a_tenant_is_stopped),
	        cmocka_unit_test(test_a_tenant_is_killed),
	        cmocka_unit_test(test_the_agent_is_killed),
	        cmocka_unit_test(test_a_tenant_without_a_seat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
