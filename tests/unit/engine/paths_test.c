#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <talloc.h>

#include "engine/paths.h"

static const struct job_id single = {.num = 17, .task = TASK_NONE};
static const struct job_id task = {.num = 123456, .task = 3};

static void test_logs(void **state)
{
	void *ctx = talloc_new(NULL);

	assert_string_equal(paths_log_dir(ctx, "/d", single), "/d/logs/0");
	assert_string_equal(paths_log(ctx, "/d", single, 1, "out"), "/d/logs/0/17.1.out");
	assert_string_equal(paths_log(ctx, "/d", task, 2, "idx"), "/d/logs/123/123456_3.2.idx");
	assert_string_equal(paths_work_dir(ctx, "/d", task, 2), "/d/work/123456_3.2");
	talloc_free(ctx);
}

static void test_output(void **state)
{
	static const struct {
		const char *output, *want;
	} cases[] = {
	        {"/abs", "/abs"},
	        {"rel/f", "/cwd/rel/f"},
	        {"%j", "/cwd/123456_3"},
	        {"%A_%a", "/cwd/123456_3"},
	        {"%x-%u-%N", "/cwd/a_b-ada-n1"},
	        {"100%%", "/cwd/100%"},
	        {"%%j", "/cwd/%j"},
	        {"%z", "/cwd/%z"},
	        {"end%", "/cwd/end%"},
	        {"%", "/cwd/%"},
	};
	const struct paths_names names = {
	        .id = task, .attempt = 1, .job = "a/b", .user = "ada", .node = "n1"};
	void *ctx = talloc_new(NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(
		        paths_output(ctx, cases[i].output, "/cwd", &names), cases[i].want);
	talloc_free(ctx);
}

static void test_attempts(void **state)
{
	struct paths_names names = {.id = single, .attempt = 1};
	void *ctx = talloc_new(NULL);

	assert_string_equal(paths_output(ctx, "/f", "/", &names), "/f");
	names.attempt = 2;
	assert_string_equal(paths_output(ctx, "/f", "/", &names), "/f.2");
	names.attempt = 13;
	assert_string_equal(paths_output(ctx, "/%a-%x", "/", &names), "/0-.13");
	talloc_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_logs),
	        cmocka_unit_test(test_output),
	        cmocka_unit_test(test_attempts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
