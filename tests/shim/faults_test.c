/* The n-th call of the driver fails, whichever it is: nothing stays charged that the card has not given, and nothing is given free. */
#include "shim_box.h"

/* What a program might do, without a look at what it is told; at its end all is given back, as far as it was had. */
static void live(void)
{
	struct cu_ctx *ctx = NULL, *primary = NULL;
	cu_ptr p[5] = {0};
	size_t pitch, left;
	cu_handle h = 0;
	struct cu_pool *pool = NULL;
	struct cu_array *array = NULL;
	struct cu_array_desc desc = {.width = 1024, .height = 1024, .format = 0x20, .channels = 4};
	struct cu_mem_prop prop = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};
	cu.cuCtxCreate_v2(&ctx, 0, 0);
	cu.cuDevicePrimaryCtxRetain(&primary, 0);
	cu.cuMemAlloc_v2(&p[0], 10 * MIB);
	cu.cuMemAlloc_v2(&p[1], 1000);
	cu.cuMemAllocPitch_v2(&p[2], &pitch, 1000, 4000, 4);
	cu.cuMemAllocManaged(&p[3], 6 * MIB, 1);
	cu.cuMemCreate(&h, 8 * MIB, &prop, 0);
	cu.cuArrayCreate_v2(&array, &desc);
	cu.cuDeviceGetDefaultMemPool(&pool, 0);
	cu.cuMemAllocAsync(&p[4], 12 * MIB, NULL);
	cu.cuMemGetInfo_v2(&left, NULL);
	/* Given back until the driver says so: a call that failed once does not fail twice. */
	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < 4; i++)
			if (p[i] != 0 && cu.cuMemFree_v2(p[i]) == CU_SUCCESS)
				p[i] = 0;
		if (p[4] != 0 && cu.cuMemFreeAsync(p[4], NULL) == CU_SUCCESS)
			p[4] = 0;
		if (h != 0 && cu.cuMemRelease(h) == CU_SUCCESS)
			h = 0;
		if (array != NULL && cu.cuArrayDestroy(array) == CU_SUCCESS)
			array = NULL;
	}
	cu.cuStreamSynchronize(NULL);
	cu.cuStreamSynchronize(NULL);
	if (primary != NULL && cu.cuDevicePrimaryCtxRelease_v2(0) != CU_SUCCESS)
		cu.cuDevicePrimaryCtxRelease_v2(0);
	if (ctx != NULL && cu.cuCtxDestroy_v2(ctx) != CU_SUCCESS)
		cu.cuCtxDestroy_v2(ctx);
}

#define N_FAULTS 200 /* more than a life has calls */

/* One life with the n-th call failing, and one without: says whether there was such a call. */
static int fail_at;

PART(nth_call_fails, CARD)
{
	char line[64];
	struct cu_ctx *ctx;
	cu_ptr p;
	shim_init(f);
	snprintf(line, sizeof line, "fail cu* %d %d", fail_at, fail_at % 2 == 0 ? 2 : 999);
	fixture_do(f, line);
	live();
	fixture_do(f, "clear");
	/* What is charged is what is there; a truth that needs a context of its own. */
	assert_int_equal(driver.cuCtxCreate_v2(&ctx, 0, 0), CU_SUCCESS);
	assert_int_equal(physical(), used() + CONTEXT);
	assert_int_equal(used(), 0);
	assert_int_equal(driver.cuCtxDestroy_v2(ctx), CU_SUCCESS);
	/* And life goes on. */
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, LIMIT - CONTEXT));
	check(LIMIT);
}

static void test_every_call_fails_once(void **state)
{
	for (fail_at = 1; fail_at <= N_FAULTS; fail_at++)
		test_nth_call_fails(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_call_fails_once)};
	return cmocka_run_group_tests_name("shim/faults", tests, NULL, NULL);
}
