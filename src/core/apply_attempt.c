/* What is reported of attempts: started, ended, lost. Everything is compared by epoch first. */
#include "core/world_priv.h"

#include <string.h>

int apply__started(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j = world_find_job(a->w, e->id);
	struct attempt *t = j ? job_attempt(j) : NULL;

	(void)err;
	if (!t || t->epoch != e->epoch || t->started_ms)
		return 0;
	t->pid = e->pid;
	t->held = e->held;
	t->not_held = e->not_held;
	t->started_ms = e->end && e->end->wall_ms ? e->end->wall_ms : a->now.wall_ms;
	j->started_ms = t->started_ms;
	/* A stop that was asked for before the start is on its way; the state stays COMPLETING. */
	if (j->state == JOB_STARTING)
		apply__transition(a, j, JOB_RUNNING, REASON_EXEC, NULL);
	else
		world__mark_dirty(a->w, j);
	*out = (struct applied){.job = j};
	return 0;
}

/* The final state that an end stands for, were there no retries. */
static enum job_state state_of_end(enum reason reason, bool has_code, int32_t code)
{
	switch (reason) {
	case REASON_EXITED:
		return has_code && code == 0 ? JOB_COMPLETED : JOB_FAILED;
	case REASON_CANCELLED:
	case REASON_WITHDRAWN:
	case REASON_GPU_AROUND:
		return JOB_CANCELLED;
	case REASON_TIME_LIMIT:
		return JOB_TIMEOUT;
	case REASON_MEMORY_LIMIT:
	case REASON_GPU_MEMORY_LIMIT:
		return JOB_OUT_OF_MEMORY;
	case REASON_NODE_LOST:
	case REASON_REBOOTED:
	case REASON_DEVICE_LOST:
		return JOB_NODE_FAIL;
	case REASON_SHUTDOWN:
		return JOB_CANCELLED;
	default:
		return JOB_FAILED;
	}
}

/* What ends a whole machine, or all of a service, may reach the server after the jobs: it must not start them again until then. */
#define SHUTDOWN_DELAY_MS 1000

/* An attempt that ended through no doing of its command: started again unless at most once was asked for. */
static bool is_no_fault_of_job(enum reason r)
{
	return r == REASON_NODE_LOST || r == REASON_REBOOTED || r == REASON_DEVICE_LOST ||
	       r == REASON_SHUTDOWN || r == REASON_NO_DISK;
}

/* Whether the request asks for another attempt after one that its command spoilt. */
static bool is_retried(const struct job *j, const struct attempt *t)
{
	const struct code_set *on = &j->req->retry_on;

	if (j->failures >= j->req->retry_max)
		return false;
	if (!code_set_any(on))
		return t->state == JOB_FAILED;
	return (t->state == JOB_FAILED || t->state == JOB_TIMEOUT ||
	               t->state == JOB_OUT_OF_MEMORY) &&
	       code_set_has(on, (uint8_t)attempt_result_code(t));
}

static int64_t backoff_ms(const struct policy *p, uint32_t failures)
{
	int64_t ms = p->backoff_min_ms;

	for (uint32_t i = 1; i < failures && ms < p->backoff_max_ms; i++)
		ms *= 2;
	return MIN(ms, p->backoff_max_ms);
}

static void try_again(
        struct apply *a, struct job *j, enum reason why, int64_t wait_ms, const char *text)
{
	j->not_before_ms = wait_ms ? a->now.wall_ms + wait_ms : 0;
	j->has_code = false;
	apply__transition(a, j, JOB_PENDING, why, text);
}

/* The word of its start may be lost (a full disk), but only what has begun ends so: at the latest now. */
static void note_unseen_start(struct job *j, struct attempt *t)
{
	switch (t->reason) {
	case REASON_EXITED:
	case REASON_SIGNALLED:
	case REASON_TIME_LIMIT:
	case REASON_MEMORY_LIMIT:
	case REASON_GPU_MEMORY_LIMIT:
	case REASON_GPU_AROUND:
		if (!t->started_ms)
			j->started_ms = t->started_ms = t->ended_ms;
		break;
	default:
		break;
	}
}

static void close_attempt(struct apply *a, struct job *j, struct attempt *t,
        const struct attempt_end *end, enum reason reason)
{
	t->ended_ms = end && end->wall_ms ? end->wall_ms : a->now.wall_ms;
	t->reason = reason;
	note_unseen_start(j, t);
	if (end) {
		t->has_code = end->has_code;
		t->exit_code = end->exit_code;
		t->has_rank = end->has_rank;
		t->rank = end->rank;
		t->peak_mem_bytes = end->peak_mem_bytes;
		t->cpu_ms = end->cpu_ms;
		t->output_bytes = end->output_bytes;
		t->dropped_bytes = end->dropped_bytes;
	}
	t->state = state_of_end(reason, t->has_code, t->exit_code);
	j->has_code = t->has_code;
	j->exit_code = t->exit_code;
	world__drop_slices(a->w, j);
	world__mark_dirty(a->w, j);
}

int apply__ended(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j = world_find_job(a->w, e->id);
	struct attempt *t = j ? job_attempt(j) : NULL;
	enum reason reason = e->kind == EVENT_LOST ? e->reason : e->end->reason;
	const char *text = e->end ? e->end->text : NULL;
	bool no_retry, by_user;

	(void)err;
	if (!t || t->epoch != e->epoch)
		return 0;
	/* The keeper knows only that it was told to stop; the job knows why. */
	if (reason == REASON_CANCELLED && j->stop_reason != REASON_NONE)
		reason = j->stop_reason;
	by_user = j->stop_reason == REASON_CANCELLED;
	if (by_user && is_no_fault_of_job(reason))
		reason = REASON_CANCELLED;
	/* What had no disk to begin on has not been run: another start is still the first. */
	no_retry = by_user || (j->req->no_retry && reason != REASON_NO_DISK);
	close_attempt(a, j, t, e->end, reason);
	j->stop_reason = REASON_NONE;
	j->stop_force = false;
	if (is_no_fault_of_job(reason) && !no_retry)
		try_again(a, j, reason,
		        reason == REASON_SHUTDOWN ? SHUTDOWN_DELAY_MS
		                                  : backoff_ms(&a->w->policy, j->n_attempts),
		        text);
	else if (!no_retry && is_retried(j, t)) {
		j->failures++;
		try_again(a, j, REASON_RETRY, backoff_ms(&a->w->policy, j->failures), text);
	} else
		apply__transition(a, j, t->state, reason, text);
	*out = (struct applied){.job = j};
	return 0;
}

/* Nothing is decided by it, and nothing stored: who looks is told. */
void apply__use(struct apply *a, const struct event *e)
{
	struct job *j = world_find_job(a->w, e->id);
	struct attempt *t = j ? job_attempt(j) : NULL;

	if (!t || t->epoch != e->epoch)
		return;
	for (uint32_t i = 0; i < t->n_slices; i++)
		for (uint32_t k = 0; k < e->n_slices; k++) {
			if (strcmp(t->slices[i].device, e->slices[k].device) != 0)
				continue;
			t->slices[i].is_seen = true;
			t->slices[i].used_bytes = e->slices[k].used_bytes;
			t->slices[i].driver_bytes = e->slices[k].driver_bytes;
		}
}

/* The same again is nothing new: a history is not filled by what goes on. */
int apply__note(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct job *j = world_find_job(a->w, e->id);
	const struct attempt *t = j ? job_attempt(j) : NULL;

	(void)err;
	if (!t || t->epoch != e->epoch || j->state != JOB_RUNNING ||
	        j->transitions[j->n_transitions - 1].reason == e->reason)
		return 0;
	apply__transition(a, j, j->state, e->reason, e->text);
	*out = (struct applied){.job = j};
	return 0;
}
