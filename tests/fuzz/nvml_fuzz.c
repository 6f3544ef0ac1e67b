/*
 * An NVML that answers nonsense: this program is the library, and the bytes are its answers, one after the other; when they are used up
 * it answers well, with nothing. It keeps to what a caller must rely on: it writes no more than it was given room for.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "gpu/gpu.h"
#include "gpu/nvml.h"

#define HANDLES   8
#define CALLS_MAX 200000 /* of the library, for one input */

#define NVML(need, since, ret, name, params) ret name params;
#include "../../tables/nvml.def"
#undef NVML

static const uint8_t *data;
static size_t size, n_calls;
static bool is_started, has_events;
static char handles[HANDLES]; /* their addresses are what is handed out, since the last start */
static bool is_handed_out[HANDLES];
static bool is_instance[HANDLES]; /* some of them MIG ones */

static uint8_t byte(void)
{
	return fuzz_byte(&data, &size);
}

static uint64_t number(void)
{
	static const uint64_t edges[] = {0, 1, 2, 8ULL << 30, 80ULL << 30, INT32_MAX, UINT32_MAX,
	        1ULL << 40, INT64_MAX, UINT64_MAX};
	uint8_t b = byte();
	uint64_t n = 0;

	if (b < 128)
		return b;
	if (b < 240)
		return edges[b % ARRAY_LEN(edges)];
	for (int i = 0; i < 8; i++)
		n = n << 8 | byte();
	return n;
}

/* Each call begins with it: what it returns. */
static enum nvml_return code(void)
{
	static const int codes[] = {
#define NVML_RETURN(name, value, text) value,
	        NVML_RETURNS(NVML_RETURN)
#undef NVML_RETURN
	                22,
	        1000, -1};
	uint8_t b = byte();

	FUZZ_MUST(++n_calls < CALLS_MAX);
	return b < 160 ? NVML_SUCCESS
	               : (enum nvml_return)codes[(size_t)(b - 160) % ARRAY_LEN(codes)];
}

static enum nvml_return device_code(const struct nvml_device *device)
{
	size_t i = (size_t)((const char *)device - handles);

	FUZZ_MUST(is_started);
	FUZZ_MUST(i < HANDLES && is_handed_out[i]);
	return code();
}

/* Sound, of any bytes, or without an end. */
static void put_text(char *out, unsigned len)
{
	uint8_t how = byte();

	FUZZ_MUST(len >= 1);
	for (unsigned i = 0; i < len; i++) {
		bool is_end = how < 128 ? i == (unsigned)how % 24 || i == len - 1
		                        : how >= 192 && i == how - 192U;

		out[i] = (char)(is_end      ? 0
		                : how < 128 ? "GPU-abcdef01:0.#"[byte() % 16]
		                            : byte() | (how & 1 ? 128 : 0));
		if (is_end)
			return;
		if (how >= 128 && !out[i])
			out[i] = 'x';
	}
}

/* What NVML has for callers, in the order of tables/nvml.def. */

enum nvml_return nvmlInit_v2(void)
{
	enum nvml_return c = code();

	FUZZ_MUST(!is_started);
	is_started = c == NVML_SUCCESS;
	return c;
}

enum nvml_return nvmlShutdown(void)
{
	FUZZ_MUST(is_started && !has_events);
	is_started = false;
	memset(is_handed_out, 0, sizeof(is_handed_out));
	memset(is_instance, 0, sizeof(is_instance));
	return code();
}

const char *nvmlErrorString(enum nvml_return result)
{
	static char text[600];

	if (byte() % 4 == 0)
		return NULL;
	put_text(text, sizeof(text) - 1);
	return text;
}

enum nvml_return nvmlSystemGetDriverVersion(char *version, unsigned length)
{
	put_text(version, length);
	return code();
}

enum nvml_return nvmlDeviceGetCount_v2(unsigned *count)
{
	*count = (unsigned)number();
	return code();
}

enum nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned index, struct nvml_device **device)
{
	enum nvml_return c = code();
	size_t i = byte() % HANDLES;

	FUZZ_MUST(is_started);
	if (c != NVML_SUCCESS)
		return c;
	is_handed_out[i] = true;
	*device = (struct nvml_device *)(void *)&handles[i];
	return c;
}

enum nvml_return nvmlDeviceGetUUID(struct nvml_device *device, char *uuid, unsigned length)
{
	size_t i = (size_t)((const char *)device - handles);

	put_text(uuid, length);
	if (i < HANDLES && is_instance[i])
		memcpy(uuid, "MIG-", 4);
	return device_code(device);
}

enum nvml_return nvmlDeviceGetName(struct nvml_device *device, char *name, unsigned length)
{
	put_text(name, length);
	return device_code(device);
}

enum nvml_return nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
	*memory = (struct nvml_memory){number(), number(), number()};
	return device_code(device);
}

enum nvml_return nvmlDeviceGetCudaComputeCapability(
        struct nvml_device *device, int *major, int *minor)
{
	*major = (int)number();
	*minor = (int)number();
	return device_code(device);
}

enum nvml_return nvmlDeviceGetMinorNumber(struct nvml_device *device, unsigned *minor)
{
	*minor = (unsigned)number();
	return device_code(device);
}

enum nvml_return nvmlDeviceGetComputeMode(struct nvml_device *device, int *mode)
{
	*mode = (int)number();
	return device_code(device);
}

enum nvml_return nvmlDeviceGetUtilizationRates(
        struct nvml_device *device, struct nvml_utilization *utilization)
{
	*utilization = (struct nvml_utilization){(unsigned)number(), (unsigned)number()};
	return device_code(device);
}

enum nvml_return nvmlDeviceGetTotalEccErrors(
        struct nvml_device *device, int type, int counter, unsigned long long *count)
{
	*count = number();
	return device_code(device);
}

/* How many entries are written, and what is said of their number. */
static enum nvml_return list(struct nvml_device *device, unsigned *count, unsigned *ret_n)
{
	enum nvml_return c = device_code(device);
	unsigned room = *count, n = byte() % 80;

	*ret_n = MIN(n, room);
	*count = byte() < 200 ? n : (unsigned)number();
	return c == NVML_SUCCESS && n > room ? NVML_ERROR_INSUFFICIENT_SIZE : c;
}

static enum nvml_return list_new(
        struct nvml_device *device, unsigned *count, struct nvml_process *processes)
{
	unsigned n;
	enum nvml_return c = list(device, count, &n);

	for (unsigned i = 0; i < n; i++)
		processes[i] = (struct nvml_process){.pid = (unsigned)number(), .bytes = number()};
	return c;
}

static enum nvml_return list_old(
        struct nvml_device *device, unsigned *count, struct nvml_process_v1 *processes)
{
	unsigned n;
	enum nvml_return c = list(device, count, &n);

	for (unsigned i = 0; i < n; i++)
		processes[i] = (struct nvml_process_v1){(unsigned)number(), number()};
	return c;
}

#define LIST(name, of, type)                                                                  \
	enum nvml_return name(struct nvml_device *device, unsigned *count, struct type *list) \
	{                                                                                     \
		return of(device, count, list);                                               \
	}
LIST(nvmlDeviceGetComputeRunningProcesses, list_old, nvml_process_v1)
LIST(nvmlDeviceGetGraphicsRunningProcesses, list_old, nvml_process_v1)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, list_new, nvml_process)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, list_new, nvml_process)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, list_new, nvml_process)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, list_new, nvml_process)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, list_new, nvml_process)

enum nvml_return nvmlDeviceGetCpuAffinity(
        struct nvml_device *device, unsigned n_words, unsigned long *words)
{
	for (unsigned i = 0; i < n_words; i++)
		words[i] = number();
	return device_code(device);
}

enum nvml_return nvmlEventSetCreate(struct nvml_event_set **set)
{
	enum nvml_return c = code();

	FUZZ_MUST(is_started && !has_events);
	has_events = c == NVML_SUCCESS;
	*set = (struct nvml_event_set *)(void *)&has_events;
	return c;
}

enum nvml_return nvmlEventSetFree(struct nvml_event_set *set)
{
	FUZZ_MUST(has_events);
	has_events = false;
	return code();
}

enum nvml_return nvmlDeviceGetSupportedEventTypes(
        struct nvml_device *device, unsigned long long *types)
{
	*types = number();
	return device_code(device);
}

enum nvml_return nvmlDeviceRegisterEvents(
        struct nvml_device *device, unsigned long long types, struct nvml_event_set *set)
{
	FUZZ_MUST(has_events);
	return device_code(device);
}

enum nvml_return nvmlSystemGetCudaDriverVersion(int *version)
{
	*version = (int)number();
	return code();
}

enum nvml_return nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	*version = (int)number();
	return code();
}

enum nvml_return nvmlDeviceGetPciInfo_v3(struct nvml_device *device, struct nvml_pci *pci)
{
	put_text(pci->bus_id, sizeof(pci->bus_id));
	return device_code(device);
}

enum nvml_return nvmlDeviceGetMemoryAffinity(
        struct nvml_device *device, unsigned n_words, unsigned long *words, unsigned scope)
{
	return nvmlDeviceGetCpuAffinity(device, n_words, words);
}

enum nvml_return nvmlDeviceGetMigMode(
        struct nvml_device *device, unsigned *current, unsigned *pending)
{
	*current = *pending = byte();
	return device_code(device);
}

enum nvml_return nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned *count)
{
	*count = (unsigned)number();
	return device_code(device);
}

enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(
        struct nvml_device *device, unsigned index, struct nvml_device **mig)
{
	enum nvml_return c = device_code(device);
	size_t i = byte() % HANDLES;

	if (c != NVML_SUCCESS)
		return c;
	is_handed_out[i] = is_instance[i] = true;
	*mig = (struct nvml_device *)(void *)&handles[i];
	return c;
}

enum nvml_return nvmlDeviceGetGpuInstanceId(struct nvml_device *mig, unsigned *id)
{
	*id = (unsigned)number();
	return device_code(mig);
}

enum nvml_return nvmlDeviceGetComputeInstanceId(struct nvml_device *mig, unsigned *id)
{
	return nvmlDeviceGetGpuInstanceId(mig, id);
}

enum nvml_return nvmlDeviceGetAttributes_v2(
        struct nvml_device *mig, struct nvml_attributes *attributes)
{
	*attributes = (struct nvml_attributes){.gpu_instance_slices = (unsigned)number(),
	        .compute_instance_slices = (unsigned)number(),
	        .memory_mib = number()};
	return device_code(mig);
}

enum nvml_return nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned *corrected,
        unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
	*corrected = *uncorrected = byte();
	*pending = byte();
	*failed = byte();
	return device_code(device);
}

/* When the bytes are used up there are no events any more. */
enum nvml_return nvmlEventSetWait_v2(
        struct nvml_event_set *set, struct nvml_event *event, unsigned timeout_ms)
{
	FUZZ_MUST(is_started && has_events);
	if (!size)
		return NVML_ERROR_TIMEOUT;
	event->device =
	        byte() % 4 ? (struct nvml_device *)(void *)&handles[byte() % HANDLES] : NULL;
	event->type = number();
	event->data = number();
	event->gpu_instance = byte() % 4 ? NVML_NO_INSTANCE : byte();
	event->compute_instance = byte();
	return code();
}

enum nvml_return nvmlDeviceGetFieldValues(
        struct nvml_device *device, int n, struct nvml_field *fields)
{
	FUZZ_MUST(n == 1);
	fields->value.ull = number();
	fields->result = byte() % 4 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
	return device_code(device);
}

/* What src/gpu makes of it. */

static void check_text(const char *text, size_t room)
{
	size_t len = strnlen(text, room);

	FUZZ_MUST(len < room);
	FUZZ_MUST(fuzz_is_line(text, len));
}

static void check_health(enum gpu_health health, const char *text, size_t room)
{
	FUZZ_MUST(health >= GPU_OK && health <= GPU_LOST);
	check_text(text, room);
	FUZZ_MUST(health == GPU_OK || *text);
}

static void check_device(const struct gpu_device *d)
{
	check_text(d->uuid, sizeof(d->uuid));
	check_text(d->model, sizeof(d->model));
	check_text(d->driver, sizeof(d->driver));
	check_text(d->pci, sizeof(d->pci));
	check_health(d->health, d->health_text, sizeof(d->health_text));
	FUZZ_MUST(*d->uuid);
	FUZZ_MUST(d->minor >= -1 && d->numa_node >= -1 && d->cuda >= 0);
	FUZZ_MUST(d->cc_major >= 0 && d->cc_minor >= 0 && d->cc_major < 1000 && d->cc_minor < 10);
	FUZZ_MUST(d->mem_bytes > 0 || d->mig || d->card_milli);
	FUZZ_MUST(d->mem_bytes <= GPU_MEM_MAX && d->card_milli <= 1000);
	FUZZ_MUST(!d->mig || !d->mem_bytes);
	FUZZ_MUST((strncmp(d->uuid, "MIG-", 4) == 0) == (d->card_milli != 0));
	FUZZ_MUST(!d->simulated);
}

static void scan(struct gpu *g, struct gpu_device *devices, size_t *n)
{
	struct err err;

	FUZZ_MUST(gpu_scan(g, devices, GPU_DEVICES_MAX, n, &err) == 0);
	FUZZ_MUST(*n <= GPU_DEVICES_MAX);
	for (size_t i = 0; i < *n; i++) {
		check_device(&devices[i]);
		for (size_t k = 0; k < i; k++)
			FUZZ_MUST(strcmp(devices[i].uuid, devices[k].uuid) != 0);
	}
	check_text(gpu_note(g), 400);
	FUZZ_MUST(*n || *gpu_note(g));
}

static void poll_all(struct gpu *g, const struct gpu_device *devices, size_t n_devices)
{
	struct gpu_state states[GPU_DEVICES_MAX];
	struct err err;
	size_t n = 0;

	FUZZ_MUST(gpu_poll(g, 0, states, GPU_DEVICES_MAX, &n, &err) == 0);
	FUZZ_MUST(n == n_devices);
	for (size_t i = 0; i < n; i++) {
		FUZZ_MUST(strcmp(states[i].uuid, devices[i].uuid) == 0);
		check_health(
		        states[i].health, states[i].health_text, sizeof(states[i].health_text));
	}
}

static void use(struct gpu *g, const struct gpu_device *d, size_t max)
{
	struct gpu_process v[64];
	struct gpu_usage u;
	struct err err;
	size_t n = 0;
	int rc;

	fuzz_err_init(&err);
	rc = gpu_usage(g, d->uuid, &u, v, max, &n, &err);
	if (rc < 0) {
		fuzz_err_check(rc, &err);
		return;
	}
	FUZZ_MUST(n <= max && u.util_percent >= -1 && u.util_percent <= 100);
	FUZZ_MUST(u.used_bytes <= GPU_MEM_MAX && u.free_bytes <= GPU_MEM_MAX);
	for (size_t i = 0; i < n; i++) {
		FUZZ_MUST(v[i].pid > 0 && v[i].bytes <= GPU_MEM_MAX);
		FUZZ_MUST(v[i].known || v[i].bytes == 0);
		for (size_t k = 0; k < i; k++)
			FUZZ_MUST(v[i].pid != v[k].pid);
	}
}

static void live(struct gpu *g)
{
	static struct gpu_device devices[GPU_DEVICES_MAX];
	size_t n = 0;
	struct err err;

	scan(g, devices, &n);
	for (int i = 0; i < 16 && size; i++) {
		uint8_t what = byte();
		const struct gpu_device *d = n ? &devices[what / 4 % n] : NULL;

		if (what % 4 == 0)
			scan(g, devices, &n);
		else if (what % 4 == 1)
			poll_all(g, devices, n);
		else if (what % 4 == 2 && d)
			use(g, d, what / 4);
		else if (d)
			FUZZ_MUST(gpu_forget(g, d->uuid, &err) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const allowed[] = {"1", "GPU-a"};
	struct gpu_options o = {
	        .library = "", .allowed = allowed, .sysfs = "/nonexistent"}; /* "": this program */
	struct gpu *g;
	struct err err;

	data = bytes;
	size = n;
	n_calls = 0;
	o.n_allowed = byte() % 4 ? 0 : ARRAY_LEN(allowed);
	FUZZ_MUST(gpu_open(&o, &g, &err) == 0);
	live(g);
	gpu_close(g);
	FUZZ_MUST(!is_started && !has_events);
	return 0;
}
