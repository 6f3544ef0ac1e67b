#include "nvml_box.h"

static void test_ecc(void **state)
{
	struct box *b = *state;
	unsigned long long n = 99;
	unsigned c, u, pending, failed;
	int now, next;

	assert_int_equal(b->n.nvmlDeviceGetEccMode(b->devs[0], &now, &next), NVML_SUCCESS);
	assert_int_equal(now + next, 2);
	fixture_do(&b->f, "ecc 0 3");
	fixture_do(&b->f, "ecc 0 5 corrected");
	assert_int_equal(b->n.nvmlDeviceGetTotalEccErrors(b->devs[0], 1, 0, &n), NVML_SUCCESS);
	assert_int_equal(n, 3);
	assert_int_equal(b->n.nvmlDeviceGetTotalEccErrors(b->devs[0], 0, 0, &n), NVML_SUCCESS);
	assert_int_equal(n, 5);
	fixture_do(&b->f, "restore 0");
	assert_int_equal(b->n.nvmlDeviceGetTotalEccErrors(b->devs[0], 1, 0, &n), NVML_SUCCESS);
	assert_int_equal(n, 0);
	assert_int_equal(b->n.nvmlDeviceGetTotalEccErrors(b->devs[0], 1, 1, &n), NVML_SUCCESS);
	assert_int_equal(n, 3);
	assert_int_equal(b->n.nvmlDeviceGetTotalEccErrors(b->devs[0], 2, 0, &n),
	        NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(
	        b->n.nvmlDeviceGetTotalEccErrors(b->devs[1], 1, 0, &n), NVML_ERROR_NOT_SUPPORTED);
	fixture_do(&b->f, "rows 0 pending");
	assert_int_equal(b->n.nvmlDeviceGetRemappedRows(b->devs[0], &c, &u, &pending, &failed),
	        NVML_SUCCESS);
	assert_true(pending == 1 && failed == 0);
	assert_int_equal(b->n.nvmlDeviceGetRemappedRows(b->devs[1], &c, &u, &pending, &failed),
	        NVML_ERROR_NOT_SUPPORTED);
}

static void test_recovery(void **state)
{
	struct box *b = *state;
	struct nvml_field f[2] = {{.field = NVML_FIELD_RECOVERY_ACTION}, {.field = 1}};

	fixture_do(&b->f, "recovery 0 reset");
	assert_int_equal(b->n.nvmlDeviceGetFieldValues(b->devs[0], 2, f), NVML_SUCCESS);
	assert_int_equal(f[0].result, NVML_SUCCESS);
	assert_int_equal(f[0].type, NVML_VALUE_UINT);
	assert_int_equal(f[0].value.u, NVML_RECOVERY_RESET);
	assert_int_equal(f[1].result, NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(
	        b->n.nvmlDeviceGetFieldValues(b->devs[0], 0, f), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_events(void **state)
{
	struct box *b = *state;
	struct nvml_event_set *set = NULL, *late = NULL;
	struct nvml_event e;
	unsigned long long types = 0;
	struct timespec start;

	assert_int_equal(b->n.nvmlDeviceGetSupportedEventTypes(b->devs[0], &types), NVML_SUCCESS);
	assert_true(
	        types == (NVML_EVENT_XID | NVML_EVENT_SINGLE_BIT_ECC | NVML_EVENT_DOUBLE_BIT_ECC));
	assert_int_equal(b->n.nvmlDeviceGetSupportedEventTypes(b->devs[1], &types), NVML_SUCCESS);
	assert_true(types == NVML_EVENT_XID);
	fixture_do(&b->f, "xid 0 31"); /* before anybody listened */
	assert_int_equal(b->n.nvmlEventSetCreate(&set), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceRegisterEvents(b->devs[1], NVML_EVENT_DOUBLE_BIT_ECC, set),
	        NVML_ERROR_NOT_SUPPORTED);
	assert_int_equal(
	        b->n.nvmlDeviceRegisterEvents(b->devs[0], NVML_EVENT_XID, set), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlDeviceRegisterEvents(b->devs[0], NVML_EVENT_XID, NULL),
	        NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_ERROR_TIMEOUT);
	fixture_do(&b->f, "xid 0 79");
	fixture_do(&b->f, "ecc 0 1");  /* of a type not asked for */
	fixture_do(&b->f, "xid 1 13"); /* of a device not asked for */
	fixture_do(&b->f, "xid 0 48");
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_SUCCESS);
	assert_ptr_equal(e.device, b->devs[0]);
	assert_true(e.type == NVML_EVENT_XID && e.data == 79);
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 1000), NVML_SUCCESS);
	assert_true(e.data == 48);
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 30), NVML_ERROR_TIMEOUT);
	assert_true(elapsed_ms(&start) >= 29); /* of two clocks in whole milliseconds */
	assert_int_equal(b->n.nvmlEventSetCreate(&late), NVML_SUCCESS);
	assert_int_equal(
	        b->n.nvmlDeviceRegisterEvents(b->devs[0], NVML_EVENT_XID, late), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlEventSetWait_v2(late, &e, 0), NVML_ERROR_TIMEOUT);
	fixture_do(&b->f, "lose 0");
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 1000), NVML_ERROR_GPU_IS_LOST);
	assert_int_equal(b->n.nvmlEventSetFree(set), NVML_SUCCESS);
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_ERROR_INVALID_ARGUMENT);
	assert_int_equal(b->n.nvmlEventSetFree(set), NVML_ERROR_INVALID_ARGUMENT);
	/* the other set goes with the last shutdown */
}

/* XIDs of the description reach the first listener, and only that one. */
static void test_early_events(void **state)
{
	struct box *b = *state;
	struct nvml_event_set *set;
	struct nvml_event e;

	b->n.nvmlShutdown();
	fixture_describe(&b->f, DESCRIPTION "xid 62\nxid 31\n");
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	reload_handles(b);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(b->n.nvmlEventSetCreate(&set), NVML_SUCCESS);
		assert_int_equal(b->n.nvmlDeviceRegisterEvents(b->devs[1], NVML_EVENT_XID, set),
		        NVML_SUCCESS);
		for (int i = 0; i < 2 && round == 0; i++) {
			assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_SUCCESS);
			assert_int_equal(e.data, i ? 31 : 62);
		}
		assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_ERROR_TIMEOUT);
	}
}

/* More events than are kept: the newest are told. */
static void test_many_events(void **state)
{
	struct box *b = *state;
	struct nvml_event_set *set;
	struct nvml_event e;
	char line[40];

	assert_int_equal(b->n.nvmlEventSetCreate(&set), NVML_SUCCESS);
	assert_int_equal(
	        b->n.nvmlDeviceRegisterEvents(b->devs[0], NVML_EVENT_XID, set), NVML_SUCCESS);
	for (int i = 1; i <= 70; i++) {
		snprintf(line, sizeof(line), "xid 0 %d", i);
		fixture_do(&b->f, line);
	}
	for (int i = 7; i <= 70; i++) {
		assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_SUCCESS);
		assert_int_equal(e.data, i);
	}
	assert_int_equal(b->n.nvmlEventSetWait_v2(set, &e, 0), NVML_ERROR_TIMEOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_ecc),
	        TEST(test_recovery),
	        TEST(test_events),
	        TEST(test_early_events),
	        TEST(test_many_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
