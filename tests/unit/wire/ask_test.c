#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "wire/ask.h"

static void amount(const char *text, uint32_t count, uint32_t milli, const char *model)
{
	void *ctx = talloc_new(NULL);
	struct gpu_ask ask = {0};
	struct err err;

	if (gpu_ask_parse(text, ctx, &ask, &err))
		fail_msg("'%s': %s", text, err.text);
	assert_int_equal(ask.count, count);
	assert_int_equal(ask.milli, milli);
	assert_int_equal(ask.fgpu_milli, 0);
	if (model)
		assert_string_equal(ask.model, model);
	else
		assert_null(ask.model);
	talloc_free(ctx);
}

static void test_amounts(void **state)
{
	(void)state;
	amount("1", 1, 0, NULL);
	amount("64", 64, 0, NULL);
	amount("0.5", 0, 500, NULL);
	amount("0.001", 0, 1, NULL);
	amount("0.999", 0, 999, NULL);
	amount("50%", 0, 500, NULL);
	amount("12.5%", 0, 125, NULL);
	amount("0.1%", 0, 1, NULL);
	amount("99.9%", 0, 999, NULL);
	amount("100%", 1, 0, NULL);
	amount("1.0", 1, 0, NULL);
	amount("0.5:a100", 0, 500, "a100");
	amount("2:A100-SXM4", 2, 0, "A100-SXM4");
	amount("2:a:b", 2, 0, "a:b");
}

static void no_amount(const char *text, const char *named)
{
	void *ctx = talloc_new(NULL);
	struct gpu_ask ask = {0};
	struct err err = {0};

	if (gpu_ask_parse(text, ctx, &ask, &err) != -(int)ERR_INVALID)
		fail_msg("'%s' was taken", text);
	if (!strstr(err.text, named))
		fail_msg("'%s' is not named: %s", named, err.text);
	talloc_free(ctx);
}

static void test_amounts_that_are_none(void **state)
{
	static const char *const bad[] = {"0", "00", "65", "1.5", "0.0", "0.0001", "0.0005",
	        "0.1234", "-1", "+1", "x", "1x", "0.5x", "101%", "0%", "0.05%", "%", ".", "1e3",
	        " 1", "1 ", "0,5", "99999999999999999999"};
	char long_text[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		no_amount(bad[i], bad[i]);
	no_amount("", "''");
	no_amount(":a100", "''");
	no_amount("2:", "names no model");
	memset(long_text, '1', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	no_amount(long_text, "amount");
	memcpy(long_text, "1:", 2);
	memset(long_text + 2, 'm', sizeof(long_text) - 3);
	no_amount(long_text, "model");
	no_amount("a\x1b[2J\xff",
	        "a?[2J?"); /* what would hurt a terminal, or JSON, is not repeated */
}

static void test_thousandths(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"1", 1000}, {"0.5", 500}, {"2.25", 2250}, {"0.001", 1}, {"10", 10000},
	        {"3.", 3000}, {".5", 500}, {"10.999", 10999}, {"007", 7000}};
	static const char *const bad[] = {"", ".", "0", "0.0", "0.0001", "1.2345", "11", "x", "1x",
	        "-1", "1.5%", "99999999999999999999999", " 1"};
	uint64_t v = 7;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (thousandths_parse(good[i].text, 10, &v, &err))
			fail_msg("%s", err.text);
		assert_int_equal(v, good[i].value);
	}
	v = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (thousandths_parse(bad[i], 10, &v, &err) != -(int)ERR_INVALID || v != 7)
			fail_msg("'%s' was taken", bad[i]);
}

static void array(
        const char *text, uint32_t n, const struct array_range *expected, uint32_t throttle)
{
	void *ctx = talloc_new(NULL);
	struct array_range *v;
	uint32_t got, places;
	struct err err;

	if (array_parse(text, ctx, &v, &got, &places, &err))
		fail_msg("'%s': %s", text, err.text);
	assert_int_equal(got, n);
	assert_memory_equal(v, expected, n * sizeof(*v));
	assert_int_equal(places, throttle);
	talloc_free(ctx);
}

#define RANGES(...)                  \
	(const struct array_range[]) \
	{                            \
		__VA_ARGS__          \
	}

static void test_arrays(void **state)
{
	(void)state;
	array("0-99", 1, RANGES({0, 99, 1}), 0);
	array("0-99%8", 1, RANGES({0, 99, 1}), 8);
	array("7", 1, RANGES({7, 7, 1}), 0);
	array("1,3,5-9:2", 3, RANGES({1, 1, 1}, {3, 3, 1}, {5, 9, 2}), 0);
	array("1,3%1", 2, RANGES({1, 1, 1}, {3, 3, 1}), 1);
	array("0-9:100", 1, RANGES({0, 9, 100}), 0);
	array("4294967295", 1, RANGES({4294967295, 4294967295, 1}), 0);
	array("0-9999999", 1, RANGES({0, 9999999, 1}), 0);
}

static void no_array(const char *text, enum err_kind kind)
{
	void *ctx = talloc_new(NULL);
	struct array_range *v = NULL;
	uint32_t n, places;
	struct err err;

	if (array_parse(text, ctx, &v, &n, &places, &err) != -(int)kind)
		fail_msg("'%s': %s", text, err.text);
	assert_null(v);
	talloc_free(ctx);
}

static void test_arrays_that_are_none(void **state)
{
	static const char *const bad[] = {"", ",", "1,", ",1", "-", "1-", "-1", "5-1", "0-9:0",
	        "0-9:", "0-9:-1", "1:2", "0-9%", "0-9%0", "0-9%x", "%8", "x", "1x", "1 ", " 1",
	        "1,1", "5,1", "0-9,9", "0-9,5-20", "4294967296", "99999999999999999999", "0-9%8%8",
	        "0-9%4294967296"};
	char many[8 * (ASK_RANGES_MAX + 1)];
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		no_array(bad[i], ERR_INVALID);
	no_array("0-10000000", ERR_TOO_LARGE);
	no_array("0-4294967295", ERR_TOO_LARGE);
	no_array("0-6000000,7000000-12000000", ERR_TOO_LARGE);
	for (int i = 0; i <= ASK_RANGES_MAX; i++)
		at += (size_t)sprintf(many + at, "%s%d", i ? "," : "", 2 * i);
	no_array(many, ERR_TOO_LARGE);
}

static void test_codes(void **state)
{
	static const char *const bad[] = {"", ",", "75,", ",75", "0", "256", "-1", "SIG", "KILLER",
	        "SIGRTMIN", "75 ", "75;76", "99999999999999999999"};
	struct code_set codes;
	struct err err;

	(void)state;
	assert_int_equal(code_set_parse("1,255,SIGKILL,segv", &codes, &err), 0);
	for (int code = 0; code <= UINT8_MAX; code++)
		assert_int_equal(code_set_has(&codes, (uint8_t)code),
		        code == 1 || code == 255 || code == 137 || code == 139);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (code_set_parse(bad[i], &codes, &err) != -ERR_INVALID)
			fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_amounts),
	        cmocka_unit_test(test_amounts_that_are_none),
	        cmocka_unit_test(test_thousandths),
	        cmocka_unit_test(test_arrays),
	        cmocka_unit_test(test_arrays_that_are_none),
	        cmocka_unit_test(test_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
