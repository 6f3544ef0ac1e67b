#include "server/watch.h"
#include "base/mem.h"

#include <stdlib.h>
#include <uthash.h>

struct watch {
	struct job_id id;
	watch_fn *fn;
	void *data;
	uint64_t round; /* of watch_notify that has called it */
	bool is_called; /* its callback runs now */
	LIST_ENTRY(watch) link;
};
LIST_HEAD(watch_list, watch);

struct watch_entry {
	struct job_id id;
	struct watch_list list;
	bool is_busy; /* is walked now */
	UT_hash_handle hh;
};
struct watch_set {
	struct watch_entry *by_id;
	uint64_t round;
};

void watch_init(struct server *s)
{
	s->watches = mem_zalloc(sizeof(*s->watches));
}

static void drop_entry(struct watch_set *set, struct watch_entry *e)
{
	HASH_DEL(set->by_id, e);
	free(e);
}

void watch_done(struct server *s)
{
	struct watch_entry *e, *next;

	if (!s->watches)
		return;
	HASH_ITER (hh, s->watches->by_id, e, next) {
		struct watch *w;
		while ((w = LIST_FIRST(&e->list)) != NULL) {
			LIST_REMOVE(w, link);
			free(w);
		}
		drop_entry(s->watches, e);
	}
	free(s->watches);
	s->watches = NULL;
}

struct watch *watch_add(struct server *s, struct job_id id, watch_fn *fn, void *data)
{
	struct watch_entry *e;
	struct watch *w = mem_zalloc(sizeof(*w));

	HASH_FIND(hh, s->watches->by_id, &id, sizeof(id), e);
	if (!e) {
		e = mem_zalloc(sizeof(*e));
		e->id = id;
		LIST_INIT(&e->list);
		HASH_ADD(hh, s->watches->by_id, id, sizeof(e->id), e);
	}
	/* Added by a callback of the round that runs, it waits for the next one. */
	*w = (struct watch){.id = id, .fn = fn, .data = data, .round = s->watches->round};
	LIST_INSERT_HEAD(&e->list, w, link);
	return w;
}

static void unlink_watch(struct watch_set *set, struct watch *w)
{
	struct watch_entry *e;

	LIST_REMOVE(w, link);
	HASH_FIND(hh, set->by_id, &w->id, sizeof(w->id), e);
	if (e && !e->is_busy && LIST_EMPTY(&e->list))
		drop_entry(set, e);
	free(w);
}

void watch_remove(struct server *s, struct watch *w)
{
	if (!w || !s->watches)
		return;
	BUG_IF(w->is_called);
	unlink_watch(s->watches, w);
}

static struct watch *next_unseen(const struct watch_entry *e, uint64_t round)
{
	struct watch *w;

	LIST_FOREACH (w, &e->list, link)
		if (w->round != round)
			return w;
	return NULL;
}

/* A callback may add and remove other watches: after each the list is looked at anew, for those that this round has not seen. */
void watch_notify(struct server *s, struct job_id id)
{
	struct watch_set *set = s->watches;
	struct watch_entry *e;
	struct watch *w;
	uint64_t round = ++set->round;

	HASH_FIND(hh, set->by_id, &id, sizeof(id), e);
	if (!e)
		return;
	e->is_busy = true;
	while ((w = next_unseen(e, round)) != NULL) {
		bool keep;
		w->round = round;
		w->is_called = true;
		keep = w->fn(s, w->data);
		w->is_called = false;
		if (!keep) {
			LIST_REMOVE(w, link);
			free(w);
		}
	}
	e->is_busy = false;
	if (LIST_EMPTY(&e->list))
		drop_entry(set, e);
}
