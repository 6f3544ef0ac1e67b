#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/buf.h"

static void test_add(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1000);

	assert_string_equal(buf_str(&b), "");
	buf_add_str(&b, "abc");
	buf_add(&b, "\0d", 2);
	buf_add_byte(&b, 'e');
	buf_addf(&b, "-%d", 42);
	buf_add(&b, NULL, 0);
	assert_int_equal(b.len, 9);
	assert_memory_equal(b.data, "abc\0de-42", 9);
	assert_string_equal(buf_str(&b) + 4, "de-42");
	assert_false(b.overflow);
}

static void test_grows(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);

	for (int i = 0; i < 100000; i++)
		buf_add_byte(&b, (uint8_t)i);
	assert_int_equal(b.len, 100000);
	for (int i = 0; i < 100000; i++)
		if (b.data[i] != (uint8_t)i)
			fail_msg("byte %d is %d", i, b.data[i]);
}

static void test_ceiling(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(8);

	buf_add_str(&b, "12345678");
	assert_false(b.overflow);
	assert_string_equal(buf_str(&b), "12345678");
	buf_add_byte(&b, '9');
	assert_true(b.overflow);
	assert_int_equal(b.len, 8);
	buf_reset(&b);
	assert_false(b.overflow);
	assert_int_equal(b.len, 0);
	buf_addf(&b, "%s", "123456789");
	assert_true(b.overflow);
	assert_int_equal(b.len, 0);
	buf_reset(&b);
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_true(b.overflow);
}

static void test_reserve_commit_consume(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(100);
	uint8_t *p = buf_reserve(&b, 10);

	assert_non_null(p);
	assert_int_equal(b.len, 0);
	memcpy(p, "abcdef", 6);
	buf_commit(&b, 6);
	assert_string_equal(buf_str(&b), "abcdef");
	buf_consume(&b, 0);
	buf_consume(&b, 2);
	assert_string_equal(buf_str(&b), "cdef");
	buf_add_str(&b, "g");
	assert_string_equal(buf_str(&b), "cdefg");
	buf_consume(&b, 5);
	assert_string_equal(buf_str(&b), "");
}

static void test_done_can_be_used_again(void **state)
{
	struct buf b = BUF_INIT(10);

	buf_add_str(&b, "x");
	buf_done(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	buf_add_str(&b, "y");
	assert_string_equal(buf_str(&b), "y");
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_add),
	        cmocka_unit_test(test_grows),
	        cmocka_unit_test(test_ceiling),
	        cmocka_unit_test(test_reserve_commit_consume),
	        cmocka_unit_test(test_done_can_be_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
