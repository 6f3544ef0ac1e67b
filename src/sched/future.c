/*
 * DESIGN. The future of a node is what it has now and what its attempts give back, in the order of their time limits. Where a
 * request fits first is found node by node, and a node is left as soon as it is later than the best so far. What is kept
 * free there becomes a second picture of the node in `place`, without that place: those who may still run at that moment
 * are placed on the second picture, those who end before on the first.
 */
#include "sched/room_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A node at some moment. */
struct moment {
	struct place_room room;
	struct place_device devices[NODE_DEVICES_MAX];
};

static void add_release(struct room *r, uint32_t *n, struct release of)
{
	if (of.at_ms == ROOM_NEVER)
		return;
	MEM_GROW(r->releases, *n, r->cap_releases);
	r->releases[(*n)++] = of;
}

static int by_time(const void *a, const void *b)
{
	const struct release *x = a, *y = b;

	return x->at_ms < y->at_ms ? -1 : x->at_ms > y->at_ms;
}

static int64_t end_of(const struct room *r, const struct job *j)
{
	int64_t from = j->started_ms ? j->started_ms : r->now_ms;

	if (!j->req->time_limit_ms)
		return ROOM_NEVER;
	return MAX(from + (int64_t)j->req->time_limit_ms, r->now_ms);
}

/* Everything on the node that has an end, in its order. */
static uint32_t gather(struct room *r, uint32_t slot)
{
	const struct job *j;
	uint32_t n = 0;

	LIST_FOREACH (j, &r->slots[slot].node->jobs, on_node)
		add_release(r, &n,
		        (struct release){end_of(r, j), j->req->cpus * 1000, j->req->mem_bytes,
		                j->slices, j->n_slices});
	for (uint32_t i = 0; i < r->n_taken; i++)
		if (r->taken[i].slot == slot) {
			struct release of = r->taken[i].release;
			of.slices = r->taken[i].slices;
			add_release(r, &n, of);
		}
	if (n)
		qsort(r->releases, n, sizeof(*r->releases), by_time);
	return n;
}

static void begin(const struct room *r, uint32_t slot, struct moment *m)
{
	m->room = *place_look(r->place, r->slots[slot].seat);
	memcpy(m->devices, m->room.devices, m->room.n_devices * sizeof(m->devices[0]));
	m->room.devices = m->devices;
}

static void give_back(struct moment *m, const struct node *n, const struct release *of)
{
	m->room.free_cpu_milli = MIN(m->room.free_cpu_milli + of->cpu_milli, m->room.cpu_milli);
	m->room.free_mem_bytes = MIN(m->room.free_mem_bytes + of->mem_bytes, m->room.mem_bytes);
	for (uint32_t i = 0; i < of->n_slices; i++) {
		struct place_device *d = &m->devices[of->slices[i].device];
		const struct device_info *info = &n->devices[of->slices[i].device].info;
		uint64_t most = info->mem_bytes - MIN(info->mem_bytes, info->withheld_bytes);
		d->free_milli = MIN(d->free_milli + of->slices[i].share_milli, 1000);
		d->free_bytes = MIN(d->free_bytes + of->slices[i].mem_bytes, most);
		d->is_whole = d->free_milli == 1000 && d->free_bytes == info->mem_bytes;
	}
}

/* When the request fits there, if that is before `before_ms`; the node at that moment, and where on it. */
static bool fits_before(struct room *r, uint32_t slot, uint32_t type, int64_t before_ms,
        int64_t *ret_at_ms, struct moment *m, struct place_found *ret)
{
	uint32_t n = gather(r, slot);

	begin(r, slot, m);
	for (uint32_t i = 0; i < n && r->releases[i].at_ms < before_ms; i++) {
		give_back(m, r->slots[slot].node, &r->releases[i]);
		if (i + 1 < n && r->releases[i + 1].at_ms == r->releases[i].at_ms)
			continue;
		if (!place_try(r->place, type, &m->room, ret))
			continue;
		*ret_at_ms = r->releases[i].at_ms;
		return true;
	}
	return false;
}

/* The node without what stands on it, and how much of that has no end. */
static bool fits_ever(struct room *r, uint32_t slot, uint32_t type, uint64_t *ret_endless,
        struct moment *m, struct place_found *ret)
{
	const struct node *node = r->slots[slot].node;
	const struct job *j;

	*ret_endless = 0;
	begin(r, slot, m);
	LIST_FOREACH (j, &node->jobs, on_node) {
		struct release of = {
		        0, j->req->cpus * 1000, j->req->mem_bytes, j->slices, j->n_slices};
		*ret_endless += j->req->time_limit_ms == 0;
		give_back(m, node, &of);
	}
	for (uint32_t i = 0; i < r->n_taken; i++)
		if (r->taken[i].slot == slot) {
			struct release of = r->taken[i].release;
			of.slices = r->taken[i].slices;
			give_back(m, node, &of);
		}
	return place_try(r->place, type, &m->room, ret);
}

static bool may_keep(const struct room *r, uint32_t slot)
{
	return r->slots[slot].kept == PLACE_NONE &&
	       place_look(r->place, r->slots[slot].seat)->is_open;
}

void room__squeeze(struct room *r, uint32_t slot, const struct place_room *left)
{
	struct moment now;

	begin(r, slot, &now);
	now.room.free_cpu_milli = MIN(now.room.free_cpu_milli, left->free_cpu_milli);
	now.room.free_mem_bytes = MIN(now.room.free_mem_bytes, left->free_mem_bytes);
	for (uint32_t i = 0; i < now.room.n_devices; i++) {
		struct place_device *d = &now.devices[i];
		const struct place_device *then = &left->devices[i];
		d->free_milli = MIN(d->free_milli, then->free_milli);
		d->free_bytes = MIN(d->free_bytes, then->free_bytes);
		d->is_whole = d->is_whole && then->is_whole;
	}
	place_set_node(r->place, r->slots[slot].kept, &now.room);
}

/* What of now is left for those who will still be there at that moment. */
static void keep(struct room *r, uint32_t slot, const struct need *need, struct moment *at,
        const struct place_found *where)
{
	const struct node *n = r->slots[slot].node;

	at->room.free_cpu_milli -= need->cpus * 1000;
	at->room.free_mem_bytes -= need->mem_bytes;
	for (uint32_t i = 0; i < where->n_devices; i++) {
		struct place_device *d = &at->devices[where->devices[i]];
		struct slice s;
		BUG_IF(!slice_resolve(need->gpu, &n->devices[where->devices[i]], &s));
		d->free_milli -= s.share_milli;
		d->free_bytes -= s.mem_bytes;
		d->is_whole = false;
	}
	r->slots[slot].kept = room__new_seat(r, slot);
	room__squeeze(r, slot, &at->room);
}

static void install(struct room *r, uint32_t slot, const struct need *need, int64_t at_ms,
        struct moment *at, const struct place_found *where, struct reservation *ret)
{
	keep(r, slot, need, at, where);
	r->slots[slot].kept_at_ms = at_ms;
	*ret = (struct reservation){r->slots[slot].num, at_ms};
}

/* The node on which least has no end. */
static bool reserve_endless(
        struct room *r, const struct need *need, bool is_patient, struct reservation *ret)
{
	uint32_t type = room__type(r, need), best = PLACE_NONE;
	uint64_t least = UINT64_MAX, endless;
	struct moment m, at;
	struct place_found found, where;

	for (uint32_t i = 0; i < r->n_slots; i++) {
		if (!may_keep(r, i) || !fits_ever(r, i, type, &endless, &m, &found) ||
		        endless >= least)
			continue;
		least = endless;
		best = i;
		at = m;
		at.room.devices = at.devices;
		where = found;
	}
	if (best == PLACE_NONE)
		return false;
	if (is_patient)
		*ret = (struct reservation){r->slots[best].num, ROOM_NEVER};
	else
		install(r, best, need, ROOM_NEVER, &at, &where, ret);
	return true;
}

bool room_reserve(struct room *r, const struct need *need, bool is_patient, struct reservation *ret)
{
	uint32_t type = room__type(r, need), best = PLACE_NONE;
	int64_t first_ms = ROOM_NEVER, at_ms;
	struct moment m, at;
	struct place_found found, where;

	for (uint32_t i = 0; i < r->n_slots; i++) {
		if (!may_keep(r, i) || !fits_before(r, i, type, first_ms, &at_ms, &m, &found))
			continue;
		first_ms = at_ms;
		best = i;
		at = m;
		at.room.devices = at.devices;
		where = found;
	}
	if (best == PLACE_NONE)
		return reserve_endless(r, need, is_patient, ret);
	install(r, best, need, first_ms, &at, &where, ret);
	return true;
}
