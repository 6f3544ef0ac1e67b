#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/num.h"

/* A parser's case: the value, or NULL text in `complaint` when it is accepted. */
struct number_case {
	const char *text;
	uint64_t value;
	const char *complaint; /* part of the message */
};

static void check_case(const struct number_case *c, int rc, uint64_t got, const struct err *err)
{
	if (c->complaint) {
		if (rc == 0)
			fail_msg("'%s' was accepted as %ju", c->text, (uintmax_t)got);
		assert_int_equal(rc, -ERR_INVALID);
		assert_int_equal(err->kind, ERR_INVALID);
		if (!strstr(err->text, c->complaint))
			fail_msg("'%s': message is: %s", c->text, err->text);
		return;
	}
	if (rc < 0)
		fail_msg("'%s' was refused: %s", c->text, err->text);
	if (got != c->value)
		fail_msg("'%s' gave %ju", c->text, (uintmax_t)got);
}

static void test_u64(void **state)
{
	static const struct number_case cases[] = {
	        {"0", 0, NULL},
	        {"007", 7, NULL},
	        {"65535", 65535, NULL},
	        {"65536", 0, "'65536' is too large: the most is 65535"},
	        {"18446744073709551616", 0, "too large"},
	        {"99999999999999999999999999", 0, "too large"},
	        {"", 0, "'' is not a whole number from 0 to 65535"},
	        {"-1", 0, "not a whole number"},
	        {"+1", 0, "not a whole number"},
	        {" 1", 0, "not a whole number"},
	        {"1 ", 0, "not a whole number"},
	        {"1.0", 0, "not a whole number"},
	        {"0x10", 0, "not a whole number"},
	};
	uint64_t value;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		value = 1234567;
		int rc = num_parse_u64(cases[i].text, 65535, &value, &err);
		check_case(&cases[i], rc, value, &err);
		if (rc < 0)
			assert_int_equal(value, 1234567);
	}
	assert_int_equal(num_parse_u64("18446744073709551615", UINT64_MAX, &value, &err), 0);
	assert_true(value == UINT64_MAX);
}

static void test_i64(void **state)
{
	int64_t value = 5;
	struct err err;

	assert_int_equal(
	        num_parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &value, &err), 0);
	assert_true(value == INT64_MIN);
	assert_int_equal(
	        num_parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &value, &err), 0);
	assert_true(value == INT64_MAX);
	assert_int_equal(num_parse_i64("-0", INT64_MIN, INT64_MAX, &value, &err), 0);
	assert_true(value == 0);
	value = 5;
	assert_int_equal(num_parse_i64("-11", -10, 10, &value, &err), -ERR_INVALID);
	assert_string_equal(err.text, "'-11' is out of range: from -10 to 10");
	assert_int_equal(num_parse_i64("11", -10, 10, &value, &err), -ERR_INVALID);
	assert_int_equal(num_parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &value, &err),
	        -ERR_INVALID);
	assert_int_equal(num_parse_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &value, &err),
	        -ERR_INVALID);
	assert_int_equal(num_parse_i64("-", -10, 10, &value, &err), -ERR_INVALID);
	assert_int_equal(num_parse_i64("--1", -10, 10, &value, &err), -ERR_INVALID);
	assert_int_equal(num_parse_i64("", -10, 10, &value, &err), -ERR_INVALID);
	assert_int_equal(value, 5);
}

static void test_size(void **state)
{
	static const struct number_case cases[] = {
	        {"0", 0, NULL},
	        {"0B", 0, NULL},
	        {"4096B", 4096, NULL},
	        {"1k", 1024, NULL},
	        {"12G", 12 * GIB, NULL},
	        {"12g", 12 * GIB, NULL},
	        {"12GB", 12 * GIB, NULL},
	        {"12gIb", 12 * GIB, NULL},
	        {"512M", 512 * MIB, NULL},
	        {"1.5G", GIB + GIB / 2, NULL},
	        {".5G", GIB / 2, NULL},
	        {"0.1K", 102, NULL},
	        {"2T", 2048 * GIB, NULL},
	        {"1P", GIB * MIB, NULL},
	        {"7E", 7 * GIB * GIB, NULL},
	        {"7.5E", 7 * GIB * GIB + GIB * GIB / 2, NULL},
	        {"0.999999999E", 1152921503453925471, NULL},
	        {"8E", 0, "'8E' is too large"},
	        {"9223372036854775807B", INT64_MAX, NULL},
	        {"9223372036854775808B", 0, "too large"},
	        {"99999999999999999999G", 0, "too large"},
	        {"12", 0, "size '12' has no unit"},
	        {"1.5", 0, "has no unit"},
	        {"1.5B", 0, "not a whole number of bytes"},
	        {"1.0000000001G", 0, "more than 9 decimals"},
	        {"", 0, "not a size"},
	        {"G", 0, "not a size"},
	        {".", 0, "not a size"},
	        {"1.G", 0, "not a size"},
	        {"12Gi", 0, "not a size"},
	        {"12GiBs", 0, "not a size"},
	        {"12 G", 0, "not a size"},
	        {" 12G", 0, "not a size"},
	        {"-12G", 0, "not a size"},
	        {"12X", 0, "not a size"},
	        {"12iB", 0, "not a size"},
	        {"1e3G", 0, "not a size"},
	        {"0x1G", 0, "not a size"},
	        {"12G\n", 0, "'12G?' is not a size"},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value = 77;
		int rc = num_parse_size(cases[i].text, &value, &err);
		check_case(&cases[i], rc, value, &err);
	}
	assert_int_equal(num_parse_size("12", &(uint64_t){0}, &err), -ERR_INVALID);
	assert_string_equal(err.hint, "write 12M or 12G, for MiB or GiB");
}

static void test_format_size(void **state)
{
	char out[24];

	assert_string_equal(num_format_size(0, out), "0 B");
	assert_string_equal(num_format_size(17, out), "17 B");
	assert_string_equal(num_format_size(1023, out), "1023 B");
	assert_string_equal(num_format_size(1024, out), "1 KiB");
	assert_string_equal(num_format_size(1536 * MIB, out), "1.5 GiB");
	assert_string_equal(num_format_size(12 * GIB, out), "12 GiB");
	assert_string_equal(num_format_size(900 * MIB, out), "900 MiB");
	assert_string_equal(num_format_size(2 * GIB - 1, out), "1.9 GiB");
	assert_string_equal(num_format_size(UINT64_MAX, out), "15.9 EiB");
}

static void test_duration(void **state)
{
	static const struct number_case cases[] = {
	        {"0", 0, NULL},
	        {"30s", 30, NULL},
	        {"90m", 5400, NULL},
	        {"2h", 7200, NULL},
	        {"90d", 90 * 86400, NULL},
	        {"1H30M", 5400, NULL},
	        {"1d2h3m4s", 93784, NULL},
	        {"00:10:00", 600, NULL},
	        {"10:00", 600, NULL},
	        {"100:00:00", 360000, NULL},
	        {"00:90:00", 5400, NULL},
	        {"1-2", 93600, NULL},
	        {"1-02:30", 95400, NULL},
	        {"1-02:00:00", 93600, NULL},
	        {"0-00:00:01", 1, NULL},
	        {"3650000d", UINT64_C(315360000000), NULL},
	        {"3650000d1s", 0, "too long"},
	        {"3650001-00", 0, "'3650001-00' is too long"},
	        {"99999999999999999999s", 0, "too long"},
	        {"9999999999999999d", 0, "too long"},
	        {"99999999999999999999:00", 0, "too long"},
	        {"18446744073709551615-18446744073709551615", 0, "too long"},
	        {"1000000000000000:00:00", 0, "too long"},
	        {"90", 0, "duration '90' has no unit"},
	        {"", 0, "not a duration"},
	        {"m", 0, "not a duration"},
	        {"1h30", 0, "not a duration"},
	        {"30m1h", 0, "not a duration"},
	        {"1h1h", 0, "not a duration"},
	        {"1.5h", 0, "not a duration"},
	        {"-1h", 0, "not a duration"},
	        {"1w", 0, "not a duration"},
	        {":10", 0, "not a duration"},
	        {"10:", 0, "not a duration"},
	        {"1:2:3:4", 0, "not a duration"},
	        {"1-2-3", 0, "not a duration"},
	        {"1-2:3:4:5", 0, "not a duration"},
	        {"1-", 0, "not a duration"},
	        {"1:2-3", 0, "not a duration"},
	        {"90m ", 0, "not a duration"},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t value = 77;
		int rc = num_parse_duration(cases[i].text, &value, &err);
		check_case(&cases[i], rc, value, &err);
	}
}

static void test_format_duration(void **state)
{
	char out[32];
	struct err err;
	uint64_t back;

	assert_string_equal(num_format_duration(0, out), "00:00:00");
	assert_string_equal(num_format_duration(30, out), "00:00:30");
	assert_string_equal(num_format_duration(7200, out), "02:00:00");
	assert_string_equal(num_format_duration(93600, out), "1-02:00:00");
	num_format_duration(UINT64_MAX, out);
	assert_string_equal(out, "213503982334601-07:00:15");
	for (uint64_t s = 1; s < 400 * 86400; s = s * 3 + 1) {
		assert_int_equal(num_parse_duration(num_format_duration(s, out), &back, &err), 0);
		assert_true(back == s);
	}
}

static void test_milli(void **state)
{
	static const struct number_case cases[] = {
	        {"0.5", 500, NULL},
	        {".5", 500, NULL},
	        {"0.001", 1, NULL},
	        {"0.999", 999, NULL},
	        {"1", 1000, NULL},
	        {"1.000", 1000, NULL},
	        {"50%", 500, NULL},
	        {"12.5%", 125, NULL},
	        {"0.1%", 1, NULL},
	        {"100%", 1000, NULL},
	        {"100.0%", 1000, NULL},
	        {"0", 0, "fraction '0' is out of range: from 0.001 to 1"},
	        {"0.000", 0, "out of range"},
	        {"0%", 0, "out of range: from 0.1% to 100%"},
	        {"1.5", 0, "fraction '1.5' is out of range"},
	        {"1.001", 0, "out of range"},
	        {"100.1%", 0, "out of range"},
	        {"2", 0, "out of range"},
	        {"18446744073709552", 0, "out of range"},
	        {"99999999999999999999999", 0, "out of range"},
	        {"0.0005", 0, "too fine: at most three decimals"},
	        {"0.5000", 0, "too fine"},
	        {"12.55%", 0, "too fine: at most one decimal in a percentage"},
	        {"", 0, "not a fraction"},
	        {"%", 0, "not a fraction"},
	        {"5.", 0, "not a fraction"},
	        {"50%%", 0, "not a fraction"},
	        {"-0.5", 0, "not a fraction"},
	        {"0,5", 0, "not a fraction"},
	        {"half", 0, "not a fraction"},
	        {"0.5x", 0, "not a fraction"},
	};
	struct err err;
	char out[16];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t value = 77;
		int rc = num_parse_milli(cases[i].text, &value, &err);
		check_case(&cases[i], rc, value, &err);
	}
	for (uint32_t m = 1; m <= 1000; m++) {
		uint32_t back = 0;
		assert_int_equal(num_parse_milli(num_format_milli(m, out), &back, &err), 0);
		assert_int_equal(back, m);
	}
	assert_string_equal(num_format_milli(250, out), "0.25");
	assert_string_equal(num_format_milli(1000, out), "1");
	assert_string_equal(num_format_milli(1500, out), "1.5");
	assert_string_equal(num_format_milli(UINT32_MAX, out), "4294967.295");
}

static void test_format_time(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
	        {0, "1970-01-01T00:00:00.000Z"},
	        {-1, "1969-12-31T23:59:59.999Z"},
	        {951782399999, "2000-02-28T23:59:59.999Z"},
	        {951782400000, "2000-02-29T00:00:00.000Z"},
	        {951868800000, "2000-03-01T00:00:00.000Z"},
	        {1709164800000, "2024-02-29T00:00:00.000Z"},
	        {1795327698123, "2026-11-22T06:08:18.123Z"},
	        {4107542400000, "2100-03-01T00:00:00.000Z"},
	        {4107456000000, "2100-02-28T00:00:00.000Z"},
	        {1735689599001, "2024-12-31T23:59:59.001Z"},
	        {-62162035200001, "0000-02-29T23:59:59.999Z"},
	        {-62162035200000, "0000-03-01T00:00:00.000Z"},
	        {-74784816000000, "-400-03-01T00:00:00.000Z"},
	        {INT64_MAX, "292278994-08-17T07:12:55.807Z"},
	        {INT64_MIN, "-292275055-05-16T16:47:04.192Z"},
	};
	char out[32];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(num_format_time(cases[i].ms, out), cases[i].text);
}

static void test_milli_of(void **state)
{
	assert_int_equal(num_milli_of(8 * GIB, 500), 4 * GIB);
	assert_int_equal(num_milli_of(999, 1), 0);
	assert_int_equal(num_milli_of(1000, 1), 1);
	assert_int_equal(num_milli_of(1999, 999), 1997);
	assert_int_equal(num_milli_of(8589934592, 333), 2860448219);
	assert_true(num_milli_of(UINT64_MAX, 1000) == UINT64_MAX);
	assert_true(num_milli_of(UINT64_MAX, 999) == UINT64_C(18428297329635842063));
	assert_true(num_milli_of(UINT64_MAX, 1001) == UINT64_MAX);
}

static void test_hex(void **state)
{
	const uint8_t bytes[] = {0x00, 0x0f, 0xa5, 0xff};
	char out[9];

	num_format_hex(bytes, sizeof(bytes), out);
	assert_string_equal(out, "000fa5ff");
	num_format_hex(bytes, 0, out);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_u64),
	        cmocka_unit_test(test_i64),
	        cmocka_unit_test(test_size),
	        cmocka_unit_test(test_format_size),
	        cmocka_unit_test(test_duration),
	        cmocka_unit_test(test_format_duration),
	        cmocka_unit_test(test_milli),
	        cmocka_unit_test(test_format_time),
	        cmocka_unit_test(test_milli_of),
	        cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
