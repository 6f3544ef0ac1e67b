/* The world as the store has it, before the first request is taken. */
#include "server/load.h"
#include "server/batch.h"
#include "server/queues.h"
#include "server/removals.h"
#include "base/mem.h"
#include "plat/clock.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

struct loader {
	struct server *s; /* NULL: only the world is wanted */
	struct store *store;
	const struct conf *conf;
	struct world *w;
	struct effects fx;
	struct job **ended; /* latest first */
	uint32_t n_ended, cap_ended;
};

static int apply(struct loader *l, const struct event *e, struct err *err)
{
	const struct now now = {.wall_ms = clock_wall_ms(), .mono_ms = (int64_t)clock_mono_ms()};
	struct applied out;

	return core_apply(l->w, e, now, l->s ? batch_effects(l->s) : &l->fx, &out, err);
}

static int take_meta(void *data, const struct store_row *row, struct err *err)
{
	return record_get_meta(row->data, row->len, ((struct loader *)data)->w, err);
}

static int take_blob(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	struct record_blob b;
	int rc = record_get_blob(row->data, row->len, &b, err);

	if (rc == 0 && !world_find_blob(l->w, b.hash))
		(void)world_adopt_blob(l->w, row->key, b.hash, b.used_ms, b.data, b.len);
	return rc;
}

static int take_node(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	void *ctx = talloc_new(NULL);
	struct node n;
	struct event e = {.kind = EVENT_NODE_UP, .node = &n, .force = true};
	struct device_info *devices = NULL;
	int rc = record_get_node(row->data, row->len, ctx, &n, &devices, &e.n_devices, err);

	e.devices = devices;
	if (rc == 0)
		rc = apply(l, &e, err);
	talloc_free(ctx);
	return rc;
}

static int set_queue(struct loader *l, const struct conf_queue *c, char *overlay, struct err *err)
{
	struct queue q = queues_fill(c, overlay);
	struct event e = {.kind = EVENT_QUEUE_SET, .queue = &q};
	int rc = apply(l, &e, err);

	free(q.nodes);
	return rc;
}

/* What was set at run time goes over what the configuration says now, even where the two do not go together well. */
static int lay_over(struct loader *l, const struct queue *q, struct err *err)
{
	CLEANUP(conf_queue_freep) struct conf_queue *c = NULL;
	int rc = conf_queue_make(l->conf, q->name, q->overlay, &c, err);

	return rc ? err_wrap(err, "what was set at run time") : set_queue(l, c, q->overlay, err);
}

static int take_queue(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	void *ctx = talloc_new(NULL);
	struct queue q;
	struct event e = {.kind = EVENT_QUEUE_PAUSE};
	int rc = record_get_queue(row->data, row->len, ctx, &q, err);

	e.name = q.name;
	if (rc == 0 && q.overlay)
		rc = lay_over(l, &q, err);
	if (rc == 0 && q.paused && world_find_queue(l->w, q.name))
		rc = apply(l, &e, err);
	talloc_free(ctx);
	return rc;
}

static int take_token(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	struct token t;
	struct event e = {.kind = EVENT_TOKEN_ADD, .token = &t};
	int rc = record_get_token(row->data, row->len, &t, err);

	return rc ? rc : apply(l, &e, err);
}

static int take_removal(void *data, const struct store_row *row, struct err *err)
{
	return removals_load(((struct loader *)data)->s, row, err);
}

static int take_job(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	const struct job *parent =
	        row->kind == ROW_TASK ? world_find_job(l->w, (struct job_id){row->key, TASK_NONE})
	                              : NULL;
	struct job *j;
	int rc;

	if (row->kind == ROW_TASK && !parent)
		return err_set(err, ERR_CORRUPT, "a task of job %llu has no job",
		        (unsigned long long)row->key);
	rc = record_get_job(row->data, row->len, parent, &j, err);
	return rc ? err_wrap(err, "job %llu", (unsigned long long)row->key)
	          : world_adopt_job(l->w, j, err);
}

static int take_ended(void *data, const struct store_row *row, struct err *err)
{
	struct loader *l = data;
	struct job *j;
	int rc = record_get_job(row->data, row->len, NULL, &j, err);

	if (rc)
		return rc;
	MEM_GROW(l->ended, l->n_ended, l->cap_ended);
	l->ended[l->n_ended++] = j;
	return 0;
}

/* The latest ended jobs come back too: people ask for them. */
static int load_ended(struct loader *l, struct err *err)
{
	uint32_t most = MIN(l->w->policy.keep_ended, 1000);
	int rc = store_each_ended(
	        l->store, ROW_JOB, INT64_MAX, UINT64_MAX, INT64_MAX, most, take_ended, l, err);

	l->w->keys_are_away = l->n_ended == most;
	while (l->n_ended) {
		struct job *j = l->ended[--l->n_ended];
		if (rc == 0)
			rc = world_adopt_job(l->w, j, err);
		else
			world_job_free(j);
	}
	free(l->ended);
	return rc;
}

static int load_queues(struct loader *l, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < l->conf->queues.n && rc == 0; i++)
		rc = set_queue(l, &l->conf->queues.v[i], NULL, err);
	return rc;
}

static int load(struct loader *l, struct err *err)
{
	int rc = load_queues(l, err);

	if (rc == 0)
		rc = store_each(l->store, ROW_META, STORE_LIVING, take_meta, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_BLOB, STORE_LIVING, take_blob, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_NODE, STORE_LIVING, take_node, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_QUEUE, STORE_LIVING, take_queue, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_TOKEN, STORE_LIVING, take_token, l, err);
	if (rc == 0 && l->s)
		rc = store_each(l->store, ROW_REMOVAL, STORE_LIVING, take_removal, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_JOB, STORE_LIVING, take_job, l, err);
	if (rc == 0)
		rc = store_each(l->store, ROW_TASK, STORE_LIVING, take_job, l, err);
	if (rc == 0)
		rc = load_ended(l, err);
	return rc ? rc : world_adopted(l->w, err);
}

int server_load(struct server *s, struct err *err)
{
	struct loader l = {.s = s, .store = s->store, .conf = s->conf, .w = s->world};

	return load(&l, err);
}

int load_world(struct store *store, const struct conf *conf, struct world *w, struct err *err)
{
	struct loader l = {.store = store, .conf = conf, .w = w};
	int rc = load(&l, err);

	effects_done(&l.fx);
	return rc;
}
