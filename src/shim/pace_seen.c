/* What who judges sees of the tenants: lines and rows that others may be writing, brought into range. */
#include "shim/pace_judge.h"

#define LOAD(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)

static const uint64_t WORK_MAX_NS = UINT64_C(1000000000000);

void pace_see_tenant(const struct pace_tenant *row, struct pace_seen *s)
{
	uint32_t cap = LOAD(&row->cap_milli);

	*s = (struct pace_seen){.weight_milli = LOAD(&row->weight_milli),
	        .cap_milli = cap < 1      ? 1
	                     : cap < 1000 ? cap
	                                  : 1000,
	        .flags = LOAD(&row->flags),
	        .job = LOAD(&row->epoch)};
}

/*
 * What a line says of work that is not done: {all of it, what of that remains}. Its process may not have looked at the device
 * for a while: what it would have seen is taken as done.
 */
static void see_work(const struct pace_proc *line, uint64_t now_ns, uint64_t ret[2])
{
	uint64_t submitted = LOAD(&line->submitted_ns), completed = LOAD(&line->completed_ns);
	uint64_t began = LOAD(&line->done_ns), ran;

	ret[0] = submitted > completed ? submitted - completed : 0;
	if (ret[0] > WORK_MAX_NS)
		ret[0] = WORK_MAX_NS;
	ran = now_ns > began ? now_ns - began : 0;
	ret[1] = ret[0] > ran ? ret[0] - ran : 0;
}

void pace_see_line(const struct pace_proc *line, uint64_t now_ns, struct pace_seen *s)
{
	uint64_t work[2], done = LOAD(&line->done_ns), want = LOAD(&line->want_ns);

	see_work(line, now_ns, work);
	s->is_here = true;
	s->outstanding_ns += work[0];
	s->remaining_ns += work[1];
	if (want <= now_ns && want > s->want_ns)
		s->want_ns = want;
	if (done <= now_ns && done >= s->done_ns) {
		s->done_ns = done;
		s->gap_ns = LOAD(&line->gap_ns);
	}
}

bool pace_see_all(struct pace_case *c)
{
	bool is_capped = false;
	unsigned n = 0;

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		if (c->seen[i].is_here && !c->seen[i].weight_milli)
			c->seen[i].weight_milli = 1;
		n += c->seen[i].is_here;
		is_capped |= c->seen[i].is_here && c->seen[i].cap_milli < 1000;
	}
	return n > 1 || is_capped;
}

bool pace_is_late(const struct pace_table *t, unsigned state, uint64_t now_ns)
{
	uint64_t due = t->end_ns;

	if (state == PACE_CLOSING)
		due = t->drained_ns > t->closed_ns ? t->drained_ns : t->closed_ns;
	return state != PACE_FREE && due != PACE_NEVER && now_ns > due &&
	       now_ns - due > PACE_GRACE_NS;
}
