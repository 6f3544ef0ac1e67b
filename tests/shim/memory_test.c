/* Memory in a slice, kind by kind, against what the card says it gave. */
#include "shim_box.h"

#include <pthread.h>
#include <time.h>

PART(a_card_of_that_size, CARD)
{
	size_t bytes = 0, left = 0;
	unsigned narrow = 0;
	shim_init(f);
	ok(cuDeviceTotalMem_v2(&bytes, 0));
	assert_int_equal(bytes, LIMIT);
	if (driver.cuDeviceTotalMem(&narrow, 0) == CU_SUCCESS) {
		ok(cuDeviceTotalMem(&narrow, 0));
		assert_int_equal(narrow, LIMIT);
	}
	assert_int_equal(used(), 0);
	struct cu_ctx *ctx = NULL;
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	check(CONTEXT);
	assert_int_equal(charged(SLICE_CONTEXT), CONTEXT);
	ok(cuMemGetInfo_v2(&left, NULL));
	ok(cuMemGetInfo_v2(NULL, &bytes));
	ok(cuMemGetInfo_v2(NULL, NULL));
	assert_int_equal(left, LIMIT - CONTEXT);
	assert_int_equal(bytes, LIMIT);
	ok(cuCtxDestroy_v2(ctx));
	assert_int_equal(used(), 0);
}

/* Exactly what is free works, one byte more does not, and the answer is the driver's own word for it. */
PART(to_the_byte, CARD)
{
	cu_ptr p = 0, q = 7;
	size_t left;
	shim_start(f);
	ok(cuMemGetInfo_v2(&left, NULL));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&q, left + 1));
	assert_int_equal(q, 7);
	ok(cuMemAlloc_v2(&p, left));
	check(LIMIT);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&q, 1));
	fails(OUT_OF_MEMORY, cuMemAllocManaged(&q, 1, 1));
	ok(cuMemFree_v2(p));
	check(CONTEXT);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&q, SIZE_MAX));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&q, SIZE_MAX - GRANULE));
	fails(INVALID_VALUE, cuMemAlloc_v2(&q, 0));
	fails(INVALID_VALUE, cuMemAlloc_v2(NULL, 1));
	check(CONTEXT);
}

/* Small pieces share granules, and the last one to leave gives it back. */
PART(small_pieces, CARD)
{
	static cu_ptr p[9000];
	shim_start(f);
	for (int i = 0; i < 4096; i++)
		ok(cuMemAlloc_v2(&p[i], 1 + (size_t)i % 512));
	check(CONTEXT + GRANULE);
	ok(cuMemAlloc_v2(&p[4096], 1));
	check(CONTEXT + 2 * GRANULE);
	for (int i = 0; i < 4096; i++)
		ok(cuMemFree_v2(p[i]));
	check(CONTEXT + GRANULE);
	ok(cuMemFree_v2(p[4096]));
	check(CONTEXT);
	/* 700 KB: two in a granule. */
	for (int i = 0; i < 6; i++)
		ok(cuMemAlloc_v2(&p[i], 700000));
	check(CONTEXT + 3 * GRANULE);
	for (int i = 0; i < 6; i++)
		ok(cuMemFree_v2(p[i]));
	check(CONTEXT);
}

/* A full slice still has the room in the granules that it has. */
PART(room_in_a_granule, CARD)
{
	cu_ptr small[3], all;
	size_t left;
	shim_start(f);
	ok(cuMemAlloc_v2(&small[0], MIB));
	ok(cuMemGetInfo_v2(&left, NULL));
	ok(cuMemAlloc_v2(&all, left));
	check(LIMIT);
	ok(cuMemAlloc_v2(&small[1], MIB / 2));
	ok(cuMemAlloc_v2(&small[2], MIB / 2));
	check(LIMIT);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&all, 1));
	ok(cuMemFree_v2(small[1]));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&small[1], MIB / 2 + 1));
	ok(cuMemAlloc_v2(&small[1], MIB / 2));
	check(LIMIT);
}

PART(pitched, CARD)
{
	cu_ptr p;
	size_t pitch = 0;
	shim_start(f);
	/* 1025 bytes of each row take 1536: two granules more than were asked for. */
	ok(cuMemAllocPitch_v2(&p, &pitch, 1025, 8192, 4));
	assert_int_equal(pitch, 1536);
	check(CONTEXT + 12 * MIB);
	ok(cuMemFree_v2(p));
	check(CONTEXT);
	fails(OUT_OF_MEMORY, cuMemAllocPitch_v2(&p, &pitch, 1025, LIMIT / 1025, 4));
	fails(OUT_OF_MEMORY, cuMemAllocPitch_v2(&p, &pitch, SIZE_MAX, SIZE_MAX, 4));
	check(CONTEXT);
}

PART(managed, CARD)
{
	cu_ptr p;
	shim_start(f);
	ok(cuMemAllocManaged(&p, 5 * MIB, 1));
	check(CONTEXT + 6 * MIB);
	assert_int_equal(charged(SLICE_MANAGED), 6 * MIB);
	ok(cuMemFree_v2(p));
	check(CONTEXT);
	fails(OUT_OF_MEMORY, cuMemAllocManaged(&p, LIMIT, 1));
}

/* Host memory is no device memory. */
PART(host_memory_is_free, CARD)
{
	void *p = NULL;
	shim_start(f);
	ok(cuMemHostAlloc(&p, 2 * LIMIT, 0));
	check(CONTEXT);
	ok(cuMemFreeHost(p));
	check(CONTEXT);
}

/* Whatever is in a context goes with it, the primary one too. */
PART(contexts_take_their_memory_along, CARD)
{
	struct cu_ctx *ctx = shim_start(f), *other, *primary;
	cu_ptr p;
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	ok(cuMemAlloc_v2(&p, 1000));
	ok(cuCtxCreate_v2(&other, 0, 0));
	ok(cuMemAlloc_v2(&p, 20 * MIB));
	ok(cuMemAlloc_v2(&p, 1000));
	check(2 * CONTEXT + 34 * MIB);
	ok(cuCtxDestroy_v2(ctx));
	check(CONTEXT + 22 * MIB);
	ok(cuDevicePrimaryCtxRetain(&primary, 0));
	ok(cuDevicePrimaryCtxRetain(&primary, 0));
	check(2 * CONTEXT + 22 * MIB);
	ok(cuCtxDestroy_v2(other));
	ok(cuCtxSetCurrent(primary));
	check(CONTEXT);
	ok(cuMemAlloc_v2(&p, 8 * MIB));
	ok(cuDevicePrimaryCtxRelease_v2(0));
	check(CONTEXT + 8 * MIB);
	ok(cuDevicePrimaryCtxRelease_v2(0));
	assert_int_equal(used(), 0);
	ok(cuDevicePrimaryCtxRetain(&primary, 0));
	ok(cuCtxSetCurrent(primary));
	ok(cuMemAlloc_v2(&p, 8 * MIB));
	ok(cuDevicePrimaryCtxReset_v2(0));
	assert_int_equal(used(), 0);
}

/* A primary context that came past every wrapper is noticed by the next allocation. */
PART(context_by_another_way, CARD)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	shim_init(f);
	assert_int_equal(driver.cuDevicePrimaryCtxRetain(&ctx, 0), CU_SUCCESS);
	assert_int_equal(driver.cuCtxSetCurrent(ctx), CU_SUCCESS);
	assert_int_equal(used(), 0);
	ok(cuMemAlloc_v2(&p, 2 * MIB));
	check(CONTEXT + 2 * MIB);
	ok(cuDevicePrimaryCtxReset_v2(0));
	assert_int_equal(used(), 0);
}

/* Before there is code in it, too: a context that does not fit is not filled. */
PART(modules_come_into_a_context_that_is_paid_for, CARD)
{
	struct cu_module *module;
	struct cu_ctx *ctx;
	shim_init(f);
	assert_int_equal(driver.cuDevicePrimaryCtxRetain(&ctx, 0), CU_SUCCESS);
	assert_int_equal(driver.cuCtxSetCurrent(ctx), CU_SUCCESS);
	slices[0]->watch.overhead_bytes = LIMIT - CONTEXT + 1;
	fails(OUT_OF_MEMORY, cuModuleLoadData(&module, "image"));
	assert_int_equal(used(), 0);
	slices[0]->watch.overhead_bytes = 0;
	ok(cuModuleLoadData(&module, "image"));
	check(CONTEXT);
	ok(cuModuleUnload(module));
	check(CONTEXT);
}

/* A green context makes the primary one, and the last of both lets go of it. */
PART(green_contexts, CARD)
{
	struct cu_resource *some = (struct cu_resource *)f; /* what it is, is the driver's affair */
	struct cu_green_ctx *green, *other;
	struct cu_ctx *ctx, *primary;
	cu_ptr p;
	shim_init(f);
	fails(INVALID_DEVICE, cuGreenCtxCreate(&green, some, 1, 1));
	ok(cuGreenCtxCreate(&green, some, 0, 1));
	assert_int_equal(used(), CONTEXT);
	ok(cuGreenCtxCreate(&other, some, 0, 1));
	ok(cuCtxFromGreenCtx(&ctx, green));
	ok(cuCtxSetCurrent(ctx));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	check(CONTEXT + 10 * MIB);
	ok(cuGreenCtxDestroy(green));
	check(CONTEXT + 10 * MIB);
	ok(cuDevicePrimaryCtxRetain(&primary, 0));
	ok(cuGreenCtxDestroy(other));
	check(CONTEXT + 10 * MIB);
	ok(cuDevicePrimaryCtxRelease_v2(0));
	assert_int_equal(used(), 0);
	ok(cuGreenCtxCreate(&green, some, 0, 1));
	ok(cuGreenCtxDestroy(green));
	assert_int_equal(used(), 0);
	slices[0]->watch.overhead_bytes = LIMIT - CONTEXT + 1;
	fails(OUT_OF_MEMORY, cuGreenCtxCreate(&green, some, 0, 1));
	assert_int_equal(used(), 0);
}

static void *retain(void *data)
{
	struct timespec while_it_goes = {.tv_nsec = 60000000};
	nanosleep(&while_it_goes, NULL);
	return cu.cuDevicePrimaryCtxRetain(data, 0) == CU_SUCCESS ? NULL : data;
}

/* One thread lets go of the primary context, and another takes it while the first asks whether it is gone. */
PART(primary_context_between_threads, CARD)
{
	struct cu_ctx *primary;
	pthread_t thread;
	void *result;
	cu_ptr p;
	shim_init(f);
	for (int i = 0; i < 3; i++) {
		ok(cuDevicePrimaryCtxRetain(&primary, 0));
		ok(cuCtxSetCurrent(primary));
		ok(cuMemAlloc_v2(&p, 10 * MIB));
		ok(cuMemAlloc_v2(&p, 1000));
		check(CONTEXT + 12 * MIB);
		fixture_do(f, "slow 200 cuDevicePrimaryCtxGetState");
		assert_int_equal(pthread_create(&thread, NULL, retain, &primary), 0);
		ok(cuDevicePrimaryCtxRelease_v2(0));
		pthread_join(thread, &result);
		assert_null(result);
		fixture_do(f, "clear");
		ok(cuCtxSetCurrent(primary));
		check(CONTEXT);
		ok(cuDevicePrimaryCtxRelease_v2(0));
		assert_int_equal(used(), 0);
	}
}

/* What one thread allocates in a context that has the handle of another thread's last one is not swept away with that. */
static pthread_barrier_t barrier;

static void *come_and_go(void *data)
{
	struct cu_ctx *ctx = NULL;
	cu_ptr p;
	for (int i = 0; i < 300; i++) {
		enum cu_result rc = cu.cuCtxCreate_v2(&ctx, 0, 0);
		if (rc == CU_SUCCESS)
			rc = cu.cuMemAlloc_v2(&p, 4 * MIB);
		*(bool *)data |= rc != CU_SUCCESS;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier); /* all have, and are looked at */
		*(bool *)data |= cu.cuCtxDestroy_v2(ctx) != CU_SUCCESS;
	}
	return NULL;
}

PART(handles_of_contexts_come_again, CARD)
{
	bool has_failed[2] = {false};
	pthread_t threads[2];
	shim_start(f);
	pthread_barrier_init(&barrier, NULL, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, come_and_go, &has_failed[i]);
	for (int i = 0; i < 300; i++) {
		pthread_barrier_wait(&barrier);
		check(3 * CONTEXT + 8 * MIB);
		pthread_barrier_wait(&barrier);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_false(has_failed[i]);
	}
	check(CONTEXT);
}

/* A context that does not fit is refused as memory is, and what came by another way denies what comes after it. */
PART(context_over_the_limit, CARD)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	size_t left = 1;
	slices[0] = shim_slice(f, 0, UUID, 2 * CONTEXT - 1);
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	fails(OUT_OF_MEMORY, cuCtxCreate_v2(&ctx, 0, 0));
	fails(OUT_OF_MEMORY, cuDevicePrimaryCtxRetain(&ctx, 0));
	assert_int_equal(used(), CONTEXT);
	assert_int_equal(driver.cuDevicePrimaryCtxRetain(&ctx, 0), CU_SUCCESS);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
	ok(cuMemGetInfo_v2(&left, NULL));
	assert_int_equal(used(), CONTEXT);
}

PART(two_devices, TWO)
{
	struct cu_ctx *a, *b;
	cu_ptr p;
	size_t bytes;
	slices[0] = shim_slice(f, 0, UUID_B, LIMIT);
	slices[1] = shim_slice(f, 1, UUID, LIMIT / 2);
	shim_load(f);
	ok(cuInit(0));
	ok(cuDeviceTotalMem_v2(&bytes, 0));
	assert_int_equal(bytes, LIMIT / 2);
	ok(cuDeviceTotalMem_v2(&bytes, 1));
	assert_int_equal(bytes, LIMIT);
	ok(cuCtxCreate_v2(&a, 0, 0));
	ok(cuCtxCreate_v2(&b, 0, 1));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	assert_int_equal(slices[0]->ledger.used_bytes, CONTEXT + 10 * MIB);
	assert_int_equal(slices[1]->ledger.used_bytes, CONTEXT);
	ok(cuCtxSetCurrent(a));
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, LIMIT / 2));
	/* Charged to where it lies, freed from anywhere. */
	ok(cuMemAlloc_v2(&p, 6 * MIB));
	ok(cuCtxSetCurrent(b));
	ok(cuMemFree_v2(p));
	assert_int_equal(slices[1]->ledger.used_bytes, CONTEXT);
}

PART(device_without_a_slice, TWO)
{
	struct cu_ctx *ctx;
	size_t bytes;
	shim_init(f);
	fails(INVALID_DEVICE, cuCtxCreate_v2(&ctx, 0, 1));
	fails(INVALID_DEVICE, cuDevicePrimaryCtxRetain(&ctx, 1));
	fails(INVALID_DEVICE, cuCtxCreate_v2(&ctx, 0, 2));
	fails(INVALID_DEVICE, cuCtxCreate_v2(&ctx, 0, -1));
	fails(INVALID_DEVICE, cuCtxCreate_v2(&ctx, 0, 5000));
	ok(cuDeviceTotalMem_v2(&bytes, 1));
	/* Also when its context came by another way. */
	cu_ptr p;
	assert_int_equal(driver.cuCtxCreate_v2(&ctx, 0, 1), CU_SUCCESS);
	fails(INVALID_DEVICE, cuMemAlloc_v2(&p, 1));
}

/* Only the order of devices differs in each process: accounts go by UUID. */
PART(visible_devices, TWO)
{
	struct cu_ctx *ctx;
	setenv("CUDA_VISIBLE_DEVICES", "1,0", 1);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_load(f);
	ok(cuInit(0));
	fails(INVALID_DEVICE, cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuCtxCreate_v2(&ctx, 0, 1));
	assert_int_equal(used(), CONTEXT);
}

PART(no_directory, CARD)
{
	int n;
	char path[256];
	shim_load(f);
	fails(SYSTEM_NOT_READY, cuInit(0));
	fails(SYSTEM_NOT_READY, cuInit(0));
	fails(SYSTEM_NOT_READY, cuDeviceGetCount(&n));
	/* It comes later, or is nonsense first. */
	snprintf(path, sizeof path, "%s/slice-0", f->dir);
	int fd = open(path, O_CREAT | O_WRONLY, 0666);
	assert_int_equal(ftruncate(fd, 100), 0);
	fails(SYSTEM_NOT_READY, cuInit(0));
	unlink(path);
	close(fd);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	ok(cuInit(0));
}

/* A ledger spoilt while in use refuses everything that takes, and lets go of everything. */
PART(spoilt_ledger, CARD)
{
	cu_ptr p, q;
	size_t left = 1;
	char path[256];
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	snprintf(path, sizeof path, "%s/slice-0", f->dir);
	assert_int_equal(truncate(path, 4096), 0);
	fails(SYSTEM_NOT_READY, cuMemAlloc_v2(&q, MIB));
	fails(SYSTEM_NOT_READY, cuMemAllocManaged(&q, MIB, 1));
	ok(cuMemGetInfo_v2(&left, NULL));
	assert_int_equal(left, 0);
	ok(cuMemFree_v2(p));
	assert_int_equal(physical(), CONTEXT);
	assert_int_equal(truncate(path, sizeof(struct slice)), 0);
	ok(cuMemAlloc_v2(&p, 2 * MIB));
	check(CONTEXT + 2 * MIB);
}

/* What this process never had goes to the driver. */
PART(foreign_pointers, CARD)
{
	cu_ptr p, own;
	shim_start(f);
	fails(INVALID_VALUE, cuMemFree_v2(0x1234));
	ok(cuMemFree_v2(0));
	ok(cuMemAlloc_v2(&own, 10 * MIB));
	assert_int_equal(driver.cuMemAlloc_v2(&p, 4 * MIB), CU_SUCCESS);
	assert_int_equal(used(), CONTEXT + 10 * MIB);
	ok(cuMemFree_v2(p));
	check(CONTEXT + 10 * MIB);
	ok(cuMemFree_v2(own));
	check(CONTEXT);
	/* Freed behind our back, and the address given out again. */
	ok(cuMemAlloc_v2(&p, 4 * MIB));
	assert_int_equal(driver.cuMemFree_v2(p), CU_SUCCESS);
	for (int i = 0; i < 3; i++)
		ok(cuMemAlloc_v2(&p, 4 * MIB));
	assert_true(used() <= CONTEXT + 16 * MIB);
}

/* Many pointers: the tables grow, and nothing is lost. */
PART(many_pointers, "device\nmemory 64GiB\nuuid " UUID "\n")
{
	enum { N = 3000 };
	static cu_ptr p[N];
	slices[0] = shim_slice(f, 0, UUID, 32768 * MIB);
	shim_load(f);
	struct cu_ctx *ctx;
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	for (int i = 0; i < N; i++)
		ok(cuMemAlloc_v2(&p[i], i % 3 != 0 ? 777 : 3 * MIB));
	assert_int_equal(used(), physical());
	for (int i = N - 1; i >= 0; i -= 2)
		ok(cuMemFree_v2(p[i]));
	assert_int_equal(used(), physical());
	for (int i = 0; i < N; i += 2)
		ok(cuMemFree_v2(p[i]));
	assert_int_equal(used(), CONTEXT);
	assert_int_equal(physical(), CONTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_a_card_of_that_size),
	        cmocka_unit_test(test_to_the_byte),
	        cmocka_unit_test(test_small_pieces),
	        cmocka_unit_test(test_room_in_a_granule),
	        cmocka_unit_test(test_pitched),
	        cmocka_unit_test(test_managed),
	        cmocka_unit_test(test_host_memory_is_free),
	        cmocka_unit_test(test_contexts_take_their_memory_along),
	        cmocka_unit_test(test_context_by_another_way),
	        cmocka_unit_test(test_modules_come_into_a_context_that_is_paid_for),
	        cmocka_unit_test(test_green_contexts),
	        cmocka_unit_test(test_primary_context_between_threads),
	        cmocka_unit_test(test_handles_of_contexts_come_again),
	        cmocka_unit_test(test_context_over_the_limit),
	        cmocka_unit_test(test_two_devices),
	        cmocka_unit_test(test_device_without_a_slice),
	        cmocka_unit_test(test_visible_devices),
	        cmocka_unit_test(test_no_directory),
	        cmocka_unit_test(test_spoilt_ledger),
	        cmocka_unit_test(test_foreign_pointers),
	        cmocka_unit_test(test_many_pointers),
	};
	return cmocka_run_group_tests_name("shim/memory", tests, NULL, NULL);
}
