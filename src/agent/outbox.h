/*
 * Link messages on their way to the server: everybody appends, uplink.h sends them once per turn of the loop.
 * The bytes belong to the outbox. Loop thread. While there is no link they go nowhere: whatever must arrive is said
 * again after the next WELCOME. What does not fit breaks the link, and is so said again.
 */
#pragma once

#include "wire/link.h"

#define OUTBOX_MAX (64 * MIB)

struct outbox {
	struct buf buf;
	bool is_open;
};

static inline struct buf *outbox_buf(struct outbox *o)
{
	if (!o->is_open)
		buf_reset(&o->buf);
	return &o->buf;
}
