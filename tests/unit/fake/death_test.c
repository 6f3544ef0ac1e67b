#include "cuda_box.h"

#include "sim.h"

#include <sys/mman.h>

#define ALL ((ONE_CARD_MIB - 32) * MIB)

static uint64_t used(const char *path, unsigned card)
{
	static struct sim s;
	static struct sim_state st;
	char why[SIM_ERROR_SIZE];

	assert_true(sim_open(&s, path, why));
	assert_int_equal(sim_begin(&s, &st), 0);
	sim_drop_dead(&s, &st);
	sim_end(&s, NULL);
	sim_close(&s);
	return sim_used(&st, card);
}

static const struct cu_mem_prop prop = {
        .type = 1, .handle_types = 1, .location = {CU_LOCATION_DEVICE, 0}};

/* Physical memory lives until its handles are released and its mappings gone. */
PART(physical, ONE_CARD)
{
	struct cu_access access = {{CU_LOCATION_DEVICE, 0}, 3};
	cu_handle h, same;
	size_t granularity;
	cu_ptr at;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	ok(cuMemGetAllocationGranularity(&granularity, &prop, 0));
	assert_true(granularity == 2 * MIB);
	/* before there is a context */
	ok(cuMemCreate(&h, 4 * MIB, &prop, 0));
	assert_true(used(f->path, 0) == 4 * MIB);
	fails(INVALID_VALUE, cuMemCreate(&h, 3 * MIB, &prop, 0));
	fails(OUT_OF_MEMORY, cuMemCreate(&same, 1024 * MIB, &prop, 0));
	ok(cuMemAddressReserve(&at, 8 * MIB, 0, 0, 0));
	ok(cuMemMap(at, 2 * MIB, 2 * MIB, h, 0));
	fails(ALREADY_MAPPED, cuMemMap(at, 4 * MIB, 0, h, 0));
	ok(cuMemMap(at + 2 * MIB, 4 * MIB, 0, h, 0));
	fails(INVALID_VALUE, cuMemMap(at + 6 * MIB, 4 * MIB, 0, h, 0));
	ok(cuMemSetAccess(at, 6 * MIB, &access, 1));
	memcpy((void *)(uintptr_t)at, "abc", 4);
	assert_string_equal((char *)(uintptr_t)at + 4 * MIB, "abc");
	ok(cuMemRelease(h));
	assert_true(used(f->path, 0) == 4 * MIB);
	ok(cuMemRetainAllocationHandle(&same, (void *)(uintptr_t)(at + 5 * MIB)));
	assert_true(same == h);
	fails(INVALID_VALUE, cuMemAddressFree(at, 8 * MIB));
	fails(INVALID_VALUE, cuMemUnmap(at, 4 * MIB));
	ok(cuMemUnmap(at, 6 * MIB));
	assert_true(used(f->path, 0) == 4 * MIB);
	ok(cuMemRelease(h));
	assert_true(used(f->path, 0) == 0);
	fails(INVALID_VALUE, cuMemRelease(h));
	ok(cuMemAddressFree(at, 8 * MIB));
}

PART(arrays, ONE_CARD)
{
	struct cu_array3d_desc d = {.width = 1000, .height = 600, .format = 0x20, .channels = 1};
	struct cu_array_need need;
	struct cu_array *a, *level;
	struct cu_mipmap *m;

	cuda_start();
	ok(cuArray3DCreate_v2(&a, &d)); /* rows of 4096 */
	ok(cuArrayGetMemoryRequirements(&need, a, 0));
	assert_true(need.size == 4 * MIB);
	assert_true(cuda_free() == ALL - 4 * MIB);
	ok(cuMipmappedArrayCreate(&m, &d, 3));
	ok(cuMipmappedArrayGetMemoryRequirements(&need, m, 0));
	assert_true(cuda_free() == ALL - 4 * MIB - need.size);
	ok(cuMipmappedArrayGetLevel(&level, m, 2));
	fails(INVALID_HANDLE, cuArrayDestroy(level));
	ok(cuMipmappedArrayDestroy(m));
	ok(cuArrayDestroy(a));
	fails(INVALID_HANDLE, cuArrayDestroy(a));
	assert_true(cuda_free() == ALL);
	d.flags = 0x40;
	ok(cuArray3DCreate_v2(&a, &d));
	assert_true(cuda_free() == ALL);
	d.width = 1 << 20;
	d.height = 1 << 20;
	d.flags = 0;
	fails(OUT_OF_MEMORY, cuArray3DCreate_v2(&a, &d));
}

PART(external, ONE_CARD)
{
	struct cu_external_desc d = {.type = 1, .size = 5 * MIB};
	struct cu_external_buffer part = {.offset = 4100, .size = 4096};
	struct cu_external *e;
	char data[4];
	cu_ptr at;

	cuda_start();
	d.handle.fd = memfd_create("vulkan", MFD_CLOEXEC);
	assert_int_equal(ftruncate(d.handle.fd, 5 * MIB), 0);
	assert_int_equal(pwrite(d.handle.fd, "abc", 4, 4100), 4);
	ok(cuImportExternalMemory(&e, &d));
	assert_true(cuda_free() == ALL - 6 * MIB);
	ok(cuExternalMemoryGetMappedBuffer(&at, e, &part));
	ok(cuMemcpyDtoH_v2(data, at, 4));
	assert_string_equal(data, "abc");
	ok(cuMemFree_v2(at));
	ok(cuDestroyExternalMemory(e));
	fails(INVALID_HANDLE, cuDestroyExternalMemory(e));
	assert_true(cuda_free() == ALL);
}

/* What two processes share is handed over in here. */
static struct handover {
	struct cu_ipc_mem ipc;
	int fd;
	uint32_t step;
} * shared;

static void to_step(uint32_t step)
{
	__atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
}

static void await_step(uint32_t step)
{
	for (int i = 0; i < 20000 && __atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) < step; i++)
		usleep(500);
	assert_true(shared->step >= step);
}

static void maker(struct fixture *f)
{
	cu_handle h;
	cu_ptr p;

	cuda_start();
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	ok(cuMemcpyHtoD_v2(p + 5000, "ipc", 4));
	ok(cuIpcGetMemHandle(&shared->ipc, p));
	ok(cuMemCreate(&h, 20 * MIB, &prop, 0));
	ok(cuMemExportToShareableHandle(&shared->fd, h, 1, 0));
	to_step(1);
	pause();
}

static void taker(struct fixture *f)
{
	cu_handle h, again;
	char path[64], data[4];
	cu_ptr p;
	int fd;

	cuda_start();
	await_step(1);
	ok(cuIpcOpenMemHandle_v2(&p, shared->ipc, 1));
	ok(cuMemcpyDtoH_v2(data, p + 5000, 4));
	assert_string_equal(data, "ipc");
	snprintf(path, sizeof(path), "/proc/%u/fd/%d", shared->step >> 8, shared->fd);
	fd = open(path, O_RDWR);
	ok(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)fd, 1));
	ok(cuMemImportFromShareableHandle(&again, (void *)(intptr_t)fd, 1));
	assert_true(h == again);
	ok(cuMemRelease(again));
	to_step(UINT32_MAX - 1);
	await_step(UINT32_MAX);
	ok(cuIpcCloseMemHandle(p));
	fails(INVALID_VALUE, cuIpcCloseMemHandle(p));
	ok(cuMemRelease(h));
	assert_true(cuda_free() == ALL);
}

/* Who dies gives up what it has alone; what another holds with it lives on, and is paid once. */
static void test_shared(void **state)
{
	struct fixture f;
	pid_t a, b;

	shared = mmap(
	        NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fixture_new(&f, ONE_CARD);
	a = cuda_fork(maker, &f);
	await_step(1);
	assert_true(used(f.path, 0) == 62 * MIB);
	to_step((uint32_t)a << 8);
	b = cuda_fork(taker, &f);
	await_step(UINT32_MAX - 1);
	assert_true(used(f.path, 0) == (62 + 32) * MIB);
	kill(a, SIGKILL);
	fixture_wait(a);
	assert_true(used(f.path, 0) == 62 * MIB);
	to_step(UINT32_MAX);
	assert_int_equal(fixture_wait(b), 0);
	assert_true(used(f.path, 0) == 0);
	fixture_free(&f);
}

enum { RACERS = 6, ROUNDS = 30 };

static void racer(struct fixture *f)
{
	unsigned seed = (unsigned)getpid();
	cu_ptr p[8] = {0};
	struct cu_module *m;
	struct cu_func *fn;
	struct cu_ctx *ctx;

	cuda_load("fake/libcuda.so.1");
	ok(cuInit(0));
	while (cu.cuCtxCreate_v2(&ctx, 0, 0) != CU_SUCCESS)
		usleep(1000);
	ok(cuModuleLoadData(&m, "image"));
	ok(cuModuleGetFunction(&fn, m, "k_20us"));
	for (int i = 0;; i++) {
		unsigned k = (unsigned)rand_r(&seed) % 8;

		if (p[k])
			ok(cuMemFree_v2(p[k]));
		p[k] = 0;
		if (cu.cuMemAlloc_v2(&p[k], (uint64_t)rand_r(&seed) % (64 * MIB) + 1) == CU_SUCCESS)
			to_step(1);
		for (int n = 0; n < 10; n++)
			ok(cuLaunchKernel(fn, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
		if (i % 4 == 0)
			ok(cuStreamSynchronize(NULL));
	}
}

/*
 * Killed at any moment, some with a lock in hand: whatever they had is back, to the byte, never was there more than there
 * is, and those who live go on.
 */
static void test_killed(void **state)
{
	struct fixture f;
	pid_t pids[RACERS];
	unsigned seed = 7;

	shared = mmap(
	        NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fixture_new(&f, ONE_CARD);
	for (int i = 0; i < RACERS; i++)
		pids[i] = cuda_fork(racer, &f);
	await_step(1);
	for (int i = 0; i < ROUNDS; i++) {
		int k = rand_r(&seed) % RACERS;

		usleep((useconds_t)rand_r(&seed) % 3000);
		kill(pids[k], SIGKILL);
		fixture_wait(pids[k]);
		assert_true(used(f.path, 0) <= ONE_CARD_MIB * MIB);
		pids[k] = cuda_fork(racer, &f);
	}
	to_step(0);
	await_step(1);
	for (int i = 0; i < RACERS; i++) {
		kill(pids[i], SIGKILL);
		fixture_wait(pids[i]);
	}
	assert_true(used(f.path, 0) == 0);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_physical),
	        cmocka_unit_test(test_arrays),
	        cmocka_unit_test(test_external),
	        cmocka_unit_test(test_shared),
	        cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
