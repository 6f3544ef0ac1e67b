/*
 * The one binary form of Berth's own messages and records: a run of fields, each `key value`.
 * key = tag << 1 | type as a varint; type 0: the value is a varint, type 1: a varint length and that many bytes.
 * Encoding appends to the caller's buf. Decoding borrows from the caller's bytes and never reads past them.
 * A decoder skips tags that it does not know, so fields may be added; a tag is never used again for another meaning.
 * libc only, any thread. Malformed bytes set `bad` and end the walk.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct codec_field {
	uint32_t tag;
	bool is_bytes;
	uint64_t u;          /* value of a varint field */
	const uint8_t *data; /* bytes of a bytes field, not terminated */
	size_t len;
};

struct codec_reader {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

/* Fields that hold zero or nothing are left out; a reader starts from a zeroed struct. */
void codec_put_u64(struct buf *b, uint32_t tag, uint64_t value);
void codec_put_i64(struct buf *b, uint32_t tag, int64_t value); /* zigzag */
void codec_put_bytes(struct buf *b, uint32_t tag, const void *data, size_t len);
void codec_put_str(struct buf *b, uint32_t tag, const char *s); /* NULL or "": left out */
/* The same, but written also when empty: elements of a list keep their place. */
void codec_add_u64(struct buf *b, uint32_t tag, uint64_t value);
void codec_add_bytes(struct buf *b, uint32_t tag, const void *data, size_t len);
/* A nested run: everything put between begin and end becomes the bytes of one field. */
size_t codec_begin(struct buf *b, uint32_t tag);
void codec_end(struct buf *b, size_t mark);

struct codec_reader codec_read(const void *data, size_t len);
/* The next field, or false at the end or when malformed (then r->bad). */
bool codec_next(struct codec_reader *r, struct codec_field *ret_field);
int64_t codec_i64(const struct codec_field *f);
uint32_t codec_u32(const struct codec_field *f); /* saturates */
/* Into a fixed array, cut to fit, always terminated. */
void codec_strcpy(char *out, size_t size, const struct codec_field *f);
