#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/strtab.h"

static const char *const names[] = {"PENDING", "RUNNING", NULL, "COMPLETED"};

static void test_name(void **state)
{
	struct strtab t = STRTAB(names);

	assert_string_equal(strtab_name(t, 0), "PENDING");
	assert_string_equal(strtab_name(t, 3), "COMPLETED");
	assert_string_equal(strtab_name(t, 2), "?");
	assert_string_equal(strtab_name(t, 4), "?");
	assert_string_equal(strtab_name(t, (unsigned)-1), "?");
}

static void test_find(void **state)
{
	struct strtab t = STRTAB(names);

	assert_int_equal(strtab_find(t, "COMPLETED"), 3);
	assert_int_equal(strtab_find(t, "completed"), -1);
	assert_int_equal(strtab_find(t, ""), -1);
	assert_int_equal(strtab_find_nocase(t, "running"), 1);
	assert_int_equal(strtab_find_nocase(t, "runnin"), -1);
}

static void test_closest(void **state)
{
	static const char *const keys[] = {
	        "server.job_user", "server.keep_ended", NULL, "job.grace"};
	struct strtab t = STRTAB(keys);
	char longest[200];

	assert_string_equal(strtab_closest(t, "server.jobuser"), "server.job_user");
	assert_string_equal(strtab_closest(t, "server.job_uesr"), "server.job_user");
	assert_string_equal(strtab_closest(t, "job.grace"), "job.grace");
	assert_string_equal(strtab_closest(t, "job.grce"), "job.grace");
	assert_null(strtab_closest(t, "job.gr"));
	assert_null(strtab_closest(t, ""));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_null(strtab_closest(t, longest));
}

/* A word shorter than the distance would match anything. */
static void test_closest_of_short_words(void **state)
{
	static const char *const words[] = {"up", "ps"};
	struct strtab t = STRTAB(words);

	assert_string_equal(strtab_closest(t, "upp"), "up");
	assert_null(strtab_closest(t, "xy"));
	assert_null(strtab_closest(t, "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_name),
	        cmocka_unit_test(test_find),
	        cmocka_unit_test(test_closest),
	        cmocka_unit_test(test_closest_of_short_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
