/* The page between processes: the lock of whoever judges, what he sees, and how the dead are found. */
#include "shim/pace.h"

#include <string.h>

#include "shim/pace_judge.h"

#define LOAD(p)     __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

enum { PROBE_NS = 1000000000, RETRY_NS = 20000 };

static const uint64_t SPOILT_NS = UINT64_C(10000000000);

bool pace_is_valid(const struct pace_page *page, uint64_t len)
{
	return len >= sizeof(*page) && page->head.magic == PACE_MAGIC && page->head.abi == PACE_ABI;
}

static bool cas(uint64_t *word, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(
	        word, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Clears the line of a process that is no more. */
static bool bury(struct pace *p, unsigned slot)
{
	struct pace_proc *proc = &p->lines->procs[slot];

	if (slot == p->slot || !p->hooks.seize(p->hooks.arg, slot))
		return false;
	STORE(&proc->want_ns, 0);
	STORE(&proc->completed_ns, LOAD(&proc->submitted_ns));
	STORE(&proc->pid, 0);
	p->hooks.let_go(p->hooks.arg, slot);
	return true;
}

static unsigned top_of(const struct pace *p)
{
	unsigned top = LOAD(&p->lines->top);

	return top < PACE_PROCS ? top : PACE_PROCS;
}

/* all: looks for the dead everywhere; else only among the owner's processes, if that is somebody. */
static void see(struct pace *p, struct pace_case *c, unsigned owner, bool all)
{
	unsigned top = top_of(p);
	bool is_shared;

	for (unsigned i = 0; i < PACE_TENANTS; i++)
		pace_see_tenant(&p->page->tenants[i], &c->seen[i]);
	for (unsigned slot = 0; slot < top; slot++) {
		struct pace_proc *proc = &p->page->procs[slot];
		unsigned i = LOAD(&proc->tenant);

		if (!LOAD(&proc->pid) || i >= PACE_TENANTS)
			continue;
		if ((all || i == owner) && bury(p, slot))
			continue;
		pace_see_line(proc, c->now_ns, &c->seen[i]);
	}
	is_shared = pace_see_all(c);
	if (LOAD(&p->page->is_shared) != is_shared)
		STORE(&p->page->is_shared, is_shared);
}

/* Whether the one who holds the lock may be passed over. */
static bool may_take_over(struct pace *p, uint64_t word, uint64_t now_ns)
{
	uint64_t since = __atomic_load_n(&p->stuck_ns, __ATOMIC_RELAXED);

	if (__atomic_load_n(&p->stuck_word, __ATOMIC_RELAXED) != word || since > now_ns) {
		__atomic_store_n(&p->stuck_ns, now_ns, __ATOMIC_RELAXED);
		__atomic_store_n(&p->stuck_word, word, __ATOMIC_RELAXED);
		return false;
	}
	if (now_ns - since <= PACE_GRACE_NS)
		return false;
	return now_ns - since > PACE_STOPPED_NS || PACE_SLOT(word) >= PACE_PROCS ||
	       bury(p, PACE_SLOT(word));
}

static void publish(
        struct pace *p, uint64_t locked, const struct pace_table *t, const struct pace_verdict *v)
{
	struct pace_page *page = p->page;
	uint64_t number = PACE_NUMBER(locked) + 1;
	struct pace_table *to = &page->tables[number & 1];

	/* A word at a time, and only while the lock is ours: one who was stopped here does not spoil what came after. */
	for (unsigned i = 0; i < sizeof(*t) / sizeof(uint64_t); i++) {
		if (__atomic_load_n(&page->word, __ATOMIC_RELAXED) != locked)
			return;
		__atomic_store_n((uint64_t *)to + i, ((const uint64_t *)t)[i], __ATOMIC_RELAXED);
	}
	if (!cas(&page->word, locked, PACE_WORD(v->owner, v->state, 0, number)))
		return;
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		if (!(v->wake & UINT32_C(1) << i))
			continue;
		__atomic_add_fetch(&page->tenants[i].turn, 1, __ATOMIC_SEQ_CST);
		p->hooks.wake(p->hooks.arg, &page->tenants[i].turn);
	}
}

/* Has the agent judge, unless it has yet to look since we asked last. Its answer comes by `turn`. */
static uint64_t ask(struct pace *p, uint64_t now_ns)
{
	if (now_ns - LOAD(&p->lines->probed_ns) > PROBE_NS) {
		STORE(&p->lines->probed_ns, now_ns);
		for (unsigned slot = 0; slot < top_of(p); slot++)
			if (LOAD(&p->lines->procs[slot].pid))
				bury(p, slot);
	}
	if (LOAD(&p->page->judged_ns) >= LOAD(&p->asked_ns)) {
		STORE(&p->asked_ns, now_ns);
		p->hooks.ask(p->hooks.arg);
	}
	return now_ns + 2 * (uint64_t)p->head.quantum_ns;
}

bool pace_is_unjudged(const struct pace *p)
{
	uint64_t asked = LOAD(&p->asked_ns), now;

	if (!p->hooks.ask)
		return false;
	if (!(LOAD(&p->page->tenants[p->tenant].flags) & PACE_SEATED))
		return true;
	if (LOAD(&p->page->judged_ns) >= asked)
		return false;
	now = p->hooks.now(p->hooks.arg);
	return now > asked && now - asked > PACE_ABSENT_NS;
}

uint64_t pace_judge(struct pace *p)
{
	struct pace_page *page = p->page;
	uint64_t word = LOAD(&page->word), now = p->hooks.now(p->hooks.arg), locked;
	unsigned owner = PACE_OWNER(word), state = PACE_STATE(word) & ~(unsigned)PACE_LOCKED;
	const struct pace_table *from = &page->tables[PACE_NUMBER(word) & 1];
	struct pace_verdict v = {.owner = owner, .state = state};
	struct pace_table t;
	struct pace_case c;
	bool all;

	if (p->hooks.ask)
		return ask(p, now);
	if (PACE_STATE(word) & PACE_LOCKED && !may_take_over(p, word, now))
		return now + RETRY_NS;
	locked = PACE_WORD(owner, state | PACE_LOCKED, p->slot, PACE_NUMBER(word));
	if (!cas(&page->word, word, locked))
		return now + RETRY_NS;
	memcpy(&t, from, sizeof(t));
	c.head = p->head;
	c.now_ns = now;
	all = now - LOAD(&page->probed_ns) > PROBE_NS;
	if (all)
		STORE(&page->probed_ns, now);
	see(p, &c, pace_is_late(&t, state, now) ? owner : PACE_NOBODY, all);
	pace_decide(&c, &t, &v);
	if (v.is_unused)
		STORE(&page->probed_ns, 0);
	publish(p, locked, &t, &v);
	return v.look_ns;
}

void pace_mend(struct pace *p)
{
	struct pace_proc *me = p->me;
	unsigned top = LOAD(&p->lines->top);
	uint64_t ahead;

	if (LOAD(&me->tenant) != p->tenant)
		STORE(&me->tenant, p->tenant);
	if (LOAD(&me->pid) != p->pid)
		STORE(&me->pid, p->pid);
	while (top <= p->slot && !__atomic_compare_exchange_n(&p->lines->top, &top, p->slot + 1,
	                                 false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	ahead = LOAD(&me->submitted_ns) - LOAD(&me->completed_ns);
	if (ahead > p->given_ns + SPOILT_NS && ahead < 0 - SPOILT_NS)
		STORE(&me->completed_ns, LOAD(&me->submitted_ns) - p->given_ns);
}

void pace_join(struct pace *p, struct pace_page *page, struct pace_page *lines, unsigned slot,
        unsigned tenant, const struct pace_hooks *hooks)
{
	p->hooks = *hooks;
	p->head = page->head;
	pace_sanitize(&p->head);
	p->slot = slot;
	p->tenant = tenant;
	p->lines = lines;
	p->pid = (uint32_t)hooks->now(hooks->arg) | 1;
	p->me = &lines->procs[slot];
	memset(p->me, 0, sizeof(*p->me));
	p->me->tenant = tenant;
	p->late_ns = 100000;
	p->is_parked = 1;
	p->page = page;
	pace_mend(p);
	STORE(&lines->probed_ns, 0);
	pace_judge(p);
}

void pace_part(struct pace *p)
{
	STORE(&p->me->want_ns, 0);
	STORE(&p->me->completed_ns, LOAD(&p->me->submitted_ns));
	STORE(&p->me->pid, 0);
	pace_judge(p);
	p->page = NULL;
}
