#include "shim/nvml.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * DESIGN. The interposer in front of libnvidia-ml.so.1: a job sees the devices that it was granted, in the order of its
 * grants, each as large as its slice, and of processes its own (nvml_processes.c). Whatever is not in these files reaches the driver's library,
 * which this one depends on as libnvidia-ml.real.so.1. Handles are the driver's own.
 * The ledgers are opened anew for each question and read with pread: a program may close what it likes, and a file that was
 * cut short is a driver's error here, never a signal. Without ledgers nothing is hidden, and setters are refused all the same.
 * One mutex around what is found by nvmlInit; neither the driver nor the loader is called under it.
 */
#define NVML_DENY(name)                          \
	enum nvml_return name(void)              \
	{                                        \
		return NVML_ERROR_NO_PERMISSION; \
	}
#define NVML_HIDE(name)                          \
	enum nvml_return name(void)              \
	{                                        \
		return NVML_ERROR_NOT_SUPPORTED; \
	}
#include "../../tables/nvml.def"

/* Slices are of cards that are not in MIG mode: there are no instances to hand out. */
enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(
        struct nvml_device *device, unsigned index, struct nvml_device **mig)
{
	return NVML_ERROR_NOT_SUPPORTED;
}

enum nvml_return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
        struct nvml_device *mig, struct nvml_device **device)
{
	return NVML_ERROR_NOT_SUPPORTED;
}

struct nvml_driver nvml_driver; /* filled in before has_driver is set, and never changed */
static bool has_driver;

struct granted {
	struct slice_grant grant;   /* as it was when it was first looked at */
	struct nvml_device *handle; /* NULL: the driver does not show it (any more) */
};

static struct {
	pthread_mutex_t mutex;
	unsigned n_inits;
	bool was_sought; /* for the ledgers */
	int n;           /* 0: there are none, and nothing is hidden */
	struct granted granted[SLICE_MAX];
} shim = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static char directory[4000] = SLICE_DIR;

__attribute__((constructor)) static void read_environment(void)
{
	const char *slices = getenv(SLICE_VARIABLE);

	if (slices && *slices && strlen(slices) < sizeof(directory))
		memcpy(directory, slices, strlen(slices) + 1);
}

/* Ledgers */

static int open_ledger(int place)
{
	char path[sizeof(directory) + 24];

	snprintf(path, sizeof(path), "%s/slice-%d", directory, place);
	return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static bool read_at(int fd, void *to, size_t len, off_t at)
{
	return pread(fd, to, len, at) == (ssize_t)len;
}

/* Under the mutex. A child that was forked meanwhile seeks anew. */
static void find_ledgers(void)
{
	int fd, n = 0;

	while (n < SLICE_MAX && (fd = open_ledger(n)) >= 0) {
		struct slice_grant *g = &shim.granted[n].grant;
		bool is_one = read_at(fd, g, sizeof(*g), 0) && g->magic == SLICE_MAGIC &&
		              g->abi == SLICE_ABI && g->granule_bytes;

		close(fd);
		if (!is_one)
			break;
		g->uuid[sizeof(g->uuid) - 1] = '\0';
		n++;
	}
	__atomic_store_n(&shim.n, n, __ATOMIC_RELEASE);
	shim.was_sought = true;
}

static bool is_living(int fd, uint32_t slot)
{
	struct flock lock = {.l_type = F_WRLCK,
	        .l_whence = SEEK_SET,
	        .l_start = (off_t)SLICE_LOCK_BYTE + slot,
	        .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void take_slot(struct nvml_reading *r, int fd, uint32_t slot)
{
	struct slice_slot s;
	uint64_t bytes;

	if (!read_at(fd, &s, sizeof(s), SLICE_SLOTS_AT + slot * (off_t)sizeof(s)) || !s.pid ||
	        !is_living(fd, slot))
		return;
	bytes = s.reserved_bytes;
	for (int kind = 0; kind < SLICE_KINDS; kind++)
		bytes = sum(bytes, s.bytes[kind]);
	r->used_bytes = sum(r->used_bytes, bytes);
	r->users[r->n_users++] = (struct nvml_user){.pid = s.pid, .started = s.started};
}

bool nvml_read_ledger(int place, struct nvml_reading *r)
{
	int fd = open_ledger(place);
	struct slice_watch watch;
	struct slice_ledger head;

	r->n_users = 0;
	if (fd < 0)
		return false;
	if (!read_at(fd, &watch, sizeof(watch), SLICE_WATCH_AT) ||
	        !read_at(fd, &head, sizeof(head), SLICE_LEDGER_AT)) {
		close(fd);
		return false;
	}
	r->used_bytes = watch.overhead_bytes;
	for (uint32_t i = 0; i < head.top && i < SLICE_SLOTS; i++)
		take_slot(r, fd, i);
	close(fd);
	return true;
}

/* Devices */

struct shown {
	struct nvml_device *handles[SLICE_MAX];
	char uuids[SLICE_MAX][NVML_UUID_SIZE];
	unsigned n;
};

/* What the driver shows, as far as there is room. */
static void ask_driver(struct shown *shown)
{
	unsigned n = 0;

	shown->n = 0;
	if (CALL(nvmlDeviceGetCount_v2, &n) != NVML_SUCCESS)
		return;
	for (unsigned i = 0; i < n && shown->n < SLICE_MAX; i++) {
		struct nvml_device **handle = &shown->handles[shown->n];
		char *uuid = shown->uuids[shown->n];

		if (CALL(nvmlDeviceGetHandleByIndex_v2, i, handle) == NVML_SUCCESS &&
		        CALL(nvmlDeviceGetUUID, *handle, uuid, NVML_UUID_SIZE) == NVML_SUCCESS)
			shown->n++;
	}
}

/* Under the mutex. */
static void find_handles(const struct shown *shown)
{
	for (int k = 0; k < shim.n; k++) {
		struct nvml_device *handle = NULL;

		for (unsigned i = 0; i < shown->n; i++)
			if (strcmp(shim.granted[k].grant.uuid, shown->uuids[i]) == 0)
				handle = shown->handles[i];
		__atomic_store_n(&shim.granted[k].handle, handle, __ATOMIC_RELEASE);
	}
}

static bool is_up(void)
{
	return __atomic_load_n(&shim.n_inits, __ATOMIC_ACQUIRE) != 0;
}

/* Whether this job has slices; what it has does not change between nvmlInit and nvmlShutdown. */
static bool is_sliced(void)
{
	return __atomic_load_n(&shim.n, __ATOMIC_ACQUIRE) > 0;
}

static int place_of(const struct nvml_device *handle)
{
	for (int i = 0; handle && i < shim.n; i++)
		if (__atomic_load_n(&shim.granted[i].handle, __ATOMIC_ACQUIRE) == handle)
			return i;
	return -1;
}

enum nvml_return nvml_enter(const struct nvml_device *handle, int *ret_place)
{
	*ret_place = -1;
	if (!is_up())
		return NVML_ERROR_UNINITIALIZED;
	if (!is_sliced())
		return NVML_SUCCESS;
	*ret_place = place_of(handle);
	return *ret_place < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

/* Life */

static void after_fork(void)
{
	pthread_mutex_init(&shim.mutex, NULL);
}

/* Several threads may be here, and find the same: the loader has a lock of its own, with which it may call us. */
static bool find_driver(void)
{
	struct nvml_driver found = {.library = NULL};

	if (__atomic_load_n(&has_driver, __ATOMIC_ACQUIRE))
		return true;
	found.library = dlopen("libnvidia-ml.real.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (!found.library)
		return false;
#define NVML(need, since, ret, name, params) *(void **)&found.name = dlsym(found.library, #name);
#include "../../tables/nvml.def"
	/* Or somebody has put us into the driver's place. */
	if (!found.nvmlInit_v2 || found.nvmlInit_v2 == nvmlInit_v2)
		return false;
	pthread_mutex_lock(&shim.mutex);
	if (!has_driver) {
		pthread_atfork(NULL, NULL, after_fork);
		nvml_driver = found;
		__atomic_store_n(&has_driver, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&shim.mutex);
	return true;
}

/* flags: of nvmlInitWithFlags, or -1. */
static enum nvml_return init(long flags)
{
	enum nvml_return code;
	struct shown shown = {.n = 0};
	bool is_first;

	if (!find_driver())
		return NVML_ERROR_LIBRARY_NOT_FOUND;
	code = flags < 0 ? CALL(nvmlInit_v2) : CALL(nvmlInitWithFlags, (unsigned)flags);
	if (code != NVML_SUCCESS)
		return code;
	is_first = !is_up();
	if (is_first)
		ask_driver(&shown);
	pthread_mutex_lock(&shim.mutex);
	if (!shim.was_sought)
		find_ledgers();
	if (is_first)
		find_handles(&shown);
	__atomic_add_fetch(&shim.n_inits, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&shim.mutex);
	return NVML_SUCCESS;
}

enum nvml_return nvmlInit_v2(void)
{
	return init(-1);
}

enum nvml_return nvmlInit(void)
{
	return init(-1);
}

enum nvml_return nvmlInitWithFlags(unsigned flags)
{
	return init((long)flags);
}

enum nvml_return nvmlShutdown(void)
{
	enum nvml_return code;

	if (!is_up())
		return NVML_ERROR_UNINITIALIZED;
	code = CALL(nvmlShutdown);
	pthread_mutex_lock(&shim.mutex);
	if (code == NVML_SUCCESS && shim.n_inits)
		__atomic_sub_fetch(&shim.n_inits, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&shim.mutex);
	return code;
}

/* Finding devices */

enum nvml_return nvmlDeviceGetCount_v2(unsigned *count)
{
	if (!is_up())
		return NVML_ERROR_UNINITIALIZED;
	if (!is_sliced())
		return CALL(nvmlDeviceGetCount_v2, count);
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = (unsigned)shim.n;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCount(unsigned *count)
{
	return nvmlDeviceGetCount_v2(count);
}

enum nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned index, struct nvml_device **device)
{
	if (!is_up())
		return NVML_ERROR_UNINITIALIZED;
	if (!is_sliced())
		return CALL(nvmlDeviceGetHandleByIndex_v2, index, device);
	if (!device || index >= (unsigned)shim.n)
		return NVML_ERROR_INVALID_ARGUMENT;
	struct nvml_device *handle = __atomic_load_n(&shim.granted[index].handle, __ATOMIC_ACQUIRE);
	if (!handle)
		return NVML_ERROR_GPU_IS_LOST;
	*device = handle;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetHandleByIndex(unsigned index, struct nvml_device **device)
{
	return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* A handle that the driver found, if it is one of ours. */
static enum nvml_return pass_handle(
        enum nvml_return code, struct nvml_device *found, struct nvml_device **device)
{
	if (code == NVML_SUCCESS && is_sliced() && place_of(found) < 0)
		return NVML_ERROR_NOT_FOUND;
	if (code == NVML_SUCCESS)
		*device = found;
	return code;
}

enum nvml_return nvmlDeviceGetHandleByUUID(const char *uuid, struct nvml_device **device)
{
	struct nvml_device *found = NULL;
	enum nvml_return code;

	if (!device)
		return NVML_ERROR_INVALID_ARGUMENT;
	code = CALL(nvmlDeviceGetHandleByUUID, uuid, &found);
	return pass_handle(code, found, device);
}

enum nvml_return nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, struct nvml_device **device)
{
	struct nvml_device *found = NULL;
	enum nvml_return code;

	if (!device)
		return NVML_ERROR_INVALID_ARGUMENT;
	code = CALL(nvmlDeviceGetHandleByPciBusId_v2, bus_id, &found);
	return pass_handle(code, found, device);
}

enum nvml_return nvmlDeviceGetIndex(struct nvml_device *device, unsigned *index)
{
	int place;
	enum nvml_return code = nvml_enter(device, &place);

	if (code != NVML_SUCCESS || place < 0)
		return code ? code : CALL(nvmlDeviceGetIndex, device, index);
	if (!index)
		return NVML_ERROR_INVALID_ARGUMENT;
	*index = (unsigned)place;
	return NVML_SUCCESS;
}

/* Memory */

/* As cuMemGetInfo says it: whole granules of what is left, and never more than the device has. */
static enum nvml_return count_memory(
        struct nvml_device *device, int place, struct nvml_memory *memory)
{
	const struct slice_grant *g = &shim.granted[place].grant;
	struct nvml_reading r;
	enum nvml_return code = CALL(nvmlDeviceGetMemoryInfo, device, memory);
	uint64_t left;

	if (code != NVML_SUCCESS || !(g->flags & SLICE_HOLDS_MEMORY))
		return code;
	if (!nvml_read_ledger(place, &r))
		return NVML_ERROR_UNKNOWN;
	left = r.used_bytes < g->limit_bytes ? g->limit_bytes - r.used_bytes : 0;
	if (left > memory->free)
		left = memory->free;
	left -= left % g->granule_bytes;
	*memory = (struct nvml_memory){
	        .total = g->limit_bytes, .free = left, .used = g->limit_bytes - left};
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMemoryInfo(struct nvml_device *device, struct nvml_memory *memory)
{
	int place;
	enum nvml_return code = nvml_enter(device, &place);

	if (code != NVML_SUCCESS || place < 0)
		return code ? code : CALL(nvmlDeviceGetMemoryInfo, device, memory);
	return memory ? count_memory(device, place, memory) : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return nvmlDeviceGetMemoryInfo_v2(
        struct nvml_device *device, struct nvml_memory_v2 *memory)
{
	struct nvml_memory m;
	int place;
	enum nvml_return code = nvml_enter(device, &place);

	/* What the driver says of arguments and version is right here, too. */
	if (code == NVML_SUCCESS)
		code = CALL(nvmlDeviceGetMemoryInfo_v2, device, memory);
	if (code != NVML_SUCCESS || place < 0 ||
	        !(shim.granted[place].grant.flags & SLICE_HOLDS_MEMORY))
		return code;
	code = count_memory(device, place, &m);
	if (code != NVML_SUCCESS)
		return code;
	memory->total = m.total;
	memory->reserved = 0;
	memory->free = m.free;
	memory->used = m.used;
	return NVML_SUCCESS;
}
