/*
 * What pace.c and pace_device.c share of a struct pace; for them alone.
 * Any thread. Nothing fails.
 */
#pragma once

#include <sched.h>

#include "shim/pace.h"

#define LOAD(p)        __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE(p, v)    __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define LOAD_SC(p)     __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define STORE_SC(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

static inline uint64_t now_of(const struct pace *p)
{
	return p->hooks.now(p->hooks.arg);
}

static inline void take(struct pace *p)
{
	for (unsigned i = 0; __atomic_exchange_n(&p->lock, 1, __ATOMIC_ACQUIRE); i++) {
		if (i % 64 == 63)
			sched_yield();
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	}
}

static inline void drop(struct pace *p)
{
	__atomic_store_n(&p->lock, 0, __ATOMIC_RELEASE);
}

static inline bool is_mine(const struct pace *p, uint64_t word, unsigned state)
{
	return PACE_OWNER(word) == p->tenant && PACE_STATE(word) == state;
}

/* The place of a key among costs: its own, or one that it may take. */
struct pace_cost *pace_cost_of(struct pace *p, uint64_t key);
/* Puts a launch into the open piece; true: it is time for a mark. */
bool pace_add(struct pace *p, const struct pace_launch *l, void *stream);
/* Sees what the device has done. */
void pace_reap(struct pace *p);
/*
 * What our line says of our work is what the device was given and what calls on their way have added, which is soon gone again. So
 * what is there at every look of a while, or lacks then, was written by somebody else, and is taken out.
 */
void pace_balance(struct pace *p, uint64_t now_ns);
/* A call has waited for all that is in the open piece: it needs no mark. */
void pace_finish_open(struct pace *p, const struct pace_sync *s);
