/*
 * Who uses a device's memory. A process may be in the lists of compute, graphics and MPS at once, with the same bytes
 * in each; it is shown once.
 */
#include "gpu/priv.h"

#include <stdlib.h>
#include <string.h>

#define PROCESSES_FIRST 64
#define PROCESSES_LIMIT 16384 /* entries of one list that are looked at */

enum { LISTS = 3 };

static void make_room(struct gpu *g, unsigned n)
{
	if (n <= g->processes_max)
		return;
	g->processes = reallocarray(g->processes, n, sizeof(*g->processes));
	BUG_IF(!g->processes);
	g->processes_max = n;
}

/* A driver may count more than it writes. */
static unsigned clear_room(struct gpu *g)
{
	memset(g->processes, 0, g->processes_max * sizeof(*g->processes));
	return g->processes_max;
}

/* One way to ask for a list, by a call that came with a certain driver. How much room there is is said anew each time. */
#define ASK(name, processes) \
	(*count = clear_room(g), NVML_TRY(&g->nvml, name, handle, count, processes))

/* The old entries are shorter: spreads them from the back, in the same memory. */
static void spread(struct gpu *g, unsigned count)
{
	struct nvml_process_v1 *old = (struct nvml_process_v1 *)g->processes;

	for (unsigned i = MIN(count, g->processes_max); i-- > 0;) {
		struct nvml_process_v1 p;

		memcpy(&p, &old[i], sizeof(p));
		g->processes[i] = (struct nvml_process){.pid = p.pid, .bytes = p.bytes};
	}
}

/* Into g->processes, by the newest call that this driver has. */
static enum nvml_return read_once(
        struct gpu *g, struct nvml_device *handle, int list, unsigned *count)
{
	struct nvml_process_v1 *old = (struct nvml_process_v1 *)g->processes;
	enum nvml_return code;

	if (list == 2)
		return ASK(nvmlDeviceGetMPSComputeRunningProcesses_v3, g->processes);
	code = list == 0 ? ASK(nvmlDeviceGetComputeRunningProcesses_v3, g->processes)
	                 : ASK(nvmlDeviceGetGraphicsRunningProcesses_v3, g->processes);
	if (code != NVML_ERROR_FUNCTION_NOT_FOUND)
		return code;
	code = list == 0 ? ASK(nvmlDeviceGetComputeRunningProcesses_v2, g->processes)
	                 : ASK(nvmlDeviceGetGraphicsRunningProcesses_v2, g->processes);
	if (code != NVML_ERROR_FUNCTION_NOT_FOUND)
		return code;
	code = list == 0 ? ASK(nvmlDeviceGetComputeRunningProcesses, old)
	                 : ASK(nvmlDeviceGetGraphicsRunningProcesses, old);
	if (code == NVML_SUCCESS)
		spread(g, *count);
	return code;
}

static enum nvml_return read_list(
        struct gpu *g, struct nvml_device *handle, int list, unsigned *ret_count)
{
	enum nvml_return code;
	unsigned count = 0;

	make_room(g, PROCESSES_FIRST);
	for (;;) {
		code = read_once(g, handle, list, &count);
		if (code != NVML_ERROR_INSUFFICIENT_SIZE || g->processes_max >= PROCESSES_LIMIT)
			break;
		/* more may have come meanwhile */
		make_room(g, MIN(MAX(MIN(count, PROCESSES_LIMIT), g->processes_max) * 2,
		                     PROCESSES_LIMIT));
	}
	*ret_count = code == NVML_SUCCESS ? MIN(count, g->processes_max) : 0;
	return code;
}

struct list {
	struct gpu_process *out;
	size_t n, max;
	bool truncated;
};

static void add(struct list *l, const struct nvml_process *p)
{
	bool known = p->bytes <= GPU_MEM_MAX; /* NVML_BYTES_UNKNOWN is beyond */
	struct gpu_process entry = {
	        .pid = (int)p->pid, .bytes = known ? p->bytes : 0, .known = known};

	if (entry.pid <= 0)
		return;
	for (size_t i = 0; i < l->n; i++) {
		if (l->out[i].pid != entry.pid)
			continue;
		l->out[i].bytes = MAX(l->out[i].bytes, entry.bytes);
		l->out[i].known = l->out[i].known || known;
		return;
	}
	if (l->n < l->max)
		l->out[l->n++] = entry;
	else
		l->truncated = true;
}

static enum nvml_return read_memory(
        struct gpu *g, struct nvml_device *handle, struct gpu_usage *ret)
{
	struct nvml_memory_v2 v2 = {.version = NVML_STRUCT_VERSION(struct nvml_memory_v2, 2)};
	struct nvml_memory v1 = {0};
	enum nvml_return code = NVML_TRY(&g->nvml, nvmlDeviceGetMemoryInfo_v2, handle, &v2);

	if (code == NVML_SUCCESS && v2.total <= GPU_MEM_MAX && v2.reserved <= v2.total &&
	        v2.free <= v2.total - v2.reserved) {
		ret->used_bytes = v2.total - v2.reserved - v2.free;
		ret->free_bytes = v2.free;
		return NVML_SUCCESS;
	}
	code = g->nvml.nvmlDeviceGetMemoryInfo(handle, &v1);
	ret->used_bytes = MIN(v1.used, GPU_MEM_MAX);
	ret->free_bytes = MIN(v1.free, GPU_MEM_MAX);
	return code;
}

int gpu_usage(struct gpu *g, const char *uuid, struct gpu_usage *ret, struct gpu_process *out,
        size_t max, size_t *ret_n, struct err *err)
{
	struct dev *d = gpu_dev_find(g, uuid);
	struct list l = {.out = out, .max = max};
	struct gpu_usage usage = {.util_percent = -1};
	struct nvml_utilization util;
	enum nvml_return code;

	if (!d)
		return err_set(err, ERR_NOT_FOUND, "no device %.100s", uuid);
	if (!d->handle || d->gone)
		return err_set(err, ERR_UNAVAILABLE, "device %s is lost", d->shown.uuid);
	if (d->shown.mig) { /* what is used there is of its instances */
		*ret = usage;
		*ret_n = 0;
		return 0;
	}
	code = read_memory(g, d->handle, &usage);
	for (int list = 0; list < LISTS && code == NVML_SUCCESS; list++) {
		unsigned count;

		code = read_list(g, d->handle, list, &count);
		for (unsigned i = 0; i < count; i++)
			add(&l, &g->processes[i]);
		if (code == NVML_ERROR_INSUFFICIENT_SIZE)
			l.truncated = true;
		/* a driver need not know all of the lists */
		if (code == NVML_ERROR_FUNCTION_NOT_FOUND || code == NVML_ERROR_NOT_SUPPORTED ||
		        code == NVML_ERROR_INSUFFICIENT_SIZE)
			code = NVML_SUCCESS;
	}
	if (code == NVML_SUCCESS &&
	        NVML_TRY(&g->nvml, nvmlDeviceGetUtilizationRates, d->handle, &util) == NVML_SUCCESS)
		usage.util_percent = (int)MIN(util.gpu, 100);
	if (code != NVML_SUCCESS) {
		gpu_took_code(g, d, code);
		return nvml_fail(&g->nvml, code, d->shown.uuid, err);
	}
	usage.truncated = l.truncated;
	*ret = usage;
	*ret_n = l.n;
	return 0;
}
