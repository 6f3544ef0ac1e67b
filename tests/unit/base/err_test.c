#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static void test_set(void **state)
{
	struct err err = {.sys = 5, .hint = "old"};

	assert_int_equal(err_set(&err, ERR_NOT_FOUND, "no job %d", 17), -ERR_NOT_FOUND);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(err.sys, 0);
	assert_string_equal(err.text, "no job 17");
	assert_string_equal(err.hint, "");
}

static void test_sys(void **state)
{
	static const struct {
		int sys;
		enum err_kind kind;
	} cases[] = {
	        {ENOSPC, ERR_NO_SPACE},
	        {EDQUOT, ERR_NO_SPACE},
	        {EACCES, ERR_FORBIDDEN},
	        {EPERM, ERR_FORBIDDEN},
	        {EIO, ERR_IO},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char expected[200];
		assert_int_equal(
		        err_sys(&err, cases[i].sys, "opening '%s'", "x"), -(int)cases[i].kind);
		assert_int_equal(err.sys, cases[i].sys);
		snprintf(expected, sizeof(expected), "opening 'x': %s", strerror(cases[i].sys));
		assert_string_equal(err.text, expected);
	}
}

static void test_no_disk(void **state)
{
	struct err err;

	assert_int_equal(err_sys(&err, EROFS, "x"), -ERR_IO);
	assert_int_equal(err_wrap(&err, "y"), -ERR_IO);
	assert_true(err_is_no_disk(&err));
	assert_int_equal(err_sys(&err, EDQUOT, "x"), -ERR_NO_SPACE);
	assert_true(err_is_no_disk(&err));
	assert_int_equal(err_sys(&err, EIO, "x"), -ERR_IO);
	assert_false(err_is_no_disk(&err));
	assert_int_equal(err_set(&err, ERR_FORBIDDEN, "x"), -ERR_FORBIDDEN);
	assert_false(err_is_no_disk(&err));
}

static void test_wrap_and_hint(void **state)
{
	struct err err;

	assert_int_equal(err_set(&err, ERR_CONFLICT, "it runs"), -ERR_CONFLICT);
	assert_int_equal(err_wrap(&err, "job %d", 3), -ERR_CONFLICT);
	assert_int_equal(err_wrap(&err, "edit"), -ERR_CONFLICT);
	assert_string_equal(err.text, "edit: job 3: it runs");
	assert_int_equal(err_hint(&err, "cancel it first"), -ERR_CONFLICT);
	assert_string_equal(err.hint, "cancel it first");
	assert_string_equal(err.text, "edit: job 3: it runs");
}

/* However much is put in, the text stays terminated and the outermost context stays readable. */
static void test_long_text(void **state)
{
	struct err err;
	char big[1000];

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(err_set(&err, ERR_INVALID, "%s", big), -ERR_INVALID);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(err_wrap(&err, "reading"), -ERR_INVALID);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_memory_equal(err.text, "reading: aaa", 12);
	assert_int_equal(err_wrap(&err, "%s", big), -ERR_INVALID);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(err_sys(&err, EIO, "%s", big), -ERR_IO);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(err_hint(&err, "%s", big), -ERR_IO);
	assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
}

static void test_table(void **state)
{
	assert_string_equal(err_code(ERR_NOT_FOUND), "not_found");
	assert_int_equal(err_http_status(ERR_NO_SPACE), 507);
	assert_int_equal(err_exit_code(ERR_INVALID), 2);
	assert_int_equal(err_kind_find("unknown_key"), ERR_UNKNOWN_KEY);
	assert_int_equal(err_kind_find("none"), ERR_NONE);
	assert_int_equal(err_kind_find("nonsense"), ERR_NONE);
	for (int k = ERR_NONE + 1; k < ERR_MAX; k++) {
		assert_int_equal(err_kind_find(err_code((enum err_kind)k)), k);
		assert_in_range(err_http_status((enum err_kind)k), 400, 599);
		assert_in_range(err_exit_code((enum err_kind)k), 1, 2);
	}
	assert_string_equal(err_code(ERR_MAX), "internal");
	assert_int_equal(err_http_status(ERR_MAX), 500);
	assert_int_equal(err_exit_code(ERR_MAX), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_set),
	        cmocka_unit_test(test_sys),
	        cmocka_unit_test(test_no_disk),
	        cmocka_unit_test(test_wrap_and_hint),
	        cmocka_unit_test(test_long_text),
	        cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
