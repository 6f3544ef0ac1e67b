/*
 * A growing run of bytes with a ceiling: every buffer that a peer can fill is one of these.
 * The caller owns the struct; the bytes belong to it until buf_done. One thread at a time.
 * Passing the ceiling sets `overflow` and drops what did not fit; running out of memory aborts.
 */
#pragma once

#include "base/cc.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;    /* ceiling in bytes */
	bool overflow; /* something did not fit; the content is not to be used */
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})
#define CLEANUP_BUF         CLEANUP(buf_done)

void buf_done(struct buf *b);
void buf_reset(struct buf *b); /* empty again, memory kept */

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s); /* without its NUL */
void buf_add_byte(struct buf *b, uint8_t byte);
PRINTF_LIKE(2, 3) void buf_addf(struct buf *b, const char *fmt, ...);
/* Room for len more bytes, to be written in place and then counted with buf_commit; NULL on overflow. */
uint8_t *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);
void buf_consume(struct buf *b, size_t len); /* drops len bytes from the front */
/* NUL-terminated view; valid until the next change. */
const char *buf_str(struct buf *b);
