/*
 * Room: what is free on every node while a plan is made, and the best place in it for one request. Between plans it is kept,
 * and brought up to the world by what changed there. Owned by `struct sched`; the world is only read. Loop thread.
 */
#pragma once

#include "sched/place.h"
#include "core/event.h"

/* What is asked of one node. */
struct need {
	const struct gpu_ask *gpu;
	uint32_t cpus;
	uint64_t mem_bytes;
};
static inline struct need need_of(const struct request *r)
{
	return (struct need){.gpu = &r->gpu, .cpus = r->cpus, .mem_bytes = r->mem_bytes};
}

struct room;

struct room *room_new(const char *policy); /* NULL: no such policy */
void room_free(struct room *r);
/* As the world is now: what was taken since the last time is given back, or stands in the world. */
void room_sync(struct room *r, const struct world *w);
/* The mix of requests that policies expect is what lives in this world. */
void room_learn(struct room *r, const struct world *w);

/* The place that the policy likes best. Fills node, slices, cpus. */
bool room_fit(struct room *r, const struct need *need, struct placement *ret);
void room_take(struct room *r, const struct need *need, const struct placement *p);
