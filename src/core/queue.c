/* Queues: what the configuration and commands make of them, and who runs and waits in them. */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An account with attempts that hold resources. */
struct queue_user {
	char *name;
	uint64_t n_running;
	UT_hash_handle hh;
};

struct queue *world_find_queue(const struct world *w, const char *name)
{
	struct queue *q;

	HASH_FIND_STR(w->queues, name, q);
	return q;
}

struct queue *world__get_queue(struct world *w, const char *name)
{
	struct queue *q = world_find_queue(w, name);

	if (q)
		return q;
	q = mem_zalloc(sizeof(*q));
	snprintf(q->name, sizeof(q->name), "%s", name);
	q->default_cpus = 1;
	HASH_ADD_STR(w->queues, name, q);
	return q;
}

static void drop_user(struct queue *q, struct queue_user *u)
{
	HASH_DEL(q->users, u);
	free(u->name);
	free(u);
}

void world__free_queue(struct world *w, struct queue *q)
{
	struct queue_user *u, *next;

	HASH_ITER (hh, q->users, u, next)
		drop_user(q, u);
	HASH_DEL(w->queues, q);
	free(q->nodes);
	free(q->overlay);
	free(q);
}

struct queue *world__queue_of(const struct world *w, const struct job *j)
{
	return j->class ? j->class->shape.queue : world_find_queue(w, j->req->queue);
}

uint64_t queue_user_running(const struct queue *q, const char *user)
{
	struct queue_user *u;

	HASH_FIND_STR(q->users, user, u);
	return u ? u->n_running : 0;
}

void queue__count(struct queue *q, struct job *j, bool holds)
{
	const struct attempt *a = &j->attempts[j->n_attempts - 1];
	const char *name = j->req->user ? j->req->user : "";
	uint64_t milli = 0;
	struct queue_user *u;

	for (uint32_t i = 0; i < a->n_slices; i++)
		milli += a->slices[i].share_milli;
	HASH_FIND_STR(q->users, name, u);
	if (!holds) {
		LIST_REMOVE(j, in_queue);
		q->n_running--;
		q->gpu_milli -= milli;
		if (--u->n_running == 0)
			drop_user(q, u);
		return;
	}
	if (!u) {
		u = mem_zalloc(sizeof(*u));
		u->name = mem_strdup(name);
		HASH_ADD_KEYPTR(hh, q->users, u->name, strlen(u->name), u);
	}
	LIST_INSERT_HEAD(&q->running, j, in_queue);
	u->n_running++;
	q->n_running++;
	q->gpu_milli += milli;
}

/* Classes of a queue with a bound for each account are of one account each. */
static void reclass_all(struct world *w, const struct queue *q)
{
	for (struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j))
		if (j->class && j->class->shape.queue == q)
			world__reclass(w, j);
}

static void set_queue(struct world *w, const struct queue *from)
{
	struct queue *q = world__get_queue(w, from->name);
	bool was_by_user = q->max_running_per_user > 0;

	q->strict = from->strict;
	q->patience_ms = from->patience_ms;
	q->priority = from->priority;
	q->default_cpus = from->default_cpus;
	q->time_limit_ms = from->time_limit_ms;
	q->default_time_ms = from->default_time_ms;
	q->default_retry = from->default_retry;
	q->max_waiting = from->max_waiting;
	q->max_running = from->max_running;
	q->max_running_per_user = from->max_running_per_user;
	q->max_gpus = from->max_gpus;
	free(q->nodes);
	q->nodes = mem_strdup(from->nodes);
	free(q->overlay);
	q->overlay = mem_strdup(from->overlay);
	q->configured = from->configured;
	q->paused = q->paused || from->paused;
	if (was_by_user != (q->max_running_per_user > 0))
		reclass_all(w, q);
}

static uint64_t count_living(const struct world *w, const struct queue *q)
{
	struct sched_class *c, *next;
	uint64_t n = 0;

	HASH_ITER (hh, w->classes, c, next)
		if (c->shape.queue == q)
			n += c->n_jobs;
	return n;
}

/* Ended jobs name it still, and so may the last plan: it stays, as one that the configuration names no more. */
static int remove_queue(struct world *w, struct queue *q, struct err *err)
{
	struct queue nothing = {.default_cpus = 1};
	uint64_t n = count_living(w, q);

	if (n)
		return err_set(err, ERR_CONFLICT,
		               "queue '%s' still has jobs that wait or run: %llu", q->name,
		               (unsigned long long)n)
		               ? err_hint(err, "end or move them first: berth ps -q %s", q->name)
		               : 0;
	memcpy(nothing.name, q->name, sizeof(nothing.name));
	q->paused = false;
	set_queue(w, &nothing);
	return 0;
}

int apply__queue(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct queue *q;
	int rc = 0;

	(void)out;
	if (e->kind == EVENT_QUEUE_SET) {
		set_queue(a->w, e->queue);
	} else {
		q = world_find_queue(a->w, e->name);
		if (!q)
			return err_set(err, ERR_NOT_FOUND, "queue '%s' does not exist", e->name);
		if (e->kind == EVENT_QUEUE_REMOVE)
			rc = remove_queue(a->w, q, err);
		else
			q->paused = e->kind == EVENT_QUEUE_PAUSE;
	}
	a->w->plan_wanted |= rc == 0;
	return rc;
}
