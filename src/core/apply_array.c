/*
 * Array jobs. DESIGN: an array of 100,000 tasks is one job with a counter until its tasks start. Tasks start in order
 * of position; `next_pos` is the first that never started. A task that becomes a job of its own out of turn (it was
 * cancelled while it waited) is put into `skip`. Cancelling the array cuts off everything behind `next_pos`: `cut`.
 * Ended tasks may leave memory; the counts by state stay with the parent.
 */
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void take_position(struct array *a, uint64_t pos)
{
	uint32_t i = 0;

	if (pos != a->next_pos) {
		a->skip = mem_realloc(a->skip, a->n_skip + 1, sizeof(*a->skip));
		while (i < a->n_skip && a->skip[i] < pos)
			i++;
		memmove(a->skip + i + 1, a->skip + i, (a->n_skip - i) * sizeof(*a->skip));
		a->skip[i] = pos;
		a->n_skip++;
		return;
	}
	a->next_pos++;
	while (a->n_skip && a->skip[0] == a->next_pos) {
		a->n_skip--;
		memmove(a->skip, a->skip + 1, a->n_skip * sizeof(*a->skip));
		a->next_pos++;
	}
}

struct job *array__materialise(struct apply *a, struct job *parent, uint64_t pos)
{
	struct job *t = world_job_new();

	t->id = (struct job_id){parent->id.num, request_task_at(parent->req, pos)};
	t->req = request_ref(parent->req);
	t->parent = parent;
	t->state = JOB_PENDING;
	t->reason = REASON_SUBMITTED;
	t->priority = parent->priority;
	t->order = parent->order;
	t->submitted_ms = parent->submitted_ms;
	take_position(parent->array, pos);
	parent->array->by_state[JOB_PENDING]++;
	world__add_job(a->w, t);
	world__mark_dirty(a->w, parent);
	world__settle(a->w, parent, a->now);
	return t;
}

/* One final state for many: the worst that happened, in this order. */
static enum job_state verdict(const struct array *a)
{
	static const enum job_state worst_first[] = {
	        JOB_NODE_FAIL, JOB_OUT_OF_MEMORY, JOB_TIMEOUT, JOB_FAILED, JOB_CANCELLED};

	for (size_t i = 0; i < ARRAY_LEN(worst_first); i++)
		if (a->by_state[worst_first[i]])
			return worst_first[i];
	return JOB_COMPLETED;
}

void array__settle_state(struct apply *a, struct job *parent)
{
	struct array *r = parent->array;
	uint64_t final = 0, begun = 0;

	if (job_state_is_final(parent->state))
		return;
	for (int s = 0; s < JOB_STATE_MAX; s++) {
		if (job_state_is_final((enum job_state)s))
			final += r->by_state[s];
		if (s != JOB_PENDING && s != JOB_STARTING)
			begun += r->by_state[s];
	}
	if (final == r->n)
		apply__transition(a, parent, verdict(r),
		        parent->stop_reason ? parent->stop_reason : REASON_EXITED, NULL);
	else if (parent->state == JOB_PENDING && begun)
		apply__transition(a, parent, JOB_RUNNING, REASON_EXEC, NULL);
}

void array__count(struct apply *a, struct job *parent, const struct job *task, enum job_state old)
{
	struct array *r = parent->array;

	r->by_state[old]--;
	r->by_state[task->state]++;
	if (task->state == JOB_RUNNING && !parent->started_ms)
		parent->started_ms = a->now.wall_ms;
	if (job_state_is_final(task->state))
		r->worst_code = MAX(r->worst_code, job_result_code(task));
	world__mark_dirty(a->w, parent);
	array__settle_state(a, parent);
	if (job_state_is_final(parent->state))
		return;
	world__settle(a->w, parent, a->now);
	/* Tasks that wait for the throttle wait as jobs of their own only after a retry; there are few. */
	if (parent->req->throttle && r->by_state[JOB_PENDING] &&
	        job_state_holds(old) != job_state_holds(task->state))
		for (struct job *t = world_next_job(a->w, parent); t && t->id.num == parent->id.num;
		        t = world_next_job(a->w, t))
			if (t->state == JOB_PENDING)
				world__settle(a->w, t, a->now);
}

void array__cancel_rest(struct apply *a, struct job *parent)
{
	struct array *r = parent->array;
	uint64_t left = array_unstarted(r);

	/* Positions in skip are jobs of their own, and were counted as such. */
	r->by_state[JOB_CANCELLED] += left;
	if (left)
		r->worst_code = MAX(r->worst_code, 143);
	r->cut = MIN(r->cut, r->next_pos);
	world__settle(a->w, parent, a->now);
	world__mark_dirty(a->w, parent);
}
