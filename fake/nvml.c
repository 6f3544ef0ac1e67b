/*
 * The functions of the fake NVML that ask: system, devices, processes.
 */
#include "library.h"

#include <stdio.h>
#include <string.h>

const char *nvmlErrorString(enum nvml_return result)
{
	switch (result) {
	case NVML_SUCCESS:
		return "Success";
#define NVML_RETURN(name, value, text) \
	case NVML_ERROR_##name:        \
		return text;
		NVML_RETURNS(NVML_RETURN)
#undef NVML_RETURN
	}
	return "Unknown Error";
}

/* -- system -- */

enum nvml_return nvmlSystemGetDriverVersion(char *version, unsigned length)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);

	return code ? code : put_text(v.sim->driver, version, length);
}

/* As the real one counts: CUDA's major number, then the driver's version. */
enum nvml_return nvmlSystemGetNVMLVersion(char *version, unsigned length)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);
	char text[NVML_VERSION_SIZE + 16];

	if (code)
		return code;
	snprintf(text, sizeof(text), "%d.%s", v.sim->cuda_version / 1000, v.sim->driver);
	return put_text(text, version, length);
}

static enum nvml_return cuda_version(const char *function, int *version)
{
	struct view v;
	enum nvml_return code = view_open(&v, function, NULL);

	if (code)
		return code;
	if (!version)
		return NVML_ERROR_INVALID_ARGUMENT;
	*version = v.sim->cuda_version;
	return NVML_SUCCESS;
}

enum nvml_return nvmlSystemGetCudaDriverVersion(int *version)
{
	return cuda_version(__func__, version);
}

enum nvml_return nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	return cuda_version(__func__, version);
}

enum nvml_return nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);
	char path[40], text[1024];
	size_t n;
	FILE *f;

	if (code)
		return code;
	if (!name || !length)
		return NVML_ERROR_INVALID_ARGUMENT;
	snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
	f = fopen(path, "re");
	if (!f)
		return NVML_ERROR_NOT_FOUND;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	snprintf(name, length, "%s", text);
	return NVML_SUCCESS;
}

/* -- finding devices -- */

static enum nvml_return count_devices(const char *function, unsigned *count)
{
	struct view v;
	enum nvml_return code = view_open(&v, function, NULL);

	if (code)
		return code;
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = v.sim->n_gpus;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCount_v2(unsigned *count)
{
	return count_devices(__func__, count);
}

enum nvml_return nvmlDeviceGetCount(unsigned *count)
{
	return count_devices(__func__, count);
}

static enum nvml_return by_index(const char *function, unsigned index, struct nvml_device **device)
{
	struct view v;
	enum nvml_return code = view_open(&v, function, NULL);

	if (code)
		return code;
	if (!device || index >= v.sim->n_gpus)
		return NVML_ERROR_INVALID_ARGUMENT;
	return view_handle(&v, (int)index, device);
}

enum nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned index, struct nvml_device **device)
{
	return by_index(__func__, index, device);
}

enum nvml_return nvmlDeviceGetHandleByIndex(unsigned index, struct nvml_device **device)
{
	return by_index(__func__, index, device);
}

enum nvml_return nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);

	if (code)
		return code;
	if (!uuid || !device || (strncmp(uuid, "GPU-", 4) != 0 && strncmp(uuid, "MIG-", 4) != 0))
		return NVML_ERROR_INVALID_ARGUMENT;
	return view_handle(&v, sim_find_card(v.sim, uuid), device);
}

/* "0000:01:00.0", with a domain of any width, or none. */
enum nvml_return nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, struct nvml_device **device)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);
	unsigned domain = 0, bus, slot;

	if (code)
		return code;
	if (!bus_id || !device)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (sscanf(bus_id, "%8x:%2x:%2x", &domain, &bus, &slot) != 3) {
		domain = 0;
		if (sscanf(bus_id, "%2x:%2x", &bus, &slot) != 2)
			return NVML_ERROR_INVALID_ARGUMENT;
	}
	for (unsigned i = 0; i < v.sim->n_gpus; i++) {
		const struct sim_card *c = &v.sim->cards[i];

		if (c->pci_domain == domain && c->pci_bus == bus && c->pci_device == slot)
			return view_handle(&v, (int)i, device);
	}
	return NVML_ERROR_NOT_FOUND;
}

/* -- what a device is -- */

enum nvml_return nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, unsigned length)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	return code ? code : put_text(v.card->uuid, uuid, length);
}

enum nvml_return nvmlDeviceGetName(struct nvml_device *device, char *name, unsigned length)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	return code ? code : put_text(v.card->model, name, length);
}

/* Answers one number of a device that view_device has let through. */
static enum nvml_return put_number(enum nvml_return code, unsigned *out, unsigned value)
{
	if (code)
		return code;
	if (!out)
		return NVML_ERROR_INVALID_ARGUMENT;
	*out = value;
	return NVML_SUCCESS;
}

/* As it is counted: an instance among those of its card. */
static unsigned place_of(const struct view *v)
{
	unsigned n = 0;

	if (v->card->parent < 0)
		return v->index;
	for (unsigned i = v->sim->n_gpus; i < v->index; i++)
		n += v->sim->cards[i].parent == v->card->parent &&
		     !sim_is_gone(v->sim, &v->state, i);
	return n;
}

enum nvml_return nvmlDeviceGetIndex(struct nvml_device *device, unsigned *index)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	return put_number(code, index, code ? 0 : place_of(&v));
}

enum nvml_return nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned *minor)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put_number(code, minor, code ? 0 : v.index);
}

enum nvml_return nvmlDeviceGetCudaComputeCapability(
        struct nvml_device *device, int *major, int *minor)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!major || !minor)
		return NVML_ERROR_INVALID_ARGUMENT;
	*major = v.card->cc_major;
	*minor = v.card->cc_minor;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);
	const struct sim_card *c = v.card;

	if (code)
		return code;
	if (!pci)
		return NVML_ERROR_INVALID_ARGUMENT;
	*pci = (struct nvml_pci){.domain = c->pci_domain,
	        .bus = c->pci_bus,
	        .device = c->pci_device,
	        .device_id = 0x10de};
	snprintf(pci->bus_id_legacy, sizeof(pci->bus_id_legacy), "%04x:%02x:%02x.0",
	        c->pci_domain & 0xffff, c->pci_bus & 0xff, c->pci_device & 0xff);
	snprintf(pci->bus_id, sizeof(pci->bus_id), "%08x:%02x:%02x.0", c->pci_domain,
	        c->pci_bus & 0xff, c->pci_device & 0xff);
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetNumaNodeId(struct nvml_device *device, unsigned *node)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code == NVML_SUCCESS && v.card->gpu_numa_node < 0)
		code = NVML_ERROR_NOT_SUPPORTED;
	return put_number(code, node, code ? 0 : (unsigned)v.card->gpu_numa_node);
}

static enum nvml_return put_cpus(
        enum nvml_return code, const struct view *v, unsigned n_words, unsigned long *words)
{
	uint64_t all = 0;

	if (code)
		return code;
	if (!words || !n_words)
		return NVML_ERROR_INVALID_ARGUMENT;
	for (unsigned i = 0; i < SIM_CPU_WORDS; i++)
		all |= v->card->cpus[i];
	if (!all)
		return NVML_ERROR_NOT_SUPPORTED;
	for (unsigned i = 0; i < n_words; i++)
		words[i] = i < SIM_CPU_WORDS ? v->card->cpus[i] : 0;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCpuAffinity(
        struct nvml_device *device, unsigned n_words, unsigned long *words)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put_cpus(code, &v, n_words, words);
}

enum nvml_return nvmlDeviceGetCpuAffinityWithinScope(
        struct nvml_device *device, unsigned n_words, unsigned long *words, unsigned scope)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put_cpus(code, &v, n_words, words);
}

enum nvml_return nvmlDeviceGetMemoryAffinity(
        struct nvml_device *device, unsigned n_words, unsigned long *words, unsigned scope)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!words || !n_words)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (v.card->numa_node < 0)
		return NVML_ERROR_NOT_SUPPORTED;
	memset(words, 0, n_words * sizeof(*words));
	words[0] = 1UL << v.card->numa_node;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetComputeMode(struct nvml_device *device, int *mode)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put_number(code, (unsigned *)mode, code ? 0 : (unsigned)v.card->compute_mode);
}

enum nvml_return nvmlDeviceGetPersistenceMode(struct nvml_device *device, int *mode)
{
	struct view v;

	return put_number(view_whole(&v, __func__, device), (unsigned *)mode, 1);
}

/* What a CUDA context takes of it; no driver tells that. */
enum nvml_return berthFakeContext(struct nvml_device *device, unsigned long long *bytes)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	if (code)
		return code;
	if (!bytes)
		return NVML_ERROR_INVALID_ARGUMENT;
	*bytes = v.card->context_bytes;
	return NVML_SUCCESS;
}

/* -- what it does now -- */

/* Bytes in use, never above what there is to use. */
static uint64_t used_bytes(struct view *v)
{
	uint64_t usable = v->card->mem_bytes - v->card->reserved_bytes;
	uint64_t used;

	sim_drop_dead(v->sim, &v->state);
	used = sim_used(&v->state, v->index);
	for (unsigned i = v->sim->n_gpus; i < v->sim->n_cards && used < usable; i++)
		if (v->sim->cards[i].parent == (int)v->index)
			used += sim_used(&v->state, i);
	return used < usable ? used : usable;
}

enum nvml_return nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	if (code)
		return code;
	if (!memory)
		return NVML_ERROR_INVALID_ARGUMENT;
	memory->total = v.card->mem_bytes;
	memory->used = used_bytes(&v) + v.card->reserved_bytes;
	memory->free = memory->total - memory->used;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMemoryInfo_v2(
        struct nvml_device *device, struct nvml_memory_v2 *memory)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	if (code)
		return code;
	if (!memory)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (memory->version != NVML_STRUCT_VERSION(struct nvml_memory_v2, 2))
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	memory->total = v.card->mem_bytes;
	memory->reserved = v.card->reserved_bytes;
	memory->used = used_bytes(&v);
	memory->free = memory->total - memory->reserved - memory->used;
	return NVML_SUCCESS;
}

/* Of the programs that run on it, or as fake-gpu was told. */
static unsigned load_of(const struct view *v)
{
	int percent = sim_busy_percent(v->sim, v->index, 0);

	return percent < 0 ? v->live->util_percent : (unsigned)percent;
}

enum nvml_return nvmlDeviceGetUtilizationRates(
        struct nvml_device *device, struct nvml_utilization *utilization)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!utilization)
		return NVML_ERROR_INVALID_ARGUMENT;
	*utilization = (struct nvml_utilization){load_of(&v), load_of(&v) / 2};
	return NVML_SUCCESS;
}

/* A simulated card is as warm, and draws as much, as its load says. */
enum nvml_return nvmlDeviceGetTemperature(struct nvml_device *device, int sensor, unsigned *celsius)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code == NVML_SUCCESS && sensor != NVML_TEMPERATURE_GPU)
		code = NVML_ERROR_INVALID_ARGUMENT;
	return put_number(code, celsius, code ? 0 : 30 + load_of(&v) / 2);
}

enum nvml_return nvmlDeviceGetPowerUsage(struct nvml_device *device, unsigned *milliwatts)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put_number(code, milliwatts, code ? 0 : 50000 + load_of(&v) * 2500);
}
