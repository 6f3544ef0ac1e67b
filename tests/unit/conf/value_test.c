#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"

/* Each type by itself, through the table's own way in. */
static const struct field fields[] = {
        {"s", VALUE_STRING, 0, "", "1..5", ""},
        {"a", VALUE_ADDRESS, 0, "", "0..100", ""},
        {"c", VALUE_CHOICE, 0, "off", "off|report|end", ""},
        {"b", VALUE_BOOL, 0, "false", "", ""},
        {"u", VALUE_UINT, 0, "1", "1..1000", ""},
        {"i", VALUE_INT, 0, "0", "-10..10", ""},
        {"z", VALUE_SIZE, 0, "0", "4K..1G", ""},
        {"d", VALUE_DURATION, 0, "0", "100ms..1h", ""},
        {"m", VALUE_MODE, 0, "0660", "0600..0777", ""},
        {"l", VALUE_LIST, 0, "[]", "0..2", ""},
};

static const struct field *field_of(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strcmp(fields[i].key, key) == 0)
			return &fields[i];
	fail();
	return NULL;
}

union member {
	char *text;
	bool flag;
	uint32_t u32;
	int32_t i32;
	uint64_t u64;
	int64_t i64;
	struct conf_list list;
};

/* Sets and formats again. */
static void good(const char *key, const char *text, const char *formatted)
{
	const struct field *f = field_of(key);
	struct doc_node n = {.text = (char *)text, .line = 3};
	CLEANUP_BUF struct buf out = BUF_INIT(1000);
	union member m = {0};
	struct err err;

	if (value_set(f, &m, &n, "path", &err) < 0)
		fail_msg("%s '%s' was refused: %s", key, text, err.text);
	value_format(f, &m, &out);
	assert_string_equal(buf_str(&out), formatted);
	value_done(f, &m);
}

static void bad(const char *key, const char *text, const char *message)
{
	const struct field *f = field_of(key);
	struct doc_node n = {.text = (char *)text, .line = 3};
	union member m, before;
	struct err err;

	memset(&m, 0, sizeof(m));
	before = m;
	if (value_set(f, &m, &n, "path", &err) == 0)
		fail_msg("%s '%s' was accepted", key, text);
	assert_memory_equal(&m, &before, sizeof(m));
	assert_memory_equal(err.text, "line 3: path: ", 14);
	assert_string_equal(err.text + 14, message);
}

static void test_string(void **state)
{
	good("s", "a", "a");
	good("s", "no", "\"no\"");
	good("s", "null", "\"null\"");
	good("s", "1", "\"1\"");
	good("s", "a\"b\\c", "\"a\\\"b\\\\c\"");
	good("s", "/a.b", "/a.b");
	good("s", "a: b", "\"a: b\"");
	good("s", "#x", "\"#x\"");
	good("s", "\xc3\xa9", "\"\xc3\xa9\"");
	good("s", "\xe2\x80\xa8", "\"\\u2028\"");
	good("s", "\xef\xbf\xbf", "\"\\uFFFF\"");
	bad("s", "", "must not be empty");
	bad("s", "abcdef", "6 bytes: the most is 5");
}

static void test_address(void **state)
{
	good("a", "", "\"\"");
	good("a", "127.0.0.1:7070", "\"127.0.0.1:7070\"");
	good("a", "localhost:0", "\"localhost:0\"");
	good("a", "[::1]:7070", "\"[::1]:7070\"");
	good("a", "gpu-1.example:65535", "\"gpu-1.example:65535\"");
	bad("a", "7070", "'7070' is not HOST:PORT");
	bad("a", ":7070", "':7070' is not HOST:PORT");
	bad("a", "::1:7070", "'::1:7070' is not HOST:PORT");
	bad("a", "[::1]7070", "'[::1]7070' is not HOST:PORT");
	bad("a", "[]:7070", "'[]:7070' is not HOST:PORT");
	bad("a", "[x]:7070", "'[x]:7070' is not HOST:PORT");
	bad("a", "a b:7070", "'a b:7070' is not HOST:PORT");
	bad("a", "http://x:7070", "'http://x:7070' is not HOST:PORT");
	bad("a", "x:65536", "'65536' is too large: the most is 65535");
	bad("a", "x:", "'' is not a whole number from 0 to 65535");
	bad("a", "x:http", "'http' is not a whole number from 0 to 65535");
}

static void test_choice_and_bool(void **state)
{
	good("c", "off", "off");
	good("c", "report", "report");
	good("c", "end", "end");
	bad("c", "en", "'en' is not one of off|report|end");
	bad("c", "off|report", "'off|report' is not one of off|report|end");
	bad("c", "", "'' is not one of off|report|end");
	bad("c", "End", "'End' is not one of off|report|end");
	good("b", "true", "true");
	good("b", "YES", "true");
	good("b", "on", "true");
	good("b", "1", "true");
	good("b", "False", "false");
	good("b", "no", "false");
	good("b", "off", "false");
	good("b", "0", "false");
	bad("b", "", "'' is not true or false");
	bad("b", "2", "'2' is not true or false");
	bad("b", "truetrue", "'truetrue' is not true or false");
	bad("b", "falsely", "'falsely' is not true or false");
}

static void test_numbers(void **state)
{
	good("u", "1", "1");
	good("u", "1000", "1000");
	bad("u", "0", "'0' is out of range: 1..1000");
	bad("u", "1001", "'1001' is out of range: 1..1000");
	bad("u", "-1", "'-1' is out of range: 1..1000");
	bad("u", "4294967297", "'4294967297' is out of range: 1..1000");
	bad("u", "18446744073709551617", "'18446744073709551617' is out of range");
	bad("u", "1.5", "'1.5' is not a whole number");
	bad("u", "0x10", "'0x10' is not a whole number");
	bad("u", "", "'' is not a whole number");
	bad("u", "-", "'-' is not a whole number");
	good("i", "-10", "-10");
	good("i", "10", "10");
	bad("i", "-11", "'-11' is out of range: -10..10");
}

static void test_sizes_and_durations(void **state)
{
	good("z", "4K", "4K");
	good("z", "4096B", "4K");
	good("z", "1.5M", "1536K");
	good("z", "5000B", "5000B");
	good("z", "1GiB", "1G");
	bad("z", "4095B", "'4095B' is out of range: 4K..1G");
	bad("z", "1G1", "'1G1' is not a size");
	bad("z", "4096", "size '4096' has no unit");
	bad("z", "0", "'0' is out of range: 4K..1G");
	good("d", "100ms", "100ms");
	good("d", "1500MS", "1500ms");
	good("d", "1000ms", "1s");
	good("d", "90s", "1m30s");
	good("d", "00:10:00", "10m");
	good("d", "1h", "1h");
	bad("d", "99ms", "'99ms' is out of range: 100ms..1h");
	bad("d", "3601s", "'3601s' is out of range: 100ms..1h");
	bad("d", "9999999999999999ms", "'9999999999999999ms' is not a duration");
	bad("d", "ms", "'ms' is not a duration");
	bad("d", "10", "duration '10' has no unit");
}

static void test_mode(void **state)
{
	good("m", "0660", "0660");
	good("m", "660", "0660");
	good("m", "777", "0777");
	bad("m", "0777777", "'0777777' is not a mode: three octal digits, like 0660");
	bad("m", "4777", "'4777' is not a mode: three octal digits, like 0660");
	bad("m", "0o660", "'0o660' is not a mode: three octal digits, like 0660");
	bad("m", "680", "'680' is not a mode: three octal digits, like 0660");
	bad("m", "66", "'66' is not a mode: three octal digits, like 0660");
	bad("m", "0", "'0' is not a mode: three octal digits, like 0660");
	bad("m", "0444", "'0444' is out of range: 0600..0777");
}

static void test_list(void **state)
{
	char texts[][4] = {"a*", "b\"", "c"}, empty[] = "";
	struct doc_node items[3] = {{.text = texts[0]}, {.text = texts[1]}, {.text = texts[2]}};
	struct doc_node n = {.kind = DOC_LIST, .children = items, .n_children = 2, .line = 3};
	const struct field *f = field_of("l");
	CLEANUP_BUF struct buf out = BUF_INIT(1000);
	union member m = {0};
	struct err err;

	assert_int_equal(value_set(f, &m, &n, "path", &err), 0);
	value_format(f, &m, &out);
	assert_string_equal(buf_str(&out), "[\"a*\", \"b\\\"\"]");
	n.n_children = 3;
	assert_int_equal(value_set(f, &m, &n, "path", &err), -ERR_INVALID);
	assert_string_equal(err.text, "line 3: path: 3 entries: it takes 0..2");
	n.n_children = 1;
	items[0].text = empty;
	assert_int_equal(value_set(f, &m, &n, "path", &err), -ERR_INVALID);
	assert_string_equal(err.text, "line 3: path: entry 1 has 0 bytes: it takes 1..255");
	items[0].kind = DOC_MAP;
	assert_int_equal(value_set(f, &m, &n, "path", &err), -ERR_INVALID);
	assert_string_equal(err.text, "line 3: path: entry 1 is a map: a string is wanted");
	assert_int_equal(m.list.n, 2);
	n.n_children = 0;
	assert_int_equal(value_set(f, &m, &n, "path", &err), 0);
	assert_int_equal(m.list.n, 0);
	value_done(f, &m);
	bad("l", "a", "a list is wanted, this is a value");
}

static void test_kinds(void **state)
{
	static const struct {
		const char *key, *wanted;
	} cases[] = {{"s", "a string"}, {"a", "HOST:PORT"}, {"c", "a word"}, {"b", "true or false"},
	        {"u", "a whole number"}, {"i", "a whole number"}, {"z", "a size"},
	        {"d", "a duration"}, {"m", "a mode"}};
	union member m = {0};
	char empty[] = "";
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct doc_node n = {.kind = DOC_MAP};
		char expected[100];

		assert_int_equal(
		        value_set(field_of(cases[i].key), &m, &n, "k", &err), -ERR_INVALID);
		snprintf(expected, sizeof(expected), "k: %s is wanted, this is a map",
		        cases[i].wanted);
		assert_string_equal(err.text, expected);
		n.kind = DOC_LIST;
		assert_int_equal(
		        value_set(field_of(cases[i].key), &m, &n, "k", &err), -ERR_INVALID);
		n = (struct doc_node){.text = empty, .is_plain = true};
		assert_int_equal(
		        value_set(field_of(cases[i].key), &m, &n, "k", &err), -ERR_INVALID);
		snprintf(expected, sizeof(expected), "k: %s is wanted, this is empty",
		        cases[i].wanted);
		assert_string_equal(err.text, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_string),
	        cmocka_unit_test(test_address),
	        cmocka_unit_test(test_choice_and_bool),
	        cmocka_unit_test(test_numbers),
	        cmocka_unit_test(test_sizes_and_durations),
	        cmocka_unit_test(test_mode),
	        cmocka_unit_test(test_list),
	        cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
