#include "kit.h"

#include <string.h>

#include "cli/show_request.h"

static void print(const void *data)
{
	json_t *request = json_loads(data, 0, NULL);

	assert_non_null(request);
	show_request(request);
	json_decref(request);
}

static void test_units_and_nothing_idle(void **state)
{
	assert_string_equal(
	        kit_capture(print,
	                "{\"command\":[\"sleep\",\"9\"],\"gpu\":{\"milli\":250,\"model\":\"a100\"},"
	                "\"resolved\":[{\"model\":\"A100\",\"mem_bytes\":2147483648,\"share_milli\":250}],"
	                "\"cpus\":0,\"mem\":8589934592,\"time\":5400,\"retry\":0,\"no_retry\":true,"
	                "\"hold\":false,\"output\":null,\"env\":{\"A\":\"secret\"},"
	                "\"dependencies\":[{\"kind\":\"after_ok\",\"job\":\"17_3\",\"met\":false},"
	                "{\"kind\":\"after\",\"job\":\"2\",\"met\":true}]}"),
	        "command        sleep 9\n"
	        "gpu            0.25 of a GPU, model a100\n"
	        "which is       2 GiB and 25 % on A100\n"
	        "cpus           0\n"
	        "memory         8 GiB\n"
	        "time limit     01:30:00\n"
	        "no retry       yes\n"
	        "depends on     --after-ok 17_3: not met yet\n"
	        "               --after 2: met\n");
}

static void test_gpu_forms(void **state)
{
	static const struct {
		const char *request, *shown;
	} cases[] = {
	        {"{\"gpu\":{\"count\":1}}", "gpu            1 GPU\n"},
	        {"{\"gpu\":{\"count\":4,\"compute_capability\":\"8.0+\"}}",
	                "gpu            4 GPUs, compute capability 8.0+\n"},
	        {"{\"gpu\":{\"fgpu_milli\":1500}}", "gpu            1.5 fGPU\n"},
	        {"{\"gpu\":{\"mem_bytes\":1073741824,\"share_milli\":125}}",
	                "gpu            1 GiB of memory, 12.5 % of the compute\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(kit_capture(print, cases[i].request), cases[i].shown);
}

/* A shell takes back what is shown; a terminal acts on none of it; keys of the future are there. */
static void test_words(void **state)
{
	static const struct {
		const char *request, *shown;
	} cases[] = {
	        {"{\"command\":[\"sh\",\"-c\",\"a 'b' $c\",\"\"]}",
	                "command        sh -c 'a '\\''b'\\'' $c' ''\n"},
	        {"{\"command\":[\"l1\\nl2\\t'\\u001b\\\\\"]}",
	                "command        $'l1\\nl2\\t\\'\\x1b\\\\'\n"},
	        {"{\"command\":[\"gr\u00fcn gr\u00fcn\"]}",
	                "command        'gr\xc3\xbcn gr\xc3\xbcn'\n"},
	        {"{\"chdir\":\"/a\\nb\"}", "chdir          /a?b\n"},
	        {"{\"nice\":{\"a\":[1]}}", "nice           {\"a\":[1]}\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(kit_capture(print, cases[i].request), cases[i].shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_units_and_nothing_idle),
	        cmocka_unit_test(test_gpu_forms),
	        cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
