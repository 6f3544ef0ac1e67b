#include "agent/waiting.h"

#include <bsd/sys/queue.h>
#include <stdlib.h>
#include <talloc.h>

#include "base/mem.h"

struct start {
	struct buf message;
	TAILQ_ENTRY(start) link;
};

TAILQ_HEAD(start_list, start);

struct waiting {
	struct start_list list;
	void (*again)(void *data, const struct link_start *m);
	void *data;
};

struct waiting *waiting_new(void (*again)(void *data, const struct link_start *m), void *data)
{
	struct waiting *w = mem_zalloc(sizeof(*w));

	TAILQ_INIT(&w->list);
	w->again = again;
	w->data = data;
	return w;
}

void waiting_free(struct waiting *w)
{
	if (!w)
		return;
	waiting_clear(w);
	free(w);
}

void waiting_put(struct waiting *w, const struct link_start *m)
{
	struct start *s = mem_zalloc(sizeof(*s));

	/* It came in one message. */
	s->message = BUF_INIT(LINK_MESSAGE_MAX + 4 * KIB);
	link_put_start(&s->message, m);
	BUG_IF(s->message.overflow);
	TAILQ_INSERT_TAIL(&w->list, s, link);
}

static void free_start(struct start *s)
{
	buf_done(&s->message);
	free(s);
}

static void try(struct waiting *w, struct start *take_s)
{
	const uint8_t *at = take_s->message.data;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;

	BUG_IF(link_next(&at, at + take_s->message.len, ctx, &m, &err) != 1);
	w->again(w->data, &m.start);
	talloc_free(ctx);
	free_start(take_s);
}

void waiting_retry(struct waiting *w)
{
	struct start_list now = TAILQ_HEAD_INITIALIZER(now);
	struct start *s;

	TAILQ_CONCAT(&now, &w->list, link);
	while ((s = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, s, link);
		try(w, s);
	}
}

void waiting_clear(struct waiting *w)
{
	struct start *s;

	while ((s = TAILQ_FIRST(&w->list)) != NULL) {
		TAILQ_REMOVE(&w->list, s, link);
		free_start(s);
	}
}
