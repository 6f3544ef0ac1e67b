/*
 * DESIGN. Tasks go before jobs, and only those whose array goes too: what lives stays whole. The store thread reads a page of
 * what is old; the loop looks whether it still is (somebody may have retried it), and lets the rows and the record of their
 * output go in one batch. Blobs go by their used_ms when no job is left that is as old: see world_use_blob().
 */
#include "server/prune.h"
#include "server/batch.h"
#include "server/links.h"
#include "server/removals.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>

#define PAGE 1000 /* rows at a time, so that commits do not wait long */

struct gone {
	uint64_t node;
	struct link_attempt attempt;
};

struct prune {
	struct server *s;
	int64_t before_ms;
	enum row_kind kind; /* TASK, then JOB */
	/* the last row that was looked at */
	int64_t at_ms;
	uint64_t at_key;
	int64_t at_sub;
	/* of this page */
	size_t n_looked;
	struct job **jobs; /* as record_get_attempts() makes them */
	uint32_t n_jobs, cap_jobs;
	struct gone *gone;
	uint32_t n_gone, cap_gone;
	uint64_t array; /* whose fate is known; 0: none */
	bool array_stays;
	size_t n_batches;
	int rc;
	struct err err;
};

static void clear_page(struct prune *p)
{
	for (uint32_t i = 0; i < p->n_jobs; i++)
		world_job_free(p->jobs[i]);
	p->n_looked = p->n_jobs = p->n_gone = 0;
}

void prune_free(struct server *s)
{
	struct prune *p = s->prune;

	if (!p)
		return;
	clear_page(p);
	free(p->jobs);
	free(p->gone);
	free(p);
	s->prune = NULL;
}

static void end(struct prune *p)
{
	struct server *s = p->s;

	if (p->rc)
		log_error("prune", "text=\"%s\"", p->err.text);
	prune_free(s);
}

/* Store thread. */

static int look_at_array(void *data, const struct store_row *row, struct err *err)
{
	struct prune *p = data;

	(void)err;
	p->array_stays = row->ended_ms == 0 || row->ended_ms >= p->before_ms;
	return 0;
}

static bool array_stays(struct prune *p, uint64_t num)
{
	struct err ignored;

	if (p->array == num)
		return p->array_stays;
	p->array = num;
	p->array_stays = false;
	(void)!store_get(p->s->store, ROW_JOB, num, -1, look_at_array, p, &ignored);
	return p->array_stays;
}

static int take(void *data, const struct store_row *row, struct err *err)
{
	struct prune *p = data;
	struct job *j;

	p->n_looked++;
	p->at_ms = row->ended_ms;
	p->at_key = row->key;
	p->at_sub = row->sub;
	if (row->kind == ROW_TASK && array_stays(p, row->key))
		return 0;
	/* What cannot be read has no output that could be found. */
	if (record_get_attempts(row->data, row->len, &j, err)) {
		j = world_job_new();
		j->id.num = row->key;
		j->id.task = row->kind == ROW_TASK ? row->sub : TASK_NONE;
	}
	MEM_GROW(p->jobs, p->n_jobs, p->cap_jobs);
	p->jobs[p->n_jobs++] = j;
	return 0;
}

static void read_page(void *data)
{
	struct prune *p = data;

	p->array = 0;
	p->rc = store_each_oldest(p->s->store, p->kind, p->at_ms, p->at_key, p->at_sub,
	        p->before_ms, PAGE, take, p, &p->err);
}

static void prune_journal(void *data)
{
	struct prune *p = data;

	p->rc = store_prune_journal(p->s->store, p->before_ms, PAGE, &p->n_batches, &p->err);
}

/* Loop thread. */

static void on_journal(void *data)
{
	struct prune *p = data;

	if (p->rc || p->n_batches < PAGE || p->s->stopped ||
	        !worker_submit(p->s->worker, prune_journal, on_journal, p))
		end(p);
}

static void drop_blobs(struct prune *p)
{
	struct server *s = p->s;
	struct blob *b, *next;

	HASH_ITER (hh, s->world->blobs, b, next) {
		if (b->refs || b->used_ms >= p->before_ms)
			continue;
		batch_remove_row(s, ROW_BLOB, b->num, -1);
		links_drop_blob(s, b->num);
		world_drop_blob(s->world, b);
	}
}

static int by_node(const void *a, const void *b)
{
	uint64_t na = ((const struct gone *)a)->node, nb = ((const struct gone *)b)->node;

	return na < nb ? -1 : na > nb;
}

static void tell_nodes(struct prune *p)
{
	struct link_attempt v[REMOVAL_MAX];
	uint32_t n = 0;

	if (p->n_gone)
		qsort(p->gone, p->n_gone, sizeof(*p->gone), by_node);
	for (uint32_t i = 0; i < p->n_gone; i++) {
		bool is_last = i + 1 == p->n_gone || p->gone[i + 1].node != p->gone[i].node;
		v[n++] = p->gone[i].attempt;
		if (is_last || n == REMOVAL_MAX) {
			removals_add(p->s, p->gone[i].node, v, n);
			n = 0;
		}
	}
}

/* The helper of this machine has something of a job that never began, too: it hears of it as of an attempt that is none. */
static void remove_grant(struct prune *p, const struct job *j)
{
	const struct node *n;

	TAILQ_FOREACH (n, &p->s->world->nodes, link) {
		if (!n->is_local)
			continue;
		MEM_GROW(p->gone, p->n_gone, p->cap_gone);
		p->gone[p->n_gone++] = (struct gone){n->num, {.id = j->id}};
	}
}

static void remove_one(struct prune *p, const struct job *j)
{
	struct job *known = world_find_job(p->s->world, j->id);

	/* It came back to life, or its end is on its way to the store. */
	if (known && !world_forget(p->s->world, known))
		return;
	for (uint32_t i = 0; i < j->n_attempts; i++) {
		MEM_GROW(p->gone, p->n_gone, p->cap_gone);
		p->gone[p->n_gone++] = (struct gone){
		        j->attempts[i].node, {.id = j->id, .attempt = j->attempts[i].n}};
	}
	if (j->req && j->req->grant && !j->n_attempts)
		remove_grant(p, j);
	batch_remove_row(p->s, p->kind, j->id.num, j->id.task);
	if (j->req)
		batch_remove_idem(p->s, j->req, j->id.num);
}

static void on_page(void *data);

static void next_page(struct server *s, void *data)
{
	struct prune *p = data;

	if (!worker_submit(s->worker, read_page, on_page, p))
		end(p);
}

static void begin_kind(struct prune *p, enum row_kind kind)
{
	p->kind = kind;
	p->at_ms = 0;
	p->at_key = 0;
	p->at_sub = INT64_MIN;
}

static void on_page(void *data)
{
	struct prune *p = data;
	struct server *s = p->s;
	bool is_last = p->n_looked < PAGE;

	if (p->rc || s->stopped) {
		end(p);
		return;
	}
	for (uint32_t i = 0; i < p->n_jobs; i++)
		remove_one(p, p->jobs[i]);
	tell_nodes(p);
	clear_page(p);
	if (is_last && p->kind == ROW_JOB) {
		drop_blobs(p);
		if (!worker_submit(s->worker, prune_journal, on_journal, p))
			end(p);
		return;
	}
	if (is_last)
		begin_kind(p, ROW_JOB);
	/* Behind the commit, so that others come in between. */
	batch_after(s, next_page, p);
}

void prune_begin(void *server)
{
	struct server *s = server;
	struct prune *p;

	loop_timer_start(s->prune_timer, PRUNE_INTERVAL_MS, 0);
	if (!s->conf->server_retain_ms || s->prune || server_now(s).mono_ms < s->prune_after_ms)
		return;
	p = s->prune = mem_zalloc(sizeof(*p));
	p->s = s;
	p->before_ms = server_now(s).wall_ms - s->conf->server_retain_ms;
	begin_kind(p, ROW_TASK);
	next_page(s, p);
}
