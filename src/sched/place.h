/*
 * Placement: on which node, and on which of its devices, a request goes. A `struct place` is the scheduler's compact picture
 * of every node, with the scores that one policy gives. It owns all of it; results are copied out. Loop thread, pure.
 * What it remembers only saves work: the answer is the one of an exhaustive search by the same policy, ties to the node that
 * was added first. Nothing here fails; a question without an answer is false.
 */
#pragma once

#include "core/node.h"

#define PLACE_NONE UINT32_MAX

struct place;
struct sched_settings;

/* Of nodes: amounts in thousandths of a CPU, bytes, thousandths of a device's compute. */
struct place_device {
	uint32_t kind; /* place_kind(); PLACE_NONE: nothing goes there */
	uint32_t free_milli;
	uint64_t free_bytes;
	bool is_whole;  /* nothing is on it, and nothing withheld from it */
	bool is_single; /* its fractions are of one account at a time: MPS serves no two */
	const char
	        *owner; /* of one that is: of place_user(), who has fractions there; NULL: nobody */
	uint8_t numa;   /* which part of the machine it is near, from 1; 0: not known */
};
struct place_room {
	bool is_open; /* takes jobs */
	uint32_t
	        site; /* place_site(); where nobody asks for nodes by name or label it does not matter */
	uint32_t cpu_milli, free_cpu_milli;
	uint64_t mem_bytes, free_mem_bytes;
	uint32_t n_devices;
	const struct place_device *devices;
};

/* What is asked of one node. */
struct place_ask {
	const struct gpu_ask *gpu;
	uint32_t cpu_milli;
	uint64_t mem_bytes;
	const char *user; /* of place_user(), where there are devices of one account; else NULL */
	/* Which nodes, as node_is_listed() and labels_have() read it; NULL or "": any. At most PLACE_WHERE_MAX bytes together. */
	const char *nodes, *labels;
};
#define PLACE_WHERE_MAX 6000

struct place_found {
	uint32_t node;
	uint32_t n_devices;
	uint32_t devices[NODE_DEVICES_MAX]; /* places on the node */
};

/* Life cycle. The name is one of place_policies(); NULL when there is none such. */
struct place *place_new(const char *policy);
void place_free(struct place *p);
/* Of the same policy, set to the same, and empty. */
struct place *place_new_like(const struct place *p);
/* The i-th policy's name, the default first; NULL behind the last. */
const char *place_policies(uint32_t i);

/* Commands. A node's number counts up from 0; equal devices and equal asks have one number each, for good. */
uint32_t place_kind(struct place *p, const struct device *d);
/* An account by its name: one pointer for each, for good. */
const char *place_user(struct place *p, const char *name);
uint32_t place_site(struct place *p, const char *name, const char *labels);
uint32_t place_type(struct place *p, const struct place_ask *ask);
uint32_t place_add_node(struct place *p);
/* The node is now so. What is as it was costs nothing more than the comparison. */
void place_set_node(struct place *p, uint32_t node, const struct place_room *room);
void place_take(struct place *p, uint32_t type, const struct place_found *at);
void place_give(struct place *p, uint32_t type, const struct place_found *at);
/* Requests of this type came `times` more often: the mix that `fragment` and `fgd` expect. In force by place_learn(). */
void place_count(struct place *p, uint32_t type, double times);
void place_learn(struct place *p);
void place_forget(struct place *p); /* all counts */
/* What `fragment` is set to. In force by place_learn(). False: out of bounds, or the policy has no settings. */
bool place_adopt(struct place *p, const struct sched_settings *settings);

/* Queries. may, when not NULL, says whether a node that has room is allowed. */
bool place_find(struct place *p, uint32_t type, bool (*may)(void *data, uint32_t node), void *data,
        struct place_found *ret);
/* The same without anything remembered: for tests and audits. */
bool place_find_slowly(struct place *p, uint32_t type, struct place_found *ret);
bool place_has_room(struct place *p, uint32_t type, uint32_t node);
/* A node as it was set and taken from; its devices until the next command. */
const struct place_room *place_look(const struct place *p, uint32_t node);
/* Whether it would fit on a node that was so, and on which of its devices; ret->node is left alone. */
bool place_try(
        struct place *p, uint32_t type, const struct place_room *room, struct place_found *ret);
/* How much one device of this kind gives to the type: false when it never could. */
bool place_share(const struct place *p, uint32_t type, uint32_t kind, struct slice *ret);
