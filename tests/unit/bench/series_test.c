/* What tenants had done: rates, and windows in which all of them worked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/series.h"

#include <stdio.h>
#include <string.h>

/* From begin_s on so much in a second, told every 20 ms. */
static struct series working(double begin_s, double end_s, double us_per_s)
{
	static char text[1 << 20];
	struct series s;
	size_t n = 0;

	for (double t = begin_s; t <= end_s + 1e-6; t += 0.02)
		n += (size_t)snprintf(text + n, sizeof text - n, "%.0f %.0f\n", t * 1e9,
		        (t - begin_s) * us_per_s);
	assert_true(series_parse(text, &s));
	return s;
}

static void test_parse(void **state)
{
	struct series s;

	assert_true(series_parse("1000000000 5\n2000000000 15\n", &s));
	assert_int_equal(s.n, 2);
	assert_true(s.v[1].s == 2 && s.v[1].work_us == 15);
	series_done(&s);
	assert_int_equal(s.n, 0);
	/* Cut within a line, as by a kill; one sample says nothing; nor does what is none. */
	assert_true(series_parse("1000000000 5\n2000000000 15\n30000", &s));
	assert_int_equal(s.n, 2);
	series_done(&s);
	assert_false(series_parse("1000000000 5\n", &s));
	assert_false(series_parse("", &s));
	assert_false(series_parse("failed cuInit(0) 100\nmore\nmore\n", &s));
}

static void test_rate(void **state)
{
	struct series s = working(10, 13, 400000);
	double rate;

	assert_true(series_rate(&s, &rate));
	assert_true(rate > 0.3999 && rate < 0.4001);
	series_done(&s);
	s = working(10, 10.4, 400000);
	assert_false(series_rate(&s, &rate));
	series_done(&s);
}

/* The late one decides when the first window begins, the early one when the last ends. */
static void test_windows(void **state)
{
	struct series all[2] = {working(10, 14.1, 300000), working(11, 15, 700000)};
	double work_us[2];
	size_t k;

	for (k = 0; series_window(all, 2, k, work_us); k++) {
		assert_true(work_us[0] > 299990 && work_us[0] < 300010);
		assert_true(work_us[1] > 699990 && work_us[1] < 700010);
	}
	/* From 11.5: 11.5, 11.75, ... 13.0. */
	assert_int_equal(k, 7);
	series_done(&all[1]);
	all[1] = working(20, 22, 1);
	assert_false(series_window(all, 2, 0, work_us));
	series_done(&all[0]);
	series_done(&all[1]);
}

static void test_median(void **state)
{
	assert_true(series_median((double[]){3, 1, 2}, 3) == 2);
	assert_true(series_median((double[]){7}, 1) == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_parse),
	        cmocka_unit_test(test_rate),
	        cmocka_unit_test(test_windows),
	        cmocka_unit_test(test_median),
	};

	return cmocka_run_group_tests_name("bench/series", tests, NULL, NULL);
}
