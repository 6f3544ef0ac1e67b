#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "server/rate.h"

static unsigned take(struct rate *r, const char *name, int64_t now_ms, unsigned n)
{
	unsigned n_taken = 0;
	int64_t wait_ms;

	while (n--)
		n_taken += rate_take(r, name, now_ms, &wait_ms);
	return n_taken;
}

static void test_burst_then_rate(void **state)
{
	struct rate *r = rate_new(60, 5, 10); /* one a second */
	int64_t wait_ms = 0;

	assert_int_equal(take(r, "a", 1000, 100), 5);
	assert_false(rate_take(r, "a", 1000, &wait_ms));
	assert_int_equal(wait_ms, 1000);
	assert_false(rate_take(r, "a", 1400, &wait_ms));
	assert_int_equal(wait_ms, 600);
	assert_false(rate_take(r, "a", 1999, &wait_ms));
	assert_int_equal(wait_ms, 1);
	assert_true(rate_take(r, "a", 2000, &wait_ms));
	assert_false(rate_take(r, "a", 2000, &wait_ms));
	/* It never holds more than it holds, also after a very long time. */
	assert_int_equal(take(r, "a", 5000, 100), 3);
	assert_int_equal(take(r, "a", INT64_MAX / 2, 100), 5);
	/* A clock that stands or goes back gives nothing. */
	assert_int_equal(take(r, "a", 0, 100), 0);
	rate_free(r);
}

/* What was taken without asking is owed, but never more than a bucket full. */
static void test_charge(void **state)
{
	struct rate *r = rate_new(60, 10, 10);
	int64_t wait_ms;

	rate_charge(r, "a", 0, 12);
	assert_false(rate_take(r, "a", 0, &wait_ms));
	assert_int_equal(wait_ms, 3000);
	assert_int_equal(take(r, "a", 3000, 5), 1);
	rate_charge(r, "a", 3000, UINT32_MAX);
	assert_int_equal(take(r, "a", 13000, 5), 0);
	assert_int_equal(take(r, "a", 14000, 5), 1);
	assert_int_equal(take(r, "b", 14000, 50), 10);
	rate_free(r);
}

static void test_each_its_own(void **state)
{
	struct rate *r = rate_new(60, 2, 10);

	assert_int_equal(take(r, "a", 0, 100), 2);
	assert_int_equal(take(r, "b", 0, 100), 2);
	assert_int_equal(take(r, "a", 0, 100), 0);
	rate_free(r);
}

/* A thousand a minute: not one of them is refused, one more is. */
static void test_failures(void **state)
{
	struct rate *r = rate_new(1000, 1000, 10);

	for (int minute = 0; minute < 5; minute++)
		for (int i = 0; i < 1000; i++)
			assert_int_equal(take(r, "a", minute * 60000 + i * 60, 1), 1);
	assert_int_equal(take(r, "b", 0, 2000), 1000);
	rate_free(r);
}

static void test_forgets_the_oldest(void **state)
{
	struct rate *r = rate_new(60, 1, 100);
	char name[RATE_NAME_MAX];

	assert_int_equal(take(r, "kept", 0, 1), 1);
	assert_int_equal(take(r, "lost", 0, 1), 1);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(take(r, name, 0, 1), 1);
		assert_int_equal(take(r, "kept", 0, 1), 0);
	}
	assert_int_equal(take(r, "lost", 0, 1), 1);
	rate_free(r);
}

static void test_extremes(void **state)
{
	struct rate *r = rate_new(UINT32_MAX, UINT32_MAX, 1);
	int64_t wait_ms;

	assert_true(rate_take(r, "a", 0, &wait_ms));
	assert_true(rate_take(r, "a", INT64_MAX, &wait_ms));
	rate_free(r);
	r = rate_new(0, 0, 0);
	assert_true(rate_take(r, "a", 0, &wait_ms));
	assert_false(rate_take(r, "a", 0, &wait_ms));
	assert_int_equal(wait_ms, 60000);
	rate_free(r);
	rate_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_burst_then_rate),
	        cmocka_unit_test(test_charge),
	        cmocka_unit_test(test_each_its_own),
	        cmocka_unit_test(test_failures),
	        cmocka_unit_test(test_forgets_the_oldest),
	        cmocka_unit_test(test_extremes),
	};

	return cmocka_run_group_tests_name("server_rate", tests, NULL, NULL);
}
