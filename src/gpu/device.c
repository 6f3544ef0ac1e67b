/*
 * What a device is. What NVML leaves open is looked up in sysfs; what stays open is shown as unknown.
 */
#include "gpu/priv.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CC_MAJOR_MAX 999
#define MINOR_MAX    ((1u << 20) - 1) /* of a device node */

/* What programs can have. Without the newer call the driver's own share cannot be told from the rest. */
enum nvml_return gpu_memory_read(struct gpu *g, struct nvml_device *handle, uint64_t *ret_bytes)
{
	struct nvml_memory_v2 v2 = {.version = NVML_STRUCT_VERSION(struct nvml_memory_v2, 2)};
	struct nvml_memory v1 = {0};
	enum nvml_return code = NVML_TRY(&g->nvml, nvmlDeviceGetMemoryInfo_v2, handle, &v2);

	if (code == NVML_SUCCESS && v2.reserved < v2.total) {
		*ret_bytes = v2.total - v2.reserved;
		return NVML_SUCCESS;
	}
	code = g->nvml.nvmlDeviceGetMemoryInfo(handle, &v1);
	if (code == NVML_SUCCESS)
		*ret_bytes = v1.total;
	return code;
}

static int read_cuda(struct gpu *g)
{
	int version = 0;

	if (NVML_TRY(&g->nvml, nvmlSystemGetCudaDriverVersion_v2, &version) != NVML_SUCCESS &&
	        NVML_TRY(&g->nvml, nvmlSystemGetCudaDriverVersion, &version) != NVML_SUCCESS)
		return 0;
	return MAX(version, 0);
}

/* "0-3,8" -> bits; what is beyond the set, or not of the form, is left out. */
static void parse_cpu_list(const char *list, uint64_t cpus[GPU_CPUS_MAX / 64])
{
	while (isdigit((unsigned char)*list)) {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-' && isdigit((unsigned char)end[1]))
			last = strtoul(end + 1, &end, 10);
		for (unsigned long i = first; i <= last && i < GPU_CPUS_MAX; i++)
			cpus[i / 64] |= UINT64_C(1) << (i % 64);
		list = *end == ',' ? end + 1 : end;
	}
}

/* The first line of a file of the device in sysfs; false when it cannot be read. */
static bool read_sysfs(struct gpu *g, const char *pci, const char *file, char *out, size_t size)
{
	const char *colon = strchr(pci, ':');
	char path[GPU_PATH_SIZE];
	unsigned long domain;
	size_t n;
	FILE *f;

	if (!colon || (!g->sysfs && gpu_is_simulated(g)))
		return false;
	domain = strtoul(pci, NULL, 16);
	n = (size_t)snprintf(path, sizeof(path), "%s/bus/pci/devices/%04lx%s/%s",
	        g->sysfs ? g->sysfs : "/sys", domain & 0xffffffff, colon, file);
	if (n >= sizeof(path))
		return false;
	for (char *p = path + strlen(path) - strlen(file) - strlen(colon) - 1; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(out, 1, size - 1, f);
	fclose(f);
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return n > 0;
}

static void read_near(struct gpu *g, struct nvml_device *handle, struct gpu_device *shown)
{
	unsigned long words[GPU_CPUS_MAX / (8 * sizeof(unsigned long))] = {0};
	unsigned long nodes[4] = {0};
	char text[1024];

	if (NVML_TRY(&g->nvml, nvmlDeviceGetCpuAffinity, handle, ARRAY_LEN(words), words) ==
	        NVML_SUCCESS) {
		_Static_assert(sizeof(words) == sizeof(shown->cpus), "one CPU is one bit in both");
		memcpy(shown->cpus, words, sizeof(words));
	} else if (read_sysfs(g, shown->pci, "local_cpulist", text, sizeof(text))) {
		parse_cpu_list(text, shown->cpus);
	}
	shown->numa_node = -1;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetMemoryAffinity, handle, ARRAY_LEN(nodes), nodes,
	            NVML_AFFINITY_NODE) == NVML_SUCCESS) {
		for (size_t i = 0; i < ARRAY_LEN(nodes) && shown->numa_node < 0; i++)
			if (nodes[i])
				shown->numa_node =
				        (int)(i * 8 * sizeof(nodes[0])) + __builtin_ctzl(nodes[i]);
	} else if (read_sysfs(g, shown->pci, "numa_node", text, sizeof(text))) {
		shown->numa_node = text[0] == '-' ? -1 : (int)strtol(text, NULL, 10);
	}
}

enum nvml_return gpu_device_read(
        struct gpu *g, struct nvml_device *handle, struct gpu_device *shown)
{
	char driver[NVML_VERSION_SIZE] = "";
	struct nvml_pci pci = {0};
	unsigned minor = 0, mig = 0, mig_pending = 0;
	unsigned long long context_bytes = 0;
	int mode = NVML_COMPUTE_SHARED;
	enum nvml_return code = gpu_memory_read(g, handle, &shown->mem_bytes);

	if (code == NVML_SUCCESS)
		code = g->nvml.nvmlDeviceGetName(handle, shown->model, sizeof(shown->model));
	if (code == NVML_SUCCESS)
		code = g->nvml.nvmlDeviceGetCudaComputeCapability(
		        handle, &shown->cc_major, &shown->cc_minor);
	if (code != NVML_SUCCESS)
		return code;
	gpu_take_text(shown->model, sizeof(shown->model));
	if (shown->cc_major < 0 || shown->cc_major > CC_MAJOR_MAX || shown->cc_minor < 0 ||
	        shown->cc_minor > 9)
		shown->cc_major = shown->cc_minor = 0;
	if (g->nvml.nvmlSystemGetDriverVersion(driver, sizeof(driver)) == NVML_SUCCESS)
		snprintf(shown->driver, sizeof(shown->driver), "%.*s",
		        (int)sizeof(shown->driver) - 1, driver);
	gpu_take_text(shown->driver, sizeof(shown->driver));
	shown->cuda = read_cuda(g);
	if (NVML_TRY(&g->nvml, nvmlDeviceGetMinorNumber, handle, &minor) != NVML_SUCCESS ||
	        minor > MINOR_MAX)
		shown->minor = -1;
	else
		shown->minor = (int)minor;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetPciInfo_v3, handle, &pci) == NVML_SUCCESS)
		snprintf(shown->pci, sizeof(shown->pci), "%.*s", (int)sizeof(pci.bus_id) - 1,
		        pci.bus_id);
	gpu_take_text(shown->pci, sizeof(shown->pci));
	read_near(g, handle, shown);
	if (NVML_TRY(&g->nvml, nvmlDeviceGetMigMode, handle, &mig, &mig_pending) == NVML_SUCCESS)
		shown->mig = mig != 0;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetComputeMode, handle, &mode) == NVML_SUCCESS)
		shown->exclusive = mode != NVML_COMPUTE_SHARED;
	shown->gi_minor = shown->ci_minor = -1;
	shown->simulated = gpu_is_simulated(g);
	if (NVML_TRY(&g->nvml, berthFakeContext, handle, &context_bytes) == NVML_SUCCESS)
		shown->context_bytes = context_bytes;
	return NVML_SUCCESS;
}
