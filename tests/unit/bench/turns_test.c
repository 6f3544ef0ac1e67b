/* Turns by stamps of two tenants' kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/turns.h"

/* Turns of 2, 3 and 5 us, one between the others' of two kernels or one; 100, 150 and 200 ns between them. */
static void test_turns(void **state)
{
	static const char one[] = "0 1000\n1000 2000\n" /* before the other one came */
	                          "4100 6100\n6100 7100\n"
	                          "12450 13450\n";
	static const char other[] = "2000 3000\n3000 4000\n"
	                            "7250 9250\n9250 12250\n";
	struct turns t;

	assert_true(turns_parse(one, other, &t));
	assert_int_equal(t.n, 3);
	assert_true(t.turn_ns == 3000);
	assert_true(t.gap_ns == 150);
	/* Whoever is called first. */
	assert_true(turns_parse(other, one, &t));
	assert_int_equal(t.n, 3);
	assert_true(t.turn_ns == 3000);
}

static void test_none(void **state)
{
	struct turns t;

	assert_false(turns_parse("", "", &t));
	assert_false(turns_parse("1 2\n3 4\n", "", &t));
	assert_false(turns_parse("1 2\n3 4\n", "5 6\n7 8\n", &t));
	assert_false(turns_parse("failed cuInit(0) 100\n", "1 2\n", &t));
	/* A line that was cut is none. */
	assert_true(turns_parse("1 2\n5 6\n9 1", "3 4\n7 8\n", &t));
	assert_int_equal(t.n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_turns),
	        cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests_name("bench/turns", tests, NULL, NULL);
}
