/*
 * DESIGN. Where every living job waits. Jobs that are alike to the scheduler form a class; those that are READY stand in
 * the ordered tree of their class, so that a plan looks at the head of each class only, however many jobs wait.
 *
 * A throttled array has `throttle` places. They belong first to the tasks that run, then to those that are READY (they
 * came back after a first attempt), then to the array's own next task. So a READY job may always start, and when a place
 * becomes free one task moves up: the work does not depend on how many wait.
 */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int job_time_cmp(const struct job *a, const struct job *b)
{
	if (a->not_before_ms != b->not_before_ms)
		return a->not_before_ms < b->not_before_ms ? -1 : 1;
	return job_id_cmp(a, b);
}

RB_GENERATE(job_times, job, by_time, job_time_cmp)

/* "" where it does not matter whose the job is. */
static const char *class_user(const struct queue *q, const struct request *r)
{
	return q && q->max_running_per_user && r->user ? r->user : "";
}

static const char *text_of(const char *s)
{
	return s ? s : "";
}

static void class_key(const struct world *w, const struct request *r, char *out, size_t size)
{
	const struct gpu_ask *g = &r->gpu;

	snprintf(out, size,
	        "%s\x1f%u\x1f%u\x1f%u\x1f%llu\x1f%u\x1f%u\x1f%u\x1f%u\x1f%s\x1f%u\x1f%llu\x1f%llu\x1f%s\x1f%s",
	        r->queue, g->count, g->milli, g->fgpu_milli, (unsigned long long)g->mem_bytes,
	        g->share_milli, g->cc_min, g->cuda_min, g->driver_min, text_of(g->model),
	        request_cpus(r), (unsigned long long)r->mem_bytes,
	        (unsigned long long)r->time_limit_ms, class_user(world_find_queue(w, r->queue), r),
	        text_of(r->constraint));
}

/* The same as an equal class_key(), without making one. */
static bool is_of_class(const struct sched_class *c, const struct request *r)
{
	const struct gpu_ask *a = &c->shape.gpu, *b = &r->gpu;

	return c->shape.cpus == request_cpus(r) && c->shape.mem_bytes == r->mem_bytes &&
	       c->shape.time_limit_ms == r->time_limit_ms && a->count == b->count &&
	       a->milli == b->milli && a->fgpu_milli == b->fgpu_milli &&
	       a->mem_bytes == b->mem_bytes && a->share_milli == b->share_milli &&
	       a->cc_min == b->cc_min && a->cuda_min == b->cuda_min &&
	       a->driver_min == b->driver_min &&
	       strcmp(text_of(a->model), text_of(b->model)) == 0 &&
	       strcmp(text_of(c->shape.constraint), text_of(r->constraint)) == 0 &&
	       strcmp(c->shape.queue->name, r->queue) == 0 &&
	       strcmp(c->shape.user, class_user(c->shape.queue, r)) == 0;
}

static struct sched_class *get_class(struct world *w, const struct request *r)
{
	char key[2048];
	struct sched_class *c;

	/* Jobs that are alike come in a row. */
	if (w->last_class && is_of_class(w->last_class, r))
		return w->last_class;
	class_key(w, r, key, sizeof(key));
	HASH_FIND_STR(w->classes, key, c);
	if (c) {
		w->last_class = c;
		return c;
	}
	c = mem_zalloc(sizeof(*c));
	c->key = mem_strdup(key);
	c->shape.queue = world__get_queue(w, r->queue);
	c->shape.user = mem_strdup(class_user(c->shape.queue, r));
	c->shape.gpu = r->gpu;
	c->shape.gpu.model = mem_strdup(r->gpu.model);
	c->shape.constraint = mem_strdup(r->constraint);
	c->shape.cpus = request_cpus(r);
	c->shape.mem_bytes = r->mem_bytes;
	c->shape.time_limit_ms = r->time_limit_ms;
	RB_INIT(&c->ready);
	HASH_ADD_KEYPTR(hh, w->classes, c->key, strlen(c->key), c);
	return c;
}

void world__join_class(struct world *w, struct job *j)
{
	if (j->class)
		return;
	j->class = j->parent && j->parent->class && !j->has_own_request ? j->parent->class
	                                                                : get_class(w, j->req);
	j->class->n_jobs++;
	if (j->id.task == TASK_NONE)
		LIST_INSERT_HEAD(&w->apart, j, apart);
}

void world__leave_class(struct world *w, struct job *j)
{
	struct sched_class *c = j->class;

	if (!c)
		return;
	world__set_wait(w, j, WAIT_NONE);
	if (j->id.task == TASK_NONE)
		LIST_REMOVE(j, apart);
	j->class = NULL;
	if (--c->n_jobs)
		return;
	if (w->last_class == c)
		w->last_class = NULL;
	HASH_DEL(w->classes, c);
	free(c->shape.gpu.model);
	free(c->shape.constraint);
	free(c->shape.user);
	free(c->key);
	free(c);
}

void world__reclass(struct world *w, struct job *j)
{
	enum job_wait wait = j->wait;

	if (!j->class)
		return;
	world__leave_class(w, j);
	world__join_class(w, j);
	world__set_wait(w, j, wait);
}

/* At the right end where it belongs there, as most do: see insert_by_id(). */
static void insert_ready(struct sched_class *c, struct job *j)
{
	struct job *last = c->last_ready;

	if (!c->first_ready || job_order_cmp(j, c->first_ready) < 0)
		c->first_ready = j;
	if (last && job_order_cmp(j, last) <= 0) {
		world__order_insert(&c->ready, j);
		return;
	}
	c->last_ready = j;
	world__order_append(&c->ready, last, j);
}

static void remove_ready(struct sched_class *c, struct job *j)
{
	if (c->first_ready == j)
		c->first_ready = RB_NEXT(job_order, &c->ready, j);
	if (c->last_ready == j)
		c->last_ready = RB_PREV(job_order, &c->ready, j);
	world__order_remove(&c->ready, j);
}

void world__set_wait(struct world *w, struct job *j, enum job_wait wait)
{
	struct array *of = j->parent ? j->parent->array : NULL;
	bool is_plain = !j->is_array && j->id.task == TASK_NONE;

	if (is_plain && j->wait != WAIT_READY && wait == WAIT_READY)
		LIST_REMOVE(j, apart);
	else if (is_plain && j->wait == WAIT_READY && wait != WAIT_READY)
		LIST_INSERT_HEAD(&w->apart, j, apart);
	if (j->wait == WAIT_READY) {
		/* Who comes first may have kept others from starting. */
		w->plan_wanted |= j->class->first_ready == j;
		remove_ready(j->class, j);
		if (of)
			of->n_ready--;
	} else if (j->wait == WAIT_BACKOFF) {
		RB_REMOVE(job_times, &w->backoff, j);
	} else if (j->wait == WAIT_THROTTLE && of) {
		world__order_remove(&of->throttled, j);
	}
	j->wait = wait;
	if (wait == WAIT_READY) {
		insert_ready(j->class, j);
		if (of)
			of->n_ready++;
		w->plan_wanted = true;
	} else if (wait == WAIT_BACKOFF) {
		BUG_IF(RB_INSERT(job_times, &w->backoff, j) != NULL);
	} else if (wait == WAIT_THROTTLE && of) {
		world__order_insert(&of->throttled, j);
	}
}

static bool has_something_to_start(const struct job *j)
{
	if (job_state_is_final(j->state))
		return false;
	return j->is_array ? array_unstarted(j->array) > 0 : j->state == JOB_PENDING;
}

static bool is_throttled(const struct job *j)
{
	const struct job *array = j->is_array ? j : j->parent;

	if (!array || !array->req->throttle)
		return false;
	/* A task that is READY has its place already. */
	return array_places(array) == 0 && (j->is_array || j->wait != WAIT_READY);
}

enum job_wait job_wait_due(const struct job *j, struct now now)
{
	if (!has_something_to_start(j))
		return WAIT_NONE;
	if (j->held || (j->parent && j->parent->held))
		return WAIT_HELD;
	if (!(j->parent && request_has_twins(j->req)) &&
	        !job_deps_are_met(j->parent ? j->parent : j))
		return WAIT_DEPENDENCY;
	if (j->not_before_ms > now.wall_ms)
		return WAIT_BACKOFF;
	return is_throttled(j) ? WAIT_THROTTLE : WAIT_READY;
}

static void settle_one(struct world *w, struct job *j, struct now now)
{
	enum job_wait wait = job_wait_due(j, now);

	if (wait != j->wait)
		world__set_wait(w, j, wait);
}

void world__settle(struct world *w, struct job *j, struct now now)
{
	struct job *array = j->is_array ? j : j->parent, *t;

	settle_one(w, j, now);
	if (!array || !array->req->throttle)
		return;
	while (array_places(array) > 0 && (t = RB_MIN(job_order, &array->array->throttled)) != NULL)
		settle_one(w, t, now);
	settle_one(w, array, now);
}

int64_t world_next_tick(const struct world *w)
{
	const struct job *j = RB_MIN(job_times, (struct job_times *)(uintptr_t)&w->backoff);

	return j ? j->not_before_ms : INT64_MAX;
}

uint64_t world_position(const struct world *w, const struct job *j)
{
	uint64_t before = 0;

	for (const struct sched_class *c = j->class ? w->classes : NULL; c; c = c->hh.next)
		if (c->shape.queue == j->class->shape.queue)
			before += job_order_count(&c->ready, j);
	return before + 1;
}
