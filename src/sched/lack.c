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
