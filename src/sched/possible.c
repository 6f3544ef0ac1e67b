/* Whether any node could ever take a request; and what it asks for, in words. */
#include "sched/lack.h"
#include "sched/sched.h"
#include "base/num.h"

#include <stdio.h>
#include <string.h>

struct size {
	uint32_t devices, cpus;
	uint64_t device_bytes, mem_bytes;
	const struct device *big; /* the device with most memory */
};

static struct size size_of(const struct node *n)
{
	struct size s = {.cpus = n->n_cpus, .mem_bytes = n->mem_bytes};

	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (d->absent)
			continue;
		s.devices++;
		if (!s.big || d->info.mem_bytes > s.device_bytes) {
			s.big = d;
			s.device_bytes = d->info.mem_bytes;
		}
	}
	return s;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* By what was asked for: whole devices, a part of one, or neither. */
static bool is_larger(const struct need *need, const struct size *a, const struct size *b)
{
	int by_devices = cmp_u64(a->devices, b->devices);
	int by_device = cmp_u64(a->device_bytes, b->device_bytes);
	int by_cpus = cmp_u64(a->cpus, b->cpus), by_mem = cmp_u64(a->mem_bytes, b->mem_bytes);

	if (need->gpu->count && by_devices)
		return by_devices > 0;
	if (gpu_ask_any(need->gpu) && by_device)
		return by_device > 0;
	if (gpu_ask_any(need->gpu) && by_devices)
		return by_devices > 0;
	return by_cpus ? by_cpus > 0 : by_mem > 0;
}

static const struct node *largest_node(const struct world *w, const struct need *need)
{
	const struct node *n, *best = NULL;
	struct size best_size = {0};

	TAILQ_FOREACH (n, &w->nodes, link) {
		struct size s = size_of(n);
		if (best && !is_larger(need, &s, &best_size))
			continue;
		best = n;
		best_size = s;
	}
	return best;
}

static void describe_node(const struct node *n, char *out, size_t size)
{
	struct size s = size_of(n);
	char mem[24], host[24];

	if (!s.big)
		snprintf(out, size, "%s with no device, %u CPU%s and %s", n->name, n->n_cpus,
		        n->n_cpus == 1 ? "" : "s", num_format_size(n->mem_bytes, host));
	else
		snprintf(out, size, "%s with %u device%s (%s, %s), %u CPU%s and %s", n->name,
		        s.devices, s.devices == 1 ? "" : "s", s.big->info.model,
		        num_format_size(s.big->info.mem_bytes, mem), n->n_cpus,
		        n->n_cpus == 1 ? "" : "s", num_format_size(n->mem_bytes, host));
}

void need_format(const struct need *need, char *out, size_t size)
{
	const struct gpu_ask *g = need->gpu;
	char a[24] = "", m[16], driver[DRIVER_TEXT];
	size_t n = 0;

#define SAY(...) (n += n < size ? (size_t)snprintf(out + n, size - n, __VA_ARGS__) : 0)
	out[0] = '\0';
	if (g->count)
		SAY("%u device%s", g->count, g->count == 1 ? "" : "s");
	else if (g->milli)
		SAY("%s of a device", num_format_milli(g->milli, m));
	else if (g->fgpu_milli)
		SAY("%u.%03u fGPU", g->fgpu_milli / 1000, g->fgpu_milli % 1000);
	if (g->mem_bytes)
		SAY("%s%s of device memory", n ? ", " : "", num_format_size(g->mem_bytes, a));
	if (g->share_milli)
		SAY("%s%u/1000 of its compute", n ? ", " : "", g->share_milli);
	if (g->model)
		SAY("%smodel '%s'", n ? ", " : "", g->model);
	if (g->cc_min)
		SAY("%scompute capability %u.%u", n ? ", " : "", g->cc_min / 10, g->cc_min % 10);
	if (g->cuda_min)
		SAY("%sCUDA %u.%u", n ? ", " : "", g->cuda_min / 1000, g->cuda_min % 1000 / 10);
	if (g->driver_min)
		SAY("%sdriver %s", n ? ", " : "", driver_format(g->driver_min, driver));
	SAY("%s%u CPU%s", n ? ", " : "", need->cpus, need->cpus == 1 ? "" : "s");
	if (need->ranks)
		SAY(" for %u task%s", need->ranks, need->ranks == 1 ? "" : "s");
	if (need->mem_bytes)
		SAY(", %s of memory", num_format_size(need->mem_bytes, a));
	if (need->constraint)
		SAY(", labels %s", need->constraint);
	if (need->queue && need->queue->nodes && need->queue->nodes[0])
		SAY(", a node of queue '%s'", need->queue->name);
#undef SAY
}

int sched_check_possible(const struct world *w, const struct request *r, struct err *err)
{
	struct need need = need_of(r, world_find_queue(w, r->queue));
	const struct node *n, *big = largest_node(w, &need);
	char ask[240], has[200];
	int rc;

	if (!big)
		return 0;
	TAILQ_FOREACH (n, &w->nodes, link)
		if (node_could(n, &need))
			return 0;
	need_format(&need, ask, sizeof(ask));
	describe_node(big, has, sizeof(has));
	rc = err_set(
	        err, ERR_IMPOSSIBLE, "no node could ever satisfy %s; the largest is %s", ask, has);
	return rc ? err_hint(err, "ask for less, or see what is there: berth nodes; berth gpus")
	          : rc;
}
