#include "store/store_priv.h"

#include <bsd/sys/tree.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/journal.h"

/*
 * DESIGN. What SQLite keeps in a file is here a `struct content`: a tree of rows for each kind and a list of encoded batches. Handles of
 * the same name share one. A batch cannot fail once its arguments are checked, so nothing is ever undone.
 */

#define BATCH_MAX ((size_t)1 << 30)

struct row {
	RB_ENTRY(row) node;
	uint64_t key;
	int64_t sub;
	int64_t ended_ms;
	size_t len;
	uint8_t data[];
};
RB_HEAD(row_tree, row);

struct batch {
	uint64_t seq;
	int64_t latest_ms;
	struct buf events;
};

struct content {
	struct content *next; /* under contents_lock */
	char *name;           /* "": belongs to one handle */
	size_t refs;          /* under contents_lock */
	struct memory *leader;
	uint64_t epoch;
	uint64_t last_seq;
	struct row_tree rows[ROW_MAX];
	struct batch *batches; /* in order of seq */
	size_t n_batches;
	size_t batches_cap;
};

struct memory {
	struct store base;
	struct content *content;
};

static pthread_mutex_t contents_lock = PTHREAD_MUTEX_INITIALIZER;
static struct content *contents;

static int row_cmp(struct row *a, struct row *b)
{
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->sub < b->sub ? -1 : a->sub > b->sub;
}

RB_GENERATE_INTERNAL(row_tree, row, node, row_cmp, UNUSED static)

static struct content *content_of(struct store *s)
{
	return CONTAINER_OF(s, struct memory, base)->content;
}

static struct content *content_get(const char *name)
{
	struct content *c = NULL;

	pthread_mutex_lock(&contents_lock);
	for (c = name[0] ? contents : NULL; c; c = c->next)
		if (strcmp(c->name, name) == 0)
			break;
	if (!c) {
		c = mem_zalloc(sizeof(*c));
		c->name = mem_strdup(name);
		for (int kind = 0; kind < ROW_MAX; kind++)
			RB_INIT(&c->rows[kind]);
		c->next = contents;
		contents = c;
	}
	c->refs++;
	pthread_mutex_unlock(&contents_lock);
	return c;
}

static void content_put(struct content *c)
{
	struct content **link = &contents;
	bool is_last;

	pthread_mutex_lock(&contents_lock);
	is_last = --c->refs == 0;
	if (is_last) {
		while (*link != c)
			link = &(*link)->next;
		*link = c->next;
	}
	pthread_mutex_unlock(&contents_lock);
	if (!is_last)
		return;
	for (int kind = 0; kind < ROW_MAX; kind++) {
		struct row *row, *next;

		RB_FOREACH_SAFE (row, row_tree, &c->rows[kind], next) {
			RB_REMOVE(row_tree, &c->rows[kind], row);
			free(row);
		}
	}
	for (size_t i = 0; i < c->n_batches; i++)
		buf_done(&c->batches[i].events);
	free(c->batches);
	free(c->name);
	free(c);
}

static void memory_close(struct store *s)
{
	struct memory *m = CONTAINER_OF(s, struct memory, base);

	if (m->content->leader == m)
		m->content->leader = NULL;
	content_put(m->content);
	free(m);
}

static int memory_lead(struct store *s, uint64_t *ret_epoch, struct err *err)
{
	struct memory *m = CONTAINER_OF(s, struct memory, base);
	struct content *c = m->content;

	if (c->leader && c->leader != m)
		return err_set(
		        err, ERR_CONFLICT, "the store is led by process %ld", (long)getpid());
	c->leader = m;
	*ret_epoch = ++c->epoch;
	return 0;
}

static struct row *find(struct content *c, enum row_kind kind, uint64_t key, int64_t sub)
{
	struct row want = {.key = key, .sub = sub};

	return RB_FIND(row_tree, &c->rows[kind], &want);
}

static void write_row(struct content *c, const struct store_row *new)
{
	struct row *row = find(c, new->kind, new->key, new->sub);

	if (row) {
		RB_REMOVE(row_tree, &c->rows[new->kind], row);
		free(row);
	}
	if (!new->data)
		return;
	row = mem_zalloc(sizeof(*row) + new->len);
	row->key = new->key;
	row->sub = new->sub;
	row->ended_ms = new->ended_ms;
	row->len = new->len;
	memcpy(row->data, new->data, new->len);
	RB_INSERT(row_tree, &c->rows[new->kind], row);
}

static int memory_commit(struct store *s, uint64_t epoch, uint64_t seq,
        const struct store_event *events, size_t n_events, const struct store_row *rows,
        size_t n_rows, struct err *err)
{
	struct memory *m = CONTAINER_OF(s, struct memory, base);
	struct content *c = m->content;
	int rc;

	if (c->leader != m)
		return store_err_not_leader(err);
	if (epoch != c->epoch)
		return store_err_epoch(err, epoch, c->epoch);
	if (seq != c->last_seq + 1)
		return store_err_seq(err, seq, c->last_seq);
	if (n_events > 0) {
		struct batch batch = {
		        .seq = seq,
		        .latest_ms = journal_latest_ms(events, n_events),
		        .events = BUF_INIT(BATCH_MAX),
		};

		rc = journal_encode(&batch.events, events, n_events, err);
		if (rc < 0) {
			buf_done(&batch.events);
			return rc;
		}
		MEM_GROW(c->batches, c->n_batches, c->batches_cap);
		c->batches[c->n_batches++] = batch;
	}
	for (size_t i = 0; i < n_rows; i++)
		write_row(c, &rows[i]);
	c->last_seq = seq;
	return 0;
}

static int memory_reserve(struct store *s, struct err *err)
{
	return 0;
}

static uint64_t memory_last_seq(struct store *s)
{
	return content_of(s)->last_seq;
}

static int give(
        enum row_kind kind, const struct row *row, store_row_fn *fn, void *data, struct err *err)
{
	struct store_row out = {
	        .kind = kind,
	        .key = row->key,
	        .sub = row->sub,
	        .ended_ms = row->ended_ms,
	        .data = row->data,
	        .len = row->len,
	};

	return fn(data, &out, err);
}

static int memory_each(struct store *s, enum row_kind kind, enum store_which which,
        store_row_fn *fn, void *data, struct err *err)
{
	struct row *row;

	RB_FOREACH (row, row_tree, &content_of(s)->rows[kind]) {
		int rc = which == STORE_ALL || row->ended_ms == 0 ? give(kind, row, fn, data, err)
		                                                  : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int memory_get(struct store *s, enum row_kind kind, uint64_t key, int64_t sub,
        store_row_fn *fn, void *data, struct err *err)
{
	struct row *row = find(content_of(s), kind, key, sub);

	if (!row)
		return store_err_no_row(err, kind, key, sub);
	return give(kind, row, fn, data, err);
}

static int memory_each_of_key(struct store *s, enum row_kind kind, uint64_t key, int64_t from_sub,
        size_t limit, store_row_fn *fn, void *data, struct err *err)
{
	struct row_tree *tree = &content_of(s)->rows[kind];
	struct row from = {.key = key, .sub = from_sub};

	for (struct row *row = RB_NFIND(row_tree, tree, &from);
	        row && row->key == key && limit-- > 0; row = RB_NEXT(row_tree, tree, row)) {
		int rc = give(kind, row, fn, data, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Latest first. */
static int ended_cmp(const void *pa, const void *pb)
{
	struct row *a = *(struct row *const *)pa, *b = *(struct row *const *)pb;

	if (a->ended_ms != b->ended_ms)
		return a->ended_ms > b->ended_ms ? -1 : 1;
	return row_cmp(b, a);
}

/* The ended rows that come strictly after `from` in the listing, in its order; freed by the caller. */
static struct row **list_ended(struct row_tree *tree, struct row *from, size_t *ret_n)
{
	struct row **list = NULL, *row;
	size_t n = 0, cap = 0;

	RB_FOREACH (row, row_tree, tree) {
		if (row->ended_ms == 0 || ended_cmp(&from, &row) >= 0)
			continue;
		MEM_GROW(list, n, cap);
		list[n++] = row;
	}
	if (n > 0)
		qsort(list, n, sizeof(struct row *), ended_cmp);
	*ret_n = n;
	return list;
}

static int memory_each_ended(struct store *s, enum row_kind kind, int64_t before_ms,
        uint64_t before_key, int64_t before_sub, size_t limit, store_row_fn *fn, void *data,
        struct err *err)
{
	struct row from = {.ended_ms = before_ms, .key = before_key, .sub = before_sub};
	size_t n;
	struct row **list = list_ended(&content_of(s)->rows[kind], &from, &n);
	int rc = 0;

	for (size_t i = 0; i < MIN(n, limit) && rc >= 0; i++)
		rc = give(kind, list[i], fn, data, err);
	free(list);
	return rc < 0 ? rc : 0;
}

static int memory_each_event(struct store *s, uint64_t after_seq, size_t limit, store_event_fn *fn,
        void *data, struct err *err)
{
	struct content *c = content_of(s);
	size_t given = 0;

	for (size_t i = 0; i < c->n_batches && given < limit; i++) {
		struct batch *batch = &c->batches[i];
		size_t n;
		int rc;

		if (batch->seq <= after_seq)
			continue;
		rc = journal_decode(
		        batch->events.data, batch->events.len, batch->seq, fn, data, &n, err);
		if (rc < 0)
			return rc;
		given += n;
	}
	return 0;
}

/* In the order of the listing: the oldest are its last ones. */
static int memory_each_oldest(struct store *s, enum row_kind kind, int64_t after_ms,
        uint64_t after_key, int64_t after_sub, int64_t before_ms, size_t limit, store_row_fn *fn,
        void *data, struct err *err)
{
	struct row before = {.ended_ms = before_ms, .key = 0, .sub = INT64_MIN};
	struct row after = {.ended_ms = after_ms, .key = after_key, .sub = after_sub};
	struct row *p_after = &after;
	size_t n, given = 0;
	struct row **list = list_ended(&content_of(s)->rows[kind], &before, &n);
	int rc = 0;

	for (size_t i = n; i-- > 0 && given < limit && rc >= 0;) {
		if (ended_cmp(&list[i], &p_after) >= 0)
			continue;
		rc = give(kind, list[i], fn, data, err);
		given++;
	}
	free(list);
	return rc < 0 ? rc : 0;
}

static int memory_prune_journal(
        struct store *s, int64_t before_ms, size_t limit, size_t *ret_removed, struct err *err)
{
	struct memory *m = CONTAINER_OF(s, struct memory, base);
	struct content *c = m->content;
	size_t n = 0;

	if (c->leader != m)
		return store_err_not_leader(err);
	while (n < MIN(c->n_batches, limit) && c->batches[n].latest_ms < before_ms)
		buf_done(&c->batches[n++].events);
	c->n_batches -= n;
	if (n > 0)
		memmove(c->batches, c->batches + n, c->n_batches * sizeof(c->batches[0]));
	*ret_removed = n;
	return 0;
}

static int memory_copy_begin(
        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED, "a store in memory cannot be copied to '%s'", path);
}

static const struct store_ops memory_ops = {
        .close = memory_close,
        .lead = memory_lead,
        .commit = memory_commit,
        .reserve_release = memory_reserve,
        .reserve_make = memory_reserve,
        .last_seq = memory_last_seq,
        .each = memory_each,
        .get = memory_get,
        .each_of_key = memory_each_of_key,
        .each_ended = memory_each_ended,
        .each_event = memory_each_event,
        .each_oldest = memory_each_oldest,
        .prune_journal = memory_prune_journal,
        .copy_begin = memory_copy_begin,
};

int memory_open(const char *name, struct store **ret_store, struct err *err)
{
	struct memory *m = mem_zalloc(sizeof(*m));

	m->base.ops = &memory_ops;
	m->content = content_get(name);
	*ret_store = &m->base;
	return 0;
}
