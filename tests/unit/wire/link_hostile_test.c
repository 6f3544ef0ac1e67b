#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "link_kit.h"

/* A message by hand: its type and the codec run behind it. */
static void put_raw(struct buf *b, uint8_t type, const struct buf *run)
{
	uint8_t head[5] = {type, (uint8_t)(run->len >> 24), (uint8_t)(run->len >> 16),
	        (uint8_t)(run->len >> 8), (uint8_t)run->len};

	buf_add(b, head, sizeof(head));
	buf_add(b, run->data, run->len);
}

static void test_unknown_type_and_tag(void **state)
{
	struct wire *w = wire_new();
	CLEANUP_BUF struct buf run = BUF_INIT(KIB);

	codec_add_u64(&run, 1, 42);
	codec_add_u64(&run, 900, 1);
	codec_add_bytes(&run, 901, "future", 6);
	put_raw(&w->out, LINK_TYPE_MAX, &run);
	put_raw(&w->out, 255, &run);
	put_raw(&w->out, LINK_ACK, &run);
	expect(w, LINK_ACK);
	assert_int_equal(w->m.ack_epoch, 42);
	put_raw(&w->out, 200, &run);
	w->p = w->out.data + w->out.len - (5 + run.len);
	expect_end(w);
}

static void expect_corrupt(enum link_type type, const struct buf *run)
{
	struct wire *w = wire_new();

	put_raw(&w->out, (uint8_t)type, run);
	assert_int_equal(wire_next(w), -ERR_CORRUPT);
	assert_int_equal(w->err.kind, ERR_CORRUPT);
	/* Nothing was taken: the receiver may say where. */
	assert_ptr_equal(w->p, w->out.data);
	wire_free(w);
}

static void test_values_out_of_range(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		uint64_t value;
	} cases[] = {
	        {LINK_STOP, 4, SPOOL_CAUSE_MAX}, {LINK_STOP, 5, 2}, /* neither true nor false */
	        {LINK_STOP, 2, 3},                                  /* zigzag -2: no task */
	        {LINK_STREAM_OPEN, 2, 0},                           /* no kind of stream */
	        {LINK_STREAM_OPEN, 2, 4}, {LINK_STREAM_OPEN, 1, 1}, /* no kind at all */
	        {LINK_STREAM_CLOSE, 2, ERR_MAX}, {LINK_STREAM_DATA, 2, CONSOLE_ERROR + 1},
	        {LINK_START, 3, (uint64_t)UINT32_MAX + 1},
	        {LINK_START, 5, 7},   /* a number where a text belongs */
	        {LINK_START, 9, 7},   /* and where a list belongs */
	        {LINK_STARTED, 2, 1}, /* no record */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(KIB);

		codec_add_u64(&run, cases[i].tag, cases[i].value);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_bytes_out_of_form(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		size_t len;
	} cases[] = {
	        {LINK_ACK, 1, 3},   /* bytes where a number belongs */
	        {LINK_START, 5, 3}, /* a text with a NUL inside */
	        {LINK_START, 9, 3}, /* an argument with one */
	        {LINK_START, 20, NODE_CPUS_MAX / 8 + 1},
	        {LINK_ENDED, 1, 60}, /* no spool record */
	        {LINK_STREAM_DATA, 3, CONSOLE_FRAME_MAX + 1},
	};
	static const uint8_t zeros[CONSOLE_FRAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(MIB);

		codec_add_bytes(&run, cases[i].tag, zeros, cases[i].len);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_field_twice(void **state)
{
	CLEANUP_BUF struct buf run = BUF_INIT(KIB);

	codec_add_bytes(&run, 5, "a", 1);
	codec_add_bytes(&run, 5, "b", 1);
	expect_corrupt(LINK_START, &run);
}

static void test_ceilings(void **state)
{
	static const struct {
		enum link_type type;
		uint32_t tag;
		uint32_t n;
	} cases[] = {
	        {LINK_HELLO, 7, NODE_DEVICES_MAX},
	        {LINK_DEVICES, 1, NODE_DEVICES_MAX},
	        {LINK_START, 21, NODE_DEVICES_MAX},
	        {LINK_START, 9, 262144},
	        {LINK_STREAM_OPEN, 16, 262144},
	        {LINK_HELLO, 8, 262144},
	        {LINK_REMOVE, 1, 262144},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_BUF struct buf run = BUF_INIT(MIB);
		struct wire *w = wire_new();

		if (cases[i].type == LINK_STREAM_OPEN)
			codec_add_u64(&run, 2, LINK_STREAM_EXEC);
		for (uint32_t k = 0; k < cases[i].n; k++)
			codec_add_bytes(&run, cases[i].tag, "", 0);
		put_raw(&w->out, (uint8_t)cases[i].type, &run);
		expect(w, cases[i].type);
		expect_end(w);
		codec_add_bytes(&run, cases[i].tag, "", 0);
		expect_corrupt(cases[i].type, &run);
	}
}

static void test_length_beyond_the_ceiling(void **state)
{
	struct wire *w = wire_new();
	uint8_t head[5] = {LINK_BEAT, 0xff, 0xff, 0xff, 0xff};

	buf_add(&w->out, head, sizeof(head));
	assert_int_equal(wire_next(w), -ERR_CORRUPT);
	wire_free(w);
}

static void put_one_of_each(struct buf *b)
{
	struct spool_record ended = a_record(SPOOL_ENDED);

	put_hello(b, 1, 2);
	put_start(b);
	put_open(b);
	link_put_record(b, &ended);
	link_put_blob(b, &(struct link_blob){.num = 4, .data = "A=1\0B=2", .len = 7});
	link_put_stream_close(b, &(struct link_stream_close){.stream = 2, .text = "gone"});
}

/* All messages, or CORRUPT; never anything else, and never a byte behind the end (the sanitizer watches a block of exact size). */
static int read_all(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	const uint8_t *p = copy;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;
	int rc;

	assert_non_null(copy);
	memcpy(copy, data, len);
	do
		rc = link_next(&p, copy + len, ctx, &m, &err);
	while (rc > 0);
	assert_true(rc == 0 || rc == -ERR_CORRUPT);
	talloc_free(ctx);
	free(copy);
	return rc;
}

static void test_truncated(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	int whole = 0;

	put_one_of_each(&b);
	for (size_t len = 0; len <= b.len; len++)
		whole += read_all(b.data, len) == 0;
	/* Whole only where a message ends: before each of the six, and behind the last. */
	assert_int_equal(whole, 7);
}

static void test_flipped(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	put_one_of_each(&b);
	for (size_t i = 0; i < b.len; i++) {
		static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x7f};
		uint8_t was = b.data[i];

		for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
			b.data[i] = was ^ flips[k];
			(void)read_all(b.data, b.len);
		}
		b.data[i] = was;
	}
	assert_int_equal(read_all(b.data, b.len), 0);
}

static void test_noise(void **state)
{
	uint64_t seed = 88172645463325252u;
	uint8_t bytes[256];

	for (int round = 0; round < 20000; round++) {
		size_t len = seed % (sizeof(bytes) - 5);

		for (size_t i = 0; i < sizeof(bytes); i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			bytes[i] = (uint8_t)seed;
		}
		/* A right head, so that the noise gets to the fields. */
		bytes[0] = (uint8_t)(1 + bytes[0] % (LINK_TYPE_MAX - 1));
		bytes[1] = bytes[2] = bytes[3] = 0;
		bytes[4] = (uint8_t)len;
		(void)read_all(bytes, len + 5);
	}
}

/* What an agent calls its devices is shown to people. */
static void test_names_for_people(void **state)
{
	struct wire *w = wire_new();
	struct device_info d = {.uuid = "GPU-1\033[2J", .model = "Card \xff\xc3\xa9"};

	link_put_devices(&w->out, &(struct link_devices){.devices = &d, .n_devices = 1});
	expect(w, LINK_DEVICES);
	assert_string_equal(w->m.devices.devices[0].uuid, "GPU-1?[2J");
	assert_string_equal(w->m.devices.devices[0].model, "Card ?\xc3\xa9");
	expect_end(w);
}

/* A buffer that is full says so. */
static void test_overflow(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16);

	link_put_ack(&b, 1);
	put_start(&b);
	assert_true(b.overflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_unknown_type_and_tag),
	        cmocka_unit_test(test_values_out_of_range),
	        cmocka_unit_test(test_bytes_out_of_form),
	        cmocka_unit_test(test_field_twice),
	        cmocka_unit_test(test_ceilings),
	        cmocka_unit_test(test_length_beyond_the_ceiling),
	        cmocka_unit_test(test_truncated),
	        cmocka_unit_test(test_flipped),
	        cmocka_unit_test(test_noise),
	        cmocka_unit_test(test_names_for_people),
	        cmocka_unit_test(test_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
