/*
 * DESIGN. Work is gathered in `open` until there is enough for a mark, or until somebody waits; marks are passed in their
 * order. `lock` guards open, the heads of marks, and costs. The driver is never called under it, and neither is a hook.
 */
#include "shim/pace_priv.h"

#include <string.h>

enum { PROBES = 8, NAP_NS = 100000, BALANCE_NS = 200000000, BALANCE_LOOKS = 16 };

struct pace_cost *pace_cost_of(struct pace *p, uint64_t key)
{
	uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15) >> 40;
	struct pace_cost *cost = NULL;

	for (unsigned i = 0; i < PROBES; i++) {
		cost = &p->costs[(h + i) % PACE_COSTS];
		if (LOAD(&cost->key) == key || !LOAD(&cost->key))
			return cost;
	}
	return &p->costs[(h + key % PROBES) % PACE_COSTS];
}

void pace_forget(struct pace *p, uint64_t key)
{
	struct pace_cost *cost;

	if (!p->page)
		return;
	take(p);
	cost = pace_cost_of(p, key);
	if (cost->key == key)
		STORE(&cost->est_ns, 0);
	drop(p);
}

static void seal(struct pace *p)
{
	memset(&p->open, 0, offsetof(struct pace_piece, kinds));
	p->open.id = ++p->piece;
}

void pace_mark(struct pace *p)
{
	struct pace_piece *m;
	unsigned i;

	if (!p->page || !LOAD(&p->open.n_launches))
		return;
	take(p);
	if (!p->open.n_launches ||
	        p->marks_head - __atomic_load_n(&p->marks_tail, __ATOMIC_ACQUIRE) >= PACE_MARKS) {
		drop(p);
		return;
	}
	i = p->marks_head % PACE_MARKS;
	m = &p->marks[i];
	*m = p->open;
	if (p->marks_head++ == p->marks_tail)
		STORE(&p->me->oldest_ns, m->est_ns < UINT32_MAX ? (uint32_t)m->est_ns : UINT32_MAX);
	seal(p);
	drop(p);
	p->hooks.record(p->hooks.arg, i, m->streams, m->n_streams);
	__atomic_store_n(&m->is_recorded, true, __ATOMIC_RELEASE);
}

/* Corrects one estimate by a piece that took `ratio` times what was expected of it. */
static void correct(
        struct pace *p, struct pace_cost *cost, const struct pace_piece *m, double ratio)
{
	bool is_alone = m->n_launches == 1;
	double est = cost->est_ns, dev = cost->dev_ns, error;

	if (!is_alone)
		ratio = ratio < 0.125 ? 0.125 : ratio > 8 ? 8 : ratio;
	if (!cost->est_ns) {
		est = (double)p->head.ahead_ns * ratio;
		dev = 0;
	} else {
		error = est * (ratio - 1);
		est += error / (is_alone ? 2 : 4);
		dev += ((error < 0 ? -error : error) - dev) / 8;
	}
	STORE(&cost->est_ns, est < 500 ? 500 : est > 2e9 ? 2000000000 : (uint32_t)est);
	STORE(&cost->dev_ns, dev > 2e9 ? 2000000000 : (uint32_t)dev);
}

/* Somebody else's kernels may have run beside ours. */
static bool is_overlapped(const struct pace *p)
{
	uint64_t word = LOAD(&p->page->word);
	const struct pace_table *t = &p->page->tables[PACE_NUMBER(word) & 1];

	if (PACE_OWNER(word) != p->tenant)
		return true;
	for (unsigned i = 0; i < PACE_TENANTS; i++)
		if (i != p->tenant && LOAD(&t->accounts[i].holds))
			return true;
	return false;
}

/*
 * Each kind that is in a piece once, however often it is in it, and by what is thought now, not by what was thought when it was
 * launched: else estimates would swing ever wider. Of a piece in whose time the device went over to us, or ran a neighbour too,
 * two things are known: that it did not take longer, and not less than what these cannot explain.
 */
static void learn(struct pace *p, const struct pace_piece *m, uint64_t elapsed_ns)
{
	uint64_t strange = m->is_from_idle && m->is_first ? p->head.switch_ns + NAP_NS : 0;
	bool is_spoilt = strange || is_overlapped(p);
	uint64_t least_ns = elapsed_ns > strange ? elapsed_ns - strange : 0;
	double est = (double)m->other_ns, least, most;

	if (is_spoilt && !strange)
		least_ns /= 2;
	for (unsigned i = 0; i < m->n_kinds; i++) {
		uint32_t known = p->costs[m->kinds[i]].est_ns;

		est += (double)m->counts[i] * (known ? known : p->head.ahead_ns);
	}
	est = est > 1 ? est : 1;
	least = (double)least_ns / est;
	most = (double)elapsed_ns / est;
	for (unsigned i = 0; i < m->n_kinds; i++) {
		struct pace_cost *cost = &p->costs[m->kinds[i]];

		if (!is_spoilt || (!cost->est_ns && least_ns) || least > 2)
			correct(p, cost, m, least);
		else if (most < 1)
			correct(p, cost, m, most);
	}
}

/*
 * When, by our clock, the device's own clock showed `stamp`, and never later than it was seen. The smallest distance between
 * the two that is ever seen is the true one but for what seeing takes; it is let grow, as clocks drift.
 */
static uint64_t time_of(struct pace *p, uint64_t stamp_ns, uint64_t now_ns)
{
	int64_t off = (int64_t)(now_ns - stamp_ns);

	if (stamp_ns == PACE_STAMP_RESTARTS)
		p->is_offset = false;
	if (stamp_ns <= PACE_STAMP_RESTARTS)
		return now_ns;
	p->offset_ns += (int64_t)(now_ns - p->reaped_ns) / 8192;
	if (!p->is_offset || off < p->offset_ns)
		p->offset_ns = off;
	p->is_offset = true;
	return stamp_ns + (uint64_t)p->offset_ns;
}

/* A piece is done. now: when that was seen; stamp: when it was, by the device's clock, or 0. Under reaping. */
static void finish(struct pace *p, const struct pace_piece *m, uint64_t stamp_ns, uint64_t now_ns)
{
	uint64_t done = time_of(p, stamp_ns, now_ns), oldest = 0;
	uint64_t began = m->began_ns > p->passed_ns ? m->began_ns : p->passed_ns;

	p->reaped_ns = now_ns;
	p->passed_ns = done;
	take(p);
	learn(p, m, done > began ? done - began : 0);
	p->given_ns -= m->est_ns;
	__atomic_add_fetch(&p->me->completed_ns, m->est_ns, __ATOMIC_SEQ_CST);
	if (p->marks_head - p->marks_tail > 1)
		oldest = p->marks[(p->marks_tail + 1) % PACE_MARKS].est_ns;
	drop(p);
	STORE(&p->me->oldest_ns, oldest < UINT32_MAX ? (uint32_t)oldest : UINT32_MAX);
	STORE(&p->me->done_ns, done);
	__atomic_add_fetch(&p->n_done, m->n_launches, __ATOMIC_RELAXED);
}

void pace_balance(struct pace *p, uint64_t now_ns)
{
	uint64_t ahead;
	int64_t over;

	take(p);
	ahead = LOAD_SC(&p->me->submitted_ns) - LOAD_SC(&p->me->completed_ns);
	over = (int64_t)(ahead - p->given_ns);
	if (!p->n_balanced++ || over < p->over_ns)
		p->over_ns = over;
	if (now_ns - p->balanced_ns > BALANCE_NS && p->n_balanced >= BALANCE_LOOKS) {
		if (p->over_ns)
			__atomic_add_fetch(
			        &p->me->completed_ns, (uint64_t)p->over_ns, __ATOMIC_SEQ_CST);
		p->balanced_ns = now_ns;
		p->n_balanced = 0;
	}
	drop(p);
}

void pace_reap(struct pace *p)
{
	if (__atomic_exchange_n(&p->reaping, 1, __ATOMIC_ACQUIRE))
		return;
	while (p->marks_tail != __atomic_load_n(&p->marks_head, __ATOMIC_ACQUIRE)) {
		unsigned i = p->marks_tail % PACE_MARKS;
		struct pace_piece *m = &p->marks[i];
		uint64_t stamp = 0;

		if (!__atomic_load_n(&m->is_recorded, __ATOMIC_ACQUIRE) ||
		        !p->hooks.query(p->hooks.arg, i, &stamp))
			break;
		finish(p, m, stamp, now_of(p));
		m->is_recorded = false;
		__atomic_store_n(&p->marks_tail, p->marks_tail + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&p->reaping, 0, __ATOMIC_RELEASE);
}

static bool add_stream(struct pace_piece *m, void *stream)
{
	for (unsigned i = m->n_streams; i-- > 0;)
		if (m->streams[i] == stream)
			return true;
	if (m->n_streams < PACE_STREAMS)
		m->streams[m->n_streams++] = stream;
	return m->n_streams < PACE_STREAMS;
}

static void add_kind(struct pace *p, struct pace_piece *m, const struct pace_launch *l)
{
	struct pace_cost *cost = l->cost;

	if (cost->key != l->key) {
		STORE(&cost->est_ns, 0);
		STORE(&cost->key, l->key);
		cost->piece = 0;
	}
	if (cost->piece == m->id) {
		m->counts[cost->place]++;
	} else if (m->n_kinds == PACE_KINDS) {
		m->other_ns += l->est_ns;
	} else {
		cost->piece = m->id;
		cost->place = m->n_kinds;
		m->kinds[m->n_kinds] = (uint16_t)(cost - p->costs);
		m->counts[m->n_kinds++] = 1;
	}
}

bool pace_add(struct pace *p, const struct pace_launch *l, void *stream)
{
	struct pace_piece *m = &p->open;
	bool is_full;

	take(p);
	if (!m->n_launches) {
		if (!m->id)
			m->id = ++p->piece;
		m->is_from_idle = p->marks_head == LOAD(&p->marks_tail);
		m->is_first = p->piece_turn != LOAD(&p->turn);
		p->piece_turn = LOAD(&p->turn);
		m->began_ns = m->is_from_idle ? LOAD(&p->me->done_ns) : now_of(p);
	}
	m->n_launches++;
	m->est_ns += l->est_ns;
	p->given_ns += l->est_ns;
	is_full = !add_stream(m, stream);
	add_kind(p, m, l);
	STORE(&p->n_launched, p->n_launched + 1);
	is_full |= m->est_ns >= p->head.mark_ns;
	drop(p);
	return is_full;
}

void pace_finish_open(struct pace *p, const struct pace_sync *s)
{
	struct pace_piece m = {0};

	if (__atomic_exchange_n(&p->reaping, 1, __ATOMIC_ACQUIRE))
		return;
	take(p);
	if (p->open.id == s->piece && p->open.n_launches == s->n_launches &&
	        p->marks_head == p->marks_tail) {
		m = p->open;
		seal(p);
	}
	drop(p);
	if (m.n_launches)
		finish(p, &m, 0, now_of(p));
	__atomic_store_n(&p->reaping, 0, __ATOMIC_RELEASE);
}
