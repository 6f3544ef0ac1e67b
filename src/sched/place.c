/*
 * DESIGN. Every change of a node is a line of one log. A type keeps a score for every node, and how far it has read that log:
 * asked about, it scores again the nodes that changed since, each once, and takes the least. So a question costs a look at
 * one number per node, and few scores, however many types there are.
 */
#include "sched/place_priv.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FULL    0.12 /* part of all devices that is free */
#define LOG_LEN 4096 /* changes remembered; a type that missed more scores every node */

static const struct place_policy *const policies[] = {
        &place_fragment, &place_pack, &place_spread, &place_by_fgd};

const char *place_policies(uint32_t i)
{
	return i < ARRAY_LEN(policies) ? policies[i]->name : NULL;
}

struct place *place_new(const char *policy)
{
	for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
		struct place *p;
		if (strcmp(policies[i]->name, policy) != 0)
			continue;
		p = mem_zalloc(sizeof(*p));
		p->policy = policies[i];
		p->params = place_params_usual;
		p->log = mem_zalloc(LOG_LEN * sizeof(*p->log));
		p->mix = 1;
		return p;
	}
	return NULL;
}

struct place *place_new_like(const struct place *p)
{
	struct place *like = place_new(p->policy->name);

	like->params = p->params;
	return like;
}

static void free_type(struct place_type *t)
{
	free(t->key);
	free(t->gpu.model);
	free(t->share);
	free(t->nodes);
	free(t->labels);
	free(t->may);
	free(t->score);
	free(t);
}

void place_free(struct place *p)
{
	struct place_account *account, *next;

	if (!p)
		return;
	HASH_CLEAR(hh, p->types_by_key);
	for (uint32_t i = 0; i < p->n_types; i++)
		free_type(p->types[i]);
	for (uint32_t i = 0; i < p->n_nodes; i++)
		free(p->nodes[i]);
	for (uint32_t i = 0; i < p->n_sites; i++) {
		free(p->sites[i].name);
		free(p->sites[i].labels);
	}
	place__free_gaps(p->gaps);
	place__free_fgd(p->fgd);
	HASH_ITER (hh, p->accounts, account, next) {
		HASH_DEL(p->accounts, account);
		free(account->name);
		free(account);
	}
	free(p->nodes);
	free(p->kinds);
	free(p->sites);
	free(p->types);
	free(p->log);
	free(p);
}

static void add_up(const struct place *p, struct place_node *n)
{
	n->free_milli = n->all_milli = n->n_whole = 0;
	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		n->free_milli += device_gap(p, &n->devices[i], NULL);
		n->n_whole += n->devices[i].is_whole;
		n->all_milli += n->room.is_open && n->devices[i].kind != PLACE_NONE ? 1000 : 0;
	}
}

/* By what is free now alone, not by how it came to that: else a question would change the plan after it. */
static void look_how_full(struct place *p)
{
	bool is_full = (double)p->free_milli < FULL * (double)p->all_milli;

	if (is_full != p->is_full)
		p->mix++;
	p->is_full = is_full;
}

static void note_change(struct place *p, struct place_node *n, uint32_t node)
{
	n->changed = p->changes;
	p->log[p->changes++ % LOG_LEN] = node;
	p->free_milli -= n->free_milli;
	p->all_milli -= n->all_milli;
	add_up(p, n);
	p->free_milli += n->free_milli;
	p->all_milli += n->all_milli;
	look_how_full(p);
}

static void set_room(struct place_node *n, const struct place_room *room)
{
	BUG_IF(room->n_devices > NODE_DEVICES_MAX);
	n->room = *room;
	if (room->n_devices)
		memcpy(n->devices, room->devices, room->n_devices * sizeof(*room->devices));
	n->room.devices = n->devices;
}

uint32_t place_add_node(struct place *p)
{
	MEM_GROW(p->nodes, p->n_nodes, p->cap_nodes);
	p->nodes[p->n_nodes] = mem_zalloc(sizeof(**p->nodes));
	note_change(p, p->nodes[p->n_nodes], p->n_nodes);
	return p->n_nodes++;
}

static bool is_same_device(const struct place_device *a, const struct place_device *b)
{
	return a->kind == b->kind && a->free_milli == b->free_milli &&
	       a->free_bytes == b->free_bytes && a->is_whole == b->is_whole &&
	       a->is_single == b->is_single && a->owner == b->owner && a->numa == b->numa;
}

static bool is_same_room(const struct place_room *a, const struct place_room *b)
{
	if (a->is_open != b->is_open || a->site != b->site || a->cpu_milli != b->cpu_milli ||
	        a->free_cpu_milli != b->free_cpu_milli || a->mem_bytes != b->mem_bytes ||
	        a->free_mem_bytes != b->free_mem_bytes || a->n_devices != b->n_devices)
		return false;
	for (uint32_t i = 0; i < a->n_devices; i++)
		if (!is_same_device(&a->devices[i], &b->devices[i]))
			return false;
	return true;
}

void place_set_node(struct place *p, uint32_t node, const struct place_room *room)
{
	struct place_node *n = p->nodes[node];

	if (is_same_room(&n->room, room))
		return;
	set_room(n, room);
	note_change(p, n, node);
}

void place_take(struct place *p, uint32_t type, const struct place_found *at)
{
	struct place_node *n = p->nodes[at->node];
	struct place_type *t = p->types[type];

	n->room.free_cpu_milli -= t->ask.cpu_milli;
	n->room.free_mem_bytes -= t->ask.mem_bytes;
	for (uint32_t i = 0; i < at->n_devices; i++) {
		struct place_device *d = &n->devices[at->devices[i]];
		const struct slice *s = type_share(p, t, d->kind);
		d->free_milli -= s->share_milli;
		d->free_bytes -= s->mem_bytes;
		d->is_whole = false;
		if (d->is_single && !t->gpu.count)
			d->owner = t->ask.user;
	}
	note_change(p, n, at->node);
}

void place_give(struct place *p, uint32_t type, const struct place_found *at)
{
	struct place_node *n = p->nodes[at->node];
	struct place_type *t = p->types[type];

	n->room.free_cpu_milli += t->ask.cpu_milli;
	n->room.free_mem_bytes += t->ask.mem_bytes;
	for (uint32_t i = 0; i < at->n_devices; i++) {
		struct place_device *d = &n->devices[at->devices[i]];
		const struct slice *s = type_share(p, t, d->kind);
		d->free_milli += s->share_milli;
		d->free_bytes += s->mem_bytes;
		d->is_whole = d->free_milli == 1000 &&
		              d->free_bytes == p->kinds[d->kind].like.info.mem_bytes;
		if (d->free_milli == 1000)
			d->owner = NULL;
	}
	note_change(p, n, at->node);
}

static float score_of(struct place *p, uint32_t node, struct place_type *t, uint32_t *ret_device)
{
	struct place_node *n = p->nodes[node];

	*ret_device = PLACE_NONE;
	return node_takes(p, n, t) ? p->policy->score(p, n, t, ret_device) : INFINITY;
}

static void score_anew(struct place *p, struct place_type *t, uint32_t node)
{
	uint32_t device;
	float score = score_of(p, node, t, &device);

	t->n_room += score < INFINITY;
	t->n_room -= t->score[node] < INFINITY;
	t->score[node] = score;
}

/* Scores of all nodes as they are now. */
static void bring_up(struct place *p, struct place_type *t)
{
	bool is_all = t->mix != p->mix || p->changes - t->seen > LOG_LEN || t->n_score == 0;

	if (t->n_score < p->n_nodes) {
		t->score = mem_realloc(t->score, p->n_nodes, sizeof(*t->score));
		for (; t->n_score < p->n_nodes; t->n_score++)
			t->score[t->n_score] = INFINITY; /* the new ones stand in the log */
	}
	for (uint32_t i = 0; is_all && i < p->n_nodes; i++)
		score_anew(p, t, i);
	for (; !is_all && t->seen < p->changes; t->seen++) {
		uint32_t i = p->log[t->seen % LOG_LEN];
		if (p->nodes[i]->changed == t->seen)
			score_anew(p, t, i);
	}
	t->seen = p->changes;
	t->mix = p->mix;
}

/* What the type gets on a node that has room. */
static void choose(
        struct place *p, struct place_type *t, struct place_node *n, struct place_found *ret)
{
	uint32_t device = PLACE_NONE;

	ret->n_devices = 0;
	if (t->gpu.count) {
		ret->n_devices = node_whole(p, n, t, ret->devices);
	} else if (gpu_ask_any(&t->gpu)) {
		p->policy->score(p, n, t, &device);
		ret->devices[0] = device;
		ret->n_devices = 1;
	}
}

bool place_find(struct place *p, uint32_t type, bool (*may)(void *data, uint32_t node), void *data,
        struct place_found *ret)
{
	struct place_type *t = p->types[type];
	float least = INFINITY;
	uint32_t best = PLACE_NONE;

	bring_up(p, t);
	for (uint32_t i = 0; t->n_room && i < p->n_nodes; i++) {
		if (t->score[i] >= least || (may && !may(data, i)))
			continue;
		least = t->score[i];
		best = i;
	}
	if (best == PLACE_NONE)
		return false;
	ret->node = best;
	choose(p, t, p->nodes[best], ret);
	return true;
}

bool place_find_slowly(struct place *p, uint32_t type, struct place_found *ret)
{
	struct place_type *t = p->types[type];
	float least = INFINITY;
	uint32_t best = PLACE_NONE, device;

	for (uint32_t i = 0; i < p->n_nodes; i++) {
		float score = score_of(p, i, t, &device);
		if (score >= least)
			continue;
		least = score;
		best = i;
	}
	if (best == PLACE_NONE)
		return false;
	ret->node = best;
	choose(p, t, p->nodes[best], ret);
	return true;
}

bool place_has_room(struct place *p, uint32_t type, uint32_t node)
{
	return node_takes(p, p->nodes[node], p->types[type]);
}

const struct place_room *place_look(const struct place *p, uint32_t node)
{
	return &p->nodes[node]->room;
}

bool place_try(
        struct place *p, uint32_t type, const struct place_room *room, struct place_found *ret)
{
	struct place_node n = {0};

	set_room(&n, room);
	add_up(p, &n);
	if (!node_takes(p, &n, p->types[type]))
		return false;
	choose(p, p->types[type], &n, ret);
	return true;
}

void place_count(struct place *p, uint32_t type, double times)
{
	p->types[type]->count += times;
}

void place_forget(struct place *p)
{
	for (uint32_t i = 0; i < p->n_types; i++)
		p->types[i]->count = 0;
}

void place_learn(struct place *p)
{
	if (p->policy->learn)
		p->policy->learn(p);
	p->mix++;
}
