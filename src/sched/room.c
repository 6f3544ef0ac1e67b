#include "sched/room_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define LEARN_LOOKS 100
#define NUMA_MAX    253 /* of a machine; a device beyond it is near nothing */

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

static void free_ends(struct room *r)
{
	for (uint32_t i = 0; i < r->n_slots; i++)
		free(r->slots[i].ends);
}

void room_free(struct room *r)
{
	if (!r)
		return;
	place_free(r->place);
	free_ends(r);
	free(r->slots);
	free(r->seats);
	free(r->taken);
	free(r->slices);
	free(r->releases);
	free(r);
}

/* Whose fractions are on it, where MPS holds them; NULL: nobody's. */
static const char *owner_of(struct room *r, const struct node *n, uint32_t i)
{
	const struct job *j;

	LIST_FOREACH (j, &n->jobs, on_node)
		for (uint32_t k = 0; k < j->n_slices; k++)
			if (j->slices[k].device == i && !j->req->gpu.count && j->req->user)
				return place_user(r->place, j->req->user);
	return NULL;
}

static struct place_device device_now(struct room *r, const struct node *n, uint32_t i)
{
	const struct device *d = &n->devices[i];
	struct place_device v = {.kind = PLACE_NONE};

	if (!device_is_usable(d))
		return v;
	v.kind = place_kind(r->place, d);
	v.numa = (uint8_t)(d->info.numa_node < 0 || d->info.numa_node > NUMA_MAX
	                           ? 0
	                           : d->info.numa_node + 1);
	v.free_milli = device_free_milli(d);
	v.free_bytes = device_free_bytes(d);
	v.is_whole =
	        d->info.mem_bytes && !d->used_bytes && !d->used_milli && !d->info.withheld_bytes;
	v.is_single = d->info.held_by == HELD_BY_MPS;
	v.owner = v.is_single && d->n_slices ? owner_of(r, n, i) : NULL;
	r->has_single |= v.is_single;
	return v;
}

static void look_at(struct room *r, uint32_t i)
{
	const struct node *n = r->slots[i].node;
	struct place_device devices[NODE_DEVICES_MAX];
	struct place_room now = {.is_open = n->state == NODE_UP && !n->drained,
	        .site = r->slots[i].site,
	        .cpu_milli = n->n_cpus * 1000,
	        .free_cpu_milli = (n->n_cpus - MIN(n->n_cpus, n->n_cpus_used)) * 1000,
	        .mem_bytes = n->mem_bytes,
	        .free_mem_bytes = n->mem_bytes - MIN(n->mem_bytes, n->mem_used),
	        .n_devices = n->n_devices,
	        .devices = devices};

	for (uint32_t k = 0; k < n->n_devices; k++)
		devices[k] = device_now(r, n, k);
	place_set_node(r->place, r->slots[i].seat, &now);
	r->slots[i].changed = n->changed;
	r->slots[i].cpus_used = n->cpus_used;
}

static uint32_t add_seat(struct room *r, uint32_t slot, bool is_kept)
{
	MEM_GROW(r->seats, r->n_seats, r->cap_seats);
	r->seats[r->n_seats] = (struct seat){.slot = slot, .is_kept = is_kept};
	BUG_IF(place_add_node(r->place) != r->n_seats);
	return r->n_seats++;
}

uint32_t room__new_seat(struct room *r, uint32_t slot)
{
	for (uint32_t i = 0; i < r->n_seats; i++)
		if (r->seats[i].is_spare) {
			r->seats[i] = (struct seat){.slot = slot, .is_kept = true};
			r->n_kept++;
			return i;
		}
	r->n_kept++;
	return add_seat(r, slot, true);
}

/* What the last plan placed and kept free. */
static void let_go(struct room *r)
{
	static const struct place_room closed;

	for (uint32_t i = 0; r->n_taken && i < r->n_slots; i++) {
		struct slot *v = &r->slots[i];
		v->taken = v->promised = PLACE_NONE;
		if (v->kept == PLACE_NONE)
			continue;
		place_set_node(r->place, v->kept, &closed);
		r->seats[v->kept].is_spare = true;
		v->kept = PLACE_NONE;
		r->n_kept--;
	}
	r->n_taken = r->n_slices = 0;
}

/* Nodes come at the end; were one to go, everything would begin anew. */
static void match(struct room *r, const struct world *w)
{
	const struct node *n;
	struct place *place;
	uint32_t i = 0;

	TAILQ_FOREACH (n, &w->nodes, link) {
		if (i < r->n_slots && r->slots[i].num != n->num)
			break;
		if (i == r->n_slots) {
			MEM_GROW(r->slots, r->n_slots, r->cap_slots);
			r->slots[r->n_slots] = (struct slot){.num = n->num,
			        .kept = PLACE_NONE,
			        .taken = PLACE_NONE,
			        .promised = PLACE_NONE};
			r->slots[r->n_slots].site = place_site(r->place, n->name, n->labels);
			r->slots[r->n_slots].seat = add_seat(r, r->n_slots, false);
			r->n_slots++;
		}
		r->slots[i++].node = n;
	}
	if (!n && i == r->n_slots)
		return;
	place = place_new_like(r->place);
	place_free(r->place);
	r->place = place;
	free_ends(r);
	r->n_slots = r->n_seats = 0;
	match(r, w);
}

void room_sync(struct room *r, const struct world *w, int64_t now_ms)
{
	let_go(r);
	match(r, w);
	for (uint32_t i = 0; now_ms < r->now_ms && i < r->n_slots; i++)
		r->slots[i].ends_changed = 0;
	r->now_ms = now_ms;
	for (uint32_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].changed != r->slots[i].node->changed)
			look_at(r, i);
}

const char *room__user(struct room *r, const struct need *need)
{
	return r->has_single && need->user && !need->gpu->count && gpu_ask_any(need->gpu)
	               ? place_user(r->place, need->user)
	               : NULL;
}

uint32_t room__type(struct room *r, const struct need *need)
{
	struct place_ask ask = {.gpu = need->gpu,
	        .cpu_milli = need->cpus * 1000,
	        .mem_bytes = need->mem_bytes,
	        .nodes = need->queue ? need->queue->nodes : NULL,
	        .user = room__user(r, need),
	        .labels = need->constraint};

	return place_type(r->place, &ask);
}

/* Jobs, and tasks of arrays that have not started: of those arrays that come first, so that it costs the same however many wait. */
static double count_of(struct sched_class *c)
{
	struct job *j = RB_MIN(job_order, &c->ready);
	double n = (double)c->n_jobs;

	for (int i = 0; j && i < LEARN_LOOKS; i++, j = RB_NEXT(job_order, &c->ready, j))
		n += j->is_array ? (double)array_unstarted(j->array) - 1 : 0;
	return n;
}

void room_learn(struct room *r, const struct world *w)
{
	struct sched_class *c, *next;

	place_forget(r->place);
	HASH_ITER (hh, w->classes, c, next) {
		struct need need = {.gpu = &c->shape.gpu,
		        .cpus = c->shape.cpus,
		        .mem_bytes = c->shape.mem_bytes,
		        .queue = c->shape.queue,
		        .constraint = c->shape.constraint};
		place_count(r->place, room__type(r, &need), count_of(c));
	}
	place_learn(r->place);
}

bool room_adopt(struct room *r, const struct sched_settings *settings)
{
	return place_adopt(r->place, settings);
}

const struct place *room_place(const struct room *r)
{
	return r->place;
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

static int64_t end_of(const struct room *r, const struct need *need)
{
	return need->time_limit_ms ? r->now_ms + (int64_t)need->time_limit_ms : ROOM_NEVER;
}

/* Whether somebody who ends then may still be there when what is kept free must be. */
static bool may_stay(int64_t kept_at_ms, int64_t end_ms)
{
	return kept_at_ms == ROOM_NEVER || end_ms > kept_at_ms;
}

struct asker {
	const struct room *room;
	int64_t end_ms;
};

static bool may_sit(void *data, uint32_t node)
{
	const struct asker *a = data;
	const struct seat *seat = &a->room->seats[node];
	const struct slot *v = &a->room->slots[seat->slot];

	return v->kept == PLACE_NONE || seat->is_kept == may_stay(v->kept_at_ms, a->end_ms);
}

static bool is_real(void *data, uint32_t node)
{
	const struct room *r = data;

	return !r->seats[node].is_kept;
}

static void fill_in(const struct room *r, const struct need *need, const struct place_found *at,
        struct placement *ret)
{
	const struct slot *v = &r->slots[r->seats[at->node].slot];

	ret->node = v->num;
	ret->n_slices = at->n_devices;
	for (uint32_t i = 0; i < at->n_devices; i++) {
		BUG_IF(!slice_resolve(
		        need->gpu, &v->node->devices[at->devices[i]], &ret->slices[i]));
		ret->slices[i].device = at->devices[i];
	}
	choose_cpus(v, need->cpus, ret);
}

bool room_fit(struct room *r, const struct need *need, struct placement *ret)
{
	struct asker asker = {r, end_of(r, need)};
	struct place_found at;

	if (!place_find(r->place, room__type(r, need), r->n_kept ? may_sit : NULL, &asker, &at))
		return false;
	r->latest = r->seats[at.node].slot;
	fill_in(r, need, &at, ret);
	return true;
}

bool room_fit_unkept(struct room *r, const struct need *need, struct placement *ret)
{
	struct place_found at;

	if (!place_find(r->place, room__type(r, need), r->n_kept ? is_real : NULL, r, &at))
		return false;
	fill_in(r, need, &at, ret);
	return true;
}

bool room_look(const struct room *r, uint32_t i, struct room_view *ret)
{
	const struct slot *v = &r->slots[i];

	if (i >= r->n_slots)
		return false;
	ret->node = v->node;
	ret->now = place_look(r->place, v->seat);
	ret->beside = v->kept == PLACE_NONE ? NULL : place_look(r->place, v->kept);
	ret->kept_at_ms = v->kept_at_ms;
	return true;
}

const struct place_room *room_view_for(
        const struct room *r, const struct room_view *v, const struct need *need)
{
	return v->beside && may_stay(v->kept_at_ms, end_of(r, need)) ? v->beside : v->now;
}

static uint32_t find_slot(const struct room *r, uint64_t num)
{
	uint32_t i = 0;

	if (r->latest < r->n_slots && r->slots[r->latest].num == num)
		return r->latest;
	while (i < r->n_slots && r->slots[i].num != num)
		i++;
	BUG_IF(i == r->n_slots);
	return i;
}

void room__note(struct room *r, uint32_t *head, struct release what)
{
	struct taken *t;

	MEM_GROW(r->taken, r->n_taken, r->cap_taken);
	t = &r->taken[r->n_taken];
	*t = (struct taken){.next = *head, .first_slice = r->n_slices, .release = what};
	t->release.slices = NULL;
	for (uint32_t i = 0; i < what.n_slices; i++) {
		MEM_GROW(r->slices, r->n_slices, r->cap_slices);
		r->slices[r->n_slices++] = what.slices[i];
	}
	*head = r->n_taken++;
}

struct release room__noted(const struct room *r, uint32_t i)
{
	struct release of = r->taken[i].release;

	of.slices = &r->slices[r->taken[i].first_slice];
	return of;
}

void room_take(struct room *r, const struct need *need, const struct placement *p)
{
	struct place_found at = {.n_devices = p->n_slices};
	uint32_t slot = find_slot(r, p->node), type = room__type(r, need);
	struct slot *v = &r->slots[slot];
	struct release what = {.at_ms = end_of(r, need),
	        .since_ms = r->now_ms,
	        .cpu_milli = need->cpus * 1000,
	        .mem_bytes = need->mem_bytes,
	        .slices = p->slices,
	        .n_slices = p->n_slices};

	room__note(r, &v->taken, what);
	for (uint32_t i = 0; i < p->n_slices; i++)
		at.devices[i] = p->slices[i].device;
	at.node = v->seat;
	place_take(r->place, type, &at);
	if (v->kept != PLACE_NONE && may_stay(v->kept_at_ms, what.at_ms)) {
		at.node = v->kept;
		place_take(r->place, type, &at);
	} else if (v->kept != PLACE_NONE) {
		room__squeeze(r, slot, place_look(r->place, v->kept));
	}
	for (size_t i = 0; i < ARRAY_LEN(v->cpus_used.bits); i++)
		v->cpus_used.bits[i] |= p->cpus.bits[i];
	v->changed = 0;
}
