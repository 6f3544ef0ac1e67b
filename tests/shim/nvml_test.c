/* NVML as a job with slices sees it: through the interposer, in front of the fake one. */
#include "constructing.h"

#include "../../tables/nvml_abi.h"

#include <sched.h>
#include <sys/prctl.h>

#define UUID_C "GPU-00112233-4455-6677-8899-aabbccdd1111"
#define THREE  TWO "device\nmemory 4GiB\nuuid " UUID_C "\n"

struct nvml {
	void *handle;
#define NVML(need, since, ret, name, params) ret(*name) params;
#include "../../tables/nvml.def"
};
static struct nvml nvml, real; /* as the job has it, and the driver's own */

#define fine(call)          assert_int_equal(nvml.call, NVML_SUCCESS)
#define refuses(code, call) assert_int_equal(nvml.call, NVML_ERROR_##code)

static void fill(struct nvml *n, const char *path)
{
	n->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!n->handle)
		fail_msg("%s", dlerror());
#define NVML(need, since, ret, name, params) *(void **)&n->name = dlsym(n->handle, #name);
#include "../../tables/nvml.def"
}

/* As a job has them, beside libcuda's. */
static void load_nvml(const struct fixture *f)
{
	char path[512], link[256];

	snprintf(link, sizeof(link), "%s/libnvidia-ml.real.so.1", f->dir);
	assert_true(symlink(fixture_built("fake/libnvidia-ml.so.1", path), link) == 0 ||
	            errno == EEXIST);
	fill(&real, link);
	setenv(SLICE_VARIABLE, f->dir, 1);
	/* What the interposer depends on is found by the loader among what is loaded, or by the variable of a job. */
	snprintf(link, sizeof(link), "%s/libnvidia-ml.so.1", f->dir);
	assert_true(symlink(fixture_built("shim/libnvidia-ml.so.1", path), link) == 0 ||
	            errno == EEXIST);
	fill(&nvml, link);
	assert_ptr_not_equal(nvml.nvmlInit_v2, real.nvmlInit_v2);
}

static struct nvml_device *device_at(unsigned index)
{
	struct nvml_device *d = NULL;

	fine(nvmlDeviceGetHandleByIndex_v2(index, &d));
	return d;
}

static void remove_links(const struct fixture *f)
{
	static const char *const names[] = {"libnvidia-ml.so.1", "libnvidia-ml.real.so.1"};
	char path[256];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
}

PART(granted_devices_only, THREE)
{
	struct nvml_device *d, *other;
	char uuid[NVML_UUID_SIZE];
	unsigned n = 0;

	/* In the order of its grants, which is not the driver's. */
	slices[0] = shim_slice(f, 0, UUID_C, LIMIT);
	slices[1] = shim_slice(f, 1, UUID, 2 * LIMIT);
	load_nvml(f);
	refuses(UNINITIALIZED, nvmlDeviceGetCount_v2(&n));
	fine(nvmlInit_v2());
	fine(nvmlDeviceGetCount_v2(&n));
	assert_int_equal(n, 2);
	fine(nvmlDeviceGetCount(&n));
	assert_int_equal(n, 2);
	fine(nvmlDeviceGetUUID(device_at(0), uuid, sizeof(uuid)));
	assert_string_equal(uuid, UUID_C);
	fine(nvmlDeviceGetIndex(device_at(1), &n));
	assert_int_equal(n, 1);
	refuses(INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex_v2(2, &d));
	fine(nvmlDeviceGetHandleByUUID(UUID, &d));
	assert_ptr_equal(d, device_at(1));
	refuses(NOT_FOUND, nvmlDeviceGetHandleByUUID(UUID_B, &d));
	/* The second card of the machine is somebody else's, whichever way it is asked for. */
	assert_int_equal(real.nvmlInit_v2(), NVML_SUCCESS);
	assert_int_equal(real.nvmlDeviceGetHandleByIndex_v2(1, &other), NVML_SUCCESS);
	refuses(NOT_FOUND, nvmlDeviceGetHandleByPciBusId_v2("0000:02:00.0", &d));
	fine(nvmlDeviceGetHandleByPciBusId_v2("0000:01:00.0", &d));
	assert_ptr_equal(d, device_at(1));
	refuses(INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo(other, &(struct nvml_memory){0}));
	n = 0;
	refuses(INVALID_ARGUMENT, nvmlDeviceGetComputeRunningProcesses_v3(other, &n, NULL));
	fine(nvmlShutdown());
	refuses(UNINITIALIZED, nvmlShutdown());
	remove_links(f);
}

/* NVML, CUDA and the ledger say one thing. */
static void agree(struct nvml_device *d)
{
	struct nvml_memory m;
	struct nvml_memory_v2 v2 = {.version = NVML_STRUCT_VERSION(struct nvml_memory_v2, 2)};
	size_t left, all;

	ok(cuMemGetInfo_v2(&left, &all));
	fine(nvmlDeviceGetMemoryInfo(d, &m));
	assert_int_equal(m.total, all);
	assert_int_equal(m.free, left);
	assert_int_equal(m.used, all - left);
	fine(nvmlDeviceGetMemoryInfo_v2(d, &v2));
	assert_int_equal(v2.total, all);
	assert_int_equal(v2.free, left);
	assert_int_equal(v2.used, all - left);
	assert_int_equal(v2.reserved, 0);
}

PART(memory, CARD)
{
	struct nvml_device *d;
	struct nvml_memory m;
	cu_ptr ptr;

	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	fine(nvmlInit_v2());
	d = device_at(0);
	fine(nvmlDeviceGetMemoryInfo(d, &m));
	assert_int_equal(m.total, LIMIT);
	assert_int_equal(m.free, LIMIT);
	(void)shim_start(f);
	agree(d);
	ok(cuMemAlloc_v2(&ptr, 3 * GRANULE));
	agree(d);
	ok(cuMemAlloc_v2(&ptr, 512));
	agree(d);
	/* What the agent has found beyond it counts, too, and is never more than there is. */
	slices[0]->watch.overhead_bytes = 5 * MIB;
	agree(d);
	slices[0]->watch.overhead_bytes = UINT64_MAX;
	fine(nvmlDeviceGetMemoryInfo(d, &m));
	assert_int_equal(m.free, 0);
	assert_int_equal(m.used, LIMIT);
	slices[0]->watch.overhead_bytes = 0;
	refuses(INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo(d, NULL));
	refuses(ARGUMENT_VERSION_MISMATCH,
	        nvmlDeviceGetMemoryInfo_v2(d, &(struct nvml_memory_v2){0}));
	remove_links(f);
}

PART(own_processes, CARD "outside 1 16MiB\n")
{
	struct nvml_process p[4];
	struct nvml_process_v1 v1[4];
	unsigned n = 4;

	(void)shim_start(f);
	load_nvml(f);
	fine(nvmlInit_v2());
	fine(nvmlDeviceGetComputeRunningProcesses_v3(device_at(0), &n, p));
	assert_int_equal(n, 1);
	assert_int_equal(p[0].pid, getpid());
	assert_int_equal(p[0].bytes, CONTEXT);
	n = 4;
	fine(nvmlDeviceGetComputeRunningProcesses(device_at(0), &n, v1));
	assert_int_equal(n, 1);
	assert_int_equal(v1[0].pid, getpid());
	n = 0;
	refuses(INSUFFICIENT_SIZE, nvmlDeviceGetComputeRunningProcesses_v2(device_at(0), &n, NULL));
	assert_int_equal(n, 1);
	n = 4;
	fine(nvmlDeviceGetGraphicsRunningProcesses_v3(device_at(0), &n, p));
	assert_int_equal(n, 0);
	n = 4;
	assert_int_equal(real.nvmlInit_v2(), NVML_SUCCESS);
	struct nvml_device *card;
	assert_int_equal(real.nvmlDeviceGetHandleByIndex_v2(0, &card), NVML_SUCCESS);
	assert_int_equal(real.nvmlDeviceGetComputeRunningProcesses_v3(card, &n, p), NVML_SUCCESS);
	assert_int_equal(n, 2);
	remove_links(f);
}

/* As many uses as the job has processes, by either function: one of itself. */
static void check_own_use(struct nvml_device *d)
{
	struct nvml_process_use uses[4];
	struct nvml_process_use_v1 v1[4];
	struct nvml_processes_use list = {
	        .version = NVML_STRUCT_VERSION(struct nvml_processes_use, 1),
	        .count = 4,
	        .uses = v1};
	unsigned n = 4;

	fine(nvmlDeviceGetProcessUtilization(d, uses, &n, 0));
	assert_int_equal(n, 1);
	assert_int_equal(uses[0].pid, getpid());
	assert_in_range(uses[0].multiprocessors, 1, 100);
	assert_true(uses[0].timestamp_us > 0);
	fine(nvmlDeviceGetProcessesUtilizationInfo(d, &list));
	assert_int_equal(list.count, 1);
	assert_int_equal(v1[0].pid, getpid());
	assert_in_range(v1[0].multiprocessors, 1, 100);
	/* How many there are; and what is younger than the youngest. */
	refuses(INSUFFICIENT_SIZE, nvmlDeviceGetProcessUtilization(d, NULL, &n, 0));
	assert_int_equal(n, 1);
	list.uses = NULL;
	list.count = 0;
	refuses(INSUFFICIENT_SIZE, nvmlDeviceGetProcessesUtilizationInfo(d, &list));
	assert_int_equal(list.count, 1);
	n = 4;
	refuses(NOT_FOUND, nvmlDeviceGetProcessUtilization(d, uses, &n, UINT64_MAX));
	list.since_us = UINT64_MAX;
	refuses(NOT_FOUND, nvmlDeviceGetProcessesUtilizationInfo(d, &list));
	refuses(INVALID_ARGUMENT, nvmlDeviceGetProcessUtilization(d, uses, NULL, 0));
	refuses(INVALID_ARGUMENT, nvmlDeviceGetProcessesUtilizationInfo(d, NULL));
	list.version++;
	refuses(ARGUMENT_VERSION_MISMATCH, nvmlDeviceGetProcessesUtilizationInfo(d, &list));
}

/* Keeps the card busy until the process ends, and has done so for longer than NVML takes to notice. */
static void work(void)
{
	struct timespec to_be_seen = {.tv_nsec = 300000000};
	struct cu_module *module;
	struct cu_func *fn;

	ok(cuModuleLoadData(&module, "image"));
	ok(cuModuleGetFunction(&fn, module, "k_60000ms"));
	ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	nanosleep(&to_be_seen, NULL);
}

/* Another job works on the same card: it has a ledger of its own, and is not told of. */
static void be_another_job(const struct fixture *f, int said, int end)
{
	struct fixture own = *f;
	char byte;

	snprintf(own.dir, sizeof(own.dir), "%.100s/other", f->dir);
	assert_int_equal(mkdir(own.dir, 0700), 0);
	(void)shim_start(&own);
	work();
	assert_int_equal(write(said, "x", 1), 1);
	assert_int_equal(read(end, &byte, 1), 0);
}

PART(own_use, CARD)
{
	struct nvml_process_use uses[4];
	struct nvml_device *card;
	unsigned n = 4;
	int said[2], end[2];
	char byte;

	assert_int_equal(pipe(said), 0);
	assert_int_equal(pipe(end), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(end[1]);
		be_another_job(f, said[1], end[0]);
		_exit(0);
	}
	close(said[1]);
	assert_int_equal(read(said[0], &byte, 1), 1);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	fine(nvmlInit_v2());
	refuses(NOT_FOUND, nvmlDeviceGetProcessUtilization(device_at(0), uses, &n, 0));
	(void)shim_start(f);
	work();
	check_own_use(device_at(0));
	assert_int_equal(real.nvmlInit_v2(), NVML_SUCCESS);
	assert_int_equal(real.nvmlDeviceGetHandleByIndex_v2(0, &card), NVML_SUCCESS);
	n = 4;
	assert_int_equal(real.nvmlDeviceGetProcessUtilization(card, uses, &n, 0), NVML_SUCCESS);
	assert_int_equal(n, 2);
	close(end[1]);
	assert_int_equal(fixture_wait(pid), 0);
	remove_links(f);
}

/* How many the driver tells of for the job, from here; is_seen: whether one of them has this number. */
static unsigned n_listed(unsigned pid, bool *is_seen)
{
	struct nvml_process p[4];
	unsigned n = 4;

	*is_seen = false;
	fine(nvmlDeviceGetComputeRunningProcesses_v3(device_at(0), &n, p));
	for (unsigned i = 0; i < n; i++)
		*is_seen |= p[i].pid == pid;
	return n;
}

/* As number 1 of a namespace of its own it finds itself; then it waits. */
static void live_below(const struct fixture *f, int pipe_fd)
{
	struct nvml_process p[4];
	unsigned n = 4;

	/* No other signal ends the first process of a namespace. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)shim_start(f);
	load_nvml(f);
	fine(nvmlInit_v2());
	fine(nvmlDeviceGetComputeRunningProcesses_v3(device_at(0), &n, p));
	bool is_right = getpid() == 1 && n == 1 && p[0].pid == 1;
	if (write(pipe_fd, is_right ? "y" : "n", 1) == 1)
		pause();
	_exit(1);
}

PART(processes_of_namespaces, CARD)
{
	int pipes[2];
	char byte = 0;
	bool is_seen;
	pid_t pid;

	if (IS_SANITIZED) {
		print_message("# who has lost its PID namespace cannot look for leaks\n");
		return;
	}
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	assert_int_equal(pipe(pipes), 0);
	if (unshare(CLONE_NEWPID) != 0) {
		print_message("# no PID namespaces are allowed here\n");
		return;
	}
	pid = fork();
	if (pid == 0)
		live_below(f, pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	load_nvml(f);
	fine(nvmlInit_v2());
	assert_int_equal(n_listed((unsigned)pid, &is_seen), 1);
	assert_true(is_seen);
	/* Whoever has the same number elsewhere is somebody else. */
	for (unsigned i = 0; i < SLICE_SLOTS; i++)
		slices[0]->slots[i].started++;
	assert_int_equal(n_listed((unsigned)pid, &is_seen), 0);
	kill(pid, SIGKILL);
	assert_int_equal(fixture_wait(pid), 128 + SIGKILL);
	remove_links(f);
}

PART(nothing_is_set, CARD)
{
	static const char *const denied[] = {
#define NVML_DENY(name) #name,
#include "../../tables/nvml.def"
	};
	static const char *const hidden[] = {
#define NVML_HIDE(name) #name,
#include "../../tables/nvml.def"
	};

	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	fine(nvmlInit_v2());
	for (size_t i = 0; i < sizeof(denied) / sizeof(*denied); i++) {
		int (*set)(void *, int, int) =
		        (int (*)(void *, int, int))dlsym(nvml.handle, denied[i]);
		assert_non_null(set);
		assert_int_equal(set(device_at(0), 1, 1), NVML_ERROR_NO_PERMISSION);
	}
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
		int (*get)(void *, int, int) =
		        (int (*)(void *, int, int))dlsym(nvml.handle, hidden[i]);
		assert_non_null(get);
		assert_int_equal(get(device_at(0), 1, 1), NVML_ERROR_NOT_SUPPORTED);
	}
	remove_links(f);
}

/* Whatever a job has done to its ledger, it gets an answer. */
PART(spoilt_ledger, CARD)
{
	char path[256];
	struct nvml_memory m;
	struct nvml_process p[4];
	struct nvml_device *d;
	unsigned n = 4;

	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	fine(nvmlInit_v2());
	d = device_at(0);
	memset((char *)slices[0] + SLICE_WATCH_AT, 0xff, sizeof(struct slice) - SLICE_WATCH_AT);
	fine(nvmlDeviceGetMemoryInfo(d, &m));
	assert_int_equal(m.free, 0);
	fine(nvmlDeviceGetComputeRunningProcesses_v3(d, &n, p));
	assert_int_equal(n, 0);
	snprintf(path, sizeof(path), "%s/slice-0", f->dir);
	assert_int_equal(truncate(path, 700), 0);
	refuses(UNKNOWN, nvmlDeviceGetMemoryInfo(d, &m));
	n = 4;
	refuses(UNKNOWN, nvmlDeviceGetComputeRunningProcesses_v3(d, &n, p));
	unlink(path);
	refuses(UNKNOWN, nvmlDeviceGetMemoryInfo(d, &m));
	remove_links(f);
}

PART(without_slices, TWO)
{
	struct nvml_memory m;
	unsigned n = 0;

	load_nvml(f);
	fine(nvmlInit_v2());
	fine(nvmlDeviceGetCount_v2(&n));
	assert_int_equal(n, 2);
	fine(nvmlDeviceGetMemoryInfo(device_at(1), &m));
	assert_int_equal(m.total, 2048 * MIB);
	remove_links(f);
}

/* -- threads -- */

static void first_init(void)
{
	if (nvml.nvmlInit_v2() != NVML_SUCCESS)
		abort();
}

PART(constructor_that_starts_us, CARD)
{
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	call_while_constructing(first_init);
	assert_non_null(device_at(0));
	fine(nvmlShutdown());
	fine(nvmlShutdown());
	refuses(UNINITIALIZED, nvmlShutdown());
	remove_links(f);
}

static void *start_slowly(void *data)
{
	__atomic_store_n((bool *)data, true, __ATOMIC_RELEASE);
	first_init();
	return NULL;
}

/* A child that is forked while another thread starts is not left with that thread's lock. */
PART(forked_while_it_starts, "slow 400 nvmlInit_v2\n" CARD)
{
	struct timespec while_it_starts = {.tv_nsec = 150000000};
	bool is_starting = false;
	pthread_t thread;

	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	load_nvml(f);
	assert_int_equal(pthread_create(&thread, NULL, start_slowly, &is_starting), 0);
	wait_for(&is_starting);
	nanosleep(&while_it_starts, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		unsigned n = 0;

		alarm(10);
		first_init();
		fine(nvmlDeviceGetCount_v2(&n));
		_exit(n == 1 && nvml.nvmlShutdown() == NVML_SUCCESS ? 0 : 1);
	}
	assert_int_equal(fixture_wait(pid), 0);
	pthread_join(thread, NULL);
	assert_non_null(device_at(0));
	remove_links(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_granted_devices_only),
	        cmocka_unit_test(test_memory),
	        cmocka_unit_test(test_own_processes),
	        cmocka_unit_test(test_own_use),
	        cmocka_unit_test(test_processes_of_namespaces),
	        cmocka_unit_test(test_nothing_is_set),
	        cmocka_unit_test(test_spoilt_ledger),
	        cmocka_unit_test(test_without_slices),
	        cmocka_unit_test(test_constructor_that_starts_us),
	        cmocka_unit_test(test_forked_while_it_starts),
	};

	return cmocka_run_group_tests_name("shim/nvml", tests, NULL, NULL);
}
