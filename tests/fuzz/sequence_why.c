/* What `why` promises, tried: the smallest change starts the job at its place, and the earliest start is the plan's own. */
#include "sequence_priv.h"

#include "sched/sched.h"

static bool starts_with(struct sequence *s, struct job *j, struct request *changed)
{
	struct sched *fresh = sched_new(SCHED_POLICY_USUAL);
	struct request *asked = j->req;
	struct sched_why y;
	bool starts;

	j->req = changed;
	sched_why(fresh, s->w, s->now.wall_ms, j, &y);
	j->req = asked;
	starts = y.starts;
	sched_why_done(&y);
	sched_free(fresh);
	return starts;
}

/* The moment is that of a plan made for itself. */
static bool is_kept(struct sequence *s, const struct job *j, int64_t at_ms)
{
	struct sched *fresh = sched_new(SCHED_POLICY_USUAL);
	const struct sched_head *heads;
	struct sched_plan p = {0};
	bool found = false;

	sched_plan_make(fresh, s->w, s->now.wall_ms, 1000, &p);
	for (size_t i = sched_heads(fresh, &heads); i-- > 0;)
		found = found || (job_id_eq(heads[i].id, j->id) && heads[i].at_ms == at_ms &&
		                         heads[i].is_kept);
	sched_plan_done(&p);
	sched_free(fresh);
	return found;
}

int seq_ask_why(struct sequence *s)
{
	struct job *j = world_find_job(s->w, seq_any_id(s));
	struct sched_why y;
	char id[48];
	int rc = 0;

	if (!j || j->wait != WAIT_READY)
		return 0;
	sched_why(s->sched, s->w, s->now.wall_ms, j, &y);
	if (y.n_reasons == 0 || y.position == 0 || y.ahead + 1 < y.position)
		rc = seq_fault(
		        s, "job %s waits without a reason or a place", job_id_format(j->id, id));
	else if (y.change[0] && (y.starts || !starts_with(s, j, &y.changed)))
		rc = seq_fault(
		        s, "job %s does not start with %s", job_id_format(j->id, id), y.change);
	else if (!y.starts && y.earliest_ms != INT64_MAX && !is_kept(s, j, y.earliest_ms))
		rc = seq_fault(s, "nothing is kept for job %s at its earliest start",
		        job_id_format(j->id, id));
	sched_why_done(&y);
	return rc;
}
