/*
 * DESIGN. Who waits for whom. Every dependency of a living job that is not met yet is one link in the list of the job
 * number it waits for; a link leaves its list when it is met or when its job ends, at a price that does not depend on how
 * many wait for the same job. What an event does to dependents is not done by recursion (a chain of 100,000 jobs may fall
 * at once): apply__transition() notes jobs, and apply__recheck_dependents() works them off at the end of the event.
 *
 * An array that depends task by task (TASK_SAME) has one link for all its tasks. It waits until none of them is left: a task
 * becomes a job of its own when everything that it waits for has come (then it is READY, out of turn) or can never come (then
 * it is CANCELLED). So an event of one twin costs the look at one task, and a task of such an array that lives has waited.
 */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct dep_link {
	struct job *job;       /* who waits */
	struct dep_list *list; /* NULL: met */
	LIST_ENTRY(dep_link) link;
};

enum dep_verdict { DEP_MET, DEP_NOT_YET, DEP_NEVER };

/* Of a task that is not a job of its own yet, was cut with its array, or has left memory (then it was decided before). */
static enum dep_verdict task_verdict(const struct world *w, const struct dep *d)
{
	const struct job *parent = world_find_job(w, (struct job_id){d->on.num, TASK_NONE});
	uint64_t pos;

	if (!parent || !parent->array)
		return DEP_NOT_YET;
	pos = request_task_pos(parent->req, d->on.task);
	if (array_is_unstarted(parent->array, pos) || array_is_apart(parent->array, pos))
		return DEP_NOT_YET;
	return d->kind == DEP_AFTER_ANY ? DEP_MET : DEP_NEVER;
}

static enum dep_verdict dep_verdict(const struct world *w, const struct dep *d)
{
	const struct job *on = world_find_job(w, d->on);
	bool is_final;

	if (!on && d->on.task != TASK_NONE)
		return task_verdict(w, d);
	if (!on)
		return DEP_NOT_YET;
	is_final = job_state_is_final(on->state);
	switch (d->kind) {
	case DEP_AFTER:
		if (on->started_ms)
			return DEP_MET;
		break;
	case DEP_AFTER_ANY:
		if (is_final)
			return DEP_MET;
		break;
	case DEP_AFTER_OK:
		if (on->state == JOB_COMPLETED)
			return DEP_MET;
		break;
	}
	return is_final ? DEP_NEVER : DEP_NOT_YET;
}

/* Of the twin that one task waits for. One that has left memory was decided before: it cannot have been the task's end. */
static enum dep_verdict twin_verdict(const struct world *w, const struct dep *d, int64_t task)
{
	const struct dep on = {d->kind, {d->on.num, task}};
	const struct job *array = world_find_job(w, (struct job_id){d->on.num, TASK_NONE});

	if (world_find_job(w, on.on))
		return dep_verdict(w, &on);
	if (!array || !array->array ||
	        array_is_apart(array->array, request_task_pos(array->req, task)))
		return DEP_MET;
	return task_verdict(w, &on);
}

int task_check_twins(const struct world *w, const struct job *task, struct err *err)
{
	char id[48], on[48];

	for (uint32_t i = 0; i < task->req->n_deps; i++) {
		const struct dep *d = &task->req->deps[i];
		const struct dep twin = {d->kind, {d->on.num, task->id.task}};
		if (d->on.task != TASK_SAME || dep_verdict(w, &twin) == DEP_MET)
			continue;
		return err_set(err, ERR_CONFLICT,
		        "task %s depends on %s, which is not known to have come so far",
		        job_id_format(task->id, id), job_id_format(twin.on, on));
	}
	return 0;
}

bool job_deps_are_met(const struct job *j)
{
	for (uint32_t i = 0; j->dep_met && i < j->req->n_deps; i++)
		if (!j->dep_met[i])
			return false;
	return true;
}

static struct dep_list *get_list(struct world *w, uint64_t num)
{
	struct dep_list *l;

	HASH_FIND(hh, w->deps, &num, sizeof(num), l);
	if (l)
		return l;
	l = mem_zalloc(sizeof(*l));
	l->num = num;
	LIST_INIT(&l->links);
	HASH_ADD(hh, w->deps, num, sizeof(l->num), l);
	return l;
}

static void drop_list_if_empty(struct world *w, struct dep_list *l)
{
	if (l->is_walked || !LIST_EMPTY(&l->links))
		return;
	HASH_DEL(w->deps, l);
	free(l);
}

static void unlink_dep(struct world *w, struct dep_link *k)
{
	struct dep_list *l = k->list;

	if (!l)
		return;
	LIST_REMOVE(k, link);
	k->list = NULL;
	drop_list_if_empty(w, l);
}

void world__watch_deps(struct world *w, struct job *j)
{
	if (job_deps_are_met(j))
		return;
	j->dep_links = mem_zalloc(j->req->n_deps * sizeof(*j->dep_links));
	for (uint32_t i = 0; i < j->req->n_deps; i++) {
		struct dep_link *k = &j->dep_links[i];
		k->job = j;
		if (j->dep_met[i])
			continue;
		k->list = get_list(w, j->req->deps[i].on.num);
		LIST_INSERT_HEAD(&k->list->links, k, link);
	}
}

void world__unwatch_deps(struct world *w, struct job *j)
{
	for (uint32_t i = 0; j->dep_links && i < j->req->n_deps; i++)
		unlink_dep(w, &j->dep_links[i]);
	free(j->dep_links);
	j->dep_links = NULL;
}

static void cancel_dependent(
        struct apply *a, struct job *j, enum dep_kind kind, struct job_id failed)
{
	char on[48], text[120];

	snprintf(text, sizeof(text), "job %s can no longer %s", job_id_format(failed, on),
	        kind == DEP_AFTER_OK ? "complete" : "start");
	if (j->is_array)
		array__cancel(a, j, REASON_DEPENDENCY_FAILED, text, false);
	else
		apply__transition(a, j, JOB_CANCELLED, REASON_DEPENDENCY_FAILED, text);
}

/* A task that was not started yet: goes, falls, or waits on. */
static void release_task(struct apply *a, struct job *array, uint64_t pos)
{
	const struct request *r = array->req;
	const int64_t task = request_task_at(r, pos);
	bool is_met = true;

	for (uint32_t i = 0; i < r->n_deps; i++) {
		const struct dep *d = &r->deps[i];
		enum dep_verdict v = d->on.task == TASK_SAME ? twin_verdict(a->w, d, task)
		                     : array->dep_met[i]     ? DEP_MET
		                                             : DEP_NOT_YET;
		if (v == DEP_NEVER) {
			cancel_dependent(a, array__materialise(a, array, pos), d->kind,
			        (struct job_id){d->on.num, task});
			return;
		}
		is_met = is_met && v == DEP_MET;
	}
	if (is_met)
		apply__transition(
		        a, array__materialise(a, array, pos), JOB_PENDING, REASON_SUBMITTED, NULL);
}

/* The twin of that index changed; TASK_NONE: any may have. The array may end by it. */
static void release_tasks(struct apply *a, struct job *array, int64_t task)
{
	uint64_t pos = task == TASK_NONE ? 0 : request_task_pos(array->req, task);

	if (task != TASK_NONE) {
		if (array_is_unstarted(array->array, pos))
			release_task(a, array, pos);
		return;
	}
	for (pos = array_next(array->array, 0); pos < array->array->n;
	        pos = array_next(array->array, pos + 1))
		release_task(a, array, pos);
}

/* Looks at one dependency again; false when its job was cancelled for it, and its links are gone. */
static bool recheck_dep(struct apply *a, struct job *j, uint32_t i, int64_t changed)
{
	const struct dep *d = &j->req->deps[i];

	if (d->on.task == TASK_SAME) {
		release_tasks(a, j, changed);
		return j->dep_links != NULL;
	}
	switch (dep_verdict(a->w, d)) {
	case DEP_MET:
		j->dep_met[i] = true;
		unlink_dep(a->w, &j->dep_links[i]);
		world__mark_dirty(a->w, j);
		world__settle(a->w, j, a->now);
		if (j->is_array)
			array__settle_tasks(a, j);
		if (request_has_twins(j->req))
			release_tasks(a, j, TASK_NONE);
		return true;
	case DEP_NEVER:
		cancel_dependent(a, j, d->kind, d->on);
		return false;
	case DEP_NOT_YET:
		break;
	}
	return true;
}

void apply__recheck_own(struct apply *a, struct job *j)
{
	for (uint32_t i = 0; j->dep_links && i < j->req->n_deps; i++)
		if (!j->dep_met[i] && !recheck_dep(a, j, i, TASK_NONE))
			return;
}

static void recheck_list(struct apply *a, struct dep_list *l, int64_t changed)
{
	LIST_HEAD(, dep_link) left = LIST_HEAD_INITIALIZER(left);
	struct dep_link *k;

	/* Each link is looked at once; one that is dealt with earlier takes itself out of either list. */
	l->is_walked = true;
	while ((k = LIST_FIRST(&l->links)) != NULL) {
		LIST_REMOVE(k, link);
		LIST_INSERT_HEAD(&left, k, link);
	}
	while ((k = LIST_FIRST(&left)) != NULL) {
		LIST_REMOVE(k, link);
		LIST_INSERT_HEAD(&l->links, k, link);
		(void)recheck_dep(a, k->job, (uint32_t)(k - k->job->dep_links), changed);
	}
	l->is_walked = false;
	drop_list_if_empty(a->w, l);
}

void apply__recheck_dependents(struct apply *a)
{
	for (uint32_t i = 0; i < a->n_recheck; i++) {
		const struct job_id id = a->recheck[i];
		struct dep_list *l;
		HASH_FIND(hh, a->w->deps, &id.num, sizeof(id.num), l);
		if (l)
			recheck_list(a, l, id.task);
	}
}

void apply__note_recheck(struct apply *a, struct job_id id)
{
	MEM_GROW(a->recheck, a->n_recheck, a->cap_recheck);
	a->recheck[a->n_recheck++] = id;
}
