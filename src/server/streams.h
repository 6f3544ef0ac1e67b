/*
 * Bytes of a job from its node, and to it: output, terminals, exec. A stream belongs to whoever opened it, until on_close has
 * been called or it was let go. Loop thread. A link that breaks ends its streams with UNAVAILABLE.
 */
#pragma once

#include "server/server.h"
#include "wire/link.h"

struct stream;
struct stream_set; /* those of one link */

struct stream_handlers {
	void (*on_frame)(void *data, enum console_frame frame, const void *bytes, size_t len);
	/* The agent took so many bytes of what was sent; NULL: not asked. */
	void (*on_taken)(void *data, uint64_t bytes);
	/* Exactly once, unless it was let go; the stream is dead then. */
	void (*on_close)(void *data, enum err_kind kind, const char *text);
};

/* NULL when the node is not connected. o->stream is chosen here. */
struct stream *stream_open(struct server *s, uint64_t node, struct link_stream_open *o,
        const struct stream_handlers *h, void *data);
void stream_send(struct stream *t, enum console_frame frame, const void *bytes, size_t len);
void stream_taken(struct stream *t, size_t bytes); /* so many bytes of frames were passed on */
void stream_close(struct stream *t);               /* lets go; NULL is fine */

/* For links.c. out: where messages to the agent gather. */
struct stream_set *stream_set_new(struct server *s, struct buf *out);
void stream_set_free(struct stream_set *set);
void stream_set_take(
        struct stream_set *set, const struct link_message *m); /* other messages are passed over */
