/* What one node could ever give, and what it lacks now, in words. */
#include "sched/lack.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>

bool node_is_meant(const struct node *n, const struct need *need)
{
	return node_is_listed(need->queue ? need->queue->nodes : NULL, n->name, n->labels) &&
	       labels_have(n->labels, need->constraint);
}

/* The first of the labels that it has not. */
static void say_label(const struct node *n, const char *wanted, char *out, size_t size)
{
	char label[LABEL_MAX] = "";

	for (; *wanted; wanted += *wanted == ',') {
		size_t len = strcspn(wanted, ",");
		snprintf(label, sizeof(label), "%.*s", (int)len, wanted);
		if (!labels_have(n->labels, label))
			break;
		wanted += len;
	}
	snprintf(out, size, "it lacks label %s", label);
}

/* Of a node whose devices are none of those asked for: what of them is too old, or another model. */
static bool say_devices(const struct node *n, const struct gpu_ask *g, char *out, size_t size)
{
	const struct device *best = NULL;
	char driver[DRIVER_TEXT];

	for (uint32_t i = 0; i < n->n_devices; i++) {
		if (n->devices[i].absent)
			continue;
		if (device_matches(g, &n->devices[i]))
			return false;
		if (!best || n->devices[i].info.cc > best->info.cc)
			best = &n->devices[i];
	}
	if (!best)
		return false;
	if (best->info.cc < g->cc_min)
		snprintf(out, size,
		        "its devices have compute capability %u.%u at most; %u.%u is asked for",
		        best->info.cc / 10, best->info.cc % 10, g->cc_min / 10, g->cc_min % 10);
	else if (best->info.cuda < g->cuda_min)
		snprintf(out, size, "its driver has CUDA %u.%u; %u.%u is asked for",
		        best->info.cuda / 1000, best->info.cuda % 1000 / 10, g->cuda_min / 1000,
		        g->cuda_min % 1000 / 10);
	else if (driver_number(best->info.driver) < g->driver_min)
		snprintf(out, size, "its driver is %.20s; %s is asked for",
		        best->info.driver[0] ? best->info.driver : "unknown",
		        driver_format(g->driver_min, driver));
	else
		snprintf(out, size, "it has no '%.90s'", g->model ? g->model : "");
	return true;
}

void node_never(const struct node *n, const struct need *need, char *out, size_t size)
{
	char ask[200];

	if (!node_is_listed(need->queue ? need->queue->nodes : NULL, n->name, n->labels))
		snprintf(out, size, "it is no node of queue '%s'", need->queue->name);
	else if (!labels_have(n->labels, need->constraint))
		say_label(n, need->constraint, out, size);
	else if (!gpu_ask_any(need->gpu) || !say_devices(n, need->gpu, out, size)) {
		need_format(need, ask, sizeof(ask));
		snprintf(out, size, "it could never satisfy %s", ask);
	}
}

bool node_could(const struct node *n, const struct need *need)
{
	uint32_t able = 0;

	if (!node_is_meant(n, need) || need->cpus > n->n_cpus || need->mem_bytes > n->mem_bytes)
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
