#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_scene.h"
#include "plat/clock.h"
#include "plat/loop.h"

static struct scene scene;
static struct scene *const s = &scene;

static int begin(void **state)
{
	scene_begin(s, "2x8GiB");
	scene_start_agent(s);
	return 0;
}

static int end(void **state)
{
	scene_end(s);
	return 0;
}

/* Does something to the simulated devices. */
static void fake(const char *const *args)
{
	const char *argv[16] = {shared_program("fake/fake-gpu"), scene_path(s, "sim/gpus.sim")};
	int status;
	pid_t pid;

	for (size_t i = 0; args[i]; i++)
		argv[2 + i] = args[i];
	pid = fork();
	if (pid == 0) {
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define FAKE(...) fake((const char *const[]){__VA_ARGS__, NULL})

static struct slice_record slice_of(uint32_t device, uint64_t mem_bytes)
{
	struct slice_record r = {.mem_bytes = mem_bytes, .share_milli = 500};

	snprintf(r.device, sizeof(r.device), "%s", s->devices[device].uuid);
	return r;
}

/* A job that holds so much of the device that it was granted last. */
static void start_holder(uint64_t epoch, uint32_t device, const char *size, const char *tail)
{
	struct slice_record slice = slice_of(device, 4 * GIB);
	struct link_start m;
	char script[600];

	snprintf(script, sizeof(script), "%s - use %s %s -- %s", shared_program("fake/fake-gpu"),
	        s->devices[device].uuid, size, tail);
	m = scene_start(epoch, script);
	m.slices = &slice;
	m.n_slices = 1;
	scene_send_start(s, &m);
}

static bool is_withheld(struct scene *sc, uint64_t bytes)
{
	return sc->devices[0].withheld_bytes == bytes;
}

static bool has_health(struct scene *sc, uint64_t health)
{
	return sc->devices[1].health == (enum device_health)health;
}

static void test_list(void **state)
{
	assert_int_equal(s->hello.n_devices, 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(s->devices[i].index, i);
		assert_int_equal(s->devices[i].mem_bytes, 8 * GIB);
		assert_true(s->devices[i].simulated);
		assert_int_equal(s->devices[i].health, DEVICE_OK);
		assert_int_equal(s->devices[i].cc, 80);
		assert_int_equal(s->devices[i].cuda, 12040);
		assert_memory_equal(s->devices[i].uuid, "GPU-", 4);
	}
}

static void test_environment(void **state)
{
	struct slice_record slices[] = {slice_of(1, 4 * GIB), slice_of(0, 5 * GIB)};
	struct link_start m = scene_start(
	        1, "echo $CUDA_VISIBLE_DEVICES $BERTH_GPU_MEM_BYTES $BERTH_GPU_SHARE_MILLI");
	char want[300];

	m.slices = slices;
	m.n_slices = 2;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	snprintf(want, sizeof(want), "%s,%s %llu 500\n", s->devices[1].uuid, s->devices[0].uuid,
	        (unsigned long long)(4 * GIB));
	assert_string_equal(scene_output(s, 1, 1), want);
}

/* Memory of strangers is withheld, that of our jobs is not. */
static void test_withheld(void **state)
{
	FAKE("outside", "0", "999999", "3GiB");
	scene_until(s, is_withheld, 3 * GIB);
	start_holder(1, 0, "2GiB", "sleep 100");
	scene_until(s, has_started, 1);
	scene_run(s, 2500);
	assert_int_equal(s->devices[0].withheld_bytes, 3 * GIB);
	FAKE("free", "999999", "0");
	scene_until(s, is_withheld, 0);
}

/* Nothing changed, nothing is said. */
static void test_quiet(void **state)
{
	unsigned before;

	scene_run(s, 500);
	before = s->n_device_messages;
	scene_run(s, 2500);
	assert_int_equal(s->n_device_messages, before);
}

static void test_loss_and_return(void **state)
{
	FAKE("lose", "1");
	scene_until(s, has_health, DEVICE_LOST);
	assert_true(s->devices[1].health_text[0]);
	assert_int_equal(s->devices[0].health, DEVICE_OK);
	/* A new link shows the same. */
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	assert_int_equal(s->hello.n_devices, 2);
	assert_int_equal(s->devices[1].health, DEVICE_LOST);
}

static void test_xid(void **state)
{
	FAKE("xid", "1", "79");
	scene_until(s, has_health, DEVICE_LOST);
	assert_non_null(strstr(s->devices[1].health_text, "79"));
}

/* An end is told when the device's memory is back, and after five seconds in any case. */
static void test_release(void **state)
{
	struct slice_record slice = slice_of(0, 4 * GIB);
	struct link_start m = scene_start(1, "exit 0");
	uint64_t began;

	m.slices = &slice;
	m.n_slices = 1;
	scene_send_start(s, &m);
	scene_until(s, has_ended, 1);
	/* A dead process still stands in the driver's list. */
	FAKE("outside", "0", "999999", "1GiB");
	began = clock_mono_ms();
	m = scene_start(2, "exit 0");
	m.slices = &slice;
	m.n_slices = 1;
	scene_send_start(s, &m);
	scene_run(s, 1500);
	assert_true(has_started(s, 2));
	assert_false(has_ended(s, 2));
	FAKE("free", "999999", "0");
	scene_until(s, has_ended, 2);
	assert_true(clock_mono_ms() - began < 5000);
	/* One without slices does not wait. */
	FAKE("outside", "0", "999999", "1GiB");
	scene_sh(s, 3, "exit 0");
	scene_until(s, has_ended, 3);
	m = scene_start(4, "exit 0");
	m.slices = &slice;
	m.n_slices = 1;
	began = clock_mono_ms();
	scene_send_start(s, &m);
	scene_until(s, has_ended, 4);
	assert_true(clock_mono_ms() - began >= 4900);
}

static bool has_note(struct scene *sc, uint64_t epoch)
{
	return sc->n_notes && sc->note_epoch == epoch;
}

static void test_watchdog_reports(void **state)
{
	start_holder(1, 0, "6GiB", "sleep 2.5");
	start_holder(2, 1, "3GiB", "sleep 2.5");
	scene_until(s, has_note, 1);
	assert_false(has_ended(s, 1));
	assert_non_null(strstr(s->note, "6 GiB"));
	scene_until(s, has_ended, 1);
	assert_int_equal(s->n_notes, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "6 GiB"));
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "4 GiB"));
	scene_until(s, has_ended, 2);
	assert_string_equal(scene_record(s, 2, SPOOL_ENDED)->text, "");
}

static void test_watchdog_ends(void **state)
{
	s->welcome.watchdog = LINK_WATCHDOG_END;
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	start_holder(1, 0, "6GiB", "sleep 100");
	start_holder(2, 1, "3GiB", "sleep 100");
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_GPU_MEMORY);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "6 GiB"));
	assert_false(has_ended(s, 2));
}

/* An agent that did not start them finds out what they may use. */
static void test_watchdog_after_restart(void **state)
{
	s->welcome.watchdog = LINK_WATCHDOG_OFF;
	net_ws_close(s->ws, 1001, "again");
	scene_until(s, has_hello, 2);
	start_holder(1, 0, "6GiB", "sleep 100");
	scene_until(s, has_started, 1);
	scene_run(s, 1500);
	assert_false(has_ended(s, 1));
	scene_kill_agent(s, 9);
	s->welcome.watchdog = LINK_WATCHDOG_END;
	scene_start_agent(s);
	scene_until(s, has_ended, 1);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_GPU_MEMORY);
}

/* A driver that hangs does not hold up jobs without devices, nor the link. */
static void test_driver_hangs(void **state)
{
	FAKE("slow", "3000");
	scene_run(s, 1200);
	scene_sh(s, 1, "exit 4");
	uint64_t began = clock_mono_ms();
	scene_until(s, has_ended, 1);
	assert_true(clock_mono_ms() - began < 2000);
	FAKE("clear");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	        CASE(test_list),
	        CASE(test_environment),
	        CASE(test_withheld),
	        CASE(test_quiet),
	        CASE(test_loss_and_return),
	        CASE(test_xid),
	        CASE(test_release),
	        CASE(test_watchdog_reports),
	        CASE(test_watchdog_ends),
	        CASE(test_watchdog_after_restart),
	        CASE(test_driver_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
