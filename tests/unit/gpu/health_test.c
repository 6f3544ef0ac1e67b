#include "box.h"

#include "gpu/priv.h"

#include <time.h>

static void test_loss_and_return(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	box_expect(b, 0, GPU_OK, "");
	fixture_do(&b->f, "lose 0");
	box_expect(b, 0, GPU_LOST, "the GPU no longer answers (NVML 15)");
	assert_int_equal(b->states[1].health, GPU_OK);
	/* it stays in the list, as what it was */
	box_scan(b);
	assert_int_equal(b->n, 2);
	assert_string_equal(b->devs[0].uuid, UUID0);
	assert_true(b->devs[0].mem_bytes == 8 * GIB - 256 * MIB);
	assert_int_equal(b->devs[0].health, GPU_LOST);
	assert_int_equal(b->devs[1].health, GPU_OK);
	assert_string_equal(gpu_note(b->gpu), "device 0: GPU is lost (NVML 15)");
	/* being back is found out by a scan */
	fixture_do(&b->f, "restore 0");
	box_expect(b, 0, GPU_LOST, "no longer answers");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_OK);
	assert_string_equal(gpu_note(b->gpu), "");
	box_expect(b, 0, GPU_OK, "");
	/* and it is listened to again */
	fixture_do(&b->f, "xid 0 63");
	box_expect(b, 0, GPU_DEGRADED, "XID 63");
	box_close(b);
}

static void test_lost_in_use(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	fixture_do(&b->f, "lose 1 after 5");
	box_expect(b, 1, GPU_OK, "");
	box_poll(b);
	box_expect(b, 1, GPU_LOST, "no longer answers");
	box_close(b);
}

/* Lost from the start: it cannot be named, and it is said. */
static void test_lost_at_start(void **state)
{
	struct box *b = box_open(TWO_DEVICES "lost\n");

	assert_int_equal(b->n, 1);
	assert_string_equal(gpu_note(b->gpu), "device 1: GPU is lost (NVML 15)");
	fixture_do(&b->f, "restore 1");
	box_scan(b);
	assert_int_equal(b->n, 2);
	assert_string_equal(b->devs[1].uuid, UUID1);
	assert_int_equal(b->devs[1].health, GPU_OK);
	/* and it is listened to */
	fixture_do(&b->f, "xid 1 63");
	box_expect(b, 1, GPU_DEGRADED, "XID 63");
	box_close(b);
}

/* Every XID of the table, and one that is not in it, does what its class says. */
static void test_xids(void **state)
{
	static const struct {
		unsigned number;
		enum xid_class class;
	} cases[] = {
#define XID(number, class, text) {number, XID_##class},
#include "../../../tables/xid.def"
#undef XID
	        {9999, XID_WORN},
	};
	static const enum gpu_health of_class[] = {
	        [XID_APP] = GPU_OK,
	        [XID_NOTE] = GPU_OK,
	        [XID_WORN] = GPU_DEGRADED,
	        [XID_RESET] = GPU_LOST,
	        [XID_GONE] = GPU_LOST,
	};
	struct box *b = box_open(TWO_DEVICES);
	char line[40];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		snprintf(line, sizeof(line), "xid 1 %u", cases[i].number);
		fixture_do(&b->f, line);
		box_poll(b);
		if (b->states[1].health != of_class[cases[i].class])
			fail_msg("XID %u makes it %d '%s'", cases[i].number, b->states[1].health,
			        b->states[1].health_text);
		assert_int_equal(b->states[1].last_xid, cases[i].number);
		assert_int_equal(b->states[1].n_xids, 1);
		assert_int_equal(b->states[0].health, GPU_OK);
		fixture_do(&b->f, "recovery 1 none");
		box_ok(b, gpu_forget(b->gpu, UUID1, &b->err));
		box_expect(b, 1, GPU_OK, "");
		assert_int_equal(b->states[1].n_xids, 0);
	}
	box_close(b);
}

/* The named ones of the brief and of the vendor's list of programs' own faults. */
static void test_xid_classes(void **state)
{
	static const unsigned resets[] = {48, 62, 64, 74, 95, 119, 120, 140, 143};
	static const unsigned apps[] = {13, 31, 43, 45, 68};

	for (size_t i = 0; i < ARRAY_LEN(resets); i++)
		assert_int_equal(xid_class_of(resets[i]), XID_RESET);
	for (size_t i = 0; i < ARRAY_LEN(apps); i++)
		assert_int_equal(xid_class_of(apps[i]), XID_APP);
	assert_int_equal(xid_class_of(79), XID_GONE);
	assert_int_equal(xid_class_of(63), XID_WORN);
	assert_int_equal(xid_class_of(94), XID_WORN);
	assert_int_equal(xid_class_of(100000), XID_WORN);
	assert_int_equal(xid_class_of(UINT64_MAX), XID_WORN);
}

/* An XID that needs a reset lasts until the driver had one, by its own word. */
static void test_reset(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	fixture_do(&b->f, "xid 0 95");
	box_expect(b, 0, GPU_LOST, "the driver asks for a reset of the GPU");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_LOST);
	/* the driver withdraws it, but this NVML has seen no restart yet */
	fixture_do(&b->f, "recovery 0 none");
	box_expect(b, 0, GPU_LOST, "XID 95: memory error, not contained; the GPU must be reset");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_OK);
	box_expect(b, 0, GPU_OK, "");
	box_close(b);
}

/* A driver without a word of its own: only an administrator ends it. */
static void test_reset_without_word(void **state)
{
	struct box *b = box_open("missing nvmlDeviceGetFieldValues\n" TWO_DEVICES);

	fixture_do(&b->f, "xid 0 95");
	box_expect(b, 0, GPU_LOST, "XID 95");
	fixture_do(&b->f, "restore 0");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_LOST);
	assert_int_equal(gpu_forget(b->gpu, "GPU-nobody", &b->err), -ERR_NOT_FOUND);
	box_ok(b, gpu_forget(b->gpu, UUID0, &b->err));
	box_expect(b, 0, GPU_OK, "");
	box_close(b);
}

/* Fell off the bus, but answers a fresh NVML: it is back. */
static void test_gone_xid(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	fixture_do(&b->f, "xid 0 79");
	box_expect(b, 0, GPU_LOST, "XID 79: the GPU has fallen off the bus");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_OK);
	box_close(b);
}

static void test_recovery_actions(void **state)
{
	static const struct {
		const char *action;
		enum gpu_health health;
		const char *says;
	} cases[] = {
	        {"reset", GPU_LOST, "the driver asks for a reset of the GPU"},
	        {"reboot", GPU_LOST, "the driver asks for a reboot"},
	        {"drain", GPU_DEGRADED, "recovery action 3"},
	        {"drain-and-reset", GPU_DEGRADED, "recovery action 4"},
	        {"none", GPU_OK, ""},
	};
	struct box *b = box_open(TWO_DEVICES);
	char line[40];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		snprintf(line, sizeof(line), "recovery 1 %s", cases[i].action);
		fixture_do(&b->f, line);
		box_expect(b, 1, cases[i].health, cases[i].says);
	}
	box_close(b);
}

static void test_memory_errors(void **state)
{
	struct box *b = box_open(TWO_DEVICES "rows pending\n");

	assert_int_equal(b->devs[1].health, GPU_DEGRADED);
	assert_string_equal(
	        b->devs[1].health_text, "a memory row waits for a reset to be replaced");
	fixture_do(&b->f, "ecc 0 100 corrected");
	box_expect(b, 0, GPU_OK, "");
	fixture_do(&b->f, "ecc 0 1");
	box_expect(b, 0, GPU_DEGRADED, "1 uncorrected memory error since the last reset");
	fixture_do(&b->f, "ecc 0 2");
	box_expect(b, 0, GPU_DEGRADED, "3 uncorrected memory errors since");
	assert_true(b->states[0].ecc_uncorrected == 3);
	fixture_do(&b->f, "rows 0 failed");
	box_expect(b, 0, GPU_DEGRADED, "could not be replaced");
	fixture_do(&b->f, "restore 1");
	box_expect(b, 1, GPU_OK, "");
	box_close(b);
}

/* An odd answer now and then is no loss; three in a row are. */
static void test_failing(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	fixture_do(&b->f, "fail nvmlDeviceGetMemoryInfo 1 UNKNOWN");
	box_expect(b, 0, GPU_DEGRADED, "the last check failed (NVML 999)");
	assert_int_equal(b->states[1].health, GPU_OK);
	box_expect(b, 0, GPU_OK, "");
	fixture_do(&b->f, "fail nvmlDeviceGetMemoryInfo 0 UNKNOWN");
	box_expect(b, 0, GPU_DEGRADED, "the last check failed");
	box_expect(b, 0, GPU_DEGRADED, "the last check failed");
	box_expect(b, 0, GPU_LOST, "no longer answers (NVML 999)");
	fixture_do(&b->f, "clear");
	box_expect(b, 0, GPU_LOST, "no longer answers");
	box_scan(b);
	assert_int_equal(b->devs[0].health, GPU_OK);
	assert_int_equal(b->devs[1].health, GPU_OK);
	box_close(b);
}

/* The driver is replaced below us: all is lost until the next scan starts anew. */
static void test_driver_replaced(void **state)
{
	struct box *b = box_open(TWO_DEVICES);

	fixture_describe(&b->f, "driver 580.65.06\ncuda 13.0\n" TWO_DEVICES);
	fixture_do(&b->f, "show");
	box_expect(b, 0, GPU_LOST, "the driver was replaced");
	box_expect(b, 1, GPU_LOST, "the driver was replaced");
	box_scan(b);
	assert_int_equal(b->n, 2);
	assert_int_equal(b->devs[0].health, GPU_OK);
	box_close(b);
}

static int64_t ms_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

static void test_slow(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	struct timespec start;

	fixture_do(&b->f, "slow 40 nvmlDeviceGetMemoryInfo");
	clock_gettime(CLOCK_MONOTONIC, &start);
	box_expect(b, 0, GPU_OK, "");
	assert_true(ms_since(&start) >= 79); /* two devices; of two clocks in whole milliseconds */
	box_close(b);
}

/* A storm of events cannot hold the caller, and nothing of it is lost that is still kept. */
static void test_storm(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	char line[40];

	for (int i = 0; i < 30; i++) {
		snprintf(line, sizeof(line), "xid %d 31", i % 2);
		fixture_do(&b->f, line);
	}
	box_expect(b, 0, GPU_OK, "");
	assert_int_equal(b->states[0].n_xids, 15);
	assert_int_equal(b->states[1].n_xids, 15);
	assert_int_equal(b->states[0].last_xid, 31);
	box_close(b);
}

/* Waiting ends with the event. */
static void test_wait(void **state)
{
	struct box *b = box_open(TWO_DEVICES);
	pid_t pid = fixture_spawn(&b->f, "xid 0 63", -1);
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	box_ok(b, gpu_poll(b->gpu, 20000, b->states, GPU_DEVICES_MAX, &b->n, &b->err));
	assert_true(ms_since(&start) < 15000);
	assert_int_equal(b->states[0].last_xid, 63);
	assert_int_equal(fixture_wait(pid), 0);
	box_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_loss_and_return),
	        cmocka_unit_test(test_lost_in_use),
	        cmocka_unit_test(test_lost_at_start),
	        cmocka_unit_test(test_xids),
	        cmocka_unit_test(test_xid_classes),
	        cmocka_unit_test(test_reset),
	        cmocka_unit_test(test_reset_without_word),
	        cmocka_unit_test(test_gone_xid),
	        cmocka_unit_test(test_recovery_actions),
	        cmocka_unit_test(test_memory_errors),
	        cmocka_unit_test(test_failing),
	        cmocka_unit_test(test_driver_replaced),
	        cmocka_unit_test(test_slow),
	        cmocka_unit_test(test_storm),
	        cmocka_unit_test(test_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
