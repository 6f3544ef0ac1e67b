/*
 * A spool file as an agent reads it: records, and whatever lies between them. With a first byte that is odd the rest becomes one
 * record with a right length and sum, because nobody guesses sums.
 */
#include <string.h>

#include "fuzz.h"
#include "wire/spool.h"

/* Nothing was lost on the way. */
static void check_same(const struct spool_record *a, const struct spool_record *b)
{
	FUZZ_MUST(a->kind == b->kind && a->job == b->job && a->task == b->task);
	FUZZ_MUST(a->attempt == b->attempt && a->epoch == b->epoch && a->wall_ms == b->wall_ms);
	FUZZ_MUST(a->keeper_pid == b->keeper_pid && a->pid == b->pid && a->cause == b->cause);
	FUZZ_MUST(a->wait_status == b->wait_status && a->cpu_ms == b->cpu_ms);
	FUZZ_MUST(a->peak_mem_bytes == b->peak_mem_bytes && a->output_bytes == b->output_bytes);
	FUZZ_MUST(a->no_disk == b->no_disk);
	FUZZ_MUST(a->dropped_bytes == b->dropped_bytes && strcmp(a->text, b->text) == 0);
}

static void check_record(const struct spool_record *r)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
	struct spool_record again;
	struct err err;

	FUZZ_MUST(memchr(r->text, '\0', sizeof(r->text)));
	spool_encode(r, &first);
	FUZZ_MUST(!first.overflow && first.len <= SPOOL_RECORD_MAX);
	FUZZ_MUST(spool_decode(first.data, first.len, &again, &err) == (int)first.len);
	check_same(r, &again);
	spool_encode(&again, &second);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	/* Cut anywhere it is not whole yet. */
	for (size_t len = 0; len < first.len; len += 1 + first.len / 16)
		FUZZ_MUST(spool_decode(first.data, len, &again, &err) == 0);
}

static void read_all(const uint8_t *data, size_t size)
{
	struct spool_record r;
	struct err err;

	while (size) {
		size_t n;
		int rc;

		fuzz_err_init(&err);
		rc = spool_decode(data, size, &r, &err);
		FUZZ_MUST(rc <= (int)MIN(size, (size_t)SPOOL_RECORD_MAX));
		if (rc == 0)
			return;
		if (rc < 0)
			fuzz_err_check(rc, &err);
		else
			check_record(&r);
		n = rc > 0 ? (size_t)rc : spool_skip(data, size);
		FUZZ_MUST(n >= 1 && n <= size);
		data += n;
		size -= n;
	}
}

static void read_one(const uint8_t *run, size_t size)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	uint32_t sum = 2166136261u;

	buf_add_byte(&b, 0xb5);
	buf_add_byte(&b, (uint8_t)(size >> 8));
	buf_add_byte(&b, (uint8_t)size);
	buf_add(&b, run, size);
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ run[i]) * 16777619u;
	for (unsigned shift = 32; shift; shift -= 8)
		buf_add_byte(&b, (uint8_t)(sum >> (shift - 8)));
	read_all(b.data, b.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (fuzz_byte(&data, &size) & 1)
		read_one(data, MIN(size, (size_t)UINT16_MAX));
	else
		read_all(data, size);
	return 0;
}
