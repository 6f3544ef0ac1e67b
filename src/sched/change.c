/*
 * DESIGN. On one node the least change is plain: of every amount as much as is free there. So each node is looked at once, with
 * its free room as it stands for the job, with the room that a kept place leaves to those who are gone in time, and with and
 * without the wish for a model; of all these the one that leaves most is tried.
 */
#include "base/num.h"
#include "sched/lack.h"
#include "sched/sched_priv.h"

#include <stdio.h>
#include <string.h>

#define HALF 0.5
#define TRIM_S \
	120 /* a time limit from here on is told in whole minutes: time passes until it is used */

struct change {
	struct need need;
	uint32_t cpus; /* of each task */
	struct gpu_ask gpu;
	double left;         /* of what was asked for, 0 to 1 */
	uint64_t most_milli; /* of devices, that it may come to; UINT64_MAX: any */
};

static double part(double some, double of)
{
	return of > 0 ? some / of : 1;
}

static uint64_t floor_to(uint64_t v, uint64_t step)
{
	return v - v % step;
}

/* As much of a part of one device as is free on it. */
static bool shrink_part(const struct gpu_ask *ask, const struct device *d,
        const struct place_device *free, struct gpu_ask *ret)
{
	uint64_t all = MAX(d->info.mem_bytes, 1);
	uint32_t by_mem = (uint32_t)((unsigned __int128)free->free_bytes * 1000 / all);
	uint32_t most = MIN(free->free_milli, d->info.card_milli ? d->info.card_milli : 999);
	uint32_t milli = ask->mem_bytes ? most : MIN(most, by_mem);
	uint32_t per_device = MAX(d->fgpu_per_device, 1);

	*ret = *ask;
	ret->milli = MIN(ask->milli, ask->share_milli ? 999 : milli);
	ret->share_milli = MIN(ask->share_milli, milli);
	if (ask->fgpu_milli > milli * per_device)
		ret->fgpu_milli = (uint32_t)floor_to((uint64_t)milli * per_device, 1000);
	if (ask->mem_bytes) {
		uint64_t bytes = free->free_bytes;
		if (!ask->milli && !ask->share_milli)
			bytes = MIN(bytes, num_milli_of(all, free->free_milli));
		if (ask->mem_bytes > bytes)
			ret->mem_bytes = floor_to(bytes, MIB);
	}
	return !(ask->milli && !ret->milli) && !(ask->share_milli && !ret->share_milli) &&
	       !(ask->fgpu_milli && !ret->fgpu_milli) && !(ask->mem_bytes && !ret->mem_bytes);
}

static double part_left(const struct gpu_ask *of, const struct gpu_ask *some)
{
	return part(some->milli, of->milli) * part(some->share_milli, of->share_milli) *
	       part(some->fgpu_milli, of->fgpu_milli) *
	       part((double)some->mem_bytes, (double)of->mem_bytes);
}

static bool shrink_to_a_device(const struct room_view *v, const struct place_room *free,
        const struct gpu_ask *ask, struct change *c, double *ret_left)
{
	bool found = false;

	*ret_left = 0;
	for (uint32_t i = 0; i < free->n_devices; i++) {
		struct place_device d = free->devices[i];
		struct gpu_ask less;
		struct slice s;
		double left;
		d.free_milli = (uint32_t)MIN(d.free_milli, c->most_milli);
		if (d.kind == PLACE_NONE || need_is_shut_out(&c->need, &d) ||
		        !device_matches(ask, &v->node->devices[i]) ||
		        !shrink_part(ask, &v->node->devices[i], &d, &less) ||
		        !slice_resolve(&less, &v->node->devices[i], &s) ||
		        s.share_milli > d.free_milli || s.mem_bytes > d.free_bytes)
			continue;
		left = part_left(ask, &less);
		if (left <= *ret_left)
			continue;
		found = true;
		*ret_left = left;
		c->gpu = less;
	}
	return found;
}

/* Fewer whole devices, or as much of one as there is. */
static bool shrink_whole(const struct room_view *v, const struct place_room *free,
        const struct gpu_ask *ask, struct change *c, double *ret_left)
{
	struct gpu_ask one = {.milli = 999,
	        .cc_min = ask->cc_min,
	        .cuda_min = ask->cuda_min,
	        .driver_min = ask->driver_min,
	        .model = ask->model};
	uint32_t whole = 0;
	struct slice s;

	for (uint32_t i = 0; i < free->n_devices; i++)
		whole += free->devices[i].kind != PLACE_NONE && free->devices[i].is_whole &&
		         slice_resolve(ask, &v->node->devices[i], &s);
	whole = (uint32_t)MIN(whole, c->most_milli / 1000);
	c->gpu = *ask;
	c->gpu.count = MIN(ask->count, whole);
	*ret_left = part(c->gpu.count, ask->count);
	if (whole)
		return true;
	if (!shrink_to_a_device(v, free, &one, c, ret_left))
		return false;
	*ret_left = part(c->gpu.milli, 1000.0 * ask->count);
	return true;
}

static bool shrink_gpu(const struct room_view *v, const struct place_room *free,
        const struct gpu_ask *ask, struct change *c, double *ret_left)
{
	c->gpu = *ask;
	*ret_left = 1;
	if (!gpu_ask_any(ask))
		return true;
	return ask->count ? shrink_whole(v, free, ask, c, ret_left)
	                  : shrink_to_a_device(v, free, ask, c, ret_left);
}

/* Fewer for each task, or fewer tasks: what leaves more, and of equals the tasks stay. */
static void shrink_cpus(const struct need *need, uint32_t free, struct change *c)
{
	uint32_t ranks = MAX(need->ranks, 1U), each = need->cpus / ranks;
	uint32_t less_each = MIN(each, free / ranks);
	uint32_t fewer = each ? MIN(ranks, free / each) : ranks;

	c->cpus = less_each;
	c->need.cpus = less_each * ranks;
	if (fewer * each <= c->need.cpus)
		return;
	c->cpus = each;
	c->need.ranks = fewer;
	c->need.cpus = fewer * each;
}

/* Of everything as much as is free there. */
static void try_room(const struct room_view *v, const struct place_room *free,
        const struct need *need, const struct gpu_ask *ask, double left, struct change *best)
{
	struct change c = {.need = *need, .most_milli = best->most_milli};
	double gpu_left;

	shrink_cpus(need, free->free_cpu_milli / 1000, &c);
	if (need->mem_bytes > free->free_mem_bytes)
		c.need.mem_bytes = floor_to(free->free_mem_bytes, MIB);
	if ((need->cpus && !c.need.cpus) || (need->mem_bytes && !c.need.mem_bytes) ||
	        !shrink_gpu(v, free, ask, &c, &gpu_left))
		return;
	c.left = left * gpu_left * part(c.need.cpus, need->cpus) *
	         part((double)c.need.mem_bytes, (double)need->mem_bytes);
	if (c.left > best->left)
		*best = c;
}

static void try_models(const struct room_view *v, const struct place_room *free,
        const struct need *need, double left, struct change *best)
{
	struct gpu_ask any = *need->gpu;

	try_room(v, free, need, need->gpu, left, best);
	any.model = NULL;
	if (need->gpu->model && (any.count || any.milli))
		try_room(v, free, need, &any, left * HALF, best);
}

/* To be gone before a kept place is needed; 0: there is no time for that. */
static uint64_t time_before(int64_t now_ms, int64_t at_ms)
{
	uint64_t s = at_ms > now_ms ? (uint64_t)(at_ms - now_ms) / 1000 : 0;

	return (s >= TRIM_S ? floor_to(s, 60) : s) * 1000;
}

static void try_node(const struct room *room, const struct room_view *v, const struct need *need,
        int64_t now_ms, struct change *best)
{
	const struct place_room *free = room_view_for(room, v, need);
	struct need shorter = *need;
	double left = HALF;

	if (!v->now->is_open || !node_is_meant(v->node, need))
		return;
	try_models(v, free, need, 1, best);
	if (free == v->now || v->kept_at_ms == ROOM_NEVER)
		return;
	shorter.time_limit_ms = time_before(now_ms, v->kept_at_ms);
	if (need->time_limit_ms)
		left = part((double)shorter.time_limit_ms, (double)need->time_limit_ms);
	if (shorter.time_limit_ms)
		try_models(v, v->now, &shorter, left, best);
}

static void format_bytes(uint64_t bytes, char out[24])
{
	if (bytes % GIB == 0)
		snprintf(out, 24, "%lluG", (unsigned long long)(bytes / GIB));
	else
		snprintf(out, 24, "%lluM", (unsigned long long)(bytes / MIB));
}

static void format_time(uint64_t ms, char out[24])
{
	if (ms % 60000 == 0)
		snprintf(out, 24, "%llum", (unsigned long long)(ms / 60000));
	else
		snprintf(out, 24, "%llus", (unsigned long long)(ms / 1000));
}

/* As people type it. */
static void format_change(
        const struct request *was, const struct request *is, char *out, size_t size)
{
	const struct gpu_ask *a = &was->gpu, *b = &is->gpu;
	size_t n = 0;
	char text[24], milli[16];

	out[0] = '\0';
#define SAY(...) (n += n < size ? (size_t)snprintf(out + n, size - n, __VA_ARGS__) : 0)
	if (a->count != b->count || a->milli != b->milli || !a->model != !b->model) {
		if (b->count)
			SAY(" --gpu %u", b->count);
		else
			SAY(" --gpu %s", num_format_milli(b->milli, milli));
		if (b->model)
			SAY(":%s", b->model);
	}
	if (a->fgpu_milli != b->fgpu_milli)
		SAY(" --fgpu %u", b->fgpu_milli / 1000);
	format_bytes(b->mem_bytes, text);
	if (a->mem_bytes != b->mem_bytes)
		SAY(" --gpu-mem %s", text);
	if (a->share_milli != b->share_milli)
		SAY(" --gpu-share %u.%u%%", b->share_milli / 10, b->share_milli % 10);
	if (was->ranks != is->ranks)
		SAY(" --tasks %u", is->ranks);
	if (was->cpus != is->cpus)
		SAY(" --cpus %u", is->cpus);
	format_bytes(is->mem_bytes, text);
	if (was->mem_bytes != is->mem_bytes)
		SAY(" --mem %s", text);
	format_time(is->time_limit_ms, text);
	if (was->time_limit_ms != is->time_limit_ms)
		SAY(" --time %s", text);
#undef SAY
	if (n)
		memmove(out, out + 1, strlen(out));
}

static bool is_within(const struct placement *p, uint64_t most_milli)
{
	uint64_t milli = 0;

	for (uint32_t i = 0; i < p->n_slices; i++)
		milli += p->slices[i].share_milli;
	return milli <= most_milli;
}

bool sched__find_change(struct sched *s, int64_t now_ms, const struct guest *g, uint64_t most_milli,
        struct request *ret, char *out, size_t size)
{
	const struct request *r = g->job.req;
	const struct need need = need_of(r, g->class.shape.queue);
	struct change best = {.most_milli = most_milli};
	struct room_view v;
	struct placement p;

	for (uint32_t i = 0; room_look(s->room, i, &v); i++)
		try_node(s->room, &v, &need, now_ms, &best);
	best.need.gpu = &best.gpu;
	if (best.left <= 0 || !room_fit(s->room, &best.need, &p) || !is_within(&p, most_milli))
		return false;
	*ret = *r;
	ret->gpu = best.gpu;
	ret->ranks = best.need.ranks;
	ret->cpus = best.cpus;
	ret->mem_bytes = best.need.mem_bytes;
	ret->time_limit_ms = best.need.time_limit_ms;
	format_change(r, ret, out, size);
	return out[0] != '\0';
}
