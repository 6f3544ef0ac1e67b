/*
 * The file that users of the fake CUDA map, beside the state of the same description: PATH.time. It holds what must be quick:
 * who is there, and whether a call has a fault to meet. The state stays the truth of memory and faults.
 * The kernel says who lives: each user holds a POSIX lock on byte SHARE_LOCK_AT + place as long as its process lasts. Such a lock
 * goes when its process closes any descriptor of the file; so what this folder opened of it stays open until the process ends.
 * The agent never maps it: it may be cut short by whoever uses the cards, and reads it with pread. Any thread.
 */
#pragma once

#include "sim.h"
#include "timeline.h"

#include <assert.h>
#include <sys/types.h>

#define SHARE_MAGIC   UINT64_C(0x00025452414853) /* the layout's number is in the top bytes */
#define SHARE_PLACES  SIM_PROCESSES_MAX          /* places count from 1 */
#define SHARE_LOCK_AT (INT64_C(1) << 40)

#define SHARE_SEATS  1024 /* threads that share a virtual clock */
#define SHARE_WAITED UINT32_C(0x80000000)

enum seat_state { SEAT_FREE, SEAT_OUT, SEAT_WAITS };
enum seat_wait { SEAT_TIME, SEAT_STREAM, SEAT_WORD, SEAT_HOST };

/* A thread of somebody who uses the driver; clock.h says how they take turns. */
struct seat {
	uint32_t state, wait;
	uint32_t place, tid;
	uint32_t go;   /* a futex; 1: the turn is its */
	uint32_t rank; /* who comes first when several are due */
	uint32_t
	        word; /* SEAT_WORD: the end of its address, the same in all processes that map it */
	uint32_t card, stream;
	uint32_t n_turns;
	uint64_t number; /* SEAT_STREAM: waits until this operation is done */
	uint64_t until_ns;
};

struct share {
	uint64_t magic;
	uint64_t description;
	uint32_t faults; /* the state has faults, or a lost card: calls must look there */
	uint32_t lock;   /* a futex: place of the holder; SHARE_WAITED: somebody sleeps; 0: free */
	uint64_t at_ns;  /* how far the timeline has come */
	uint64_t now_ns; /* this and the rest: of a virtual clock */
	uint64_t random;
	uint32_t turn;            /* seat + 1 of the thread that runs; 0: none does */
	uint32_t n_seats;         /* that have ever been used */
	uint32_t players, n_came; /* nobody runs before so many threads have come */
	uint32_t host_ready[SHARE_PLACES + 1];
	struct seat seats[SHARE_SEATS];
};

#define SHARE_CARDS_AT ((sizeof(struct share) + 4095) / 4096 * 4096)

off_t share_bytes(unsigned n_cards);

/* Opens the file, or makes it anew when it is of another description; the state's lock is held. share_fd -1: there is none. */
void share_find(struct sim *s, const struct sim_state *st);
/* Writes whether calls must look at the state. */
void share_tell_faults(const struct sim *s, const struct sim_state *st);
/* Is the place held? By whom, as this process sees it; 0 where that is not visible from here. */
bool share_holder(const struct sim *s, uint32_t place, int32_t *ret_pid);
bool share_is_used(const struct sim *s); /* somebody has a place */
/* A new beginning of time, when nobody has a place; the state's lock is held. */
void share_reset(const struct sim *s, const struct sim_state *st);
/* Takes a free place for this process, under the state's lock; 0: there is none. */
uint32_t share_take_place(const struct sim *s);
void share_give_place(const struct sim *s, uint32_t place);
