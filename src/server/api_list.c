/*
 * GET /v1/jobs. Living jobs come from memory: those that run, then those that wait in queue order. Ended ones come from the
 * store, latest first. A cursor names the last entry that was shown, by the keys of its order, so that it may itself be gone.
 */
#include "server/batch.h"
#include "server/guard.h"
#include "server/kept.h"
#include "server/view.h"
#include "base/mem.h"
#include "base/num.h"
#include "wire/record.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#define LIST_DEFAULT 100
#define LIST_MAX     1000000
#define ENDED_PAGE   500 /* rows read from the store at a time */

struct place {
	int phase; /* 0 runs, 1 waits, 2 ended */
	int32_t queue_priority, priority;
	uint64_t order;
	int64_t task;
	int64_t ended_ms; /* of ended ones, with num and task */
	uint64_t num;
};

struct list {
	struct call *c;
	json_t *jobs;
	size_t limit;
	size_t total;
	int64_t at_ms; /* of the living ones */
	bool all;
	uint64_t array; /* tasks of this one only; 0: jobs, arrays folded */
	const char *queue, *user;
	int state; /* -1: any */
	bool has_after;
	struct place after, last; /* last: that was shown */
	/* store thread */
	struct place read; /* the last row that was looked at */
	size_t page, n_read;
	struct job *parent;
	struct job **found;
	uint32_t n_found, cap_found;
	bool more;
	int rc;
	struct err err;
};

static struct place place_of(const struct job *j)
{
	return (struct place){
	        .phase = job_state_is_final(j->state) ? 2
	                 : job_state_holds(j->state) || (j->is_array && j->state == JOB_RUNNING)
	                         ? 0
	                         : 1,
	        .queue_priority = j->class ? j->class->shape.queue->priority : 0,
	        .priority = j->priority,
	        .order = j->order,
	        .task = j->id.task,
	        .ended_ms = j->ended_ms,
	        .num = j->id.num};
}

static int place_cmp(const struct place *a, const struct place *b)
{
	if (a->phase != b->phase)
		return a->phase - b->phase;
	if (a->phase == 1 && a->queue_priority != b->queue_priority)
		return a->queue_priority > b->queue_priority ? -1 : 1;
	if (a->phase == 1 && a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	return a->task < b->task ? -1 : a->task > b->task;
}

/* The first `most` of those that were offered: a heap, the last of them at its root. So a page costs little, however many live. */
struct entry {
	struct place at;
	const struct job *job;
};
struct firsts {
	struct entry *v;
	uint32_t n, cap;
	size_t most;
};

static int entry_cmp(const void *a, const void *b)
{
	return place_cmp(&((const struct entry *)a)->at, &((const struct entry *)b)->at);
}

static void sink(struct firsts *h, struct entry e)
{
	uint32_t i = 0, k;

	while ((k = 2 * i + 1) < h->n) {
		if (k + 1 < h->n && entry_cmp(&h->v[k + 1], &h->v[k]) > 0)
			k++;
		if (entry_cmp(&e, &h->v[k]) >= 0)
			break;
		h->v[i] = h->v[k];
		i = k;
	}
	h->v[i] = e;
}

static void offer(struct firsts *h, struct entry e)
{
	uint32_t i;

	if (h->n == h->most) {
		if (entry_cmp(&e, &h->v[0]) < 0)
			sink(h, e);
		return;
	}
	MEM_GROW(h->v, h->n, h->cap);
	for (i = h->n++; i && entry_cmp(&h->v[(i - 1) / 2], &e) < 0; i = (i - 1) / 2)
		h->v[i] = h->v[(i - 1) / 2];
	h->v[i] = e;
}

static bool fits(const struct list *l, const struct job *j)
{
	if (l->array ? j->id.num != l->array || j->id.task == TASK_NONE : j->id.task != TASK_NONE)
		return false;
	if (l->queue && strcmp(j->req->queue, l->queue) != 0)
		return false;
	if (l->user && strcmp(j->req->user, l->user) != 0)
		return false;
	return l->state < 0 || (int)j->state == l->state;
}

static void append(struct list *l, const struct job *j)
{
	json_array_append_new(l->jobs, view_job(l->c->s, l->c->world, j));
	l->last = place_of(j);
}

/* False: it stands behind all that are kept, and they are enough. */
static bool offer_job(struct list *l, struct firsts *h, const struct job *j)
{
	struct entry e = {.at = place_of(j), .job = j};

	if (h->n == h->most && entry_cmp(&e, &h->v[0]) >= 0)
		return false;
	if (!l->has_after || place_cmp(&e.at, &l->after) > 0)
		offer(h, e);
	return true;
}

/* Where a class can begin to be of the page: behind what was shown, in its own order. */
static struct job *first_to_offer(const struct list *l, struct sched_class *c)
{
	const struct place *after = &l->after;
	struct job key = {.priority = after->priority,
	        .order = after->order,
	        .id = {after->num, after->task}};

	if (!l->has_after || after->phase == 0 ||
	        (after->phase == 1 && after->queue_priority > c->shape.queue->priority))
		return c->first_ready;
	if (after->phase == 2 || after->queue_priority < c->shape.queue->priority)
		return NULL;
	return RB_NFIND(job_order, &c->ready, &key);
}

/* All that live, without a look at most of those that wait: each class has them in the order of the list. */
static void gather_all(struct list *l, struct firsts *h)
{
	struct world *w = l->c->world;
	struct sched_class *c, *next;
	struct job *j;

	l->total = w->n_living;
	LIST_FOREACH (j, &w->apart, apart)
		offer_job(l, h, j);
	HASH_ITER (hh, w->classes, c, next)
		for (j = first_to_offer(l, c); j; j = RB_NEXT(job_order, &c->ready, j))
			if (!j->is_array && j->id.task == TASK_NONE && !offer_job(l, h, j))
				break;
}

static void gather_fitting(struct list *l, struct firsts *h)
{
	struct world *w = l->c->world;
	struct job key = {.id = {l->array, TASK_NONE}};
	const struct job *from = l->array ? RB_FIND(job_ids, &w->by_id, &key) : NULL;

	if (l->array && !from)
		return;
	for (struct job *j = world_next_job(w, from); j; j = world_next_job(w, j)) {
		if (l->array && j->id.num != l->array)
			break;
		if (job_state_is_final(j->state) || !fits(l, j))
			continue;
		l->total++;
		(void)offer_job(l, h, j);
	}
}

/* One more than is shown says that more follow. */
static void list_living(struct list *l)
{
	struct firsts h = {.most = l->limit - MIN(l->limit, json_array_size(l->jobs)) + 1};

	if (l->array || l->queue || l->user || l->state >= 0)
		gather_fitting(l, &h);
	else
		gather_all(l, &h);
	if (h.n)
		qsort(h.v, h.n, sizeof(*h.v), entry_cmp);
	l->more = h.n == h.most;
	for (uint32_t i = 0; i < h.n && i + 1 < h.most; i++)
		append(l, h.v[i].job);
	free(h.v);
}

static void finish(struct list *l)
{
	char cursor[160];
	json_t *next = json_null();

	if (l->more) {
		const struct place *p = &l->last;
		snprintf(cursor, sizeof(cursor), "%d.%d.%d.%llu.%lld.%lld.%llu", p->phase,
		        p->queue_priority, p->priority, (unsigned long long)p->order,
		        (long long)p->task, (long long)p->ended_ms, (unsigned long long)p->num);
		next = json_string(cursor);
	}
	guard_count_rows(l->c->s, &l->c->who, json_array_size(l->jobs));
	call_reply_json(l->c, 200,
	        json_pack("{s:i, s:O, s:o, s:I}", "schema", 1, "jobs", l->jobs, "next", next,
	                "total", (json_int_t)l->total));
}

/* Ended ones, a page at a time: decoded on the store thread, shown on the loop; in between others have the store. */

static int take_ended(void *data, const struct store_row *row, struct err *err)
{
	struct list *l = data;
	struct job *j;
	int rc;

	l->n_read++;
	l->read = (struct place){
	        .phase = 2, .ended_ms = row->ended_ms, .num = row->key, .task = row->sub};
	if (row->kind == ROW_TASK && !row->ended_ms)
		return 0;
	rc = record_get_job(row->data, row->len, l->parent, &j, err);
	if (rc)
		return rc;
	if (!fits(l, j)) {
		world_job_free(j);
		return 0;
	}
	MEM_GROW(l->found, l->n_found, l->cap_found);
	l->found[l->n_found++] = j;
	return 0;
}

static int take_parent(void *data, const struct store_row *row, struct err *err)
{
	return record_get_job(row->data, row->len, NULL, &((struct list *)data)->parent, err);
}

static struct store *store_of(const struct list *l)
{
	return l->c->kept ? kept_store(l->c->kept) : l->c->s->store;
}

static struct worker *thread_of(const struct list *l)
{
	return l->c->kept ? l->c->s->reader : l->c->s->worker;
}

static void read_tasks(struct list *l)
{
	struct store *s = store_of(l);

	l->rc = l->parent ? 0 : store_get(s, ROW_JOB, l->array, -1, take_parent, l, &l->err);
	if (l->rc == 0)
		l->rc = store_each_of_key(s, ROW_TASK, l->array, l->read.task + 1, ENDED_PAGE,
		        take_ended, l, &l->err);
}

static void read_page(void *data)
{
	struct list *l = data;

	l->n_read = 0;
	if (l->array)
		read_tasks(l);
	else
		l->rc = store_each_ended(store_of(l), ROW_JOB, l->read.ended_ms, l->read.num,
		        l->read.task, l->page, take_ended, l, &l->err);
}

static void show_page(struct list *l)
{
	for (uint32_t i = 0; i < l->n_found; i++) {
		struct job *j = l->found[i];
		/* A retry may have brought it back to life since it was read. */
		const struct job *now = world_find_job(l->c->world, j->id);
		bool lives = now && !job_state_is_final(now->state);
		/* It may have lived when the living ones were listed. */
		if (!l->more && l->rc == 0 && !lives && j->ended_ms <= l->at_ms) {
			l->more = json_array_size(l->jobs) >= l->limit;
			if (!l->more) {
				append(l, j);
				l->total++;
			}
		}
		world_job_free(j);
	}
	l->n_found = 0;
}

static void end(struct list *l)
{
	free(l->found);
	world_job_free(l->parent);
	if (l->rc && l->err.kind != ERR_NOT_FOUND)
		call_fail(l->c, &l->err);
	else if (l->c->r)
		finish(l);
	json_decref(l->jobs);
	call_drop(l->c);
}

static void page_done(void *data)
{
	struct list *l = data;

	show_page(l);
	if (l->rc || l->more || l->n_read < l->page || !l->c->r) {
		end(l);
	} else if (!worker_submit(thread_of(l), read_page, page_done, l)) {
		l->rc = err_set(&l->err, ERR_UNAVAILABLE, "the store is busy; try again");
		end(l);
	}
}

static int parse_cursor(const char *text, struct place *p, struct err *err)
{
	long long task, ended;
	unsigned long long order, num;

	if (sscanf(text, "%d.%d.%d.%llu.%lld.%lld.%llu", &p->phase, &p->queue_priority,
	            &p->priority, &order, &task, &ended, &num) != 7)
		return err_set(err, ERR_INVALID, "'after' is not a cursor that a listing gave");
	p->order = order;
	p->task = task;
	p->ended_ms = ended;
	p->num = num;
	return 0;
}

static int parse_list(struct list *l, struct err *err)
{
	struct net_request *r = l->c->r;
	const char *limit = net_request_query(r, "limit"), *all = net_request_query(r, "all");
	const char *state = net_request_query(r, "state"), *after = net_request_query(r, "after");
	const char *array = net_request_query(r, "array");
	uint64_t n = LIST_DEFAULT;
	struct job_id id;
	int rc = 0;

	if (limit && strcmp(limit, "all") == 0)
		n = LIST_MAX;
	else if (limit)
		rc = num_parse_u64(limit, LIST_MAX, &n, err);
	if (rc)
		return err_wrap(err, "'limit'");
	l->limit = n ? n : 1;
	l->all = all && strcmp(all, "0") != 0;
	/* Read on the store thread, when the request may be gone. */
	l->queue = talloc_strdup(l, net_request_query(r, "queue"));
	l->user = talloc_strdup(l, net_request_query(r, "user"));
	l->state = state ? strtab_find_nocase(job_state_names, state) : -1;
	if (state && l->state < 0)
		return err_set(err, ERR_INVALID, "'%.40s' is no state of a job", state);
	if (l->state >= 0 && job_state_is_final((enum job_state)l->state))
		l->all = true;
	if (array) {
		rc = job_id_parse(array, &id, err);
		if (rc)
			return rc;
		l->array = id.num;
	}
	l->has_after = after != NULL;
	return after ? parse_cursor(after, &l->after, err) : 0;
}

/* Behind the barrier: whatever did not live any more when the living ones were listed is in the store now. */
static void read_ended(struct list *l)
{
	bool goes_on = l->has_after && l->after.phase == 2;
	bool is_filtered = l->array || l->queue || l->user || l->state >= 0;
	size_t want = l->limit - json_array_size(l->jobs) + 1;

	l->page = is_filtered ? ENDED_PAGE : MIN(want, ENDED_PAGE);
	l->read = goes_on ? l->after
	                  : (struct place){.ended_ms = INT64_MAX,
	                            .num = UINT64_MAX,
	                            .task = l->array ? -1 : INT64_MAX};
	if (worker_submit(thread_of(l), read_page, page_done, l))
		return;
	l->rc = err_set(&l->err, ERR_UNAVAILABLE, "the store is busy; try again");
	end(l);
}

static void at_barrier(struct server *s, void *data)
{
	struct list *l = data;
	struct call *c = l->c;
	struct err err;

	if (!server_is_stuck(s, &err)) {
		read_ended(l);
		return;
	}
	json_decref(l->jobs);
	if (c->r)
		kept_ask(c, c->again);
	call_drop(c);
}

void api_jobs_list(struct call *c)
{
	struct list *l = talloc_zero(c->ctx, struct list);
	struct err err;

	l->c = c;
	if (parse_list(l, &err)) {
		call_fail(c, &err);
		return;
	}
	l->jobs = json_array();
	l->at_ms = server_now(c->s).wall_ms;
	if (!l->has_after || l->after.phase != 2)
		list_living(l);
	if (!l->all || l->more) {
		finish(l);
		json_decref(l->jobs);
		return;
	}
	call_hold(c);
	if (c->kept)
		read_ended(l);
	else
		batch_after_read(c->s, at_barrier, l);
}
