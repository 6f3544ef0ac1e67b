#include "bench/card.h"

#include "../../tables/nvml_abi.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NVML(need, since, ret, name, params) extern ret name params;
#include "../../tables/nvml.def"
#undef NVML

static struct {
	__typeof__(nvmlInit_v2) *init;
	__typeof__(nvmlErrorString) *error_string;
	__typeof__(nvmlSystemGetDriverVersion) *driver_version;
	__typeof__(nvmlDeviceGetCount_v2) *count;
	__typeof__(nvmlDeviceGetHandleByIndex_v2) *by_index;
	__typeof__(nvmlDeviceGetUUID) *uuid;
	__typeof__(nvmlDeviceGetName) *name;
	__typeof__(nvmlDeviceGetMemoryInfo) *memory;
	__typeof__(nvmlDeviceGetComputeMode) *compute_mode;
	__typeof__(nvmlDeviceGetComputeRunningProcesses) *processes;
} nvml;

#define N_REQUIRED 8
static const struct {
	void **to;
	const char *name;
} calls[] = {
        {(void **)&nvml.init, "nvmlInit_v2"},
        {(void **)&nvml.error_string, "nvmlErrorString"},
        {(void **)&nvml.driver_version, "nvmlSystemGetDriverVersion"},
        {(void **)&nvml.count, "nvmlDeviceGetCount_v2"},
        {(void **)&nvml.by_index, "nvmlDeviceGetHandleByIndex_v2"},
        {(void **)&nvml.uuid, "nvmlDeviceGetUUID"},
        {(void **)&nvml.name, "nvmlDeviceGetName"},
        {(void **)&nvml.memory, "nvmlDeviceGetMemoryInfo"},
        {(void **)&nvml.compute_mode, "nvmlDeviceGetComputeMode"},
        {(void **)&nvml.processes, "nvmlDeviceGetComputeRunningProcesses"},
};

static struct nvml_device *device;

bool card_open(struct bench *b)
{
	char path[BENCH_PATH];
	enum nvml_return rc;

	snprintf(path, sizeof path, "%.3900s/bare/libnvidia-ml.so.1", b->dir);
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		return bench_fail(b, "no NVML: %s", dlerror());
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		*calls[i].to = dlsym(handle, calls[i].name);
		if (!*calls[i].to && i < N_REQUIRED)
			return bench_fail(b, "no NVML: it lacks %s", calls[i].name);
	}
	rc = nvml.init();
	return rc == NVML_SUCCESS || bench_fail(b, "NVML: %s", nvml.error_string(rc));
}

static bool is_called(const char *name, unsigned index, const char *uuid)
{
	char digits[16];

	snprintf(digits, sizeof digits, "%u", index);
	return !strcmp(name, digits) ||
	       (!isdigit((unsigned char)*name) && *name && !strncmp(uuid, name, strlen(name)));
}

/* The only one of that name. */
static bool find(
        struct bench *b, const char *name, struct nvml_device **ret, char *ret_uuid, size_t size)
{
	char uuid[NVML_UUID_SIZE];
	unsigned n = 0, n_found = 0;
	struct nvml_device *one;

	nvml.count(&n);
	for (unsigned i = 0; i < n; i++) {
		if (nvml.by_index(i, &one) != NVML_SUCCESS ||
		        nvml.uuid(one, uuid, sizeof uuid) != NVML_SUCCESS ||
		        !is_called(name, i, uuid))
			continue;
		*ret = one;
		snprintf(ret_uuid, size, "%s", uuid);
		n_found++;
	}
	if (n_found == 1)
		return true;
	b->code = n_found ? "invalid" : "not_found";
	if (n_found)
		return bench_fail(b, "%u devices are called '%.100s...'", n_found, name);
	return bench_fail(b, "none of the %u devices here is called '%.100s'", n, name);
}

bool card_find(struct bench *b, const char *name, char *ret_uuid, size_t size)
{
	struct nvml_device *found;

	return find(b, name, &found, ret_uuid, size);
}

bool card_choose(struct bench *b, const char *uuid)
{
	char whole[NVML_UUID_SIZE];

	if (!find(b, uuid, &device, whole, sizeof whole))
		return false;
	nvml.name(device, b->model, sizeof b->model);
	nvml.driver_version(b->driver, sizeof b->driver);
	return true;
}

uint64_t card_used_bytes(void)
{
	struct nvml_memory memory = {0};

	nvml.memory(device, &memory);
	return memory.used;
}

uint64_t card_free_bytes(void)
{
	struct nvml_memory memory = {0};

	nvml.memory(device, &memory);
	return memory.free;
}

void card_users(struct card_users *ret)
{
	struct nvml_process_v1 processes[CARD_PROCESSES] = {0};
	enum nvml_return rc;

	*ret = (struct card_users){.n = CARD_PROCESSES};
	rc = nvml.processes ? nvml.processes(device, &ret->n, processes) : NVML_ERROR_NOT_SUPPORTED;
	if (rc != NVML_SUCCESS && rc != NVML_ERROR_INSUFFICIENT_SIZE)
		ret->n = 0;
	for (unsigned i = 0; rc == NVML_SUCCESS && i < ret->n; i++)
		ret->pids[i] = processes[i].pid;
}

bool card_is_exclusive(void)
{
	int mode = NVML_COMPUTE_SHARED;

	return nvml.compute_mode && nvml.compute_mode(device, &mode) == NVML_SUCCESS &&
	       mode != NVML_COMPUTE_SHARED;
}
