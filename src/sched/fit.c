#include "sched/fit.h"
#include "base/mem.h"
#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void room_init(struct room *r, const struct world *w)
{
	const struct node *n;
	size_t devices = 0, at = 0;

	*r = (struct room){0};
	TAILQ_FOREACH (n, &w->nodes, link)
		devices += n->n_devices;
	r->nodes = mem_zalloc(MAX(w->n_nodes, 1) * sizeof(*r->nodes));
	r->bytes = mem_zalloc(devices * sizeof(*r->bytes));
	r->milli = mem_zalloc(devices * sizeof(*r->milli));
	TAILQ_FOREACH (n, &w->nodes, link) {
		struct room_node *v = &r->nodes[r->n];
		if (n->state != NODE_UP || n->drained)
			continue;
		*v = (struct room_node){.node = n,
		        .cpus_used = n->cpus_used,
		        .n_cpus_used = n->n_cpus_used,
		        .mem_used = n->mem_used,
		        .used_bytes = r->bytes + at,
		        .used_milli = r->milli + at};
		for (uint32_t i = 0; i < n->n_devices; i++) {
			v->used_bytes[i] = n->devices[i].used_bytes;
			v->used_milli[i] = n->devices[i].used_milli;
		}
		at += n->n_devices;
		r->n++;
	}
}

void room_done(struct room *r)
{
	free(r->nodes);
	free(r->bytes);
	free(r->milli);
	*r = (struct room){0};
}

static bool is_whole(const struct room_node *v, uint32_t i)
{
	const struct device *d = &v->node->devices[i];

	return device_is_usable(d) && d->info.mem_bytes && !v->used_bytes[i] && !v->used_milli[i] &&
	       !d->info.withheld_bytes;
}

static uint64_t free_bytes(const struct room_node *v, uint32_t i)
{
	uint64_t withheld = v->node->devices[i].info.withheld_bytes; /* any number */
	uint64_t all = v->node->devices[i].info.mem_bytes, left = all - MIN(all, v->used_bytes[i]);

	return left - MIN(left, withheld);
}

/* Whole devices: false when there are too few. left: whole ones that would remain. */
static bool fit_whole(
        const struct room_node *v, const struct gpu_ask *g, struct placement *p, uint64_t *ret_left)
{
	uint32_t whole = 0;

	p->n_slices = 0;
	for (uint32_t i = 0; i < v->node->n_devices; i++) {
		const struct device *d = &v->node->devices[i];
		if (!is_whole(v, i))
			continue;
		whole += !d->info.card_milli;
		if (p->n_slices < g->count && slice_resolve(g, d, &p->slices[p->n_slices]))
			p->slices[p->n_slices++].device = i;
	}
	*ret_left = whole - MIN(whole, p->n_slices);
	return p->n_slices == g->count;
}

/* A fraction: the device on which least memory stays free, or unused with it. */
static bool fit_fraction(
        const struct room_node *v, const struct gpu_ask *g, struct placement *p, uint64_t *ret_left)
{
	uint64_t best = UINT64_MAX;

	p->n_slices = 0;
	for (uint32_t i = 0; i < v->node->n_devices; i++) {
		struct slice s;
		uint64_t left;
		const struct device *d = &v->node->devices[i];
		if (!device_is_usable(d) || !slice_resolve(g, d, &s))
			continue;
		if (s.mem_bytes > free_bytes(v, i) || v->used_milli[i] + s.share_milli > 1000)
			continue;
		left = free_bytes(v, i) - s.mem_bytes + slice_surplus_bytes(g, d);
		if (left >= best)
			continue;
		best = left;
		s.device = i;
		p->slices[0] = s;
		p->n_slices = 1;
	}
	*ret_left = best;
	return p->n_slices == 1;
}

static bool fits_host(const struct room_node *v, const struct need *need)
{
	if (need->cpus && v->n_cpus_used + need->cpus > v->node->n_cpus)
		return false;
	return !need->mem_bytes || v->mem_used + need->mem_bytes <= v->node->mem_bytes;
}

/* Free CPUs, those near the devices first. */
static void choose_cpus(const struct room_node *v, const struct need *need, struct placement *p)
{
	uint32_t left = need->cpus;

	memset(&p->cpus, 0, sizeof(p->cpus));
	p->bind_cpus = left > 0;
	for (int near = 1; near >= 0; near--)
		for (uint32_t c = 0; c < NODE_CPUS_MAX && left; c++) {
			bool is_near = p->n_slices == 0;
			if (!cpu_set_has(&v->node->cpus, c) || cpu_set_has(&v->cpus_used, c) ||
			        cpu_set_has(&p->cpus, c))
				continue;
			for (uint32_t i = 0; i < p->n_slices; i++)
				is_near = is_near ||
				          cpu_set_has(
				                  &v->node->devices[p->slices[i].device].info.cpus,
				                  c);
			if (near && !is_near)
				continue;
			cpu_set_add(&p->cpus, c);
			left--;
		}
}

bool room_fit(const struct room *r, const struct need *need, struct placement *ret)
{
	const struct room_node *best = NULL;
	uint64_t best_left = UINT64_MAX;
	struct placement p = {0};

	for (uint32_t k = 0; k < r->n; k++) {
		const struct room_node *v = &r->nodes[k];
		/* Without devices: the node that has the fewest of them, then the one with the fewest free CPUs. */
		uint64_t left =
		        (uint64_t)v->node->n_devices << 32 | (v->node->n_cpus - v->n_cpus_used);
		if (!fits_host(v, need))
			continue;
		p.n_slices = 0;
		if (need->gpu->count
		                ? !fit_whole(v, need->gpu, &p, &left)
		                : gpu_ask_any(need->gpu) && !fit_fraction(v, need->gpu, &p, &left))
			continue;
		if (best && left >= best_left)
			continue;
		best = v;
		best_left = left;
		ret->n_slices = p.n_slices;
		memcpy(ret->slices, p.slices, p.n_slices * sizeof(p.slices[0]));
	}
	if (!best)
		return false;
	ret->node = best->node->num;
	choose_cpus(best, need, ret);
	return true;
}

void room_take(struct room *r, const struct need *need, const struct placement *p)
{
	for (uint32_t k = 0; k < r->n; k++) {
		struct room_node *v = &r->nodes[k];
		if (v->node->num != p->node)
			continue;
		for (uint32_t i = 0; i < p->n_slices; i++) {
			v->used_bytes[p->slices[i].device] += p->slices[i].mem_bytes;
			v->used_milli[p->slices[i].device] += p->slices[i].share_milli;
		}
		for (size_t i = 0; i < ARRAY_LEN(v->cpus_used.bits); i++)
			v->cpus_used.bits[i] |= p->cpus.bits[i];
		v->n_cpus_used += need->cpus;
		v->mem_used += need->mem_bytes;
		return;
	}
}

bool node_could(const struct node *n, const struct need *need)
{
	uint32_t able = 0;

	if (need->cpus > n->n_cpus || need->mem_bytes > n->mem_bytes)
		return false;
	if (!gpu_ask_any(need->gpu))
		return true;
	for (uint32_t i = 0; i < n->n_devices; i++) {
		struct slice s;
		if (!n->devices[i].absent && slice_resolve(need->gpu, &n->devices[i], &s))
			able++;
	}
	return able >= MAX(need->gpu->count, 1);
}

/* Of one device; told for the one with most free memory. */
static void lack_of_fraction(const struct node *n, const struct need *need, char *out, size_t size)
{
	const struct device *best = NULL;
	struct slice want = {0}, s;
	bool has_share = false;
	char a[24], b[24];

	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (!device_is_usable(d) || !slice_resolve(need->gpu, d, &s))
			continue;
		has_share = has_share || s.share_milli <= device_free_milli(d);
		if (!best || device_free_bytes(d) > device_free_bytes(best)) {
			best = d;
			want = s;
		}
	}
	if (!best)
		snprintf(out, size, "no usable device on %s", n->name);
	else if (want.mem_bytes > device_free_bytes(best))
		snprintf(out, size, "needs %s on one device; %s has at most %s free on one",
		        num_format_size(want.mem_bytes, a), n->name,
		        num_format_size(device_free_bytes(best), b));
	else if (!has_share)
		snprintf(out, size,
		        "needs %u/1000 of the compute of one device; none on %s has so much free",
		        want.share_milli, n->name);
	else
		snprintf(out, size,
		        "needs %s and %u/1000 of the compute of one device; none on %s has both free",
		        num_format_size(want.mem_bytes, a), want.share_milli, n->name);
}

/* Whole devices of the kind that is asked for. */
static void lack_of_whole(const struct node *n, const struct gpu_ask *g, char *out, size_t size)
{
	uint32_t whole = 0, all = 0;
	struct slice s;

	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (d->absent || !slice_resolve(g, d, &s))
			continue;
		all++;
		whole += device_is_usable(d) && !d->n_slices && !d->info.withheld_bytes;
	}
	snprintf(out, size, "needs %u whole device%s; %s has %u of %u free", g->count,
	        g->count == 1 ? "" : "s", n->name, whole, all);
}

void node_lack(const struct node *n, const struct need *need, char *out, size_t size)
{
	char a[24], b[24];

	if (need->cpus && n->n_cpus_used + need->cpus > n->n_cpus) {
		snprintf(out, size, "needs %u CPU%s; %s has %u of %u free", need->cpus,
		        need->cpus == 1 ? "" : "s", n->name,
		        n->n_cpus - MIN(n->n_cpus, n->n_cpus_used), n->n_cpus);
	} else if (need->mem_bytes && n->mem_used + need->mem_bytes > n->mem_bytes) {
		snprintf(out, size, "needs %s of memory; %s has %s free",
		        num_format_size(need->mem_bytes, a), n->name,
		        num_format_size(n->mem_bytes - MIN(n->mem_used, n->mem_bytes), b));
	} else if (need->gpu->count) {
		lack_of_whole(n, need->gpu, out, size);
	} else {
		lack_of_fraction(n, need, out, size);
	}
}
