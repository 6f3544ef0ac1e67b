/* What room.c and future.c share. Rules as in room.h. */
#pragma once

#include "sched/room.h"

/* What an attempt will give back, and when: one that runs, or that this plan starts. */
struct release {
	int64_t at_ms;
	uint32_t cpu_milli;
	uint64_t mem_bytes;
	const struct slice *slices;
	uint32_t n_slices;
};

/* A node of the world. */
struct slot {
	const struct node *node;
	uint64_t num;     /* the node's */
	uint64_t changed; /* of the node, when it was looked at; 0: something was taken since */
	uint32_t seat;    /* its number in `place` */
	uint32_t
	        kept; /* there: what is left of it beside what is kept free; PLACE_NONE: nothing is */
	int64_t kept_at_ms;
	struct cpu_set cpus_used;
};

/* A node in `place`. */
struct seat {
	uint32_t slot;
	bool is_kept; /* for those that may still be there when the place must be free */
	bool is_spare;
};

/* What this plan placed. */
struct taken {
	uint32_t slot;
	struct release release;
	struct slice slices[NODE_DEVICES_MAX];
};

struct room {
	const char *policy;
	struct place *place;
	int64_t now_ms;
	struct slot *slots;
	uint32_t n_slots, cap_slots;
	struct seat *seats; /* as many as nodes in `place` */
	uint32_t n_seats, cap_seats;
	struct taken *taken;
	uint32_t n_taken, cap_taken;
	uint32_t n_kept;
	struct release *releases; /* scratch of future.c */
	uint32_t cap_releases;
};

uint32_t room__type(struct room *r, const struct need *need);
/* A node in `place` that is not one of the world's. */
uint32_t room__new_seat(struct room *r, uint32_t slot);
/* Of what is left beside a kept place: no more than there is now. */
void room__squeeze(struct room *r, uint32_t slot, const struct place_room *left);
