#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "wire/codec.h"

static void test_values_come_back(void **state)
{
	static const uint64_t numbers[] = {
	        1, 127, 128, 300, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
	static const int64_t signeds[] = {-1, 1, -64, 64, INT64_MIN, INT64_MAX};
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	struct codec_reader r;
	struct codec_field f;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		codec_put_u64(&b, 7, numbers[i]);
	for (size_t i = 0; i < ARRAY_LEN(signeds); i++)
		codec_put_i64(&b, 70000, signeds[i]);
	codec_put_bytes(&b, 1, "a\0b", 3);
	codec_put_str(&b, 2, "text");
	r = codec_read(b.data, b.len);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		assert_true(codec_next(&r, &f));
		assert_int_equal(f.tag, 7);
		assert_false(f.is_bytes);
		assert_true(f.u == numbers[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(signeds); i++) {
		assert_true(codec_next(&r, &f));
		assert_int_equal(f.tag, 70000);
		assert_true(codec_i64(&f) == signeds[i]);
	}
	assert_true(codec_next(&r, &f));
	assert_true(f.is_bytes);
	assert_int_equal(f.len, 3);
	assert_memory_equal(f.data, "a\0b", 3);
	assert_true(codec_next(&r, &f));
	assert_int_equal(f.len, 4);
	assert_false(codec_next(&r, &f));
	assert_false(r.bad);
}

static void test_nothing_is_left_out(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	struct codec_reader r;
	struct codec_field f;

	codec_put_u64(&b, 1, 0);
	codec_put_i64(&b, 1, 0);
	codec_put_str(&b, 1, NULL);
	codec_put_str(&b, 1, "");
	codec_put_bytes(&b, 1, NULL, 0);
	assert_int_equal(b.len, 0);
	codec_add_u64(&b, 1, 0);
	codec_add_bytes(&b, 2, "", 0);
	r = codec_read(b.data, b.len);
	assert_true(codec_next(&r, &f));
	assert_int_equal(f.u, 0);
	assert_true(codec_next(&r, &f));
	assert_true(f.is_bytes);
	assert_int_equal(f.len, 0);
	assert_false(codec_next(&r, &f));
}

static void check_nested(size_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1 * MIB);
	CLEANUP_BUF struct buf content = BUF_INIT(1 * MIB);
	struct codec_reader r, inner;
	struct codec_field f;
	size_t mark;

	for (size_t i = 0; i < len; i++)
		buf_add_byte(&content, (uint8_t)i);
	mark = codec_begin(&b, 3);
	codec_put_bytes(&b, 4, content.data, content.len);
	codec_end(&b, mark);
	codec_put_u64(&b, 5, 99);
	r = codec_read(b.data, b.len);
	assert_true(codec_next(&r, &f));
	assert_int_equal(f.tag, 3);
	inner = codec_read(f.data, f.len);
	assert_true(codec_next(&r, &f));
	assert_int_equal(f.u, 99);
	if (len) {
		assert_true(codec_next(&inner, &f));
		assert_int_equal(f.len, len);
		assert_memory_equal(f.data, content.data, len);
	}
	assert_false(codec_next(&inner, &f));
	assert_false(inner.bad);
}

static void test_nesting(void **state)
{
	check_nested(0);
	check_nested(1);
	check_nested(120);
	check_nested(128); /* the length of the outer run takes two bytes */
	check_nested(20000);
}

static void check_bad(const char *bytes, size_t len)
{
	struct codec_reader r = codec_read(bytes, len);
	struct codec_field f;

	while (codec_next(&r, &f))
		;
	if (!r.bad)
		fail_msg("%zu bytes from 0x%02x were accepted", len, (unsigned)(uint8_t)bytes[0]);
	assert_false(codec_next(&r, &f));
}

static void test_malformed(void **state)
{
	check_bad("\x02", 1);      /* a key without its value */
	check_bad("\x80", 1);      /* a varint that is cut */
	check_bad("\x03\x02x", 3); /* fewer bytes than promised */
	check_bad("\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11); /* 2^64 - 1 bytes */
	check_bad("\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11); /* more than 64 bits */
	check_bad("\x02\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12);
	check_bad("\x80\x80\x80\x80\x80\x01\x00", 7); /* a tag of more than 32 bits */
}

static void test_every_cut_is_seen(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(4096);
	struct codec_reader r;
	struct codec_field f;
	size_t ends[4] = {0};

	codec_put_u64(&b, 1, 1000);
	ends[1] = b.len;
	codec_put_str(&b, 2, "some text");
	ends[2] = b.len;
	codec_put_u64(&b, 300, UINT64_MAX);
	ends[3] = b.len;
	for (size_t len = 0; len <= b.len; len++) {
		bool whole = len == ends[0] || len == ends[1] || len == ends[2] || len == ends[3];

		r = codec_read(b.data, len);
		while (codec_next(&r, &f))
			;
		assert_int_equal(r.bad, !whole);
	}
}

static void test_into_fixed_places(void **state)
{
	struct codec_field f = {.is_bytes = true, .data = (const uint8_t *)"abcdef", .len = 6};
	struct codec_field big = {.u = (uint64_t)UINT32_MAX + 1};
	char out[4];

	codec_strcpy(out, sizeof(out), &f);
	assert_string_equal(out, "abc");
	f.is_bytes = false;
	codec_strcpy(out, sizeof(out), &f);
	assert_string_equal(out, "");
	assert_true(codec_u32(&big) == UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_values_come_back),
	        cmocka_unit_test(test_nothing_is_left_out),
	        cmocka_unit_test(test_nesting),
	        cmocka_unit_test(test_malformed),
	        cmocka_unit_test(test_every_cut_is_seen),
	        cmocka_unit_test(test_into_fixed_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
