/* Ended jobs that have left memory are read back from the store when somebody names them. */
#include "server/api.h"
#include "server/batch.h"
#include "server/recorder.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>

struct fetch {
	struct server *s;
	struct job_id id;
	char *key; /* NULL: by id; else the text of the row that says which */
	fetch_fn *done;
	void *data;
	struct job *parent; /* decoded, of an array's task */
	struct job *job;
	int rc;
	struct err err;
	struct loop_timer *later;
};

static int take_row(void *data, const struct store_row *row, struct err *err)
{
	struct fetch *f = data;

	return record_get_job(row->data, row->len, f->parent,
	        row->kind == ROW_TASK     ? &f->job
	        : f->id.task == TASK_NONE ? &f->job
	                                  : &f->parent,
	        err);
}

/* Two texts may have one row key. */
static int take_key(void *data, const struct store_row *row, struct err *err)
{
	struct fetch *f = data;

	(void)err;
	if (row->len == strlen(f->key) && memcmp(row->data, f->key, row->len) == 0)
		f->id = (struct job_id){(uint64_t)row->sub, TASK_NONE};
	return 0;
}

/* Store thread. */
static void run(void *data)
{
	struct fetch *f = data;

	if (f->key) {
		f->rc = store_each_of_key(f->s->store, ROW_IDEM, idem_row_key(f->key), INT64_MIN,
		        SIZE_MAX, take_key, f, &f->err);
		if (f->rc == 0 && !f->id.num)
			f->rc = err_set(&f->err, ERR_NOT_FOUND, "the key is new");
		if (f->rc)
			return;
	}
	f->rc = store_get(f->s->store, ROW_JOB, f->id.num, -1, take_row, f, &f->err);
	if (f->rc == 0 && f->id.task != TASK_NONE)
		f->rc = store_get(
		        f->s->store, ROW_TASK, f->id.num, f->id.task, take_row, f, &f->err);
}

/* Into the world, unless it came there meanwhile, or lives (then it was never away). */
static void adopt(struct server *s, struct job *take_j)
{
	struct err err;

	if (!take_j)
		return;
	if (world_find_job(s->world, take_j->id) || !job_state_is_final(take_j->state))
		world_job_free(take_j);
	else if (world_adopt_job(s->world, take_j, &err))
		log_error("fetch.adopt", "text=\"%s\"", err.text);
	else
		recorder_job(s->recorder, server_now(s).wall_ms, take_j);
}

static void finish(void *data)
{
	struct fetch *f = data;

	adopt(f->s, STEAL(f->parent));
	adopt(f->s, STEAL(f->job));
	f->done(f->s, f->data, f->rc, &f->err);
	/* Who only reads must not fill the memory. Some are left, so that a job with many dependencies finds them all. */
	if (!f->s->in_flight &&
	        f->s->world->n_ended > f->s->world->policy.keep_ended + RECORD_DEPS_MAX)
		world_trim(f->s->world, batch_effects(f->s));
	loop_timer_free(f->later);
	free(f->key);
	free(f);
}

static void submit(void *data)
{
	struct fetch *f = data;

	if (!worker_submit(f->s->worker, run, finish, f)) {
		if (!f->later)
			f->later = loop_timer_new(f->s->loop, submit, f);
		loop_timer_start(f->later, 5, 0);
	}
}

void fetch_job(struct server *s, struct job_id id, fetch_fn *done, void *data)
{
	struct fetch *f = mem_zalloc(sizeof(*f));

	*f = (struct fetch){.s = s, .id = id, .done = done, .data = data};
	submit(f);
}

void fetch_key(struct server *s, char *take_text, fetch_fn *done, void *data)
{
	struct fetch *f = mem_zalloc(sizeof(*f));

	*f = (struct fetch){
	        .s = s, .key = take_text, .id.task = TASK_NONE, .done = done, .data = data};
	submit(f);
}
