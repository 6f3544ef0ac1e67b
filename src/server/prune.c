/* Once an hour: what is older than server.retain leaves the store, and its output leaves the nodes. */
#include "server/prune.h"
#include "server/links.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>

#define PRUNE_LIMIT 1000 /* rows at a time, so that commits do not wait long */

struct gone {
	uint64_t node;
	struct link_attempt attempt;
};

struct prune {
	struct server *s;
	int64_t before_ms;
	struct gone *v;
	uint32_t n, cap;
	size_t removed;
	int rc;
	struct err err;
};

static int take(void *data, const struct store_row *row, struct err *err)
{
	struct prune *p = data;
	struct job *j;
	int rc;

	if (row->kind == ROW_TASK)
		return 0;
	rc = record_get_job(row->data, row->len, NULL, &j, err);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < j->n_attempts; i++) {
		MEM_GROW(p->v, p->n, p->cap);
		p->v[p->n++] =
		        (struct gone){j->attempts[i].node, {.id = j->id,
		                                                   .epoch = j->attempts[i].epoch,
		                                                   .attempt = j->attempts[i].n,
		                                                   .phase = LINK_ENDED_UNACKED}};
	}
	world_job_free(j);
	return 0;
}

/* Store thread. */
static void run(void *data)
{
	struct prune *p = data;
	size_t tasks = 0;

	p->rc = store_each_ended(
	        p->s->store, ROW_JOB, p->before_ms, 0, INT64_MIN, PRUNE_LIMIT, take, p, &p->err);
	if (p->rc == 0)
		p->rc = store_prune(
		        p->s->store, ROW_JOB, p->before_ms, PRUNE_LIMIT, &p->removed, &p->err);
	if (p->rc == 0)
		p->rc = store_prune(
		        p->s->store, ROW_TASK, p->before_ms, PRUNE_LIMIT, &tasks, &p->err);
	p->removed += tasks;
}

static void done(void *data)
{
	struct prune *p = data;

	if (p->rc)
		log_error("prune", "text=\"%s\"", p->err.text);
	for (uint32_t i = 0; i < p->n && p->rc == 0; i++)
		links_remove_output(p->s, p->v[i].node, &p->v[i].attempt, 1);
	/* As much as fitted: there may be more. */
	if (!p->s->stopped) /* the timers are gone then */
		loop_timer_start(
		        p->s->prune_timer, p->removed >= PRUNE_LIMIT ? 1000 : PRUNE_INTERVAL_MS, 0);
	free(p->v);
	free(p);
}

void prune_begin(void *server)
{
	struct server *s = server;
	struct prune *p;

	loop_timer_start(s->prune_timer, PRUNE_INTERVAL_MS, 0);
	if (!s->conf->server_retain_ms)
		return;
	p = mem_zalloc(sizeof(*p));
	p->s = s;
	p->before_ms = server_now(s).wall_ms - s->conf->server_retain_ms;
	if (!worker_submit(s->worker, run, done, p))
		free(p);
}
