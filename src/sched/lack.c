/* What one node could ever give, and what it lacks now, in words. */
#include "sched/lack.h"
#include "base/num.h"

#include <stdio.h>

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
static bool lack_of_fraction(const struct node *n, const struct place_room *free,
        const struct need *need, char *out, size_t size)
{
	const struct place_device *best = NULL;
	const char *owner = NULL; /* of one that MPS holds for another account */
	struct slice want = {0}, s;
	bool has_share = false;
	char a[24], b[24];

	for (uint32_t i = 0; i < free->n_devices; i++) {
		const struct place_device *d = &free->devices[i];
		if (d->kind == PLACE_NONE || !slice_resolve(need->gpu, &n->devices[i], &s))
			continue;
		if (need_is_shut_out(need, d)) {
			owner = d->owner;
			continue;
		}
		if (s.share_milli <= d->free_milli && s.mem_bytes <= d->free_bytes)
			return false;
		has_share = has_share || s.share_milli <= d->free_milli;
		if (!best || d->free_bytes > best->free_bytes) {
			best = d;
			want = s;
		}
	}
	if (!best && owner)
		snprintf(out, size,
		        "MPS serves one account on a device at a time; on %s now jobs of %s",
		        n->name, owner);
	else if (!best)
		snprintf(out, size, "no usable device on %s", n->name);
	else if (want.mem_bytes > best->free_bytes)
		snprintf(out, size, "needs %s on one device; %s has at most %s free on one",
		        num_format_size(want.mem_bytes, a), n->name,
		        num_format_size(best->free_bytes, b));
	else if (!has_share)
		snprintf(out, size,
		        "needs %u/1000 of the compute of one device; none on %s has so much free",
		        want.share_milli, n->name);
	else
		snprintf(out, size,
		        "needs %s and %u/1000 of the compute of one device; none on %s has both free",
		        num_format_size(want.mem_bytes, a), want.share_milli, n->name);
	return true;
}

/* Whole devices of the kind that is asked for. */
static bool lack_of_whole(const struct node *n, const struct place_room *free,
        const struct gpu_ask *g, char *out, size_t size)
{
	uint32_t whole = 0, all = 0;
	struct slice s;

	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (d->absent || !slice_resolve(g, d, &s))
			continue;
		all++;
		whole += free->devices[i].kind != PLACE_NONE && free->devices[i].is_whole;
	}
	snprintf(out, size, "needs %u whole device%s; %s has %u of %u free", g->count,
	        g->count == 1 ? "" : "s", n->name, whole, all);
	return whole < g->count;
}

static bool lack_of_devices(const struct node *n, const struct place_room *free,
        const struct need *need, char *out, size_t size)
{
	if (!gpu_ask_any(need->gpu))
		return false;
	return need->gpu->count ? lack_of_whole(n, free, need->gpu, out, size)
	                        : lack_of_fraction(n, free, need, out, size);
}

bool node_lack(const struct node *n, const struct place_room *free, const struct need *need,
        char *out, size_t size)
{
	uint32_t cpus = free->free_cpu_milli / 1000;
	char a[24], b[24], devices[160] = "";
	size_t len = 0;

	out[0] = '\0';
#define SAY(...) (len += len < size ? (size_t)snprintf(out + len, size - len, __VA_ARGS__) : 0)
	if (need->cpus > cpus)
		SAY("needs %u CPU%s%s; %s has %u of %u free", need->cpus,
		        need->cpus == 1 ? "" : "s", need->ranks > 1 ? " for its tasks" : "",
		        n->name, cpus, n->n_cpus);
	if (need->mem_bytes > free->free_mem_bytes)
		SAY("%sneeds %s of memory; %s has %s free", len ? "; " : "",
		        num_format_size(need->mem_bytes, a), n->name,
		        num_format_size(free->free_mem_bytes, b));
	if (lack_of_devices(n, free, need, devices, sizeof(devices)))
		SAY("%s%s", len ? "; " : "", devices);
#undef SAY
	return len > 0;
}

bool node_is_fragmented(const struct node *n, const struct place_room *free,
        const struct need *need, char *out, size_t size)
{
	uint64_t bytes = 0;
	uint32_t milli = 0, holders = 0;
	bool is_enough = false;
	struct slice s;
	char mem[24], share[16];

	if (need->gpu->count || !gpu_ask_any(need->gpu))
		return false;
	for (uint32_t i = 0; i < free->n_devices; i++) {
		const struct place_device *d = &free->devices[i];
		if (d->kind == PLACE_NONE || need_is_shut_out(need, d) ||
		        !slice_resolve(need->gpu, &n->devices[i], &s))
			continue;
		if (s.share_milli <= d->free_milli && s.mem_bytes <= d->free_bytes)
			return false;
		bytes += d->free_bytes;
		milli += d->free_milli;
		holders += d->free_bytes && d->free_milli;
		is_enough = bytes >= s.mem_bytes && milli >= s.share_milli;
	}
	if (!is_enough)
		return false;
	snprintf(out, size,
	        "%s has %s and %s of a device's compute free over %u devices; a fraction lies on one",
	        n->name, num_format_size(bytes, mem), num_format_milli(milli, share), holders);
	return true;
}
