/*
 * DESIGN. The future of a node is what it has now and what its attempts give back: first those with a time limit, in the
 * order of their ends, then those without one, the oldest first. Where a request fits first is found node by node, and a
 * node is left as soon as it is later than the best so far. What is kept free there becomes a second picture of the node
 * in `place`, without that place: those who may still run at that moment are placed on the second picture, those who end
 * before on the first. Of two places on one node the earlier moment holds for both.
 */
#include "sched/room_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A node at some moment. */
struct moment {
	struct place_room room;
	struct place_device devices[NODE_DEVICES_MAX];
	uint64_t owed
	        [NODE_DEVICES_MAX]; /* bytes that are granted or withheld there beyond what it has */
};

/* When a request fits: at a time that limits prove, or ROOM_NEVER, when so many without a limit have ended. */
struct first {
	int64_t at_ms;
	uint32_t n_endless;
};

static bool is_before(const struct first *a, const struct first *b)
{
	return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->n_endless < b->n_endless);
}

static int by_time(const void *a, const void *b)
{
	const struct release *x = a, *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	if (x->since_ms != y->since_ms)
		return x->since_ms < y->since_ms ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

int64_t room_end_of(const struct job *j, int64_t now_ms)
{
	const struct attempt *t = job_attempt(j);
	int64_t since_ms = MIN(t->started_ms ? t->started_ms : t->placed_ms, now_ms);

	if (j->state == JOB_COMPLETING)
		return now_ms;
	return j->req->time_limit_ms ? MAX(since_ms + (int64_t)j->req->time_limit_ms, now_ms)
	                             : ROOM_NEVER;
}

/* A clock that was set back makes nobody end later than a whole limit from now; who is told to end is about to. */
static struct release release_of(const struct room *r, const struct job *j)
{
	const struct attempt *t = job_attempt(j);
	int64_t since_ms = MIN(t->started_ms ? t->started_ms : t->placed_ms, r->now_ms);
	struct release of = {.at_ms = ROOM_NEVER,
	        .since_ms = since_ms,
	        .cpu_milli = request_cpus(j->req) * 1000,
	        .mem_bytes = j->req->mem_bytes,
	        .slices = j->slices,
	        .n_slices = j->n_slices};

	if (j->state == JOB_COMPLETING)
		of.at_ms = INT64_MIN;
	else if (j->req->time_limit_ms)
		of.at_ms = since_ms + (int64_t)j->req->time_limit_ms;
	return of;
}

static void sort(struct release *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		v[i].number = i;
	if (n > 1)
		qsort(v, n, sizeof(*v), by_time);
}

/* What the world says; it holds until the node changes or the clock is set back, unless somebody is said to have come after now. */
static void look_at_ends(struct room *r, struct slot *v)
{
	const struct job *j;

	if (v->ends_changed == v->node->changed)
		return;
	v->ends_changed = v->node->changed;
	v->n_ends = 0;
	LIST_FOREACH (j, &v->node->jobs, on_node) {
		MEM_GROW(v->ends, v->n_ends, v->cap_ends);
		v->ends[v->n_ends] = release_of(r, j);
		if (v->ends[v->n_ends++].since_ms == r->now_ms)
			v->ends_changed = 0;
	}
	sort(v->ends, v->n_ends);
}

/* Everything on the node, in the order in which it ends. */
static const struct release *gather(struct room *r, struct slot *v, uint32_t *ret_n)
{
	uint32_t n = 0;

	look_at_ends(r, v);
	*ret_n = v->n_ends;
	if (v->taken == PLACE_NONE)
		return v->ends;
	for (; n < v->n_ends; n++) {
		MEM_GROW(r->releases, n, r->cap_releases);
		r->releases[n] = v->ends[n];
	}
	for (uint32_t i = v->taken; i != PLACE_NONE; i = r->taken[i].next) {
		MEM_GROW(r->releases, n, r->cap_releases);
		r->releases[n++] = room__noted(r, i);
	}
	sort(r->releases, n);
	*ret_n = n;
	return r->releases;
}

static void begin(const struct room *r, uint32_t slot, struct moment *m)
{
	m->room = *place_look(r->place, r->slots[slot].seat);
	memcpy(m->devices, m->room.devices, m->room.n_devices * sizeof(m->devices[0]));
	m->room.devices = m->devices;
	for (uint32_t i = 0; i < m->room.n_devices; i++) {
		const struct device *d = &r->slots[slot].node->devices[i];
		uint64_t held = d->used_bytes + d->info.withheld_bytes;
		m->owed[i] = held - MIN(held, d->info.mem_bytes);
	}
}

static void give_back(struct moment *m, const struct node *n, const struct release *of)
{
	m->room.free_cpu_milli = MIN(m->room.free_cpu_milli + of->cpu_milli, m->room.cpu_milli);
	m->room.free_mem_bytes = MIN(m->room.free_mem_bytes + of->mem_bytes, m->room.mem_bytes);
	for (uint32_t i = 0; i < of->n_slices; i++) {
		struct place_device *d = &m->devices[of->slices[i].device];
		uint64_t *owed = &m->owed[of->slices[i].device];
		const struct device_info *info = &n->devices[of->slices[i].device].info;
		uint64_t most = info->mem_bytes - MIN(info->mem_bytes, info->withheld_bytes);
		uint64_t back = of->slices[i].mem_bytes - MIN(of->slices[i].mem_bytes, *owed);
		*owed -= of->slices[i].mem_bytes - back;
		d->free_milli = MIN(d->free_milli + of->slices[i].share_milli, 1000);
		d->free_bytes = MIN(d->free_bytes + back, most);
		d->is_whole = d->free_milli == 1000 && d->free_bytes == info->mem_bytes;
		if (d->free_milli == 1000)
			d->owner = NULL;
	}
}

/* False: at that moment so much is not free. */
static bool take_away(struct moment *m, const struct release *of)
{
	if (m->room.free_cpu_milli < of->cpu_milli || m->room.free_mem_bytes < of->mem_bytes)
		return false;
	m->room.free_cpu_milli -= of->cpu_milli;
	m->room.free_mem_bytes -= of->mem_bytes;
	for (uint32_t i = 0; i < of->n_slices; i++) {
		struct place_device *d = &m->devices[of->slices[i].device];
		if (d->free_milli < of->slices[i].share_milli ||
		        d->free_bytes < of->slices[i].mem_bytes ||
		        (d->owner && d->owner != of->user))
			return false;
		d->free_milli -= of->slices[i].share_milli;
		d->free_bytes -= of->slices[i].mem_bytes;
		d->is_whole = false;
		if (d->is_single)
			d->owner = of->user;
	}
	return true;
}

/* What was promised to others on this node is not there for this one. */
static bool take_promises(const struct room *r, uint32_t slot, struct moment *m)
{
	for (uint32_t i = r->slots[slot].promised; i != PLACE_NONE; i = r->taken[i].next) {
		struct release of = room__noted(r, i);
		if (!take_away(m, &of))
			return false;
	}
	return true;
}

/* Whether it fits at that moment, *left: what is there without what was promised; *ret: and where of that. */
static bool fits_at(struct room *r, uint32_t slot, uint32_t type, const struct moment *m,
        struct moment *left, struct place_found *ret)
{
	if (r->slots[slot].promised == PLACE_NONE && !place_try(r->place, type, &m->room, ret))
		return false;
	*left = *m;
	left->room.devices = left->devices;
	return r->slots[slot].promised == PLACE_NONE ||
	       (take_promises(r, slot, left) && place_try(r->place, type, &left->room, ret));
}

static struct first moment_of(const struct room *r, const struct release *of)
{
	return (struct first){MAX(of->at_ms, r->now_ms), of->at_ms == ROOM_NEVER};
}

struct search {
	uint32_t type;
	struct first from; /* not before; now: it does not fit as it is */
	struct first best; /* so far */
	uint32_t slot;     /* PLACE_NONE: none yet */
	struct moment left;
	struct place_found where;
};

/* At that moment, with what is then left there. */
static bool take_if_fits(struct room *r, struct search *s, uint32_t slot, const struct moment *m,
        const struct first *at)
{
	struct place_found where;
	struct moment left;

	if (!fits_at(r, slot, s->type, m, &left, &where))
		return false;
	s->best = *at;
	s->slot = slot;
	s->where = where;
	s->left = left;
	s->left.room.devices = s->left.devices;
	return true;
}

/* Takes the node if the request fits there before the best so far. */
static void try_slot(struct room *r, struct search *s, uint32_t slot)
{
	const struct node *node = r->slots[slot].node;
	bool is_later = s->from.at_ms > r->now_ms;
	struct first at = s->from, next;
	struct moment m;
	uint32_t n, i = 0;
	const struct release *v = gather(r, &r->slots[slot], &n);

	if (!is_later && n)
		at = moment_of(r, &v[0]);
	if ((!is_later && !n) || !is_before(&at, &s->best))
		return;
	begin(r, slot, &m);
	for (at = s->from; i < n && v[i].at_ms <= at.at_ms; i++)
		give_back(&m, node, &v[i]);
	if ((i || is_later) && take_if_fits(r, s, slot, &m, &at))
		return;
	for (; i < n; i++) {
		next = moment_of(r, &v[i]);
		at = (struct first){next.at_ms, at.n_endless + next.n_endless};
		if (!is_before(&at, &s->best))
			return;
		give_back(&m, node, &v[i]);
		if (at.n_endless == 0 && i + 1 < n && v[i + 1].at_ms == at.at_ms)
			continue;
		if (take_if_fits(r, s, slot, &m, &at))
			return;
	}
}

/* So much of it is free in both. */
static void shrink(struct moment *m, const struct place_room *to)
{
	m->room.free_cpu_milli = MIN(m->room.free_cpu_milli, to->free_cpu_milli);
	m->room.free_mem_bytes = MIN(m->room.free_mem_bytes, to->free_mem_bytes);
	for (uint32_t i = 0; i < m->room.n_devices; i++) {
		struct place_device *d = &m->devices[i];
		d->free_milli = MIN(d->free_milli, to->devices[i].free_milli);
		d->free_bytes = MIN(d->free_bytes, to->devices[i].free_bytes);
		d->is_whole = d->is_whole && to->devices[i].is_whole;
		/* Of one account now, of another one then: of nobody who would be there both times. */
		if (d->owner && to->devices[i].owner && d->owner != to->devices[i].owner)
			d->free_milli = 0;
		if (!d->owner)
			d->owner = to->devices[i].owner;
	}
}

void room__squeeze(struct room *r, uint32_t slot, const struct place_room *left)
{
	struct moment now;

	begin(r, slot, &now);
	shrink(&now, left);
	place_set_node(r->place, r->slots[slot].kept, &now.room);
}

/* Left: what the node has then beside what was promised before. Who will still be there at that moment gets of the rest. */
static void keep(struct room *r, uint32_t slot, const struct need *need, int64_t at_ms,
        struct moment *left, const struct place_found *where)
{
	struct slot *v = &r->slots[slot];
	struct slice slices[NODE_DEVICES_MAX];
	struct release promise = {.at_ms = at_ms,
	        .cpu_milli = need->cpus * 1000,
	        .mem_bytes = need->mem_bytes,
	        .slices = slices,
	        .n_slices = where->n_devices,
	        .user = room__user(r, need)};

	for (uint32_t i = 0; i < where->n_devices; i++) {
		uint32_t k = where->devices[i];
		BUG_IF(!slice_resolve(need->gpu, &v->node->devices[k], &slices[i]));
		slices[i].device = k;
	}
	BUG_IF(!take_away(left, &promise));
	room__note(r, &v->promised, promise);
	if (v->kept == PLACE_NONE) {
		v->kept = room__new_seat(r, slot);
		v->kept_at_ms = at_ms;
	} else {
		shrink(left, place_look(r->place, v->kept));
		v->kept_at_ms = MIN(v->kept_at_ms, at_ms);
	}
	room__squeeze(r, slot, &left->room);
}

bool room_reserve(struct room *r, const struct need *need, int64_t not_before_ms, bool is_patient,
        struct reservation *ret)
{
	struct search s = {.type = room__type(r, need),
	        .from = {MAX(not_before_ms, r->now_ms), 0},
	        .best = {ROOM_NEVER, UINT32_MAX},
	        .slot = PLACE_NONE};

	for (uint32_t i = 0; i < r->n_slots; i++)
		if (place_look(r->place, r->slots[i].seat)->is_open)
			try_slot(r, &s, i);
	if (s.slot == PLACE_NONE)
		return false;
	if (s.best.at_ms != ROOM_NEVER || !is_patient)
		keep(r, s.slot, need, s.best.at_ms, &s.left, &s.where);
	*ret = (struct reservation){r->slots[s.slot].num, s.best.at_ms};
	return true;
}
