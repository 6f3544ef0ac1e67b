#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "wire/spool.h"

static struct spool_record ended(void)
{
	struct spool_record r = {
	        .kind = SPOOL_ENDED,
	        .job = 17,
	        .task = 99,
	        .attempt = 4,
	        .epoch = SPOOL_EPOCH_MAX,
	        .wall_ms = 1790000000123,
	        .cause = SPOOL_TIMEOUT,
	        .wait_status = 15,
	        .peak_mem_bytes = 3 * GIB,
	        .cpu_ms = 123456,
	        .output_bytes = 10 * GIB,
	        .dropped_bytes = 9 * GIB,
	        .text = "its time limit",
	};

	return r;
}

static void check_same(const struct spool_record *a, const struct spool_record *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_true(a->job == b->job && a->task == b->task && a->attempt == b->attempt);
	assert_true(a->epoch == b->epoch && a->wall_ms == b->wall_ms);
	assert_int_equal(a->keeper_pid, b->keeper_pid);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->cause, b->cause);
	assert_int_equal(a->wait_status, b->wait_status);
	assert_true(a->peak_mem_bytes == b->peak_mem_bytes && a->cpu_ms == b->cpu_ms);
	assert_true(a->output_bytes == b->output_bytes && a->dropped_bytes == b->dropped_bytes);
	assert_string_equal(a->text, b->text);
}

static void test_records_come_back_in_order(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct spool_record started = {.kind = SPOOL_STARTED,
	        .job = 17,
	        .task = -1,
	        .epoch = 5,
	        .wall_ms = -1,
	        .keeper_pid = 4194304,
	        .pid = 300};
	struct spool_record end = ended(), got;
	struct err err;
	size_t at = 0;
	int n;

	spool_encode(&started, &b);
	spool_encode(&end, &b);
	n = spool_decode(b.data, b.len, &got, &err);
	assert_true(n > 0);
	check_same(&got, &started);
	at = (size_t)n;
	n = spool_decode(b.data + at, b.len - at, &got, &err);
	assert_true(n > 0);
	check_same(&got, &end);
	assert_int_equal(at + (size_t)n, b.len);
	assert_int_equal(spool_decode(b.data + b.len, 0, &got, &err), 0);
}

static void test_a_short_record_asks_for_more(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct spool_record end = ended(), got;
	struct err err;

	spool_encode(&end, &b);
	for (size_t len = 0; len < b.len; len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, b.data, len);
		assert_int_equal(spool_decode(copy, len, &got, &err), 0);
		free(copy);
	}
}

static void test_a_wrong_byte_is_seen(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct spool_record end = ended(), got;
	struct err err;
	int n;

	spool_encode(&end, &b);
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 0x10;
		n = spool_decode(b.data, b.len, &got, &err);
		/* A wrong length may ask for more than there is; it is never taken for a record. */
		assert_true(n == -ERR_CORRUPT || (n == 0 && (i == 1 || i == 2)));
		b.data[i] ^= 0x10;
	}
	assert_true(spool_decode(b.data, b.len, &got, &err) > 0);
}

/* What is behind a cut record, garbage and zeros is found again. */
static void test_reading_goes_on_behind_damage(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	static const uint8_t zeros[100];
	struct spool_record r = {.kind = SPOOL_STARTED, .job = 1, .epoch = 1}, got;
	uint64_t epochs[8];
	size_t n_got = 0, whole;
	struct err err;

	spool_encode(&r, &b);
	whole = b.len;
	for (r.epoch = 2; r.epoch <= 4; r.epoch++) {
		spool_encode(&r, &b);
		b.len -= r.epoch == 2 ? whole / 2 : 0;
		if (r.epoch == 3)
			buf_add(&b, zeros, sizeof(zeros));
	}
	for (size_t at = 0; at < b.len;) {
		int n = spool_decode(b.data + at, b.len - at, &got, &err);

		if (n > 0)
			epochs[n_got++] = got.epoch;
		assert_true(n != 0);
		at += n > 0 ? (size_t)n : spool_skip(b.data + at, b.len - at);
	}
	assert_int_equal(n_got, 3);
	assert_int_equal(epochs[0], 1);
	assert_int_equal(epochs[1], 3);
	assert_int_equal(epochs[2], 4);
}

static void test_text_is_cut(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct spool_record r = {.kind = SPOOL_ENDED}, got;
	struct err err;

	memset(r.text, 'x', sizeof(r.text)); /* not even terminated */
	spool_encode(&r, &b);
	assert_true(b.len <= SPOOL_RECORD_MAX);
	assert_true(spool_decode(b.data, b.len, &got, &err) > 0);
	assert_int_equal(strlen(got.text), sizeof(r.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_records_come_back_in_order),
	        cmocka_unit_test(test_a_short_record_asks_for_more),
	        cmocka_unit_test(test_a_wrong_byte_is_seen),
	        cmocka_unit_test(test_reading_goes_on_behind_damage),
	        cmocka_unit_test(test_text_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
