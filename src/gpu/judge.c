#include "gpu/judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shim/pace_judge.h"

#define LOAD(p)     __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

enum {
	PROBE_NS = 1000000000,
	LATE_NS = 1000000,
	NAP_NS = 250000,   /* between looks at one who should have drained; it asks when it has */
	SPUN_NS = 2000000, /* so long, for the end of one turn, whatever its tenant says */
};

/* Life */

void judge_init(struct judge *j, struct pace_page *page, const struct judge_hooks *hooks)
{
	memset(j, 0, sizeof(*j));
	j->page = page;
	j->head = page->head;
	pace_sanitize(&j->head);
	j->hooks = *hooks;
	j->late_ns = 100000;
	/* Whom an earlier one has seated need not wait for us. */
	for (unsigned i = 0; i < PACE_TENANTS; i++)
		__atomic_and_fetch(
		        &page->tenants[i].flags, ~(uint32_t)PACE_SEATED, __ATOMIC_SEQ_CST);
}

void judge_done(struct judge *j)
{
	for (unsigned i = 0; i < PACE_TENANTS; i++)
		judge_unseat(j, i);
}

void judge_seat(struct judge *j, unsigned tenant)
{
	judge_unseat(j, tenant);
	j->dead[tenant] = mem_zalloc(PACE_PROCS * sizeof(*j->dead[tenant]));
	j->probed_ns = 0;
	__atomic_or_fetch(&j->page->tenants[tenant].flags, PACE_SEATED, __ATOMIC_SEQ_CST);
}

void judge_unseat(struct judge *j, unsigned tenant)
{
	if (!j->dead[tenant])
		return;
	__atomic_and_fetch(
	        &j->page->tenants[tenant].flags, ~(uint32_t)PACE_SEATED, __ATOMIC_SEQ_CST);
	free(j->dead[tenant]);
	j->dead[tenant] = NULL;
}

/* What is seen */

static void see_lines(
        struct judge *j, unsigned tenant, uint64_t now_ns, bool is_probe, struct pace_seen *s)
{
	uint32_t *dead = j->dead[tenant];
	unsigned n = dead ? j->hooks.lines(j->hooks.arg, tenant, j->lines, PACE_PROCS) : 0;

	for (unsigned slot = 0; slot < n; slot++) {
		const struct pace_proc *line = &j->lines[slot];

		if (!line->pid || line->pid == dead[slot])
			continue;
		if (is_probe && j->hooks.is_dead(j->hooks.arg, tenant, slot))
			dead[slot] = line->pid;
		else
			pace_see_line(line, now_ns, s);
	}
}

static bool is_drained(struct judge *j, unsigned tenant, uint64_t now_ns)
{
	struct pace_seen s = {0};

	if (tenant < PACE_TENANTS)
		see_lines(j, tenant, now_ns, false, &s);
	return !s.outstanding_ns;
}

/* The dead are looked for where they would be in the way: `late` is an owner that is late, or PACE_NOBODY. */
static void see(struct judge *j, struct pace_case *c, unsigned late)
{
	bool is_probe = c->now_ns - j->probed_ns > PROBE_NS, is_shared;

	if (is_probe)
		j->probed_ns = c->now_ns;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		pace_see_tenant(&j->page->tenants[i], &c->seen[i]);
		see_lines(j, i, c->now_ns, is_probe || i == late, &c->seen[i]);
	}
	is_shared = pace_see_all(c);
	if (j->page->is_shared != is_shared)
		STORE(&j->page->is_shared, is_shared);
}

/* What follows */

static void publish(struct judge *j, const struct pace_table *t, const struct pace_verdict *v)
{
	struct pace_page *page = j->page;
	uint64_t number = PACE_NUMBER(page->word) + 1;
	struct pace_table *to = &page->tables[number & 1];

	for (unsigned i = 0; i < sizeof(*t) / sizeof(uint64_t); i++)
		__atomic_store_n((uint64_t *)to + i, ((const uint64_t *)t)[i], __ATOMIC_RELAXED);
	STORE(&page->word, PACE_WORD(v->owner, v->state, 0, number));
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		if (!(v->wake & UINT32_C(1) << i))
			continue;
		__atomic_add_fetch(&page->tenants[i].turn, 1, __ATOMIC_SEQ_CST);
		j->hooks.wake(j->hooks.arg, &page->tenants[i].turn);
	}
}

static void note_late(struct judge *j, uint64_t now_ns)
{
	if (j->aim_ns && now_ns >= j->aim_ns && now_ns - j->aim_ns < LATE_NS)
		j->late_ns = (7 * j->late_ns + now_ns - j->aim_ns) / 8;
	j->aim_ns = 0;
}

/* Where somebody waits for a device to drain, the judge is awake when it does. */
static void plan(struct judge *j, const struct pace_table *t, const struct pace_verdict *v,
        uint64_t now_ns, struct judge_wait *ret)
{
	uint64_t early = j->head.spin_ns / 2 + j->late_ns * 5 / 4;
	uint64_t given_up = t->drained_ns + 3 * (uint64_t)j->head.spin_ns;
	bool is_spun = j->spun_turn == t->turn && now_ns - j->spun_ns >= SPUN_NS;

	*ret = (struct judge_wait){.until_ns = v->look_ns};
	j->spin_ns = 0;
	if (v->state != PACE_CLOSING)
		return;
	if (t->next == PACE_NOBODY || now_ns >= given_up || is_spun) {
		if (ret->until_ns < now_ns + NAP_NS)
			ret->until_ns = now_ns + NAP_NS;
	} else if (now_ns + early < t->drained_ns) {
		if (t->drained_ns - early < ret->until_ns)
			ret->until_ns = j->aim_ns = t->drained_ns - early;
	} else {
		if (j->spun_turn != t->turn)
			j->spun_ns = now_ns;
		j->spun_turn = t->turn;
		j->spin_ns = MIN(given_up, j->spun_ns + SPUN_NS);
		ret->is_spin = true;
	}
}

void judge_look(struct judge *j, bool is_asked, struct judge_wait *ret)
{
	uint64_t word = j->page->word, now = j->hooks.now(j->hooks.arg);
	struct pace_verdict v = {.owner = PACE_OWNER(word), .state = PACE_STATE(word)};
	struct pace_table t = j->page->tables[PACE_NUMBER(word) & 1];
	struct pace_case c = {.head = j->head, .now_ns = now};

	if (!is_asked && now < j->spin_ns && !is_drained(j, v.owner, now)) {
		*ret = (struct judge_wait){.until_ns = now, .is_spin = true};
		return;
	}
	note_late(j, now);
	STORE(&j->page->judged_ns, now);
	see(j, &c, pace_is_late(&t, v.state, now) ? v.owner : PACE_NOBODY);
	pace_decide(&c, &t, &v);
	if (v.is_unused)
		j->probed_ns = 0;
	publish(j, &t, &v);
	plan(j, &t, &v, now, ret);
}
