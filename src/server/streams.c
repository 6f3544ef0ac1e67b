#include "server/streams.h"
#include "server/links.h"
#include "base/mem.h"

#include <stdlib.h>
#include <uthash.h>

struct stream {
	struct stream_set *set;
	uint64_t num;
	const struct stream_handlers *h;
	void *data;
	UT_hash_handle hh;
};

struct stream_set {
	struct server *s;
	struct buf *out;
	uint64_t last;
	struct stream *by_num;
};

struct stream_set *stream_set_new(struct server *s, struct buf *out)
{
	struct stream_set *set = mem_zalloc(sizeof(*set));

	set->s = s;
	set->out = out;
	return set;
}

static void drop(struct stream *t)
{
	HASH_DEL(t->set->by_num, t);
	free(t);
}

static void end(struct stream *t, enum err_kind kind, const char *text)
{
	const struct stream_handlers *h = t->h;
	void *data = t->data;

	drop(t);
	h->on_close(data, kind, text);
}

void stream_set_free(struct stream_set *set)
{
	while (set->by_num)
		end(set->by_num, ERR_UNAVAILABLE, "the link to the node broke");
	free(set);
}

struct stream *stream_open(struct server *s, uint64_t node, struct link_stream_open *o,
        const struct stream_handlers *h, void *data)
{
	struct stream_set *set = links_streams(s, node);
	struct stream *t;

	if (!set)
		return NULL;
	t = mem_zalloc(sizeof(*t));
	*t = (struct stream){.set = set, .num = ++set->last, .h = h, .data = data};
	HASH_ADD(hh, set->by_num, num, sizeof(t->num), t);
	o->stream = t->num;
	link_put_stream_open(set->out, o);
	loop_wake(s->loop);
	return t;
}

void stream_send(struct stream *t, enum console_frame frame, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	do {
		size_t n = MIN(len, CONSOLE_FRAME_MAX);
		link_put_stream_data(t->set->out,
		        &(struct link_stream_data){
		                .stream = t->num, .frame = frame, .data = p, .len = n});
		p += n;
		len -= n;
		if (t->set->out->len >= LINK_PIECE)
			links_flush(t->set->s);
	} while (len);
	loop_wake(t->set->s->loop);
}

void stream_taken(struct stream *t, size_t bytes)
{
	if (!bytes)
		return;
	link_put_stream_window(
	        t->set->out, &(struct link_stream_window){.stream = t->num, .bytes = bytes});
	loop_wake(t->set->s->loop);
}

void stream_close(struct stream *t)
{
	if (!t)
		return;
	link_put_stream_close(t->set->out, &(struct link_stream_close){.stream = t->num});
	loop_wake(t->set->s->loop);
	drop(t);
}

void stream_set_take(struct stream_set *set, const struct link_message *m)
{
	uint64_t num = m->type == LINK_STREAM_DATA     ? m->stream_data.stream
	               : m->type == LINK_STREAM_CLOSE  ? m->stream_close.stream
	               : m->type == LINK_STREAM_WINDOW ? m->stream_window.stream
	                                               : 0;
	struct stream *t;

	HASH_FIND(hh, set->by_num, &num, sizeof(num), t);
	if (!t)
		return;
	if (m->type == LINK_STREAM_DATA)
		t->h->on_frame(
		        t->data, m->stream_data.frame, m->stream_data.data, m->stream_data.len);
	else if (m->type == LINK_STREAM_CLOSE)
		end(t, m->stream_close.kind, m->stream_close.text);
	else if (t->h->on_taken)
		t->h->on_taken(t->data, m->stream_window.bytes);
}
