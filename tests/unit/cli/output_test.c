#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/ending.h"
#include "cli/jobs.h"
#include "cli/output.h"

static const char answer_text[] =
        "{\"schema\":1,\"jobs\":["
        "{\"id\":\"17\",\"name\":\"a,\\\"b\\\"\",\"queue\":\"default\",\"user\":\"ada\",\"state\":\"PENDING\","
        "\"reasons\":[{\"code\":\"no_room\",\"text\":\"no room now\"}],\"slices\":[],\"exit_code\":null,\"array\":null},"
        "{\"id\":\"18\",\"name\":null,\"queue\":\"default\",\"user\":\"ada\",\"state\":\"RUNNING\",\"reasons\":[],"
        "\"node\":\"n1\",\"slices\":[{\"node\":\"n1\",\"device\":\"GPU-1\",\"mem_bytes\":2147483648,\"share_milli\":250}],"
        "\"array\":{\"tasks\":4,\"states\":{\"COMPLETED\":1,\"RUNNING\":3}}}],\"next\":null}";

struct listing {
	struct cli cli;
	const char *text;
};

static void print_listing(const void *data)
{
	const struct listing *l = data;
	json_t *answer = json_loads(l->text, 0, NULL);

	assert_non_null(answer);
	jobs_print(&l->cli, answer);
	json_decref(answer);
}

static const char *print(enum output_format format, const char *text)
{
	struct listing l = {{.verb = "ps", .format = format}, text};

	return kit_capture(print_listing, &l);
}

static void test_table(void **state)
{
	assert_string_equal(print(OUTPUT_TABLE, answer_text),
	        "ID NAME  QUEUE   USER STATE       GPU        DETAIL\n"
	        "17 a,\"b\" default ada  PENDING     -          no room now\n"
	        "18 -     default ada  RUNNING 1/4 2 GiB 25 % on n1\n");
	assert_non_null(strstr(print(OUTPUT_WIDE, answer_text), "SUBMITTED"));
}

/* What a terminal would act on is not passed on; what an array came to is told by its tasks. */
static void test_details(void **state)
{
	static const char text[] =
	        "{\"jobs\":[{\"id\":\"1\",\"name\":\"a\\u001b[31m\\n\\u009bb\",\"queue\":\"q\",\"user\":\"u\","
	        "\"state\":\"FAILED\",\"reasons\":[{\"code\":\"x\",\"text\":\"no\\tuse\"}]},"
	        "{\"id\":\"2\",\"name\":\"b\",\"queue\":\"q\",\"user\":\"u\",\"state\":\"FAILED\","
	        "\"reasons\":[{\"code\":\"exited\",\"text\":\"ended\"}],"
	        "\"array\":{\"tasks\":5,\"states\":{\"COMPLETED\":4,\"FAILED\":1}}}]}";

	assert_string_equal(print(OUTPUT_TABLE, text),
	        "ID NAME      QUEUE USER STATE      GPU DETAIL\n"
	        "1  a?[31m??b q     u    FAILED     -   no?use\n"
	        "2  b         q     u    FAILED 4/5 -   4 COMPLETED, 1 FAILED\n");
}

static void test_csv(void **state)
{
	const char *out = print(OUTPUT_CSV, answer_text);

	assert_non_null(strstr(out, "id,name,queue,user,state,gpu,priority,attempt,node,code,"
	                            "submitted,started,ended,detail\n"));
	assert_non_null(
	        strstr(out, "\n17,\"a,\"\"b\"\"\",default,ada,PENDING,,,,,,,,,no room now\n"));
	assert_non_null(
	        strstr(out, "\n18,,default,ada,RUNNING,GPU-1:2147483648:250,,,n1,,,,,on n1\n"));
}

static void test_name_and_json(void **state)
{
	json_t *a = json_loads(answer_text, 0, NULL), *b;

	assert_string_equal(print(OUTPUT_NAME, answer_text), "17\n18\n");
	b = json_loads(print(OUTPUT_JSON, answer_text), 0, NULL);
	assert_true(json_equal(a, b));
	json_decref(a);
	json_decref(b);
	assert_string_equal(print(OUTPUT_TABLE, "{\"jobs\":[]}"), "");
	assert_string_equal(print(OUTPUT_NAME, "{\"jobs\":[]}"), "");
}

static const char *cell(
        void (*fn)(const json_t *, bool, struct buf *), json_t *take_value, bool plain)
{
	static char out[64];
	CLEANUP_BUF struct buf b = BUF_INIT(sizeof(out) - 1);

	fn(take_value, plain, &b);
	json_decref(take_value);
	strcpy(out, buf_str(&b));
	return out;
}

static void test_cells(void **state)
{
	assert_string_equal(cell(output_cell_bytes, json_integer(8LL << 30), false), "8 GiB");
	assert_string_equal(cell(output_cell_bytes, json_integer(8LL << 30), true), "8589934592");
	assert_string_equal(cell(output_cell_milli, json_integer(125), false), "12.5 %");
	assert_string_equal(cell(output_cell_milli, json_integer(1000), false), "100 %");
	assert_string_equal(cell(output_cell_milli, json_integer(125), true), "125");
	assert_string_equal(cell(output_cell_seconds, json_integer(93784), false), "1-02:03:04");
	setenv("TZ", "EAST-2", 1); /* two hours east of Greenwich */
	tzset();
	assert_string_equal(cell(output_cell_time, json_string("2026-11-22T06:08:18.123Z"), false),
	        "2026-11-22 08:08:18");
	assert_string_equal(cell(output_cell_time, json_string("2026-11-22T06:08:18.123Z"), true),
	        "2026-11-22T06:08:18.123Z");
	assert_string_equal(cell(output_cell_string, json_true(), false), "yes");
	assert_string_equal(cell(output_cell_string, json_null(), false), "-");
	assert_string_equal(cell(output_cell_string, json_null(), true), "");
	assert_string_equal(cell(output_cell_bytes, NULL, false), "-");
}

/* The table of the brief. */
static void test_ending_codes(void **state)
{
	static const struct {
		const char *job;
		int code;
	} cases[] = {
	        {"{\"state\":\"COMPLETED\",\"exit_code\":0}", 0},
	        {"{\"state\":\"FAILED\",\"exit_code\":3}", 3},
	        {"{\"state\":\"FAILED\",\"exit_code\":139}", 139},
	        {"{\"state\":\"FAILED\",\"exit_code\":null}", 125},
	        {"{\"state\":\"CANCELLED\",\"exit_code\":0}", 143},
	        {"{\"state\":\"TIMEOUT\",\"exit_code\":143}", 124},
	        {"{\"state\":\"OUT_OF_MEMORY\",\"exit_code\":137}", 137},
	        {"{\"state\":\"NODE_FAIL\"}", 125},
	        {"{\"state\":\"COMPLETED\",\"exit_code\":0,\"array\":{\"tasks\":2}}", 0},
	        {"{\"state\":\"FAILED\",\"exit_code\":124,\"array\":{\"tasks\":2}}", 124},
	        {"{\"state\":\"OF_THE_FUTURE\"}", 125},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *job = json_loads(cases[i].job, 0, NULL);
		assert_int_equal(ending_code(job), cases[i].code);
		json_decref(job);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_table),
	        cmocka_unit_test(test_details),
	        cmocka_unit_test(test_csv),
	        cmocka_unit_test(test_name_and_json),
	        cmocka_unit_test(test_cells),
	        cmocka_unit_test(test_ending_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
