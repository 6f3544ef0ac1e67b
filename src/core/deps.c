/*
 * DESIGN. Who waits for whom. Every dependency of a living job that is not met yet is one link in the list of the job
 * number it waits for; a link leaves its list when it is met or when its job ends, at a price that does not depend on how
 * many wait for the same job. What an event does to dependents is not done by recursion (a chain of 100,000 jobs may fall
 * at once): apply__transition() notes job numbers, and apply__recheck_dependents() works them off at the end of the event.
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

static void cancel_dependent(struct apply *a, struct job *j, const struct dep *d)
{
	char on[48], text[120];

	snprintf(text, sizeof(text), "job %s can no longer %s", job_id_format(d->on, on),
	        d->kind == DEP_AFTER_OK ? "complete" : "start");
	if (j->is_array)
		array__cancel(a, j, REASON_DEPENDENCY_FAILED, text, false);
	else
		apply__transition(a, j, JOB_CANCELLED, REASON_DEPENDENCY_FAILED, text);
}

/* Looks at one dependency again; false when its job was cancelled for it, and its links are gone. */
static bool recheck_dep(struct apply *a, struct job *j, uint32_t i)
{
	const struct dep *d = &j->req->deps[i];

	switch (dep_verdict(a->w, d)) {
	case DEP_MET:
		j->dep_met[i] = true;
		unlink_dep(a->w, &j->dep_links[i]);
		world__mark_dirty(a->w, j);
		world__settle(a->w, j, a->now);
		if (j->is_array)
			array__settle_tasks(a, j);
		return true;
	case DEP_NEVER:
		cancel_dependent(a, j, d);
		return false;
	case DEP_NOT_YET:
		break;
	}
	return true;
}

void apply__recheck_own(struct apply *a, struct job *j)
{
	for (uint32_t i = 0; j->dep_links && i < j->req->n_deps; i++)
		if (!j->dep_met[i] && !recheck_dep(a, j, i))
			return;
}

static void recheck_list(struct apply *a, struct dep_list *l)
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
		(void)recheck_dep(a, k->job, (uint32_t)(k - k->job->dep_links));
	}
	l->is_walked = false;
	drop_list_if_empty(a->w, l);
}

void apply__recheck_dependents(struct apply *a)
{
	for (uint32_t i = 0; i < a->n_recheck; i++) {
		struct dep_list *l;
		HASH_FIND(hh, a->w->deps, &a->recheck[i], sizeof(a->recheck[i]), l);
		if (l)
			recheck_list(a, l);
	}
}

void apply__note_recheck(struct apply *a, uint64_t num)
{
	MEM_GROW(a->recheck, a->n_recheck, a->cap_recheck);
	a->recheck[a->n_recheck++] = num;
}
