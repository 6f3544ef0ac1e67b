/*
 * Room: what is free on every node while a plan is made, and the best place in it for one request. Between plans it is kept,
 * and brought up to the world by what changed there. For a request that must wait a place can be kept free from the moment at
 * which time limits prove that it is there; whatever else is placed then ends before, or leaves that place alone.
 * Owned by `struct sched`; the world is only read. Loop thread; times are wall clock.
 */
#pragma once

#include "sched/place.h"
#include "core/event.h"

#include <string.h>

#define ROOM_NEVER INT64_MAX /* as an end: nothing says when */

/* What is asked of one node, and how long it may take there. */
struct need {
	const struct gpu_ask *gpu;
	uint32_t cpus;  /* of all its tasks */
	uint32_t ranks; /* tasks, 0: not said; only for words */
	uint64_t mem_bytes;
	uint64_t time_limit_ms; /* 0: none */
	const char *user;       /* account that it runs as; NULL: any */
	/* Only of this queue's nodes, and of these labels; NULL: of any. */
	const struct queue *queue;
	const char *constraint;
};
static inline struct need need_of(const struct request *r, const struct queue *q)
{
	return (struct need){.gpu = &r->gpu,
	        .cpus = request_cpus(r),
	        .ranks = r->ranks,
	        .mem_bytes = r->mem_bytes,
	        .time_limit_ms = r->time_limit_ms,
	        .queue = q,
	        .constraint = r->constraint,
	        .user = r->user};
}
/* Fractions of the device are another account's, and can be nobody's beside him. */
static inline bool need_is_shut_out(const struct need *need, const struct place_device *d)
{
	return d->owner && (!need->user || strcmp(d->owner, need->user) != 0);
}

struct room;
struct sched_settings;

/* Life cycle. NULL: no such policy. */
struct room *room_new(const char *policy);
void room_free(struct room *r);

/* Commands */
/* As the world is now: what was taken since the last time is given back, or stands in the world; nothing is kept free. */
void room_sync(struct room *r, const struct world *w, int64_t now_ms);
/* The mix of requests that policies expect is what lives in this world. */
void room_learn(struct room *r, const struct world *w);
/* See place_adopt(); what is set stays set when the nodes are others. */
bool room_adopt(struct room *r, const struct sched_settings *settings);
/* The place that the policy likes best. Fills node, slices, cpus. */
bool room_fit(struct room *r, const struct need *need, struct placement *ret);
void room_take(struct room *r, const struct need *need, const struct placement *p);
/*
 * Keeps a place free for a request that does not fit now, or may not start before not_before_ms, on the node where it will
 * fit first, beside what is kept there already. *ret: when, at_ms is ROOM_NEVER where time limits do not prove it; is_patient: then nothing is kept.
 * False: however long it waits,
 * no open node has a place for it beside those.
 */
struct reservation {
	uint64_t node;
	int64_t at_ms;
};
bool room_reserve(struct room *r, const struct need *need, int64_t not_before_ms, bool is_patient,
        struct reservation *ret);

/* Queries */
/* When the attempt that j has now has ended by its time limit; ROOM_NEVER: nothing says when. */
int64_t room_end_of(const struct job *j, int64_t now_ms);
/* The nodes as they were synced, what is kept free beside them; until the next command. */
const struct place *room_place(const struct room *r);
/* As if nothing were kept free for anybody. */
bool room_fit_unkept(struct room *r, const struct need *need, struct placement *ret);
/* The i-th node as it is after what was taken; valid until the next command. False: there are no more. */
struct room_view {
	const struct node *node;
	const struct place_room *now;
	const struct place_room *beside; /* what a kept place leaves; NULL: none is kept there */
	int64_t kept_at_ms;              /* whoever is gone by then may have what is there now */
};
bool room_look(const struct room *r, uint32_t i, struct room_view *ret);
/* What of the node this request may have. */
const struct place_room *room_view_for(
        const struct room *r, const struct room_view *v, const struct need *need);
