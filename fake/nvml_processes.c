/*
 * The functions of the fake NVML that tell of processes: who is on a device, and how busy they keep it.
 */
#include "library.h"

#include <string.h>
#include <time.h>

/* Which process is asked for; size: of one entry of the caller's array; pid and bytes are at the same place in all. */
static enum nvml_return list_processes(const char *function, struct nvml_device *device,
        unsigned *count, void *out, enum sim_list list, size_t size)
{
	struct view v;
	enum nvml_return code = view_device(&v, function, device);
	unsigned n = 0;

	if (code)
		return code;
	if (!count || (*count && !out))
		return NVML_ERROR_INVALID_ARGUMENT;
	sim_drop_dead(v.sim, &v.state);
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		const struct sim_process *p = &v.state.processes[i];
		const struct sim_card *c = &v.sim->cards[p->card];
		struct nvml_process entry = {
		        (unsigned)p->pid, p->bytes, NVML_NO_INSTANCE, NVML_NO_INSTANCE};

		/* A card shows those of its instances, too. */
		if (!p->pid || !(p->lists & list) ||
		        (p->card != v.index && c->parent != (int)v.index))
			continue;
		if (c->parent >= 0) {
			entry.gpu_instance = c->gi;
			entry.compute_instance = c->ci;
		}
		if (n < *count)
			memcpy((char *)out + n * size, &entry, size);
		n++;
	}
	code = n > *count ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
	*count = n;
	return code;
}

#define LIST(name, type, list)                                                                 \
	enum nvml_return name(struct nvml_device *device, unsigned *count, type *processes)    \
	{                                                                                      \
		return list_processes(__func__, device, count, processes, list, sizeof(type)); \
	}

LIST(nvmlDeviceGetComputeRunningProcesses, struct nvml_process_v1, SIM_COMPUTE)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, struct nvml_process, SIM_COMPUTE)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, struct nvml_process, SIM_COMPUTE)
LIST(nvmlDeviceGetGraphicsRunningProcesses, struct nvml_process_v1, SIM_GRAPHICS)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, struct nvml_process, SIM_GRAPHICS)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, struct nvml_process, SIM_GRAPHICS)

/* No MPS server runs on a simulated card. */
enum nvml_return nvmlDeviceGetMPSComputeRunningProcesses_v3(
        struct nvml_device *device, unsigned *count, struct nvml_process *processes)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	if (code)
		return code;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	return NVML_SUCCESS;
}

/* -- how busy they keep a device -- */

/* One process, when its use is younger than the caller has seen: a mean of its last second, not one for each moment. */
static bool use_of(const struct view *v, const struct sim_process *p, uint64_t since_us,
        struct nvml_process_use_v1 *ret)
{
	struct timespec now;
	int percent;

	if (!p->pid || p->card != v->index || !p->place)
		return false;
	percent = sim_busy_percent(v->sim, v->index, p->place);
	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct nvml_process_use_v1){
	        .timestamp_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
	        .pid = (unsigned)p->pid,
	        .multiprocessors = percent > 0 ? (unsigned)percent : 0,
	        .memory = percent > 0 ? (unsigned)percent / 2 : 0};
	return ret->timestamp_us > since_us;
}

/* uses NULL: only how many there are. */
static enum nvml_return list_uses(struct view *v, struct nvml_processes_use *list)
{
	unsigned room = list->uses ? list->count : 0, n = 0;

	sim_drop_dead(v->sim, &v->state);
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		struct nvml_process_use_v1 use;

		if (!use_of(v, &v->state.processes[i], list->since_us, &use))
			continue;
		if (n < room)
			list->uses[n] = use;
		n++;
	}
	list->count = n;
	if (!n)
		return NVML_ERROR_NOT_FOUND;
	return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetProcessUtilization(struct nvml_device *device,
        struct nvml_process_use *uses, unsigned *count, unsigned long long since_us)
{
	struct nvml_process_use_v1 found[SIM_PROCESSES_MAX];
	struct nvml_processes_use list = {
	        .count = SIM_PROCESSES_MAX, .since_us = since_us, .uses = found};
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);
	unsigned room;

	if (code)
		return code;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	room = uses ? *count : 0;
	code = list_uses(&v, &list);
	for (unsigned i = 0; i < list.count && i < room; i++)
		uses[i] = (struct nvml_process_use){.pid = found[i].pid,
		        .timestamp_us = found[i].timestamp_us,
		        .multiprocessors = found[i].multiprocessors,
		        .memory = found[i].memory};
	*count = list.count;
	return code == NVML_SUCCESS && list.count > room ? NVML_ERROR_INSUFFICIENT_SIZE : code;
}

enum nvml_return nvmlDeviceGetProcessesUtilizationInfo(
        struct nvml_device *device, struct nvml_processes_use *uses)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!uses)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (uses->version != NVML_STRUCT_VERSION(struct nvml_processes_use, 1))
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	return list_uses(&v, uses);
}
