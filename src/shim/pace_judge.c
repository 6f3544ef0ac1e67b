/*
 * DESIGN. A turn is charged by the wall clock, not by what ran in it: turns follow each other without a gap or an overlap, so
 * what is charged adds up to the time that passed, and no error can gather. It is the drain before the next turn that makes
 * owned time equal to kernel time. Where a turn must begin before the last one has drained, both pay half.
 */
#include "shim/pace_judge.h"

#include "shim/pace_gang.h"

#define MS UINT32_C(1000000)

enum { ABSENT_NS = 2 * MS, LEAP_NS = 1000 * MS, HOLDS_TURN = 1, HOLDS_ON = 2 };

static const int64_t FAR = INT64_C(1) << 60, SLACK_NS = 60000000; /* of owned time */
static const int64_t DEBT_NS = INT64_C(60000000000); /* of virtual time; beyond, it is forgotten */

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
	return value < low ? low : value > high ? high : value;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void pace_parameters(struct pace_head *head, uint32_t switch_ns)
{
	head->switch_ns = switch_ns ? switch_ns : 150000;
	head->quantum_ns = clamp(head->switch_ns, 50000, 300000) * 45;
	head->ahead_ns = MS;
	head->mark_ns = MS / 2;
	head->hold_ns = 2 * MS;
	head->overlap_ns = 2 * head->quantum_ns;
	head->multi_ns = 3 * MS;
	head->latency_ns = MS / 2;
	head->idle_ns = MS * 6 / 10;
	head->credit_ns = 4 * MS;
	head->cap_depth_ns = 20 * MS;
	head->cap_need_ns = MS;
	head->spin_ns = 150000;
}

void pace_sanitize(struct pace_head *head)
{
	head->switch_ns = clamp(head->switch_ns, 0, 10 * MS);
	head->quantum_ns = clamp(head->quantum_ns, MS / 2, 100 * MS);
	head->ahead_ns = clamp(head->ahead_ns, MS / 20, 100 * MS);
	head->mark_ns = clamp(head->mark_ns, MS / 50, head->ahead_ns);
	head->hold_ns = clamp(head->hold_ns, 0, head->quantum_ns);
	head->overlap_ns = clamp(head->overlap_ns, MS / 10, 1000 * MS);
	head->multi_ns = clamp(head->multi_ns, MS / 10, head->overlap_ns);
	head->latency_ns = clamp(head->latency_ns, MS / 10, head->overlap_ns);
	head->idle_ns = clamp(head->idle_ns, MS / 50, 10 * MS);
	head->credit_ns = clamp(head->credit_ns, 0, 1000 * MS);
	head->cap_depth_ns = clamp(head->cap_depth_ns, MS, 1000 * MS);
	head->cap_need_ns = clamp(head->cap_need_ns, MS / 10, head->cap_depth_ns);
	head->spin_ns = clamp(head->spin_ns, 0, MS);
}

uint32_t pace_patience(const struct pace_head *head, uint32_t gap_ns)
{
	uint64_t bridge = 2 * (uint64_t)gap_ns + 20000;

	return bridge < head->idle_ns ? (uint32_t)bridge : 0;
}

static bool is_capped(const struct pace_case *c, unsigned i)
{
	return c->seen[i].cap_milli < 1000;
}

static bool is_tenant(const struct pace_case *c, unsigned i)
{
	return i < PACE_TENANTS && c->seen[i].weight_milli;
}

/* It waits, and is not one that was called and did not come. */
static bool wants(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	return is_tenant(c, i) && c->seen[i].want_ns > t->accounts[i].missed_ns;
}

/* d of owned time, as virtual time. */
static int64_t virtual_of(const struct pace_case *c, unsigned i, int64_t d_ns)
{
	return d_ns * 1000 / (int64_t)pace_weight(c, i);
}

static int64_t in_range(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static void put_right(const struct pace_case *c, struct pace_table *t, unsigned owner)
{
	if (t->at_ns > c->now_ns)
		t->at_ns = c->now_ns;
	if (t->granted_ns > c->now_ns)
		t->granted_ns = c->now_ns;
	if (t->closed_ns > c->now_ns)
		t->closed_ns = c->now_ns;
	if (t->end_ns != PACE_NEVER && t->end_ns > c->now_ns + LEAP_NS)
		t->end_ns = c->now_ns;
	t->least_ns = in_range(t->least_ns, 0, FAR);
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		struct pace_account *a = &t->accounts[i];

		a->virtual_ns =
		        in_range(a->virtual_ns, t->least_ns - DEBT_NS, t->least_ns + DEBT_NS);
		a->bucket_ns = in_range(a->bucket_ns, -FAR / 1024, FAR / 1024);
		a->arrive_ns = least(a->arrive_ns, c->now_ns);
		a->leave_ns = least(a->leave_ns, c->now_ns);
		a->missed_ns = least(a->missed_ns, c->now_ns);
		if (i == owner)
			a->holds = HOLDS_TURN;
		else if (a->holds)
			a->holds = HOLDS_ON;
	}
}

/* Charges what passed since the accounts were right, in equal parts to all whose kernels may have run. */
static void charge(const struct pace_case *c, struct pace_table *t)
{
	int64_t passed = (int64_t)(c->now_ns - t->at_ns), n = 0, low = FAR;

	t->at_ns = c->now_ns;
	if (passed > LEAP_NS)
		passed = 0; /* the machine slept, or nobody cared */
	for (unsigned i = 0; i < PACE_TENANTS; i++)
		n += t->accounts[i].holds != 0;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		struct pace_account *a = &t->accounts[i];
		int64_t depth = (int64_t)c->head.cap_depth_ns * c->seen[i].cap_milli / 1000;

		if (a->holds) {
			a->virtual_ns += virtual_of(c, i, passed / n);
			a->owned_ns += (uint64_t)(passed / n);
		}
		if (is_capped(c, i)) {
			a->bucket_ns += passed * c->seen[i].cap_milli / 1000;
			a->bucket_ns -= a->holds ? passed / n : 0;
			if (a->bucket_ns > depth)
				a->bucket_ns = depth;
		}
		if ((a->holds || a->arrive_ns) && is_tenant(c, i) && a->virtual_ns < low)
			low = a->virtual_ns;
	}
	if (low != FAR && low > t->least_ns)
		t->least_ns = low;
}

/* Who has begun to wait since the last time, as bits; and who runs on no longer. */
static uint32_t see_arrivals(const struct pace_case *c, struct pace_table *t)
{
	uint32_t fresh = 0;

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		struct pace_account *a = &t->accounts[i];

		if (a->holds == HOLDS_ON && !c->seen[i].outstanding_ns) {
			a->holds = 0;
			a->leave_ns = c->now_ns;
		}
		if (!wants(c, t, i)) {
			a->arrive_ns = 0;
		} else if (!a->arrive_ns && !a->holds) {
			int64_t floor = t->least_ns - virtual_of(c, i, c->head.credit_ns);

			a->arrive_ns = most(c->now_ns, 1);
			if (c->now_ns - a->leave_ns > ABSENT_NS && a->virtual_ns < floor)
				a->virtual_ns = floor;
			fresh |= UINT32_C(1) << i;
		}
		/* Nobody's: what it had is not its next tenant's. */
		if (!c->seen[i].weight_milli && !a->holds)
			*a = (struct pace_account){.virtual_ns = t->least_ns};
	}
	return fresh;
}

/* What a capped tenant must have saved before it may go on. */
static int64_t cap_need(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	bool is_alone = true;
	int64_t need, depth = (int64_t)c->head.cap_depth_ns * c->seen[i].cap_milli / 1000;

	for (unsigned j = 0; j < PACE_TENANTS; j++)
		is_alone &= j == i || !(t->accounts[j].holds || t->accounts[j].arrive_ns);
	need = is_alone ? c->head.cap_need_ns : c->head.quantum_ns;
	need = need * (1000 - (int64_t)c->seen[i].cap_milli) / 1000;
	return need < depth ? need : depth;
}

static bool may_run(const struct pace_case *c, struct pace_table *t, unsigned i)
{
	struct pace_account *a = &t->accounts[i];

	if (!is_capped(c, i))
		return true;
	if (a->exhausted && a->bucket_ns >= cap_need(c, t, i))
		a->exhausted = 0;
	return !a->exhausted && a->bucket_ns > 0;
}

/* It runs on after its turn, and wants more. */
static bool runs_on(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	return t->accounts[i].holds == HOLDS_ON && wants(c, t, i);
}

static bool waits(const struct pace_case *c, struct pace_table *t, unsigned i)
{
	return t->accounts[i].arrive_ns && !t->accounts[i].holds && may_run(c, t, i);
}

/* The timetable yields where it has given i more than this before `other`. */
static bool is_far_ahead(
        const struct pace_case *c, const struct pace_table *t, unsigned i, unsigned other)
{
	return t->accounts[i].virtual_ns - t->accounts[other].virtual_ns >
	       virtual_of(c, i, SLACK_NS);
}

/* Of those who wait, or of those of them who have the slot: who has had least. */
static unsigned pick_least(
        const struct pace_case *c, struct pace_table *t, const struct pace_slot *slot)
{
	unsigned best = PACE_NOBODY;

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		bool comes_again =
		        slot && pace_is_gang(c, i) && runs_on(c, t, i) && may_run(c, t, i);

		if ((slot && !pace_has_slot(c, slot, i)) || !(waits(c, t, i) || comes_again))
			continue;
		if (best == PACE_NOBODY || t->accounts[i].virtual_ns < t->accounts[best].virtual_ns)
			best = i;
	}
	return best;
}

/* The next one, of those who wait. */
static unsigned pick(const struct pace_case *c, struct pace_table *t)
{
	struct pace_slot slot = pace_slot_now(c, t);
	unsigned best = pick_least(c, t, NULL), by_slot;
	const struct pace_account *a = &t->accounts[best % PACE_TENANTS];

	if (!slot.is_there)
		return best;
	by_slot = pick_least(c, t, &slot);
	if (best == PACE_NOBODY || by_slot == PACE_NOBODY)
		return by_slot == PACE_NOBODY ? best : by_slot;
	/* Who was away is not made to wait for gangs: it would never have its share. */
	if (!pace_is_gang(c, best) && a->arrive_ns > a->leave_ns + ABSENT_NS)
		return best;
	return is_far_ahead(c, t, by_slot, best) ? best : by_slot;
}

static bool is_drained(const struct pace_case *c, unsigned i)
{
	return !c->seen[i].outstanding_ns;
}

/* Of a turn that begins now. */
static uint64_t turn_end(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	struct pace_slot slot = pace_slot_now(c, t);

	return slot.gang == i ? slot.end_ns : least(slot.end_ns, c->now_ns + c->head.quantum_ns);
}

static void grant(
        const struct pace_case *c, struct pace_table *t, struct pace_verdict *v, unsigned i)
{
	struct pace_account *a = &t->accounts[i];

	v->owner = i;
	v->state = PACE_OPEN;
	v->wake |= UINT32_C(1) << i;
	a->holds = HOLDS_TURN;
	a->arrive_ns = 0;
	t->turn++;
	t->granted_ns = c->now_ns;
	t->end_ns = turn_end(c, t, i);
	t->closed_ns = t->drained_ns = 0;
	t->next = PACE_NOBODY;
	t->switched = t->last != i;
	t->ran_out = 0;
	t->last = i;
}

/* The owner gives way; it waits at once if it wants more. */
static void release(const struct pace_case *c, struct pace_table *t, struct pace_verdict *v)
{
	struct pace_account *a = &t->accounts[v->owner];

	if (t->ran_out && t->switched)
		a->virtual_ns -= virtual_of(c, v->owner, c->head.switch_ns);
	a->holds = is_drained(c, v->owner) ? 0 : HOLDS_ON;
	a->leave_ns = c->now_ns;
	if (wants(c, t, v->owner) && !a->holds)
		a->arrive_ns = most(c->now_ns, 1);
	v->owner = PACE_NOBODY;
	v->state = PACE_FREE;
}

/* It has run on, and is nearly done. */
static bool may_go_on(const struct pace_case *c, struct pace_table *t, unsigned i)
{
	return runs_on(c, t, i) && may_run(c, t, i) && c->seen[i].remaining_ns <= c->head.ahead_ns;
}

/* Gives a free device to who waits; else to who has run on. */
static void give(const struct pace_case *c, struct pace_table *t, struct pace_verdict *v)
{
	unsigned i = pick(c, t);

	for (unsigned j = 0; i == PACE_NOBODY && j < PACE_TENANTS; j++)
		if (may_go_on(c, t, j))
			i = j;
	if (i != PACE_NOBODY)
		grant(c, t, v, i);
}

/*
 * After so long the next one begins beside who does not drain; a little later where he is expected to have drained by then,
 * since a switch there and back costs more than that.
 */
static uint64_t overlap_at(const struct pace_case *c, const struct pace_table *t, unsigned owner)
{
	unsigned next = t->next;
	uint32_t flags = c->seen[owner].flags | (next < PACE_TENANTS ? c->seen[next].flags : 0);
	uint64_t at = t->closed_ns + c->head.overlap_ns, soon = t->drained_ns + c->head.ahead_ns;

	if (flags & PACE_MULTI)
		return t->closed_ns + c->head.multi_ns;
	if (next < PACE_TENANTS && c->seen[next].flags & PACE_LATENCY)
		return least(at, t->accounts[next].arrive_ns + c->head.latency_ns);
	return soon > at && soon <= at + 2 * (uint64_t)c->head.overlap_ns
	               ? least(soon, at + c->head.quantum_ns)
	               : at;
}

static void watch_closing(const struct pace_case *c, struct pace_table *t, struct pace_verdict *v)
{
	unsigned next = pick(c, t);

	if (next != PACE_NOBODY && next != t->next)
		v->wake |= UINT32_C(1) << next;
	t->next = next;
	if (is_drained(c, v->owner) ||
	        (next != PACE_NOBODY && c->now_ns >= overlap_at(c, t, v->owner))) {
		release(c, t, v);
		give(c, t, v);
		return;
	}
	/* Once that is past it stays where it is: how late the owner is says whether it may be dead. */
	if (c->seen[v->owner].remaining_ns || t->drained_ns < t->closed_ns)
		t->drained_ns = c->now_ns + c->seen[v->owner].remaining_ns;
}

static void close_turn(
        const struct pace_case *c, struct pace_table *t, struct pace_verdict *v, bool is_ran_out)
{
	v->state = PACE_CLOSING;
	v->wake |= UINT32_C(1) << v->owner; /* it is to see its device drain at once */
	t->closed_ns = c->now_ns;
	t->ran_out = is_ran_out;
	t->next = PACE_NOBODY;
	watch_closing(c, t, v);
}

/* The time is up, or there was no end yet and now somebody waits. */
static void end_turn(
        const struct pace_case *c, struct pace_table *t, struct pace_verdict *v, unsigned best)
{
	struct pace_account *a = &t->accounts[v->owner];
	int64_t behind = t->accounts[best].virtual_ns - a->virtual_ns;
	uint64_t held = t->granted_ns + c->head.hold_ns;
	struct pace_slot slot = pace_slot_now(c, t);
	bool is_mine = pace_has_slot(c, &slot, v->owner), is_its = pace_has_slot(c, &slot, best);

	if (is_its && !is_mine) {
		close_turn(c, t, v, true);
	} else if (is_mine && !is_its && !is_far_ahead(c, t, v->owner, best)) {
		t->end_ns = slot.end_ns;
	} else if (behind > 0) {
		uint64_t more = (uint64_t)behind / 1000 * pace_weight(c, v->owner);

		t->end_ns = least(slot.end_ns, c->now_ns + least(c->head.quantum_ns, more + 1000));
	} else if (t->end_ns == PACE_NEVER && held > c->now_ns &&
	           !(c->seen[best].flags & PACE_LATENCY)) {
		t->end_ns = held;
	} else {
		close_turn(c, t, v, true);
	}
}

/* When an owner that does nothing has done nothing for too long. */
static uint64_t idle_at(const struct pace_case *c, const struct pace_table *t, unsigned i)
{
	const struct pace_seen *me = &c->seen[i];

	if (!me->is_here)
		return c->now_ns;
	if (me->done_ns < t->granted_ns)
		return t->granted_ns + c->head.hold_ns;
	return wants(c, t, i) ? PACE_NEVER : me->done_ns + pace_patience(&c->head, me->gap_ns);
}

static bool is_idle(
        const struct pace_case *c, const struct pace_table *t, unsigned i, unsigned best)
{
	bool matters = best != PACE_NOBODY || is_capped(c, i) || !c->seen[i].is_here;

	for (unsigned j = 0; j < PACE_TENANTS; j++)
		matters |= t->accounts[j].holds == HOLDS_ON;
	return matters && is_drained(c, i) && c->now_ns >= idle_at(c, t, i);
}

/* One that has begun to wait, before the owner. */
static bool is_before(
        const struct pace_case *c, const struct pace_table *t, unsigned i, unsigned owner)
{
	return t->accounts[i].virtual_ns < t->accounts[owner].virtual_ns ||
	       pace_slot_now(c, t).gang == i;
}

static void watch_open(
        const struct pace_case *c, struct pace_table *t, struct pace_verdict *v, uint32_t fresh)
{
	struct pace_account *a = &t->accounts[v->owner];
	unsigned best = pick(c, t);

	if (is_idle(c, t, v->owner, best)) {
		if (wants(c, t, v->owner))
			a->missed_ns = c->now_ns;
		v->is_unused = c->seen[v->owner].done_ns < t->granted_ns;
		release(c, t, v);
		give(c, t, v);
	} else if (is_capped(c, v->owner) && a->bucket_ns <= 0) {
		a->exhausted = 1;
		close_turn(c, t, v, true);
	} else if (best == PACE_NOBODY) {
		if (c->now_ns >= t->end_ns)
			t->end_ns = PACE_NEVER;
	} else if (c->now_ns >= t->end_ns || t->end_ns == PACE_NEVER) {
		end_turn(c, t, v, best);
	} else if (fresh & UINT32_C(1) << best && is_before(c, t, best, v->owner)) {
		if (c->seen[best].flags & PACE_LATENCY)
			close_turn(c, t, v, false);
		else
			t->end_ns =
			        least(t->end_ns, most(c->now_ns, t->granted_ns + c->head.hold_ns));
	}
}

/* When a capped one will have saved, or spent, enough. */
static uint64_t cap_look(
        const struct pace_case *c, const struct pace_table *t, unsigned i, bool is_owner)
{
	const struct pace_account *a = &t->accounts[i];
	int64_t cap = c->seen[i].cap_milli ? c->seen[i].cap_milli : 1, need;

	if (is_owner)
		return c->now_ns +
		       (uint64_t)(a->bucket_ns > 0 ? a->bucket_ns * 1000 / (1000 - cap) : 0) + 1000;
	need = a->exhausted ? cap_need(c, t, i) : 1;
	return c->now_ns +
	       (need > a->bucket_ns ? (uint64_t)((need - a->bucket_ns) * 1000 / cap) : 0) + 1000;
}

static uint64_t next_look(
        const struct pace_case *c, struct pace_table *t, const struct pace_verdict *v)
{
	uint64_t look = PACE_NEVER;
	bool waits = false;

	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		waits |= t->accounts[i].arrive_ns && !t->accounts[i].holds;
		if (is_capped(c, i) && t->accounts[i].arrive_ns && !may_run(c, t, i))
			look = least(look, cap_look(c, t, i, false));
		if (pace_is_gang(c, i) && runs_on(c, t, i))
			look = least(look, pace_slot_now(c, t).end_ns);
		if (v->state == PACE_FREE && runs_on(c, t, i))
			look = least(look,
			        c->now_ns + most(20000, c->seen[i].remaining_ns -
			                                        least(c->head.ahead_ns,
			                                                c->seen[i].remaining_ns)));
	}
	if (v->state == PACE_FREE)
		return look;
	if (v->state == PACE_CLOSING) {
		if (t->next != PACE_NOBODY)
			look = least(look, overlap_at(c, t, v->owner));
		return least(look, most(t->drained_ns, c->now_ns + 20000));
	}
	if (is_capped(c, v->owner)) {
		uint64_t spent = cap_look(c, t, v->owner, true);

		look = least(look, spent);
		t->end_ns = least(t->end_ns, spent);
	}
	if (waits)
		look = least(look, t->end_ns);
	if ((waits || is_capped(c, v->owner)) && is_drained(c, v->owner))
		look = least(look, idle_at(c, t, v->owner));
	return look;
}

void pace_decide(const struct pace_case *c, struct pace_table *t, struct pace_verdict *v)
{
	uint32_t fresh;

	v->wake = 0;
	v->is_unused = false;
	if (!is_tenant(c, v->owner) || (v->state != PACE_OPEN && v->state != PACE_CLOSING)) {
		v->owner = PACE_NOBODY;
		v->state = PACE_FREE;
	}
	put_right(c, t, v->owner);
	charge(c, t);
	fresh = see_arrivals(c, t);
	if (v->state == PACE_OPEN)
		watch_open(c, t, v, fresh);
	else if (v->state == PACE_CLOSING)
		watch_closing(c, t, v);
	else
		give(c, t, v);
	v->look_ns = next_look(c, t, v);
}
