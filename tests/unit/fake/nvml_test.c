#include "nvml_box.h"

#include <pthread.h>

#define MIB (1ULL << 20)

/* Every row is in the library of today; the old one has what it had in its time, and nothing else. */
static void test_exports(void **state)
{
	struct lib now, old;

	load(&now, "fake/libnvidia-ml.so.1");
	load(&old, "fake/libnvidia-ml-418.so.1");
#define NVML(need, since, ret, name, params) \
	assert_true(now.name != NULL);       \
	assert_int_equal(old.name != NULL, since <= 418);
#include "../../../tables/nvml.def"
#undef NVML
	assert_null(dlsym(now.handle, "sim_open"));
	assert_null(dlsym(now.handle, "view_open"));
	dlclose(now.handle);
	dlclose(old.handle);
}

static void test_init(void **state)
{
	struct box *b = *state;
	unsigned count;

	/* counted: each init needs its shutdown */
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlInitWithFlags(0), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlInit(), NVML_SUCCESS);
	for (int i = 0; i < 3; i++)
		assert_int_equal(b->n.nvmlShutdown(), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&count), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlShutdown(), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&count), NVML_ERROR_UNINITIALIZED);
	assert_int_equal(b->n.nvmlShutdown(), NVML_ERROR_UNINITIALIZED);

	setenv("BERTH_FAKE_GPUS", "/nowhere", 1);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
	unsetenv("BERTH_FAKE_GPUS");
	assert_int_equal(b->n.nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
}

static void test_select(void **state)
{
	struct box *b = *state;
	char why[100] = "", other[200];

	snprintf(other, sizeof(other), "%s/other", b->f.dir);
	assert_int_equal(b->n.berthFakeSelect(other, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "No such file"));
	/* what is shown already stays */
	assert_int_equal(b->n.berthFakeSelect(b->f.path, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "already"));
	b->n.nvmlShutdown();
	unsetenv("BERTH_FAKE_GPUS");
	assert_int_equal(b->n.berthFakeSelect(b->f.path, why, sizeof(why)), 0);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	assert_int_equal(b->n.berthFakeSelect(b->f.path, why, sizeof(why)), 0);
	b->n.nvmlShutdown();
	assert_int_equal(b->n.berthFakeSelect(NULL, NULL, 0), 0);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
}

static void test_system(void **state)
{
	struct box *b = *state;
	char text[NVML_VERSION_SIZE];
	int cuda = 0;

	assert_int_equal(b->n.nvmlSystemGetDriverVersion(text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, "550.54.15");
	assert_int_equal(b->n.nvmlSystemGetDriverVersion(text, 9), NVML_ERROR_INSUFFICIENT_SIZE);
	assert_int_equal(b->n.nvmlSystemGetDriverVersion(NULL, 9), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlSystemGetNVMLVersion(text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, "12.550.54.15");
	assert_int_equal(b->n.nvmlSystemGetCudaDriverVersion(&cuda), NVML_SUCCESS);
	assert_int_equal(cuda, 12040);
	assert_int_equal(b->n.nvmlSystemGetCudaDriverVersion_v2(&cuda), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlSystemGetProcessName((unsigned)getpid(), text, sizeof(text)),
	        NVML_SUCCESS);
	assert_non_null(strstr(text, "fake_nvml_test"));
	assert_int_equal(b->n.nvmlSystemGetProcessName(2147483647, text, sizeof(text)),
	        NVML_ERROR_NOT_FOUND);
	assert_string_equal(b->n.nvmlErrorString(NVML_SUCCESS), "Success");
	assert_string_equal(b->n.nvmlErrorString(NVML_ERROR_GPU_IS_LOST), "GPU is lost");
	assert_string_equal(b->n.nvmlErrorString((enum nvml_return)777), "Unknown Error");
}

static void test_find(void **state)
{
	struct box *b = *state;
	struct nvml_device *d = NULL;
	unsigned n;

	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_SUCCESS);
	assert_int_equal(n, 2);
	assert_int_equal(b->n.nvmlDeviceGetCount(&n), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetHandleByIndex_v2(2, &d), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlDeviceGetHandleByIndex(1, &d), NVML_SUCCESS);
	assert_ptr_equal(d, b->devs[1]);
	assert_int_equal(b->n.nvmlDeviceGetHandleByUUID(UUID, &d), NVML_SUCCESS);
	assert_ptr_equal(d, b->devs[0]);
	assert_int_equal(b->n.nvmlDeviceGetHandleByUUID("GPU-no", &d), NVML_ERROR_NOT_FOUND);
	assert_int_equal(b->n.nvmlDeviceGetHandleByUUID("0", &d), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(
	        b->n.nvmlDeviceGetHandleByPciBusId_v2("00000000:3B:00.0", &d), NVML_SUCCESS);
	assert_ptr_equal(d, b->devs[0]);
	assert_int_equal(b->n.nvmlDeviceGetHandleByPciBusId_v2("3b:00.0", &d), NVML_SUCCESS);
	assert_int_equal(
	        b->n.nvmlDeviceGetHandleByPciBusId_v2("0001:3b:00.0", &d), NVML_ERROR_NOT_FOUND);
	assert_int_equal(b->n.nvmlDeviceGetIndex(b->devs[1], &n), NVML_SUCCESS);
	assert_int_equal(n, 1);
	assert_int_equal(
	        b->n.nvmlDeviceGetIndex((struct nvml_device *)&n, &n), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlDeviceGetIndex(NULL, &n), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_device(void **state)
{
	struct box *b = *state;
	struct nvml_device *d = b->devs[0];
	unsigned long words[4], node[1];
	unsigned u, v;
	int major, minor;
	char text[96];
	struct nvml_pci pci;

	assert_int_equal(b->n.nvmlDeviceGetName(d, text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, "NVIDIA A100 (simulated)");
	assert_int_equal(b->n.nvmlDeviceGetUUID(d, text, 80), NVML_SUCCESS);
	assert_string_equal(text, UUID);
	assert_int_equal(b->n.nvmlDeviceGetCudaComputeCapability(d, &major, &minor), NVML_SUCCESS);
	assert_int_equal(major * 10 + minor, 86);
	assert_int_equal(b->n.nvmlDeviceGetPciInfo_v3(d, &pci), NVML_SUCCESS);
	assert_string_equal(pci.bus_id, "00000000:3b:00.0");
	assert_string_equal(pci.bus_id_legacy, "0000:3b:00.0");
	assert_int_equal(pci.bus, 0x3b);
	assert_int_equal(b->n.nvmlDeviceGetCpuAffinity(d, 4, words), NVML_SUCCESS);
	assert_true(words[0] == 5 && words[1] == 64 && words[2] == 0);
	assert_int_equal(b->n.nvmlDeviceGetCpuAffinityWithinScope(d, 1, words, 0), NVML_SUCCESS);
	assert_int_equal(
	        b->n.nvmlDeviceGetCpuAffinity(b->devs[1], 4, words), NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(
	        b->n.nvmlDeviceGetMemoryAffinity(d, 1, node, NVML_AFFINITY_NODE), NVML_SUCCESS);
	assert_int_equal(node[0], 2);
	assert_int_equal(
	        b->n.nvmlDeviceGetMemoryAffinity(b->devs[1], 1, node, 0), NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(b->n.nvmlDeviceGetNumaNodeId(d, &u), NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(b->n.nvmlDeviceGetNumaNodeId(b->devs[1], &u), NVML_SUCCESS);
	assert_int_equal(u, 3);
	assert_int_equal(b->n.nvmlDeviceGetMigMode(d, &u, &v), NVML_SUCCESS);
	assert_int_equal(u + v, 0);
	assert_int_equal(b->n.nvmlDeviceGetComputeMode(d, &major), NVML_SUCCESS);
	assert_int_equal(major, NVML_COMPUTE_SHARED);
	assert_int_equal(b->n.nvmlDeviceGetMinorNumber(b->devs[1], &u), NVML_SUCCESS);
	assert_int_equal(u, 1);
	assert_int_equal(b->n.nvmlDeviceGetMaxMigDeviceCount(d, &u), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceIsMigDeviceHandle(d, &u), NVML_SUCCESS);
	assert_int_equal(u, 0);
	assert_int_equal(b->n.nvmlDeviceGetPersistenceMode(d, &major), NVML_SUCCESS);
}

static void test_load(void **state)
{
	struct box *b = *state;
	struct nvml_utilization use;
	unsigned idle, busy, watts;

	assert_int_equal(b->n.nvmlDeviceGetTemperature(b->devs[0], 0, &idle), NVML_SUCCESS);
	fixture_do(&b->f, "util 0 80");
	assert_int_equal(b->n.nvmlDeviceGetUtilizationRates(b->devs[0], &use), NVML_SUCCESS);
	assert_int_equal(use.gpu, 80);
	assert_int_equal(b->n.nvmlDeviceGetTemperature(b->devs[0], 0, &busy), NVML_SUCCESS);
	assert_true(busy > idle);
	assert_int_equal(
	        b->n.nvmlDeviceGetTemperature(b->devs[0], 1, &busy), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlDeviceGetPowerUsage(b->devs[0], &watts), NVML_SUCCESS);
	assert_int_equal(watts, 250000);
}

static void test_memory(void **state)
{
	struct box *b = *state;
	struct nvml_memory v1;
	struct nvml_memory_v2 v2 = {.version = NVML_STRUCT_VERSION(struct nvml_memory_v2, 2)};
	struct holder h;

	assert_int_equal(v2.version, 0x02000028);
	h = fixture_hold(&b->f, UUID, "1GiB");
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo_v2(b->devs[0], &v2), NVML_SUCCESS);
	assert_true(v2.total == 8192 * MIB && v2.reserved == 256 * MIB);
	assert_true(v2.used == 1024 * MIB && v2.free == 6912 * MIB);
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &v1), NVML_SUCCESS);
	assert_true(v1.total == 8192 * MIB && v1.used == 1280 * MIB && v1.free == 6912 * MIB);
	fixture_let_go(&h);
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &v1), NVML_SUCCESS);
	assert_true(v1.used == 256 * MIB);
	v2.version = 2;
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo_v2(b->devs[0], &v2),
	        NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
}

static void test_processes(void **state)
{
	struct box *b = *state;
	struct nvml_process_v1 old[4];
	struct nvml_process list[4];
	struct holder h;
	unsigned n = 0;

	fixture_do(&b->f, "outside 0 4242 2GiB");
	fixture_do(&b->f, "outside 0 4243 unknown");
	fixture_do(&b->f, "outside 0 4244 1MiB graphics");
	assert_int_equal(fixture_run(&b->f, "outside 0 4245 1MiB film"), 1);
	h = fixture_hold(&b->f, "0", "512MiB");
	assert_int_equal(b->n.nvmlDeviceGetComputeRunningProcesses_v3(b->devs[0], &n, NULL),
	        NVML_ERROR_INSUFFICIENT_SIZE);
	assert_int_equal(n, 3);
	n = 4;
	assert_int_equal(
	        b->n.nvmlDeviceGetComputeRunningProcesses_v3(b->devs[0], &n, list), NVML_SUCCESS);
	assert_int_equal(n, 3);
	assert_int_equal(list[0].pid, 4242);
	assert_true(list[0].bytes == 2048 * MIB);
	assert_true(list[1].bytes == NVML_BYTES_UNKNOWN);
	assert_int_equal(list[2].pid, h.pid);
	assert_true(list[2].bytes == 512 * MIB);
	assert_true(list[2].gpu_instance == NVML_NO_INSTANCE);
	n = 4;
	assert_int_equal(
	        b->n.nvmlDeviceGetComputeRunningProcesses_v2(b->devs[0], &n, list), NVML_SUCCESS);
	assert_int_equal(list[2].pid, h.pid);
	n = 4;
	assert_int_equal(
	        b->n.nvmlDeviceGetComputeRunningProcesses(b->devs[0], &n, old), NVML_SUCCESS);
	assert_int_equal(old[2].pid, h.pid);
	assert_true(old[2].bytes == 512 * MIB);
	n = 4;
	assert_int_equal(
	        b->n.nvmlDeviceGetGraphicsRunningProcesses_v3(b->devs[0], &n, list), NVML_SUCCESS);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].pid, 4244);
	n = 4;
	assert_int_equal(b->n.nvmlDeviceGetMPSComputeRunningProcesses_v3(b->devs[0], &n, list),
	        NVML_SUCCESS);
	assert_int_equal(n, 0);
	/* None of them has worked: tests/shim/nvml_test.c has those that do. */
	n = 4;
	assert_int_equal(b->n.nvmlDeviceGetProcessUtilization(b->devs[0], NULL, &n, 0),
	        NVML_ERROR_NOT_FOUND);
	assert_int_equal(n, 0);
	assert_int_equal(b->n.nvmlDeviceGetProcessUtilization(b->devs[0], NULL, NULL, 0),
	        NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlDeviceGetProcessesUtilizationInfo(
	                         b->devs[0], &(struct nvml_processes_use){.version = 1}),
	        NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
	fixture_let_go(&h);
	n = 4;
	assert_int_equal(
	        b->n.nvmlDeviceGetComputeRunningProcesses_v3(b->devs[0], &n, list), NVML_SUCCESS);
	assert_int_equal(n, 2);
}

static void test_lost(void **state)
{
	struct box *b = *state;
	struct nvml_memory m;
	struct nvml_device *d;

	fixture_do(&b->f, "lose 0");
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m), NVML_ERROR_GPU_IS_LOST);
	assert_int_equal(b->n.nvmlDeviceGetHandleByIndex_v2(0, &d), NVML_ERROR_GPU_IS_LOST);
	assert_int_equal(b->n.nvmlDeviceGetHandleByUUID(UUID, &d), NVML_ERROR_GPU_IS_LOST);
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[1], &m), NVML_SUCCESS);
	fixture_do(&b->f, "restore 0");
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m), NVML_SUCCESS);
	fixture_do(&b->f, "lose 0 after 2");
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m), NVML_ERROR_GPU_IS_LOST);
}

static void test_faults(void **state)
{
	struct box *b = *state;
	struct nvml_memory m;
	struct timespec start;
	unsigned n;

	fixture_do(&b->f, "fail nvmlDeviceGetMemoryInfo 3 UNKNOWN");
	for (int i = 1; i <= 4; i++)
		assert_int_equal(b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m),
		        i == 3 ? NVML_ERROR_UNKNOWN : NVML_SUCCESS);
	fixture_do(&b->f, "fail nvmlDeviceGetCount_v2 0 9");
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_ERROR_DRIVER_NOT_LOADED);
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_ERROR_DRIVER_NOT_LOADED);
	fixture_do(&b->f, "clear");
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_SUCCESS);
	fixture_do(&b->f, "missing nvmlDeviceGetCount_v2");
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_ERROR_FUNCTION_NOT_FOUND);
	fixture_do(&b->f, "clear");
	fixture_do(&b->f, "slow 60 nvmlDeviceGetCount_v2");
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_SUCCESS);
	assert_true(elapsed_ms(&start) >= 60);
	fixture_do(&b->f, "slow 0 nvmlDeviceGetCount_v2");
	fixture_do(&b->f, "fail nvmlInit_v2 1 LIB_RM_VERSION_MISMATCH");
	assert_int_equal(b->n.nvmlInit_v2(), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
}

/* The n-th call is the n-th of all processes together: exactly one of them fails. */
static void test_nth_of_all(void **state)
{
	struct box *b = *state;
	struct nvml_memory m;
	int failed = 0;

	fixture_do(&b->f, "fail nvmlDeviceGetMemoryInfo 40 UNKNOWN");
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			int bad = 0;

			for (int k = 0; k < 20; k++)
				bad += b->n.nvmlDeviceGetMemoryInfo(b->devs[0], &m) != NVML_SUCCESS;
			_exit(bad);
		}
		failed += fixture_wait(pid);
	}
	assert_int_equal(failed, 1);
}

/* The description is replaced below a running user, as a driver is. */
static void test_replaced(void **state)
{
	struct box *b = *state;
	unsigned n;

	fixture_describe(&b->f, "device\nmemory 1GiB\n");
	fixture_do(&b->f, "show");
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
	b->n.nvmlShutdown();
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceGetCount_v2(&n), NVML_SUCCESS);
	assert_int_equal(n, 1);
}

static void *hammer(void *arg)
{
	struct box *b = arg;
	struct nvml_memory m;

	for (int i = 0; i < 300; i++)
		if (b->n.nvmlDeviceGetMemoryInfo(b->devs[i % 2], &m) != NVML_SUCCESS)
			return b;
	return NULL;
}

static void test_threads(void **state)
{
	struct box *b = *state;
	pthread_t threads[3];
	void *bad;

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, b), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], &bad), 0);
		assert_null(bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_exports),
	        TEST(test_init),
	        TEST(test_select),
	        TEST(test_system),
	        TEST(test_find),
	        TEST(test_device),
	        TEST(test_load),
	        TEST(test_memory),
	        TEST(test_processes),
	        TEST(test_lost),
	        TEST(test_faults),
	        TEST(test_nth_of_all),
	        TEST(test_replaced),
	        TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
