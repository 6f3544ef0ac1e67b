/*
 * Room: what is left on every node while a plan is being made, and the best place for one request in it.
 * A `struct room` is a scratch copy owned by the caller; the world stays as it is. Pure, loop thread.
 */
#pragma once

#include "core/event.h"

struct room_node {
	const struct node *node;
	struct cpu_set cpus_used;
	uint32_t n_cpus_used;
	uint64_t mem_used;
	uint64_t *used_bytes; /* by device */
	uint32_t *used_milli;
};

struct room {
	struct room_node *nodes;
	uint32_t n;
	uint64_t *bytes; /* blocks behind the pointers of nodes */
	uint32_t *milli;
};

/* What is asked of one node. */
struct need {
	const struct gpu_ask *gpu;
	uint32_t cpus;
	uint64_t mem_bytes;
};

void room_init(struct room *r, const struct world *w); /* nodes that take jobs now */
void room_done(struct room *r);
/* Best fit: the place that leaves least behind. Fills node, slices, cpus. */
bool room_fit(const struct room *r, const struct need *need, struct placement *ret);
void room_take(struct room *r, const struct need *need, const struct placement *p);

/* Could this node take it if it were empty and whole? */
bool node_could(const struct node *n, const struct need *need);
/* What stands in the way there now, in words; for nodes that could. */
void node_lack(const struct node *n, const struct need *need, char *out, size_t size);
