/*
 * Inside of the clock: how a thread waits for its turn. All of it with the lock of the mapped file, where it says so.
 */
#pragma once

#include "share.h"

#define LOOK_NS    5000000               /* who waits looks at who has the turn */
#define PLAYERS_NS UINT64_C(10000000000) /* nobody waits longer for players who do not come */

/* What a waiting thread saw of the one that has the turn. */
struct look {
	uint32_t turn, n_turns, n_blocked;
	uint64_t since_ns;
};

/* A thread on the virtual clock. */
struct turn {
	uint32_t seat;       /* + 1; 0: it has none */
	uint64_t now_ns;     /* its own time, while it has the turn */
	uint64_t horizon_ns; /* nobody else is due before */
	struct look look;
};

extern _Thread_local struct turn my_turn;

void futex_wait(uint32_t *word, uint32_t value, uint64_t ns); /* UINT64_MAX: no limit */
void futex_wake(uint32_t *word, int n);
uint64_t machine_now(void);

void turn_pass(void);            /* the lock is held */
void seats_free(uint32_t place); /* the lock is held */
/*
 * This thread waits; the lock is held, and let go of. word: of SEAT_WORD, looked at now and then, since somebody without a
 * seat may have changed it.
 */
void turn_wait(enum seat_wait wait, uint64_t until_ns, const uint32_t *word, uint32_t value);
void turn_sleep(const uint32_t *word, uint32_t value); /* until the turn is this thread's */
