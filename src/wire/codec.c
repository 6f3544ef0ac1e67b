#include "wire/codec.h"

#include <string.h>

enum { TYPE_VARINT = 0, TYPE_BYTES = 1 };

static void put_varint(struct buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	do {
		bytes[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v);
	buf_add(b, bytes, n);
}

void codec_add_u64(struct buf *b, uint32_t tag, uint64_t value)
{
	put_varint(b, (uint64_t)tag << 1 | TYPE_VARINT);
	put_varint(b, value);
}

void codec_put_u64(struct buf *b, uint32_t tag, uint64_t value)
{
	if (value)
		codec_add_u64(b, tag, value);
}

void codec_put_i64(struct buf *b, uint32_t tag, int64_t value)
{
	codec_put_u64(b, tag, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void codec_add_bytes(struct buf *b, uint32_t tag, const void *data, size_t len)
{
	put_varint(b, (uint64_t)tag << 1 | TYPE_BYTES);
	put_varint(b, len);
	buf_add(b, data, len);
}

void codec_put_bytes(struct buf *b, uint32_t tag, const void *data, size_t len)
{
	if (len)
		codec_add_bytes(b, tag, data, len);
}

void codec_put_str(struct buf *b, uint32_t tag, const char *s)
{
	if (s)
		codec_put_bytes(b, tag, s, strlen(s));
}

size_t codec_begin(struct buf *b, uint32_t tag)
{
	put_varint(b, (uint64_t)tag << 1 | TYPE_BYTES);
	return b->len;
}

/* The length is known only now: its varint is written behind the content and then moved before it. */
void codec_end(struct buf *b, size_t mark)
{
	uint8_t head[10];
	size_t len, n;

	if (b->overflow)
		return;
	len = b->len - mark;
	put_varint(b, len);
	if (b->overflow)
		return;
	n = b->len - mark - len;
	memcpy(head, b->data + mark + len, n);
	memmove(b->data + mark + n, b->data + mark, len);
	memcpy(b->data + mark, head, n);
}

struct codec_reader codec_read(const void *data, size_t len)
{
	const uint8_t *p = data ? data : (const uint8_t *)"";

	return (struct codec_reader){.p = p, .end = p + (data ? len : 0)};
}

static bool get_long_varint(struct codec_reader *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (r->p == r->end)
			break;
		uint8_t byte = *r->p++;
		if (shift == 63 && byte > 1)
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = v;
			return true;
		}
	}
	r->bad = true;
	return false;
}

/* Most are one byte: tags, lengths, small numbers. */
static inline bool get_varint(struct codec_reader *r, uint64_t *ret)
{
	if (r->p == r->end || *r->p & 0x80)
		return get_long_varint(r, ret);
	*ret = *r->p++;
	return true;
}

bool codec_next(struct codec_reader *r, struct codec_field *ret_field)
{
	uint64_t key, u;

	if (r->bad || r->p == r->end || !get_varint(r, &key) || !get_varint(r, &u))
		return false;
	if (key >> 1 > UINT32_MAX || ((key & 1) && u > (uint64_t)(r->end - r->p))) {
		r->bad = true;
		return false;
	}
	ret_field->tag = (uint32_t)(key >> 1);
	ret_field->is_bytes = key & 1;
	ret_field->u = u;
	ret_field->data = ret_field->is_bytes ? r->p : NULL;
	ret_field->len = ret_field->is_bytes ? (size_t)u : 0;
	r->p += ret_field->len;
	return true;
}

int64_t codec_i64(const struct codec_field *f)
{
	return (int64_t)(f->u >> 1) ^ -(int64_t)(f->u & 1);
}

uint32_t codec_u32(const struct codec_field *f)
{
	return f->u > UINT32_MAX ? UINT32_MAX : (uint32_t)f->u;
}

void codec_strcpy(char *out, size_t size, const struct codec_field *f)
{
	size_t n = f->is_bytes ? MIN(f->len, size - 1) : 0;

	if (n)
		memcpy(out, f->data, n);
	out[n] = '\0';
}
