#include "box.h"

#include <string.h>

static void good(const char *text, uint64_t num, int64_t task)
{
	struct job_id id;
	struct err err;
	char out[48];

	assert_int_equal(job_id_parse(text, &id, &err), 0);
	assert_true(id.num == num && id.task == task);
	assert_string_equal(job_id_format(id, out), text);
}

static void test_forms(void **state)
{
	(void)state;
	good("1", 1, TASK_NONE);
	good("17", 17, TASK_NONE);
	good("17_0", 17, 0);
	good("17_3", 17, 3);
	good("9223372036854775807", INT64_MAX, TASK_NONE);
	good("9223372036854775807_4611686018427387903", INT64_MAX, INT64_MAX / 2);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"", "_", "_3", "0", "0_3", "17_", "17_3_4", "17_x", "x",
	        "17x", "-17", "17_-1", "+17", " 17", "17 ", "9223372036854775808",
	        "99999999999999999999999", "17_4611686018427387904", "1.5"};
	struct job_id id = {5, 5};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (job_id_parse(bad[i], &id, &err) != -(int)ERR_INVALID)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(id.num == 5 && id.task == 5);
	}
}

static void test_message_is_clean(void **state)
{
	struct job_id id;
	struct err err;

	(void)state;
	assert_int_equal(job_id_parse("a\x1b[31m\xff", &id, &err), -(int)ERR_INVALID);
	assert_null(strchr(err.text, '\x1b'));
	assert_null(strchr(err.text, '\xff'));
}

static void test_equal(void **state)
{
	(void)state;
	assert_true(job_id_eq((struct job_id){1, 2}, (struct job_id){1, 2}));
	assert_false(job_id_eq((struct job_id){1, 2}, (struct job_id){1, TASK_NONE}));
	assert_false(job_id_eq((struct job_id){1, 2}, (struct job_id){2, 2}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_forms),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_message_is_clean),
	        cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
