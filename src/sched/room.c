#include "sched/room.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A node of the world, at the same number as in `place`. */
struct slot {
	const struct node *node;
	uint64_t num;     /* the node's */
	uint64_t changed; /* of the node, when it was looked at; 0: something was taken since */
	struct cpu_set cpus_used;
};

struct room {
	const char *policy;
	struct place *place;
	struct slot *slots;
	uint32_t n_slots, cap_slots;
};

struct room *room_new(const char *policy)
{
	struct place *place = place_new(policy);
	struct room *r;

	if (!place)
		return NULL;
	r = mem_zalloc(sizeof(*r));
	r->policy = policy;
	r->place = place;
	return r;
}

void room_free(struct room *r)
{
	if (!r)
		return;
	place_free(r->place);
	free(r->slots);
	free(r);
}

static struct place_device device_now(struct room *r, const struct device *d)
{
	struct place_device v = {.kind = PLACE_NONE};

	if (!device_is_usable(d))
		return v;
	v.kind = place_kind(r->place, d);
	v.free_milli = device_free_milli(d);
	v.free_bytes = device_free_bytes(d);
	v.is_whole = !d->used_bytes && !d->used_milli && !d->info.withheld_bytes;
	return v;
}

static void look_at(struct room *r, uint32_t i)
{
	const struct node *n = r->slots[i].node;
	struct place_device devices[NODE_DEVICES_MAX];
	struct place_room now = {.is_open = n->state == NODE_UP && !n->drained,
	        .cpu_milli = n->n_cpus * 1000,
	        .free_cpu_milli = (n->n_cpus - MIN(n->n_cpus, n->n_cpus_used)) * 1000,
	        .mem_bytes = n->mem_bytes,
	        .free_mem_bytes = n->mem_bytes - MIN(n->mem_bytes, n->mem_used),
	        .n_devices = n->n_devices,
	        .devices = devices};

	for (uint32_t k = 0; k < n->n_devices; k++)
		devices[k] = device_now(r, &n->devices[k]);
	place_set_node(r->place, i, &now);
	r->slots[i].changed = n->changed;
	r->slots[i].cpus_used = n->cpus_used;
}

/* Nodes come at the end; were one to go, everything would begin anew. */
static void match(struct room *r, const struct world *w)
{
	const struct node *n;
	uint32_t i = 0;

	TAILQ_FOREACH (n, &w->nodes, link) {
		if (i < r->n_slots && r->slots[i].num != n->num)
			break;
		if (i == r->n_slots) {
			MEM_GROW(r->slots, r->n_slots, r->cap_slots);
			r->slots[r->n_slots++] = (struct slot){.num = n->num};
			place_add_node(r->place);
		}
		r->slots[i++].node = n;
	}
	if (!n && i == r->n_slots)
		return;
	place_free(r->place);
	r->place = place_new(r->policy);
	r->n_slots = 0;
	match(r, w);
}

void room_sync(struct room *r, const struct world *w)
{
	match(r, w);
	for (uint32_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].changed != r->slots[i].node->changed)
			look_at(r, i);
}

static uint32_t type_of(struct room *r, const struct need *need)
{
	struct place_ask ask = {need->gpu, need->cpus * 1000, need->mem_bytes};

	return place_type(r->place, &ask);
}

void room_learn(struct room *r, const struct world *w)
{
	struct sched_class *c, *next;

	place_forget(r->place);
	HASH_ITER (hh, w->classes, c, next) {
		struct need need = {&c->shape.gpu, c->shape.cpus, c->shape.mem_bytes};
		place_count(r->place, type_of(r, &need), (double)c->n_jobs);
	}
	place_learn(r->place);
}

static bool is_near(const struct node *n, const struct placement *p, uint32_t cpu)
{
	for (uint32_t i = 0; i < p->n_slices; i++)
		if (cpu_set_has(&n->devices[p->slices[i].device].info.cpus, cpu))
			return true;
	return p->n_slices == 0;
}

/* Free CPUs, those near the devices first. */
static void choose_cpus(const struct slot *v, uint32_t left, struct placement *p)
{
	memset(&p->cpus, 0, sizeof(p->cpus));
	p->bind_cpus = left > 0;
	for (int far = 0; far <= 1; far++)
		for (uint32_t c = 0; c < NODE_CPUS_MAX && left; c++) {
			if (!cpu_set_has(&v->node->cpus, c) || cpu_set_has(&v->cpus_used, c) ||
			        cpu_set_has(&p->cpus, c) || (!far && !is_near(v->node, p, c)))
				continue;
			cpu_set_add(&p->cpus, c);
			left--;
		}
}

bool room_fit(struct room *r, const struct need *need, struct placement *ret)
{
	struct place_found at;
	const struct slot *v;

	if (!place_find(r->place, type_of(r, need), NULL, NULL, &at))
		return false;
	v = &r->slots[at.node];
	ret->node = v->num;
	ret->n_slices = at.n_devices;
	for (uint32_t i = 0; i < at.n_devices; i++) {
		BUG_IF(!slice_resolve(
		        need->gpu, &v->node->devices[at.devices[i]], &ret->slices[i]));
		ret->slices[i].device = at.devices[i];
	}
	choose_cpus(v, need->cpus, ret);
	return true;
}

static struct slot *find_slot(struct room *r, uint64_t num, uint32_t *ret_node)
{
	for (uint32_t i = 0; i < r->n_slots; i++) {
		if (r->slots[i].num != num)
			continue;
		*ret_node = i;
		return &r->slots[i];
	}
	return NULL;
}

void room_take(struct room *r, const struct need *need, const struct placement *p)
{
	struct place_found at = {.n_devices = p->n_slices};
	struct slot *v = find_slot(r, p->node, &at.node);

	for (uint32_t i = 0; i < p->n_slices; i++)
		at.devices[i] = p->slices[i].device;
	place_take(r->place, type_of(r, need), &at);
	for (size_t i = 0; i < ARRAY_LEN(v->cpus_used.bits); i++)
		v->cpus_used.bits[i] |= p->cpus.bits[i];
	v->changed = 0;
}
