/*
 * Each wrapper while the driver fails: first in the call that it stands in front of, then in each one that it makes itself. Nothing
 * stays charged that the card has not given, nothing is given free, and a program is told what the driver said.
 */
#include "every_call.h"

#define N_INNER 32 /* more than any wrapper makes */

static size_t row;
static bool was_met; /* the fault, by the call */

/* A fault that was not met is met now. */
static bool is_left(void)
{
	int n;
	for (int i = 0; i < N_INNER; i++)
		if (driver.cuDeviceGetCount(&n) != CU_SUCCESS)
			return true;
	return false;
}

static void same(const char *when, int n)
{
	cu.cuCtxSynchronize();
	if (used() != physical())
		fail_msg("%s, %s %d: %llu MiB are charged, %llu given", every_call[row].name, when,
		        n, (unsigned long long)(used() / MIB),
		        (unsigned long long)(physical() / MIB));
}

/* One life, in which `fault` is what the driver is told before the call; what that answered. */
static enum cu_result live(struct fixture *f, const char *fault, const char *when, int n)
{
	struct life l = {0};
	life_begin(&l);
	same("before", n);
	if (strncmp(every_call[row].name, "cuStreamEndCapture", 18) == 0)
		ok(cuStreamBeginCapture_v2(l.capture, 0));
	fixture_do(f, fault);
	enum cu_result rc = every_call[row].call(&l);
	was_met = !is_left();
	fixture_do(f, "clear");
	if (strncmp(every_call[row].name, "cuStreamBeginCapture", 20) == 0)
		cu.cuStreamEndCapture(l.stream, &l.made.graph);
	same(when, n);
	life_end(&l);
	same("when it was over,", n);
	life_end_contexts(&l);
	assert_int_equal(used(), 0);
	return rc;
}

static void the_call_fails(struct fixture *f)
{
	char fault[96];
	shim_init(f);
	/* The narrow one asks for the wide numbers. */
	bool is_narrow = strcmp(every_call[row].name, "cuMemGetInfo") == 0;
	snprintf(fault, sizeof fault, "fail %s%s 1 999", every_call[row].name,
	        is_narrow ? "_v2" : "");
	enum cu_result rc = live(f, fault, "failed", 0);
	if (rc != CU_ERROR_UNKNOWN)
		fail_msg("%s answered %d", every_call[row].name, (int)rc);
	live(f, "clear", "not failed", 0);
}

static void what_it_calls_fails(struct fixture *f)
{
	char fault[32];
	int n = 0;
	shim_init(f);
	do {
		n++;
		snprintf(fault, sizeof fault, "fail cu* %d %d", n, n % 2 == 0 ? 2 : 999);
		live(f, fault, "at call", n);
	} while (was_met && n < N_INNER);
	assert_in_range(n, 2, N_INNER - 1);
	/* And life goes on. */
	struct cu_ctx *ctx;
	cu_ptr p;
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	check(LIMIT);
}

/* All of them, each with a driver of its own, before it is said that some were wrong. */
static void each(void (*part)(struct fixture *f))
{
	int n_wrong = 0;
	for (row = 0; row < N_CALLS; row++) {
		struct fixture f;
		fixture_new(&f, CARD);
		n_wrong += fixture_wait(cuda_fork(part, &f)) != 0;
		fixture_free(&f);
	}
	assert_int_equal(n_wrong, 0);
}

static void test_each_call(void **state)
{
	(void)state;
	each(the_call_fails);
}

static void test_what_each_calls(void **state)
{
	(void)state;
	each(what_it_calls_fails);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_each_call),
	        cmocka_unit_test(test_what_each_calls),
	};
	return cmocka_run_group_tests_name("shim/faults", tests, NULL, NULL);
}
