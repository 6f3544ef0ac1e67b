/*
 * DESIGN. A judge sees one device. Were gangs chosen by who has had least, the devices of two of them would soon serve
 * different ones, whose kernels then wait for each other until turns overlap. The clock is what all judges have in common.
 */
#include "shim/pace_gang.h"

enum { PRESENT_NS = 50000000, PERIOD_TURNS = 16 };

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint32_t pace_weight(const struct pace_case *c, unsigned i)
{
	return (uint32_t)least(most(c->seen[i].weight_milli, 1), 1000000);
}

bool pace_is_gang(const struct pace_case *c, unsigned i)
{
	return c->seen[i].flags & PACE_MULTI;
}

/* Not one that is away for a moment only: the timetable would jump. */
static bool is_present(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	const struct pace_account *a = &t->accounts[i];

	return c->seen[i].weight_milli &&
	       (a->holds || a->arrive_ns || (a->leave_ns && c->now_ns - a->leave_ns < PRESENT_NS));
}

/* What gangs that are present and come before i have together; i PACE_NOBODY: all of them. */
static uint64_t weight_before(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	uint64_t job = i < PACE_TENANTS ? c->seen[i].job : UINT64_MAX, sum = 0;

	for (unsigned j = 0; j < PACE_TENANTS; j++) {
		uint64_t other = c->seen[j].job;

		if (is_present(c, t, j) && pace_is_gang(c, j) &&
		        (other < job || (other == job && j < i)))
			sum += pace_weight(c, j);
	}
	return sum;
}

/* A turn for each of n, and for the lightest, as far as that is no more than 16 turns. */
static uint64_t period_of(const struct pace_case *c, unsigned n, uint64_t all, uint64_t lightest)
{
	uint64_t turn = c->head.quantum_ns;

	return least(PERIOD_TURNS * turn, most(n * turn, turn * all / lightest));
}

/*
 * So that judges who know nothing of each other choose the same gang at the same time, gangs take turns by the clock: it is
 * divided into periods, and those by weight, in the order of the jobs' numbers, the rest for those who are none.
 */
struct pace_slot pace_slot_now(const struct pace_case *c, const struct pace_table *t)
{
	struct pace_slot slot = {.gang = PACE_NOBODY, .end_ns = PACE_NEVER};
	uint64_t gangs = weight_before(c, t, PACE_NOBODY), alone = 0, lightest = UINT64_MAX;
	uint64_t all, period, begin;
	unsigned n = 0;

	if (!gangs)
		return slot;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		if (!is_present(c, t, i))
			continue;
		if (pace_is_gang(c, i)) {
			n++;
			lightest = least(lightest, pace_weight(c, i));
		} else {
			alone += pace_weight(c, i);
		}
	}
	lightest = alone ? least(lightest, alone) : lightest;
	n += alone != 0;
	if (n < 2)
		return slot;
	all = gangs + alone;
	period = period_of(c, n, all, lightest);
	begin = c->now_ns - c->now_ns % period;
	slot.is_there = true;
	slot.end_ns = begin + period;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		uint64_t before, end;

		if (!is_present(c, t, i) || !pace_is_gang(c, i))
			continue;
		before = weight_before(c, t, i);
		end = begin + period * (before + pace_weight(c, i)) / all;
		if (c->now_ns >= begin + period * before / all && c->now_ns < end)
			slot = (struct pace_slot){true, i, end};
	}
	return slot;
}

bool pace_has_slot(const struct pace_case *c, const struct pace_slot *slot, unsigned i)
{
	return slot->is_there &&
	       (slot->gang == PACE_NOBODY ? !pace_is_gang(c, i) : slot->gang == i);
}
