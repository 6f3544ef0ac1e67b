/*
 * The file that users of the fake CUDA map, beside the state of the same description: PATH.time. It holds what must be quick:
 * who is there, and whether a call has a fault to meet. The state stays the truth of memory and faults.
 * The kernel says who lives: each user holds a POSIX lock on byte SHARE_LOCK_AT + place as long as its process lasts. Such a lock
 * goes when its process closes any descriptor of the file; so what this folder opened of it stays open until the process ends.
 * The agent never maps it: it may be cut short by whoever uses the cards, and reads it with pread. Any thread.
 */
#pragma once

#include "sim.h"

#include <assert.h>
#include <sys/types.h>

#define SHARE_MAGIC   UINT64_C(0x00015452414853) /* the layout's number is in the top bytes */
#define SHARE_PLACES  SIM_PROCESSES_MAX          /* places count from 1 */
#define SHARE_LOCK_AT (INT64_C(1) << 40)

struct share {
	uint64_t magic;
	uint64_t description;
	uint32_t
	        faults; /* the state has faults or a card that is, or will be, lost: calls must look there */
	uint32_t unused;
};

off_t share_bytes(unsigned n_cards);

/* Opens the file, or makes it anew when it is of another description; the state's lock is held. share_fd -1: there is none. */
void share_find(struct sim *s, const struct sim_state *st);
/* Writes whether calls must look at the state. */
void share_tell_faults(const struct sim *s, const struct sim_state *st);
/* Is the place held? By whom, as this process sees it; 0 where that is not visible from here. */
bool share_holder(const struct sim *s, uint32_t place, int32_t *ret_pid);
/* Takes a free place for this process, under the state's lock; 0: there is none. */
uint32_t share_take_place(const struct sim *s);
void share_give_place(const struct sim *s, uint32_t place);
