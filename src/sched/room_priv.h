/* What room.c and future.c share. Rules as in room.h. */
#pragma once

#include "sched/room.h"

/* What a node gets back, and when. */
struct release {
	int64_t at_ms;    /* behind the present: now */
	int64_t since_ms; /* of two without an end, who is older is expected to end first */
	uint32_t cpu_milli;
	uint64_t mem_bytes;
	const struct slice *slices;
	uint32_t n_slices;
	const char *user; /* of place_user(), of what is kept free; or NULL */
	uint32_t number;  /* of equals, who goes first */
};

/* Placed by this plan, or kept free by it. */
struct taken {
	uint32_t next;        /* of the same slot and sort; PLACE_NONE: the last */
	uint32_t first_slice; /* in room.slices, where release.slices would point to */
	struct release release;
};

/* A node of the world. */
struct slot {
	const struct node *node;
	uint64_t num;     /* the node's */
	uint64_t changed; /* of the node, when it was looked at; 0: something was taken since */
	uint32_t seat;    /* its number in `place` */
	uint32_t site;    /* the same of its name and labels */
	uint32_t
	        kept; /* there: what is left of it beside what is kept free; PLACE_NONE: nothing is */
	int64_t kept_at_ms;       /* the first moment at which something must be free */
	uint32_t taken, promised; /* in room.taken, by this plan; PLACE_NONE: nothing */
	struct cpu_set cpus_used;
	struct release *ends; /* of the world's attempts there, in their order; owned */
	uint32_t n_ends, cap_ends;
	uint64_t ends_changed; /* of the node, when they were looked at; 0: they may be others */
};

/* A node in `place`. */
struct seat {
	uint32_t slot;
	bool is_kept; /* for those that may still be there when the place must be free */
	bool is_spare;
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
	struct slice *slices; /* of what is taken */
	uint32_t n_slices, cap_slices;
	bool has_single; /* there are, or were, devices of one account at a time */
	uint32_t latest; /* slot that was found last */
	uint32_t n_kept;
	struct release *releases; /* scratch of future.c */
	uint32_t cap_releases;
};

/* As types and devices have it: NULL, where it makes no difference. */
const char *room__user(struct room *r, const struct need *need);
uint32_t room__type(struct room *r, const struct need *need);
/* Notes it in the list that starts at *head: slot.taken or slot.promised. */
void room__note(struct room *r, uint32_t *head, struct release what);
/* With its slices, which stay until the next room__note(). */
struct release room__noted(const struct room *r, uint32_t i);
/* A node in `place` that is not one of the world's. */
uint32_t room__new_seat(struct room *r, uint32_t slot);
/* Of what is left beside a kept place: no more than there is now. */
void room__squeeze(struct room *r, uint32_t slot, const struct place_room *left);
