/* MIG instances of the simulated cards: what NVML tells of them, and what of them a CUDA program sees. */
#include "nvml_box.h"

#undef UUID
#include "cuda_box.h"

#define GIB    (UINT64_C(1) << 30)
#define GPU(n) "GPU-0000000" #n "-0000-0000-0000-000000000000"
#define MIG(n) "MIG-0000000" #n "-0000-0000-0000-000000000000"
#define DIVIDED                                                                                            \
	"device\nmodel NVIDIA H100\nuuid " GPU(1) "\nmemory 80GiB\nmig on\ninstance 1g.10gb 9856MiB " MIG( \
	        1) "\ninstance 3g.40gb 40448MiB " MIG(2) "\ndevice\nuuid " GPU(2) "\nmemory 4GiB\n"

static void begin(struct box *b)
{
	fixture_new(&b->f, DIVIDED);
	load(&b->n, "fake/libnvidia-ml.so.1");
	setenv("BERTH_FAKE_GPUS", b->f.path, 1);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	reload_handles(b);
}

static void end(struct box *b)
{
	b->n.nvmlShutdown();
	unsetenv("BERTH_FAKE_GPUS");
	dlclose(b->n.handle);
	fixture_free(&b->f);
}

static struct nvml_device *instance(struct box *b, unsigned place)
{
	struct nvml_device *mig = NULL;

	assert_int_equal(
	        b->n.nvmlDeviceGetMigDeviceHandleByIndex(b->devs[0], place, &mig), NVML_SUCCESS);
	return mig;
}

static void test_nvml(void **state)
{
	struct nvml_device *mig, *other = NULL;
	struct nvml_attributes a;
	struct nvml_memory memory;
	struct box b;
	unsigned u, v;
	char text[96];

	begin(&b);
	assert_int_equal(b.n.nvmlDeviceGetCount_v2(&u), NVML_SUCCESS);
	assert_int_equal(u, 2);
	assert_int_equal(b.n.nvmlDeviceGetMigMode(b.devs[0], &u, &v), NVML_SUCCESS);
	assert_true(u == 1 && v == 1);
	assert_int_equal(b.n.nvmlDeviceGetMaxMigDeviceCount(b.devs[0], &u), NVML_SUCCESS);
	assert_int_equal(u, 7);
	assert_int_equal(b.n.nvmlDeviceGetMaxMigDeviceCount(b.devs[1], &u), NVML_SUCCESS);
	assert_int_equal(u, 0);
	mig = instance(&b, 1);
	assert_int_equal(b.n.nvmlDeviceIsMigDeviceHandle(mig, &u), NVML_SUCCESS);
	assert_int_equal(u, 1);
	assert_int_equal(b.n.nvmlDeviceIsMigDeviceHandle(b.devs[0], &u), NVML_SUCCESS);
	assert_int_equal(u, 0);
	assert_int_equal(b.n.nvmlDeviceGetUUID(mig, text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, MIG(2));
	assert_int_equal(b.n.nvmlDeviceGetName(mig, text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, "NVIDIA H100 (simulated) MIG 3g.40gb");
	assert_int_equal(b.n.nvmlDeviceGetHandleByUUID(MIG(2), &other), NVML_SUCCESS);
	assert_ptr_equal(other, mig);
	assert_int_equal(
	        b.n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig, &other), NVML_SUCCESS);
	assert_ptr_equal(other, b.devs[0]);
	assert_int_equal(b.n.nvmlDeviceGetGpuInstanceId(mig, &u), NVML_SUCCESS);
	assert_int_equal(b.n.nvmlDeviceGetComputeInstanceId(mig, &v), NVML_SUCCESS);
	assert_true(u == 2 && v == 0);
	assert_int_equal(b.n.nvmlDeviceGetIndex(mig, &u), NVML_SUCCESS);
	assert_int_equal(u, 1);
	assert_int_equal(b.n.nvmlDeviceGetAttributes_v2(mig, &a), NVML_SUCCESS);
	assert_true(a.compute_instance_slices == 3 && a.memory_mib == 40448);
	assert_int_equal(b.n.nvmlDeviceGetMemoryInfo(mig, &memory), NVML_SUCCESS);
	assert_true(memory.total == 40448 * MIB && memory.used == 0);
	/* Of cards alone, and of instances alone. */
	assert_int_equal(b.n.nvmlDeviceGetMinorNumber(mig, &u), NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(b.n.nvmlDeviceGetGpuInstanceId(b.devs[0], &u), NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(
	        b.n.nvmlDeviceGetMigDeviceHandleByIndex(b.devs[0], 2, &mig), NVML_ERROR_NOT_FOUND);
	assert_int_equal(b.n.nvmlDeviceGetMigDeviceHandleByIndex(b.devs[0], 7, &mig),
	        NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(
	        b.n.nvmlDeviceGetMigDeviceHandleByIndex(b.devs[1], 0, &mig), NVML_ERROR_NOT_FOUND);
	end(&b);
}

/* A card shows who uses its instances, and of which. */
static void test_processes(void **state)
{
	struct nvml_process list[4] = {0};
	struct nvml_memory memory;
	struct box b;
	unsigned n = 4;

	begin(&b);
	fixture_do(&b.f, "outside " MIG(2) " 4242 3GiB");
	assert_int_equal(
	        b.n.nvmlDeviceGetComputeRunningProcesses_v3(b.devs[0], &n, list), NVML_SUCCESS);
	assert_true(n == 1 && list[0].pid == 4242 && list[0].gpu_instance == 2 &&
	            list[0].compute_instance == 0);
	n = 4;
	assert_int_equal(b.n.nvmlDeviceGetComputeRunningProcesses_v3(instance(&b, 0), &n, list),
	        NVML_SUCCESS);
	assert_int_equal(n, 0);
	assert_int_equal(b.n.nvmlDeviceGetMemoryInfo(b.devs[0], &memory), NVML_SUCCESS);
	assert_true(memory.used == 3 * GIB);
	assert_int_equal(b.n.nvmlDeviceGetMemoryInfo(instance(&b, 0), &memory), NVML_SUCCESS);
	assert_true(memory.used == 0);
	end(&b);
}

/* As `nvidia-smi mig -dgi` does it: not while somebody uses it, and then its handle is of nothing. */
static void test_removal(void **state)
{
	struct nvml_memory memory;
	struct nvml_device *first, *mig;
	struct box b;
	char text[96];

	begin(&b);
	first = instance(&b, 0);
	fixture_do(&b.f, "outside " MIG(1) " 4242 1GiB");
	assert_int_equal(fixture_run(&b.f, "remove " MIG(1)), 1);
	assert_int_equal(fixture_run(&b.f, "remove 0"), 1);
	assert_int_equal(b.n.nvmlDeviceGetMemoryInfo(first, &memory), NVML_SUCCESS);
	fixture_do(&b.f, "free 4242 " MIG(1));
	fixture_do(&b.f, "remove " MIG(1));
	assert_int_equal(b.n.nvmlDeviceGetMemoryInfo(first, &memory), NVML_ERROR_NOT_FOUND);
	mig = instance(&b, 0);
	assert_int_equal(b.n.nvmlDeviceGetUUID(mig, text, sizeof(text)), NVML_SUCCESS);
	assert_string_equal(text, MIG(2));
	fixture_do(&b.f, "make " MIG(1));
	assert_ptr_equal(instance(&b, 0), first);
	end(&b);
}

static int count(void)
{
	int n = -1;

	if (cu.cuInit(0) != CU_SUCCESS)
		return 0;
	ok(cuDeviceGetCount(&n));
	return n;
}

/* What a process sees with this in CUDA_VISIBLE_DEVICES: so many devices, the first of them with so much memory. */
static void sees(struct fixture *f, const char *visible, int n, uint64_t mib)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		size_t bytes = 0;

		setenv("CMOCKA_TEST_ABORT", "1", 1);
		setenv("BERTH_FAKE_GPUS", f->path, 1);
		unsetenv("CUDA_VISIBLE_DEVICES");
		if (visible)
			setenv("CUDA_VISIBLE_DEVICES", visible, 1);
		cuda_load("fake/libcuda.so.1");
		assert_int_equal(count(), n);
		if (n)
			ok(cuDeviceTotalMem_v2(&bytes, 0));
		assert_int_equal(bytes, mib * MIB);
		exit(0);
	}
	if (fixture_wait(pid) != 0)
		fail_msg("with '%s'", visible ? visible : "(unset)");
}

/* Cards that are not in MIG mode, or one instance. */
static void test_visible(void **state)
{
	struct fixture f;

	fixture_new(&f, DIVIDED);
	sees(&f, MIG(1), 1, 9856);
	sees(&f, "mig-00000002", 0, 0);
	sees(&f, "MIG-00000002", 1, 40448);
	sees(&f, "MIG-0", 0, 0);
	sees(&f, MIG(2) "," MIG(1), 1, 40448);
	sees(&f, MIG(1) "," GPU(2), 1, 9856);
	sees(&f, GPU(2) "," MIG(1), 1, 4096);
	sees(&f, NULL, 1, 4096);
	sees(&f, "", 0, 0);
	sees(&f, "0", 1, 9856);
	sees(&f, GPU(1), 1, 9856);
	sees(&f, "1", 1, 4096);
	sees(&f, "2", 0, 0);
	fixture_do(&f, "remove " MIG(1));
	sees(&f, MIG(1), 0, 0);
	sees(&f, "0", 1, 40448);
	fixture_do(&f, "lose 0");
	fixture_free(&f);
}

static void hold_all(struct fixture *f)
{
	struct cu_ctx *ctx;
	cu_ptr at;

	setenv("CUDA_VISIBLE_DEVICES", MIG(1), 1);
	ctx = cuda_start();
	assert_non_null(ctx);
	assert_int_equal(cuda_free(), (9856 - 32) * MIB);
	ok(cuMemAlloc_v2(&at, cuda_free()));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&at, 1));
	/* The others have nothing less, and it cannot be taken away. */
	assert_int_equal(fixture_run(f, "remove " MIG(1)), 1);
	fixture_do(f, "remove " MIG(2));
	fixture_do(f, "lose 0");
	fails(UNKNOWN, cuCtxSynchronize());
}

static void test_memory(void **state)
{
	cuda_run(hold_all, DIVIDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_nvml),
	        cmocka_unit_test(test_processes),
	        cmocka_unit_test(test_removal),
	        cmocka_unit_test(test_visible),
	        cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
