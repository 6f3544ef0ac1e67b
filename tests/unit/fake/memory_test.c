#include "cuda_box.h"

#include "sim.h"

/* The driver begins with cuInit, and shows what the description and CUDA_VISIBLE_DEVICES say. */
PART(devices, "cuda 12.2\ndevice\nmodel A\nmemory 1GiB\nreserved 24MiB\ncc 8.6\npci 0000:3b:00.0\n"
              "uuid GPU-00112233-4455-6677-8899-aabbccddeeff\ndevice\nmemory 2GiB\n")
{
	struct cu_uuid uuid;
	char text[64];
	int n = -1, minor;
	size_t bytes;

	setenv("CUDA_VISIBLE_DEVICES", "1,GPU-0011,7,0", 1);
	cuda_load("fake/libcuda.so.1");
	fails(NOT_INITIALIZED, cuDeviceGetCount(&n));
	ok(cuDriverGetVersion(&n));
	assert_int_equal(n, 12020);
	fails(INVALID_VALUE, cuInit(1));
	ok(cuInit(0));
	ok(cuDeviceGetCount(&n));
	assert_int_equal(n, 2);
	fails(INVALID_DEVICE, cuDeviceGet(&n, 2));
	ok(cuDeviceGet(&n, 1));
	ok(cuDeviceGetName(text, sizeof(text), 1));
	assert_string_equal(text, "A (simulated)");
	ok(cuDeviceGetUuid_v2(&uuid, 1));
	assert_int_equal(uuid.bytes[1], 0x11);
	assert_int_equal(uuid.bytes[15], 0xff);
	ok(cuDeviceTotalMem_v2(&bytes, 1));
	assert_true(bytes == 1000 * MIB);
	ok(cuDeviceTotalMem_v2(&bytes, 0));
	assert_true(bytes == 2048 * MIB);
	ok(cuDeviceGetAttribute(&n, 75, 1));
	ok(cuDeviceGetAttribute(&minor, 76, 1));
	assert_int_equal(n * 10 + minor, 86);
	ok(cuDeviceGetPCIBusId(text, sizeof(text), 1));
	assert_string_equal(text, "0000:3B:00.0");
	ok(cuDeviceGetByPCIBusId(&n, "0000:3b:00.0"));
	assert_int_equal(n, 1);
	fails(INVALID_CONTEXT, cuMemGetInfo_v2(&bytes, &bytes));
}

PART(no_devices, ONE_CARD)
{
	setenv("CUDA_VISIBLE_DEVICES", "", 1);
	cuda_load("fake/libcuda.so.1");
	fails(NO_DEVICE, cuInit(0));
	setenv("CUDA_VISIBLE_DEVICES", "0,0", 1);
	fails(NO_DEVICE, cuInit(0));
	unsetenv("CUDA_VISIBLE_DEVICES");
	unsetenv("BERTH_FAKE_GPUS");
	fails(NO_DEVICE, cuInit(0));
	setenv("BERTH_FAKE_GPUS", f->path, 1);
	ok(cuInit(0));
}

PART(contexts, ONE_CARD)
{
	struct cu_ctx *a = cuda_start(), *b, *c;
	unsigned flags;
	int active;

	assert_true(cuda_free() == (ONE_CARD_MIB - 32) * MIB);
	ok(cuCtxCreate_v2(&b, 0, 0));
	assert_true(cuda_free() == (ONE_CARD_MIB - 64) * MIB);
	ok(cuCtxGetCurrent(&c));
	assert_ptr_equal(c, b);
	ok(cuCtxPopCurrent_v2(&c));
	assert_ptr_equal(c, b);
	ok(cuCtxDestroy_v2(b));
	fails(INVALID_CONTEXT, cuCtxDestroy_v2(b));
	fails(INVALID_CONTEXT, cuCtxSetCurrent(b));
	ok(cuCtxGetCurrent(&c));
	assert_ptr_equal(c, a);
	ok(cuDevicePrimaryCtxRetain(&b, 0));
	ok(cuDevicePrimaryCtxRetain(&c, 0));
	assert_ptr_equal(b, c);
	assert_true(cuda_free() == (ONE_CARD_MIB - 64) * MIB);
	ok(cuDevicePrimaryCtxRelease_v2(0));
	ok(cuDevicePrimaryCtxGetState(0, &flags, &active));
	assert_int_equal(active, 1);
	ok(cuDevicePrimaryCtxRelease_v2(0));
	ok(cuDevicePrimaryCtxGetState(0, &flags, &active));
	assert_int_equal(active, 0);
	fails(INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
	ok(cuCtxSetLimit(CU_LIMIT_HEAP, 8 * MIB + 1));
	assert_true(cuda_free() == (ONE_CARD_MIB - 34) * MIB);
	ok(cuCtxSetLimit(CU_LIMIT_HEAP, MIB));
	assert_true(cuda_free() == (ONE_CARD_MIB - 32) * MIB);
	ok(cuCtxDestroy_v2(a));
}

/* The physical model: whole granules for what is as large as one, the rest shares them in places of 512 bytes. */
PART(granules, ONE_CARD)
{
	uint64_t all = (ONE_CARD_MIB - 32) * MIB;
	cu_ptr a, b, c, small[10];
	size_t pitch, bytes;

	cuda_start();
	assert_true(cuda_free() == all);
	ok(cuMemAlloc_v2(&a, 2 * MIB));
	assert_true(a % (2 * MIB) == 0);
	ok(cuMemAlloc_v2(&b, 2 * MIB + 1));
	assert_true(cuda_free() == all - 6 * MIB);
	for (int i = 0; i < 8; i++) {
		ok(cuMemAlloc_v2(&small[i], 513));
		assert_true(small[i] % 512 == 0 && small[i] - small[0] == (unsigned)i * 1024);
	}
	assert_true(cuda_free() == all - 8 * MIB);
	ok(cuMemAlloc_v2(&small[8], 2 * MIB - 8 * KIB));
	assert_true(cuda_free() == all - 8 * MIB);
	ok(cuMemAlloc_v2(&small[9], 1));
	assert_true(cuda_free() == all - 10 * MIB);
	for (int i = 0; i < 10; i++)
		ok(cuMemFree_v2(small[i]));
	assert_true(cuda_free() == all - 6 * MIB);
	ok(cuMemGetAddressRange_v2(&c, &bytes, b + 2 * MIB));
	assert_true(c == b && bytes == 2 * MIB + 1);
	ok(cuMemFree_v2(a));
	ok(cuMemFree_v2(b));
	fails(INVALID_VALUE, cuMemFree_v2(b));
	ok(cuMemFree_v2(0));
	ok(cuMemAllocPitch_v2(&a, &pitch, 1000, 4096, 4));
	assert_true(pitch == 1024);
	assert_true(cuda_free() == all - 4 * MIB);
	ok(cuMemFree_v2(a));
	ok(cuMemAllocManaged(&a, 3 * MIB, 1));
	assert_true(cuda_free() == all - 4 * MIB);
	ok(cuMemFree_v2(a));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&a, all + 1));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&a, UINT64_MAX));
	ok(cuMemAlloc_v2(&a, all));
	assert_true(cuda_free() == 0);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&b, 1));
	fails(INVALID_VALUE, cuMemAlloc_v2(&b, 0));
	ok(cuMemFree_v2(a));
	assert_true(cuda_free() == all);
}

/* Data are real, though memory is there only once it is touched. */
PART(data, "device\nmemory 256GiB\n")
{
	char out[4096] = "";
	cu_ptr a, b;
	unsigned type;

	cuda_start();
	ok(cuMemAlloc_v2(&a, 200ULL << 30));
	ok(cuMemAlloc_v2(&b, 4096));
	ok(cuMemsetD8_v2(a + (150ULL << 30), 'x', 4096));
	ok(cuMemcpyDtoD_v2(b, a + (150ULL << 30), 4096));
	ok(cuMemcpyHtoD_v2(b, "y", 1));
	ok(cuMemsetD32_v2(b + 4, 0x7a7a7a7a, 2));
	ok(cuMemcpyDtoH_v2(out, b, 4096));
	assert_memory_equal(out, "yxxxzzzzzzzzxx", 14);
	ok(cuPointerGetAttribute(&type, 2, b));
	assert_int_equal(type, 2);
}

static void grab(struct fixture *f)
{
	cu_ptr p;

	cuda_start();
	ok(cuMemAlloc_v2(&p, 100 * MIB));
	assert_int_equal(write(1, "x", 1), 1);
	pause();
}

static pid_t start_grabbing(struct fixture *f)
{
	int out[2];
	char byte;
	pid_t pid;
	int keep = dup(1);

	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	dup2(out[1], 1);
	pid = cuda_fork(grab, f);
	dup2(keep, 1);
	close(keep);
	close(out[1]);
	assert_int_equal(read(out[0], &byte, 1), 1);
	close(out[0]);
	return pid;
}

static uint64_t used(struct fixture *f, int *ret_n, int32_t *ret_pid)
{
	static struct sim s;
	static struct sim_state st;
	char why[SIM_ERROR_SIZE];

	assert_true(sim_open(&s, f->path, why));
	assert_int_equal(sim_begin(&s, &st), 0);
	sim_drop_dead(&s, &st);
	sim_end(&s, NULL);
	*ret_n = 0;
	for (int i = 0; i < SIM_PROCESSES_MAX; i++) {
		if (st.processes[i].pid) {
			++*ret_n;
			*ret_pid = st.processes[i].pid;
		}
	}
	sim_close(&s);
	return sim_used(&st, 0);
}

/* What one process has, others have not; what SIGKILL ends is given back, and others are seen by their pids. */
static void test_processes(void **state)
{
	struct fixture f;
	int32_t pid = 0;
	pid_t a, b;
	int n;

	fixture_new(&f, ONE_CARD);
	a = start_grabbing(&f);
	assert_true(used(&f, &n, &pid) == 132 * MIB);
	assert_int_equal(pid, a);
	b = start_grabbing(&f);
	assert_true(used(&f, &n, &pid) == 264 * MIB);
	assert_int_equal(n, 2);
	kill(a, SIGKILL);
	fixture_wait(a);
	assert_true(used(&f, &n, &pid) == 132 * MIB);
	assert_int_equal(pid, b);
	kill(b, SIGKILL);
	fixture_wait(b);
	assert_true(used(&f, &n, &pid) == 0);
	fixture_free(&f);
}

/* A child has nothing of its parent's driver, and its end takes nothing from the parent. */
PART(forked, ONE_CARD)
{
	struct cu_ctx *ctx;
	pid_t pid;

	cuda_start();
	pid = fork();
	if (pid == 0) {
		fails(NOT_INITIALIZED, cuCtxGetCurrent(&ctx));
		fails(NOT_INITIALIZED, cuInit(0));
		exit(0);
	}
	assert_int_equal(fixture_wait(pid), 0);
	assert_true(cuda_free() == (ONE_CARD_MIB - 32) * MIB);
}

/* The n-th call of all processes fails with the code; a lost card fails all that concern it. */
PART(faults, ONE_CARD "lost after 9\n")
{
	cu_ptr p;

	cuda_start(); /* 1 */
	fixture_do(f, "fail cuMemAlloc_v2 2 OUT_OF_MEMORY");
	ok(cuMemAlloc_v2(&p, 1));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
	ok(cuMemAlloc_v2(&p, 1));
	fixture_do(f, "fail cuMemFree_v2 0 719");
	fails(LAUNCH_FAILED, cuMemFree_v2(p));
	fails(LAUNCH_FAILED, cuMemFree_v2(p));
	fixture_do(f, "clear");
	ok(cuMemFree_v2(p));
	for (int i = 0; i < 5; i++)
		ok(cuMemAlloc_v2(&p, 1));
	fails(UNKNOWN, cuMemAlloc_v2(&p, 1));
	fixture_do(f, "restore 0");
	ok(cuMemAlloc_v2(&p, 1));
	fixture_do(f, "lose 0");
	fails(UNKNOWN, cuMemFree_v2(p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_devices),
	        cmocka_unit_test(test_no_devices),
	        cmocka_unit_test(test_contexts),
	        cmocka_unit_test(test_granules),
	        cmocka_unit_test(test_data),
	        cmocka_unit_test(test_processes),
	        cmocka_unit_test(test_forked),
	        cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
