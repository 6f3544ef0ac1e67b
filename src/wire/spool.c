#include "wire/spool.h"

#include <string.h>

#include "wire/codec.h"

enum { MAGIC = 0xb5, HEAD = 3, SUM = 4 };

enum {
	TAG_KIND = 1,
	TAG_JOB,
	TAG_TASK,
	TAG_ATTEMPT,
	TAG_EPOCH,
	TAG_WALL_MS,
	TAG_KEEPER_PID,
	TAG_PID,
	TAG_CAUSE,
	TAG_WAIT_STATUS,
	TAG_PEAK_MEM,
	TAG_CPU_MS,
	TAG_OUTPUT,
	TAG_DROPPED,
	TAG_TEXT,
	TAG_HELD,
	TAG_NOT_HELD,
	TAG_NO_DISK,
	TAG_RANK,
};

/* FNV-1a: finds what a crash leaves behind, and is no guard against malice. */
static uint32_t sum_of(const uint8_t *p, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

void spool_encode(const struct spool_record *r, struct buf *b)
{
	size_t at = b->len, len;
	uint32_t sum;

	if (!buf_reserve(b, HEAD))
		return;
	buf_commit(b, HEAD);
	codec_put_u64(b, TAG_KIND, (uint64_t)r->kind);
	codec_put_u64(b, TAG_JOB, r->job);
	codec_put_i64(b, TAG_TASK, r->task);
	codec_put_u64(b, TAG_ATTEMPT, r->attempt);
	codec_put_u64(b, TAG_EPOCH, r->epoch);
	codec_put_i64(b, TAG_WALL_MS, r->wall_ms);
	codec_put_u64(b, TAG_KEEPER_PID, r->keeper_pid);
	codec_put_u64(b, TAG_PID, r->pid);
	codec_put_u64(b, TAG_HELD, r->held);
	codec_put_u64(b, TAG_NOT_HELD, r->not_held);
	codec_put_u64(b, TAG_CAUSE, (uint64_t)r->cause);
	codec_put_i64(b, TAG_WAIT_STATUS, r->wait_status);
	codec_put_u64(b, TAG_PEAK_MEM, r->peak_mem_bytes);
	codec_put_u64(b, TAG_CPU_MS, r->cpu_ms);
	codec_put_u64(b, TAG_OUTPUT, r->output_bytes);
	codec_put_u64(b, TAG_DROPPED, r->dropped_bytes);
	codec_put_u64(b, TAG_NO_DISK, r->no_disk);
	if (r->has_rank)
		codec_add_u64(b, TAG_RANK, r->rank);
	codec_put_bytes(b, TAG_TEXT, r->text, strnlen(r->text, sizeof(r->text) - 1));
	if (b->overflow)
		return;
	len = b->len - at - HEAD;
	b->data[at] = MAGIC;
	b->data[at + 1] = (uint8_t)(len >> 8);
	b->data[at + 2] = (uint8_t)len;
	sum = sum_of(b->data + at + HEAD, len);
	for (unsigned shift = 32; shift; shift -= 8)
		buf_add_byte(b, (uint8_t)(sum >> (shift - 8)));
}

static void take_field(struct spool_record *r, const struct codec_field *f)
{
	switch (f->tag) {
	case TAG_KIND:
		r->kind = (enum spool_kind)codec_u32(f);
		break;
	case TAG_JOB:
		r->job = f->u;
		break;
	case TAG_TASK:
		r->task = codec_i64(f);
		break;
	case TAG_ATTEMPT:
		r->attempt = codec_u32(f);
		break;
	case TAG_EPOCH:
		r->epoch = f->u;
		break;
	case TAG_WALL_MS:
		r->wall_ms = codec_i64(f);
		break;
	case TAG_KEEPER_PID:
		r->keeper_pid = codec_u32(f);
		break;
	case TAG_PID:
		r->pid = codec_u32(f);
		break;
	case TAG_HELD:
		r->held = codec_u32(f);
		break;
	case TAG_NOT_HELD:
		r->not_held = codec_u32(f);
		break;
	case TAG_TEXT:
		codec_strcpy(r->text, sizeof(r->text), f);
		break;
	default:
		break;
	}
}

static void take_end(struct spool_record *r, const struct codec_field *f)
{
	switch (f->tag) {
	case TAG_CAUSE:
		r->cause = (enum spool_cause)codec_u32(f);
		break;
	case TAG_WAIT_STATUS:
		r->wait_status = (int32_t)codec_i64(f);
		break;
	case TAG_PEAK_MEM:
		r->peak_mem_bytes = f->u;
		break;
	case TAG_CPU_MS:
		r->cpu_ms = f->u;
		break;
	case TAG_OUTPUT:
		r->output_bytes = f->u;
		break;
	case TAG_DROPPED:
		r->dropped_bytes = f->u;
		break;
	case TAG_NO_DISK:
		r->no_disk = f->u != 0;
		break;
	case TAG_RANK:
		r->has_rank = true;
		r->rank = codec_u32(f);
		break;
	default:
		break;
	}
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int spool_decode(const void *data, size_t len, struct spool_record *ret_record, struct err *err)
{
	const uint8_t *p = data;
	struct spool_record rec = {0};
	struct codec_reader r;
	struct codec_field f;
	size_t n;

	if (len == 0)
		return 0;
	if (p[0] != MAGIC)
		return err_set(err, ERR_CORRUPT, "spool: no record begins here");
	if (len < HEAD)
		return 0;
	n = (size_t)p[1] << 8 | p[2];
	if (n + HEAD + SUM > SPOOL_RECORD_MAX)
		return err_set(err, ERR_CORRUPT, "spool: a record of %zu bytes is too long", n);
	if (len < n + HEAD + SUM)
		return 0;
	if (get_u32(p + HEAD + n) != sum_of(p + HEAD, n))
		return err_set(err, ERR_CORRUPT, "spool: a record does not sum up");
	r = codec_read(p + HEAD, n);
	while (codec_next(&r, &f)) {
		take_field(&rec, &f);
		take_end(&rec, &f);
	}
	if (r.bad)
		return err_set(err, ERR_CORRUPT, "spool: a record is malformed");
	*ret_record = rec;
	return (int)(n + HEAD + SUM);
}

size_t spool_skip(const void *data, size_t len)
{
	const uint8_t *p = data;
	const uint8_t *next = len > 1 ? memchr(p + 1, MAGIC, len - 1) : NULL;

	return next ? (size_t)(next - p) : len;
}
