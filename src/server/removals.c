#include "server/removals.h"
#include "server/batch.h"
#include "server/links.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* A row of the store holds the REMOVE as it goes over the link. */
struct removal {
	uint64_t node;
	bool is_durable;
	struct link_remove m;
	TAILQ_ENTRY(removal) link;
};
struct removals {
	uint64_t last_number;
	TAILQ_HEAD(, removal) list; /* in order of number */
};

void removals_init(struct server *s)
{
	s->removals = mem_zalloc(sizeof(*s->removals));
	TAILQ_INIT(&s->removals->list);
}

static void drop(struct removals *all, struct removal *r)
{
	TAILQ_REMOVE(&all->list, r, link);
	free(r->m.attempts);
	free(r);
}

void removals_free(struct server *s)
{
	struct removals *all = s->removals;

	if (!all)
		return;
	while (!TAILQ_EMPTY(&all->list))
		drop(all, TAILQ_FIRST(&all->list));
	free(all);
	s->removals = NULL;
}

static struct removal *append(struct removals *all, uint64_t node, uint64_t number,
        const struct link_attempt *v, uint32_t n)
{
	struct removal *r = mem_zalloc(sizeof(*r));

	r->node = node;
	r->m = (struct link_remove){
	        .number = number, .attempts = mem_dup(v, n * sizeof(*v)), .n_attempts = n};
	all->last_number = MAX(all->last_number, number);
	TAILQ_INSERT_TAIL(&all->list, r, link);
	return r;
}

int removals_load(struct server *s, const struct store_row *row, struct err *err)
{
	const uint8_t *p = row->data;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	int rc = link_next(&p, p + row->len, ctx, &m, err);

	if (rc > 0 && m.type == LINK_REMOVE && m.remove.n_attempts)
		append(s->removals, row->key, (uint64_t)row->sub, m.remove.attempts,
		        m.remove.n_attempts)
		        ->is_durable = true;
	else if (rc >= 0)
		rc = err_set(err, ERR_CORRUPT, "a stored removal is damaged");
	talloc_free(ctx);
	return rc < 0 ? rc : 0;
}

static struct removal *first_of(const struct removals *all, uint64_t node)
{
	struct removal *r;

	TAILQ_FOREACH (r, &all->list, link)
		if (r->node == node && r->is_durable)
			return r;
	return NULL;
}

void removals_next(struct server *s, uint64_t node)
{
	struct removal *r = first_of(s->removals, node);

	if (r)
		links_remove(s, node, &r->m);
}

static void on_durable(struct server *s, void *data)
{
	struct removal *r = data;

	r->is_durable = true;
	removals_next(s, r->node);
}

void removals_add(struct server *s, uint64_t node, const struct link_attempt *v, uint32_t n)
{
	struct removals *all = s->removals;
	struct removal *r = append(all, node, all->last_number + 1, v, n);
	CLEANUP_BUF struct buf b = BUF_INIT(LINK_MESSAGE_MAX);

	link_put_remove(&b, &r->m);
	batch_add_bytes(s, ROW_REMOVAL, node, (int64_t)r->m.number, b.data, b.len);
	batch_after(s, on_durable, r);
}

void removals_done(struct server *s, uint64_t node, uint64_t number)
{
	struct removal *r = first_of(s->removals, node);

	if (!r || r->m.number != number)
		return;
	batch_remove_row(s, ROW_REMOVAL, node, (int64_t)number);
	drop(s->removals, r);
	removals_next(s, node);
}
