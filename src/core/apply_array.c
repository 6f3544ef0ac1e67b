/*
 * Array jobs. DESIGN: an array of 100,000 tasks is one job with a counter until its tasks start. Tasks start in order
 * of position; `next_pos` is the first that never started. A task that becomes a job of its own out of turn (it was
 * cancelled while it waited) is put into `skip`. Cancelling the array cuts off everything behind `next_pos`: `cut`.
 * Ended tasks may leave memory; the counts by state stay with the parent.
 */
#include "core/world_priv.h"
#include "base/mem.h"

#include <string.h>

static void take_position(struct array *a, uint64_t pos)
{
	uint32_t i;

	if (pos != a->next_pos) {
		MEM_GROW(a->skip, a->n_skip, a->cap_skip);
		for (i = a->n_skip; i > 0 && a->skip[i - 1] > pos; i--)
			;
		memmove(a->skip + i + 1, a->skip + i, (a->n_skip - i) * sizeof(*a->skip));
		a->skip[i] = pos;
		a->n_skip++;
		return;
	}
	a->next_pos++;
	for (i = 0; i < a->n_skip && a->skip[i] == a->next_pos; i++)
		a->next_pos++;
	if (i == 0)
		return;
	a->n_skip -= i;
	memmove(a->skip, a->skip + i, a->n_skip * sizeof(*a->skip));
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
	world__queue_of(a->w, parent)->n_waiting--;
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

/* A retried task may have made the largest code obsolete: when all tasks are in memory it is found anew. */
static void find_worst_code(const struct world *w, const struct job *parent)
{
	struct array *r = parent->array;
	int32_t worst = array_cut(r) ? 143 : 0;
	uint64_t seen = array_cut(r);

	for (const struct job *t = world_next_job(w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(w, t)) {
		worst = MAX(worst, job_result_code(t));
		seen++;
	}
	if (seen == r->n)
		r->worst_code = worst;
}

void array__settle_state(struct apply *a, struct job *parent, const char *text)
{
	struct array *r = parent->array;
	uint64_t final = 0;

	if (job_state_is_final(parent->state))
		return;
	for (int s = 0; s < JOB_STATE_MAX; s++)
		if (job_state_is_final((enum job_state)s))
			final += r->by_state[s];
	if (final == r->n) {
		find_worst_code(a->w, parent);
		apply__transition(a, parent, verdict(r),
		        parent->stop_reason ? parent->stop_reason : REASON_EXITED, text);
	} else if (parent->state == JOB_PENDING && r->by_state[JOB_RUNNING]) {
		apply__transition(a, parent, JOB_RUNNING, REASON_EXEC, NULL);
	}
}

void array__follow(struct apply *a, struct job *parent, const struct job *task)
{
	struct array *r = parent->array;

	if (task->started_ms && !parent->started_ms)
		parent->started_ms = a->now.wall_ms;
	if (job_state_is_final(task->state))
		r->worst_code = MAX(r->worst_code, job_result_code(task));
	world__mark_dirty(a->w, parent);
	array__settle_state(a, parent, NULL);
	world__settle(a->w, parent, a->now);
}

void array__settle_tasks(struct apply *a, struct job *parent)
{
	if (parent->array->by_state[JOB_PENDING] == 0)
		return;
	for (struct job *t = world_next_job(a->w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(a->w, t))
		world__settle(a->w, t, a->now);
}

static void cut_rest(struct apply *a, struct job *parent)
{
	struct array *r = parent->array;
	uint64_t left = array_unstarted(r);

	/* Positions in skip are jobs of their own, and were counted as such. */
	r->by_state[JOB_CANCELLED] += left;
	world__queue_of(a->w, parent)->n_waiting -= left;
	if (left)
		r->worst_code = MAX(r->worst_code, 143);
	r->cut = MIN(r->cut, r->next_pos);
	world__settle(a->w, parent, a->now);
	world__mark_dirty(a->w, parent);
	/* Others may wait for a task that was cut. */
	effects_add(a->fx, (struct effect){.kind = EFFECT_CHANGED, .id = parent->id});
	apply__note_recheck(a, parent->id);
}

void array__cancel(
        struct apply *a, struct job *parent, enum reason reason, const char *text, bool force)
{
	parent->stop_reason = reason;
	for (struct job *t = world_next_job(a->w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(a->w, t))
		if (!job_state_is_final(t->state))
			apply__stop_task(a, t, reason, text, force);
	if (job_state_is_final(parent->state))
		return;
	cut_rest(a, parent);
	array__settle_state(a, parent, text);
}

int array__retry(struct apply *a, struct job *parent, const char *actor, struct err *err)
{
	struct array *r = parent->array;
	uint64_t there = 0, wanted = 0;
	struct job *t;

	for (int s = 0; s < JOB_STATE_MAX; s++)
		if (job_state_is_final((enum job_state)s) && s != JOB_COMPLETED)
			wanted += r->by_state[s];
	for (t = world_next_job(a->w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(a->w, t)) {
		int rc = t->state == JOB_COMPLETED ? 0 : task_check_twins(a->w, t, err);
		if (rc)
			return rc;
		there += t->state != JOB_COMPLETED;
	}
	if (wanted == 0)
		return err_set(err, ERR_CONFLICT, "every task of job %llu completed",
		        (unsigned long long)parent->id.num);
	/* Half of an array must not pass for the whole. */
	if (there + array_cut(r) < wanted)
		return err_set(err, ERR_CONFLICT,
		        "%llu ended tasks of job %llu are not in memory; name the tasks that are to run again",
		        (unsigned long long)(wanted - there - array_cut(r)),
		        (unsigned long long)parent->id.num);
	there = array_cut(r);
	r->by_state[JOB_CANCELLED] -= there;
	r->cut = r->n;
	r->worst_code = 0;
	apply__transition(a, parent, JOB_PENDING, REASON_RETRY_BY_USER, actor);
	world__queue_of(a->w, parent)->n_waiting += there;
	for (t = world_next_job(a->w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(a->w, t))
		if (t->state != JOB_COMPLETED)
			apply__retry_one(a, t, actor);
	return 0;
}
