#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/text.h"

static void test_is_utf8(void **state)
{
	static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe2\x82\xac",
	        "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbf"};
	static const char *const bad[] = {"\x80", "\xbf", "\xc3", "\xc3(", "\xc0\xaf", "\xc1\xbf",
	        "\xe0\x80\xaf", "\xed\xa0\x80", "\xe2\x82", "\xe2\x28\xa1", "\xf0\x80\x80\xaf",
	        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x9f\x98", "\xff", "ok\xfe"};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(text_is_utf8(good[i], strlen(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(text_is_utf8(bad[i], strlen(bad[i])));
	assert_true(text_is_utf8("a\0b", 3));
	assert_false(text_is_utf8("\xe2\x82\xac", 2));
}

static void test_has_control(void **state)
{
	assert_false(text_has_control("", 0));
	assert_false(text_has_control("plain \xc3\xa9 \xc2\xa0", 10));
	assert_false(text_has_control("\xff\x80", 2));
	assert_true(text_has_control("a\nb", 3));
	assert_true(text_has_control("a\0b", 3));
	assert_true(text_has_control("\x7f", 1));
	assert_true(text_has_control("x\xc2\x9b", 3));
	assert_true(text_has_control("\xff\x1b", 2));
}

static void test_show(void **state)
{
	char out[TEXT_SHOW_SIZE], longest[TEXT_SHOW_SIZE - 3], longer[TEXT_SHOW_SIZE];

	assert_string_equal(text_show("plain \xc3\xa9", out), "plain \xc3\xa9");
	assert_string_equal(text_show("a\033[2Jb\n\x7f", out), "a?[2Jb??");
	assert_string_equal(text_show("\xc2\x9b"
	                              "1m\xff\xc3",
	                            out),
	        "?1m??");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_string_equal(text_show(longest, out), longest);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	text_show(longer, out);
	assert_int_equal(strlen(out), TEXT_SHOW_SIZE - 1);
	assert_string_equal(out + TEXT_SHOW_SIZE - 5, "x...");
}

/* A cut never splits a character, wherever it falls. */
static void test_clean(void **state)
{
	char text[] = "a\033[2J\xc3\xa9\xc2\x9b\xff\xe2\x82", plain[] = "GPU-1", empty[] = "";

	text_clean(text);
	assert_string_equal(text, "a?[2J\xc3\xa9????");
	text_clean(plain);
	assert_string_equal(plain, "GPU-1");
	text_clean(empty);
	assert_string_equal(empty, "");
}

static void test_show_cuts_between_characters(void **state)
{
	char in[200], out[TEXT_SHOW_SIZE];

	for (size_t lead = 0; lead < 5; lead++) {
		memset(in, 'x', lead);
		for (size_t i = 0; i < 40; i++)
			memcpy(in + lead + 4 * i, "\xf0\x9f\x98\x80", 4);
		in[lead + 160] = '\0';
		text_show(in, out);
		assert_true(text_is_utf8(out, strlen(out)));
		assert_string_equal(out + strlen(out) - 3, "...");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_is_utf8),
	        cmocka_unit_test(test_has_control),
	        cmocka_unit_test(test_show),
	        cmocka_unit_test(test_clean),
	        cmocka_unit_test(test_show_cuts_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
