/*
 * DESIGN. `submitted_ns - completed_ns` of our line is what the device has of us, in estimates: a launch adds its own before
 * it looks whose turn it is, a mark that the device has passed adds the same sum to the other side. So estimates may be wrong
 * without an account being wrong: they only decide how far we run ahead, and when the next one gets ready.
 */
#include "shim/pace_priv.h"

#include "shim/pace_judge.h"

enum {
	TAIL_NS = 50000,
	NAP_NS = 100000,
	ROUND_NS = 1000000,
	SPUN_NS = 1000000,
	LATE_NS = 1000000,
	MEND_NS = 200000000,
	ALONE_LAUNCHES = 64,
	ALONE_NS = 50000000
};

uint64_t pace_ahead(const struct pace *p)
{
	uint64_t completed = LOAD(&p->me->completed_ns), submitted = LOAD(&p->me->submitted_ns);

	return submitted > completed ? submitted - completed : 0;
}

uint64_t pace_remaining(const struct pace *p, uint64_t now_ns)
{
	uint64_t ahead = pace_ahead(p), began = LOAD(&p->me->done_ns);
	uint64_t ran = now_ns > began ? now_ns - began : 0, oldest = LOAD(&p->me->oldest_ns);

	if (ran > oldest)
		ran = oldest;
	return ahead > ran ? ahead - ran : 0;
}

static void kick(struct pace *p)
{
	if (LOAD(&p->is_parked) && __atomic_exchange_n(&p->is_parked, 0, __ATOMIC_SEQ_CST)) {
		__atomic_add_fetch(&p->me->kick, 1, __ATOMIC_SEQ_CST);
		p->hooks.kick(p->hooks.arg);
	}
}

/* The host left the device alone for so long. */
static void note_gap(struct pace *p, uint64_t now_ns)
{
	uint64_t done = LOAD(&p->me->done_ns), gap = now_ns > done ? now_ns - done : 0,
	         old = LOAD(&p->me->gap_ns);

	if (gap > 2 * (uint64_t)p->head.idle_ns)
		gap = 2 * (uint64_t)p->head.idle_ns;
	STORE(&p->me->gap_ns, (uint32_t)((3 * old + gap) / 4));
}

enum { GO, AHEAD, OVER };

/* It is our turn: whether one more may go, `ahead` being what is under way without it. */
static int may_go(struct pace *p, struct pace_launch *l, uint64_t word, uint64_t ahead)
{
	const struct pace_table *t = &p->page->tables[PACE_NUMBER(word) & 1];
	uint64_t end = LOAD(&t->end_ns), turn = LOAD(&t->turn), now;
	uint32_t n = LOAD(&p->n_launched) - LOAD(&p->n_done);

	if (ahead && ahead < p->head.ahead_ns && end == PACE_NEVER && p->turn == turn &&
	        (l->is_known || n < 2))
		return GO;
	now = now_of(p);
	if (LOAD(&p->turn) == turn && now >= end)
		return OVER;
	if (n >= 2 && !l->is_known)
		return AHEAD;
	if (ahead >= p->head.ahead_ns && pace_remaining(p, now) >= p->head.ahead_ns + l->est_ns &&
	        !(n < 2 && l->est_ns <= p->head.quantum_ns))
		return AHEAD;
	if (!ahead)
		STORE(&p->me->done_ns, now);
	STORE(&p->turn, turn);
	return GO;
}

/* Estimates may be wrong: `at`, but not later than one may be late by. */
static uint64_t soon(const struct pace *p, uint64_t now_ns, uint64_t at_ns)
{
	uint64_t latest = now_ns + p->head.ahead_ns / 2;

	return at_ns < latest ? at_ns : latest;
}

/* Timers are late, by how much is learnt: `at`, less that, less some time to be sure. */
static uint64_t ahead_of(const struct pace *p, uint64_t at_ns)
{
	uint64_t early = p->head.spin_ns / 2 + LOAD(&p->late_ns) * 5 / 4;

	return at_ns > early ? at_ns - early : 0;
}

/* Learns it. */
static void note_late(struct pace *p, struct pace_launch *l, uint64_t now_ns)
{
	uint64_t late = now_ns - l->slept_ns, old = LOAD(&p->late_ns);

	if (l->slept_ns && now_ns >= l->slept_ns && late < LATE_NS)
		STORE(&p->late_ns, (7 * old + late) / 8);
	l->slept_ns = 0;
}

/* Whoever judges is to know that there is more, or the device would seem to be left alone. True: of this launch it is new. */
static bool begin_waiting(struct pace *p, struct pace_launch *l, uint64_t now_ns)
{
	bool is_new = !l->is_waiting;

	if (is_new) {
		l->is_waiting = true;
		__atomic_add_fetch(&p->n_waiting, 1, __ATOMIC_SEQ_CST);
	}
	STORE_SC(&p->me->want_ns, now_ns);
	return is_new;
}

/* As it is not our turn: waits for it from now on, and says until when; ret->word is set. */
static void wait_turn(struct pace *p, struct pace_launch *l, struct pace_wait *ret)
{
	uint64_t now = now_of(p), word, spin = p->head.spin_ns, ready, aim = PACE_NEVER;
	const struct pace_table *t;
	bool is_new = begin_waiting(p, l, now), is_drained = false;

	note_late(p, l, now);
	pace_mend(p);
	pace_balance(p, now);
	ret->value = LOAD_SC(ret->word);
	word = LOAD_SC(&p->page->word);
	if (is_mine(p, word, PACE_CLOSING) || is_mine(p, word, PACE_OPEN)) {
		is_drained = !pace_ahead(p);
		pace_mark(p);
		pace_reap(p);
		is_drained = !is_drained && !pace_ahead(p);
	}
	if (is_new || is_drained || now >= l->look_ns || PACE_STATE(word) == PACE_FREE ||
	        is_mine(p, word, PACE_OPEN))
		l->look_ns = pace_judge(p);
	if (l->look_ns > now + 4 * (uint64_t)p->head.quantum_ns)
		l->look_ns =
		        now +
		        4 * (uint64_t)p->head
		                        .quantum_ns; /* whatever is believed of a page that anybody may write */
	word = LOAD_SC(&p->page->word);
	t = &p->page->tables[PACE_NUMBER(word) & 1];
	ret->until_ns = l->look_ns;
	if (ret->until_ns > now + 2 * (uint64_t)p->head.quantum_ns)
		ret->until_ns = now + 2 * (uint64_t)p->head.quantum_ns;
	if (PACE_STATE(word) & PACE_LOCKED) {
		ret->is_spin = now - LOAD(&p->stuck_ns) < TAIL_NS;
	} else if (PACE_STATE(word) == PACE_CLOSING &&
	           (LOAD(&t->next) == p->tenant || PACE_OWNER(word) == p->tenant)) {
		ready = PACE_OWNER(word) == p->tenant ? now + pace_remaining(p, now)
		                                      : LOAD(&t->drained_ns);
		if (PACE_OWNER(word) == p->tenant && !l->is_steady &&
		        now < LOAD(&t->closed_ns) + 3 * SPUN_NS)
			ret->is_spin = true;
		else if (now < ahead_of(p, ready))
			aim = PACE_OWNER(word) == p->tenant ? soon(p, now, ahead_of(p, ready))
			                                    : ahead_of(p, ready);
		else
			ret->is_spin = now < LOAD(&t->drained_ns) + 3 * spin;
	} else if (is_mine(p, word, PACE_OPEN)) {
		ret->is_spin = true;
	}
	if (aim < ret->until_ns)
		l->slept_ns = ret->until_ns = aim;
}

/* Too far ahead of the device. */
static void wait_device(struct pace *p, struct pace_launch *l, struct pace_wait *ret)
{
	uint64_t now = now_of(p), remaining = pace_remaining(p, now), spare = p->head.ahead_ns / 2;

	begin_waiting(p, l, now);
	if (!l->since_ns)
		l->since_ns = now;
	ret->is_spin = !l->is_steady && now - l->since_ns < SPUN_NS;
	remaining = remaining > spare + TAIL_NS && l->is_steady ? remaining - spare : TAIL_NS;
	ret->until_ns = now + (remaining < spare ? remaining : spare);
}

static void stop_waiting(struct pace *p, struct pace_launch *l)
{
	if (!l->is_waiting)
		return;
	l->is_waiting = false;
	if (__atomic_sub_fetch(&p->n_waiting, 1, __ATOMIC_SEQ_CST) == 0) {
		STORE_SC(&p->me->want_ns, 0);
		if (LOAD_SC(&p->n_waiting))
			STORE_SC(&p->me->want_ns, now_of(p));
	}
}

void pace_abandon(struct pace *p, struct pace_launch *l)
{
	if (p->page)
		stop_waiting(p, l);
}

/* Nobody need be held, says the page; whether that is still true is looked at once in a while, since anybody may write there. */
static bool is_alone(struct pace *p)
{
	uint32_t n;

	if (LOAD(&p->page->is_shared))
		return false;
	if (p->hooks.ask)
		return true;
	n = LOAD(&p->n_alone) + 1;
	STORE(&p->n_alone, n);
	if (n % ALONE_LAUNCHES || now_of(p) - LOAD(&p->alone_ns) < ALONE_NS)
		return true;
	STORE(&p->alone_ns, now_of(p));
	pace_judge(p);
	return !LOAD(&p->page->is_shared);
}

bool pace_try(struct pace *p, struct pace_launch *l, struct pace_wait *ret)
{
	uint32_t *turn;
	int verdict = OVER;

	if (!p->page || (!l->is_waiting && is_alone(p)))
		return true;
	if (pace_is_unjudged(p)) {
		stop_waiting(p, l);
		return true;
	}
	if (!l->est_ns) {
		const struct pace_cost *cost = l->cost = pace_cost_of(p, l->key);

		l->is_known = LOAD(&cost->key) == l->key && LOAD(&cost->est_ns);
		l->est_ns = l->is_known ? LOAD(&cost->est_ns) : p->head.ahead_ns;
		l->is_steady = l->is_known && LOAD(&cost->dev_ns) < l->est_ns / 4;
		if (!pace_ahead(p))
			note_gap(p, now_of(p));
	}
	turn = &p->page->tenants[p->tenant].turn;
	*ret = (struct pace_wait){.word = turn, .value = LOAD_SC(turn)};
	for (unsigned i = 0; i < 3; i++) {
		uint64_t before =
		        __atomic_fetch_add(&p->me->submitted_ns, l->est_ns, __ATOMIC_SEQ_CST);
		uint64_t word = LOAD_SC(&p->page->word), completed = LOAD(&p->me->completed_ns);

		verdict = OVER;
		if (is_mine(p, word, PACE_OPEN))
			verdict = may_go(p, l, word, before > completed ? before - completed : 0);
		if (verdict == GO) {
			l->is_counted = true;
			stop_waiting(p, l);
			return true;
		}
		__atomic_sub_fetch(&p->me->submitted_ns, l->est_ns, __ATOMIC_SEQ_CST);
		if (verdict == OVER) {
			wait_turn(p, l, ret);
			if (!is_mine(p, LOAD_SC(&p->page->word), PACE_OPEN))
				return false;
		} else {
			uint32_t done = LOAD(&p->n_done);

			if (p->marks_head == LOAD(&p->marks_tail))
				pace_mark(p);
			pace_reap(p);
			if (done == LOAD(&p->n_done))
				break;
		}
	}
	if (verdict == AHEAD)
		wait_device(p, l, ret);
	return false;
}

void pace_launched(struct pace *p, struct pace_launch *l, void *stream)
{
	bool is_full;

	if (!l->is_counted)
		return;
	l->is_counted = false;
	is_full = pace_add(p, l, stream);
	if (is_full || !is_mine(p, LOAD(&p->page->word), PACE_OPEN))
		pace_mark(p);
	kick(p);
}

void pace_sync_begin(struct pace *p, void *stream, bool all, struct pace_sync *s)
{
	*s = (struct pace_sync){0};
	if (!p->page || !LOAD(&p->page->is_shared))
		return;
	__atomic_add_fetch(&p->n_syncing, 1, __ATOMIC_RELAXED);
	take(p);
	if (p->open.n_launches &&
	        (all || (p->open.n_streams == 1 && p->open.streams[0] == stream))) {
		s->piece = p->open.id;
		s->n_launches = p->open.n_launches;
	}
	drop(p);
	if (!s->n_launches)
		pace_mark(p);
}

/* We do nothing in our turn: who judges may give it to another one. The agent is not woken for that while nobody waits. */
static void offer(struct pace *p, const struct pace_table *t)
{
	if (!p->hooks.ask || LOAD(&t->end_ns) != PACE_NEVER)
		pace_judge(p);
}

/* Nothing of ours is on the device any more: whoever waits for that is told. */
static void on_drained(struct pace *p)
{
	uint64_t word = LOAD_SC(&p->page->word);
	const struct pace_table *t = &p->page->tables[PACE_NUMBER(word) & 1];

	if (PACE_OWNER(word) != p->tenant ? LOAD(&t->accounts[p->tenant].holds) != 0
	                                  : PACE_STATE(word) == PACE_CLOSING ||
	                                            !pace_patience(&p->head, LOAD(&p->me->gap_ns)))
		offer(p, t);
}

void pace_sync_end(struct pace *p, const struct pace_sync *s, bool is_done)
{
	if (!p->page)
		return;
	if (LOAD(&p->n_syncing))
		__atomic_sub_fetch(&p->n_syncing, 1, __ATOMIC_RELAXED);
	if (!pace_ahead(p))
		return;
	pace_reap(p);
	if (is_done && s->n_launches)
		pace_finish_open(p, s);
	if (!pace_ahead(p))
		on_drained(p);
}

/* Nothing of ours is on the device: by our own account too, since anybody may have written into our line. */
static bool is_done(const struct pace *p)
{
	return !pace_ahead(p) && !LOAD(&p->given_ns);
}

/* While the turn is ours. */
static void serve_owner(struct pace *p, uint64_t word, struct pace_wait *ret)
{
	uint64_t now = now_of(p), ahead = pace_ahead(p), remaining, idle_at, spin = p->head.spin_ns;
	const struct pace_table *t = &p->page->tables[PACE_NUMBER(word) & 1];

	idle_at = LOAD(&p->me->done_ns) + pace_patience(&p->head, LOAD(&p->me->gap_ns));
	if (!ahead && (PACE_STATE(word) == PACE_CLOSING || now >= idle_at))
		offer(p, t);
	if (!ahead) {
		ret->until_ns = now + (LOAD(&t->end_ns) == PACE_NEVER ? ROUND_NS : NAP_NS);
		if (ret->until_ns < idle_at)
			ret->until_ns = idle_at;
		return;
	}
	remaining = pace_remaining(p, now);
	if (PACE_STATE(word) != PACE_CLOSING) {
		ret->until_ns = now + (remaining < NAP_NS ? NAP_NS : remaining);
		if (ret->until_ns > now + ROUND_NS)
			ret->until_ns = now + ROUND_NS;
	} else if (now < ahead_of(p, now + remaining)) {
		ret->until_ns = soon(p, now, ahead_of(p, now + remaining));
	} else {
		ret->is_spin = !LOAD(&p->n_waiting) && !LOAD(&p->n_syncing) &&
		               now < LOAD(&t->drained_ns) + 3 * spin;
		ret->until_ns = now + TAIL_NS;
	}
}

void pace_serve(struct pace *p, struct pace_wait *ret)
{
	uint32_t *turn = &p->page->tenants[p->tenant].turn, turn_value = LOAD_SC(turn);
	uint64_t word, now, ahead = pace_ahead(p);
	uint32_t launched = LOAD(&p->n_launched), kicks = LOAD_SC(&p->me->kick);
	bool is_quiet = launched == p->n_served;

	*ret = (struct pace_wait){.word = turn, .value = turn_value};
	pace_mend(p);
	pace_balance(p, now_of(p));
	if (is_quiet || !is_mine(p, LOAD_SC(&p->page->word), PACE_OPEN))
		pace_mark(p);
	pace_reap(p);
	if (ahead && !pace_ahead(p))
		on_drained(p);
	now = now_of(p);
	if (!is_quiet || !ahead || p->given_ns)
		p->quiet_ns = now;
	else if (now - p->quiet_ns > MEND_NS) /* what is left over is nobody's */
		STORE_SC(&p->me->completed_ns, LOAD_SC(&p->me->submitted_ns));
	p->n_served = launched;
	word = LOAD_SC(&p->page->word);
	if (PACE_OWNER(word) == p->tenant && PACE_STATE(word) != PACE_FREE) {
		serve_owner(p, word, ret);
		word = LOAD_SC(&p->page->word);
		if (is_quiet && is_done(p) && is_mine(p, word, PACE_OPEN) &&
		        LOAD(&p->page->tables[PACE_NUMBER(word) & 1].end_ns) == PACE_NEVER)
			ret->until_ns = PACE_NEVER;
	} else {
		ret->until_ns = is_done(p) ? PACE_NEVER : now + NAP_NS;
	}
	if (LOAD(&p->open.n_launches) && ret->until_ns > now + TAIL_NS)
		ret->until_ns = now + TAIL_NS;
	if (ret->until_ns == PACE_NEVER) {
		*ret = (struct pace_wait){
		        .word = &p->me->kick, .value = kicks, .until_ns = PACE_NEVER};
		STORE_SC(&p->is_parked, 1);
		if (LOAD_SC(&p->n_launched) != launched) {
			STORE_SC(&p->is_parked, 0);
			ret->until_ns = now + NAP_NS;
		}
	}
}
