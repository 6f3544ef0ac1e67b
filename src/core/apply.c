/*
 * DESIGN. One switch from events to the nouns' own files. What an event does to dependents is not done by
 * recursion (a chain of 100,000 jobs may fall at once) but by a list of job numbers that is worked off at the end.
 */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

void effects_done(struct effects *e)
{
	free(e->v);
	*e = (struct effects){0};
}

void effects_add(struct effects *e, struct effect x)
{
	MEM_GROW(e->v, e->n, e->cap);
	e->v[e->n++] = x;
}

static void cancel_dependent(struct apply *a, struct job *j, const struct dep *d)
{
	char on[48], text[120];

	snprintf(text, sizeof(text), "job %s can no longer %s", job_id_format(d->on, on),
	        d->kind == DEP_AFTER_OK ? "complete" : "start");
	if (j->is_array)
		array__cancel_rest(a, j);
	apply__transition(a, j, JOB_CANCELLED, REASON_DEPENDENCY_FAILED, text);
}

/* Looks at one waiter again; true when it left the list (it was cancelled). */
static void recheck_job(struct apply *a, struct job *j, uint64_t num)
{
	bool changed = false;

	for (uint32_t i = 0; i < j->req->n_deps; i++) {
		const struct dep *d = &j->req->deps[i];
		if (d->on.num != num || j->dep_met[i])
			continue;
		switch (world__dep_verdict(a->w, d)) {
		case DEP_MET:
			j->dep_met[i] = true;
			changed = true;
			break;
		case DEP_NEVER:
			cancel_dependent(a, j, d);
			return;
		case DEP_NOT_YET:
			break;
		}
	}
	if (changed) {
		world__mark_dirty(a->w, j);
		world__settle(a->w, j, a->now);
	}
}

static void recheck_dependents(struct apply *a)
{
	for (uint32_t i = 0; i < a->n_recheck; i++) {
		uint64_t num = a->recheck[i];
		struct dep_list *l;
		struct job **jobs;
		uint32_t n;
		HASH_FIND(hh, a->w->deps, &num, sizeof(num), l);
		if (!l)
			continue;
		/* A waiter that is cancelled leaves the list while we walk it. */
		n = l->n;
		jobs = mem_dup(l->jobs, n * sizeof(struct job *));
		for (uint32_t k = 0; k < n; k++)
			if (jobs[k]->state == JOB_PENDING)
				recheck_job(a, jobs[k], num);
		free(jobs);
	}
}

static int dispatch(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	switch (e->kind) {
	case EVENT_SUBMIT:
		return apply__submit(a, e, out, err);
	case EVENT_BLOB:
		out->num = a->w->next_blob;
		out->is_new = true;
		(void)world_adopt_blob(
		        a->w, a->w->next_blob, e->hash, a->now.wall_ms, e->data, e->len);
		return 0;
	case EVENT_START:
		return apply__start(a, e, out, err);
	case EVENT_STARTED:
		return apply__started(a, e, out, err);
	case EVENT_ENDED:
	case EVENT_LOST:
		return apply__ended(a, e, out, err);
	case EVENT_CANCEL:
		return apply__cancel(a, e, out, err);
	case EVENT_HOLD:
	case EVENT_RELEASE:
		return apply__hold(a, e, out, err);
	case EVENT_RETRY:
		return apply__retry(a, e, out, err);
	case EVENT_EDIT:
		return apply__edit(a, e, out, err);
	case EVENT_NODE_UP:
	case EVENT_NODE_DOWN:
	case EVENT_NODE_DRAIN:
	case EVENT_NODE_RESUME:
		return apply__node(a, e, out, err);
	case EVENT_DEVICE:
		return apply__device(a, e, out, err);
	case EVENT_QUEUE_SET:
	case EVENT_QUEUE_PAUSE:
	case EVENT_QUEUE_RESUME:
		return apply__queue(a, e, out, err);
	case EVENT_TOKEN_ADD:
	case EVENT_TOKEN_REMOVE:
		return apply__token(a, e, out, err);
	case EVENT_TICK:
		apply__tick(a);
		return 0;
	}
	return err_set(err, ERR_INTERNAL, "unknown event %d", (int)e->kind);
}

int core_apply(struct world *w, const struct event *e, struct now now, struct effects *fx,
        struct applied *ret_applied, struct err *err)
{
	struct apply a = {.w = w, .now = now, .fx = fx};
	struct applied out = {0};
	int rc = dispatch(&a, e, &out, err);

	if (rc == 0) {
		recheck_dependents(&a);
		*ret_applied = out;
	}
	free(a.recheck);
	return rc;
}
