#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <talloc.h>
#include <unistd.h>

#include "host_kit.h"
#include "plat/clock.h"

static void test_a_life(void **state)
{
	struct spool_record r;
	struct err err;

	prepare(1);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 0), 0);
	assert_int_equal(engine_start(t.engine, 1, &err), 0);
	until(has_start, 1);
	assert_false(find_message(LAUNCH_START, 1)->again);
	assert_string_equal(find_message(LAUNCH_START, 1)->argv[0], "true");
	assert_true(is_in(1, HOST_SENT));
	say(SPOOL_STARTED, 1);
	assert_true(is_in(1, HOST_LIVING));
	assert_int_equal(told(SPOOL_STARTED, 1, &r), 1);
	assert_int_equal(r.pid, 1001);
	assert_int_equal(r.wall_ms, 1000);
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(SPOOL_ENDED, 1, NULL), 1);
	assert_true(is_in(1, HOST_ENDED));
	assert_int_equal(engine_clean(t.engine, 1, &err), 0);
	assert_null(host_find(t.host, 1));
}

static void test_stop_before_start(void **state)
{
	struct spool_record r;

	prepare(3);
	stop(3, false);
	assert_int_equal(told(SPOOL_ENDED, 3, &r), 1);
	assert_int_equal(r.cause, SPOOL_STOPPED);
	assert_int_equal(r.wait_status, 15);
	start(1);
	until(has_start, 1);
	assert_int_equal(count_messages(LAUNCH_START, 3), 0);
	assert_int_equal(count_messages(LAUNCH_STOP, 3), 0);
}

static void test_stop_and_force(void **state)
{
	start(1);
	say(SPOOL_STARTED, 1);
	stop(1, false);
	until(has_stop, 1);
	assert_false(find_message(LAUNCH_STOP, 1)->force);
	assert_int_equal(find_message(LAUNCH_STOP, 1)->stop_cause, SPOOL_STOPPED);
	assert_string_equal(find_message(LAUNCH_STOP, 1)->path, kit_path("spool/000001.spool"));
	/* Said twice is said once; said louder is said again. */
	stop(1, false);
	stop(1, true);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_STOP, 1), 2);
	assert_true(find_message(LAUNCH_STOP, 1)->force);
}

/* Nobody is there any more to hear it. */
static void test_stop_of_the_ended(void **state)
{
	start(1);
	say(SPOOL_STARTED, 1);
	say(SPOOL_ENDED, 1);
	stop(1, true);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_STOP, 1), 0);
	assert_int_equal(told(SPOOL_ENDED, 1, NULL), 1);
}

/* The first to ask is the reason, whoever asks louder. */
static void test_first_cause(void **state)
{
	struct engine_signal s = {.epoch = 1, .cause = SPOOL_SHUTDOWN, .force = true};
	struct err err;

	start(1);
	say(SPOOL_STARTED, 1);
	stop(1, false);
	assert_int_equal(engine_signal(t.engine, &s, &err), 0);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_STOP, 1), 2);
	assert_true(find_message(LAUNCH_STOP, 1)->force);
	assert_int_equal(find_message(LAUNCH_STOP, 1)->stop_cause, SPOOL_STOPPED);
}

/* The keeper of a living attempt is gone without a word. */
static void test_sweep(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	pid_t keeper = kit_hold(kit_path("spool/000001.spool"), 1);

	start(1);
	say(SPOOL_STARTED, 1);
	host_look(t.host, now_ms);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 0), 0);
	kit_let_go(keeper);
	host_look(t.host, now_ms + 1);
	until(has_sweep, 1);
	assert_string_equal(find_message(LAUNCH_SWEEP, 1)->path, kit_path("spool/000001.spool"));
	/* Not again at once, but when nothing comes of it. */
	host_look(t.host, now_ms + 5000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 1);
	host_look(t.host, now_ms + 10001);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 2);
	assert_int_equal(t.n_lost, 1);
	say(SPOOL_ENDED, 1);
	host_look(t.host, now_ms + 30000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 2);
}

/* Between the look at its byte and the sweep it ended properly: its end stands in the spool, unread. */
static void test_no_sweep_after_an_end(void **state)
{
	struct spool_record r = kit_record(SPOOL_ENDED, 1);

	start(1);
	say(SPOOL_STARTED, 1);
	kit_append(kit_path("spool/000001.spool"), &r);
	host_look(t.host, clock_mono_ms());
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 0), 0);
	assert_int_equal(told(SPOOL_ENDED, 1, NULL), 1);
}

/* A START that nothing is heard of is sent again, marked. */
static void test_silent_start(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	pid_t keeper;

	start(1);
	until(has_start, 1);
	host_look(t.host, now_ms + 5000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 1);
	/* As long as its byte is held it will be heard of. */
	keeper = kit_hold(kit_path("spool/000001.spool"), 1);
	host_look(t.host, now_ms + 20000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 1);
	kit_let_go(keeper);
	host_look(t.host, now_ms + 20001);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 2);
	assert_true(find_message(LAUNCH_START, 1)->again);
	assert_string_equal(find_message(LAUNCH_START, 1)->argv[0], "true");
}

/* The parent dies with STARTs in its socket: those are sent to the next one, marked. */
static void test_parent_dies(void **state)
{
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		start(epoch);
	until(has_start, 3);
	say(SPOOL_STARTED, 1);
	prepare(4);
	stop(2, false);
	until(has_stop, 2);
	kit_die();
	until(is_down, 1);
	kit_listen();
	until(is_up, 2);
	until(turns, 0);
	/* 1 lives; its byte is not held, so it is swept. */
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 1);
	assert_int_equal(count_messages(LAUNCH_START, 1), 1);
	for (uint64_t epoch = 2; epoch <= 3; epoch++) {
		assert_int_equal(count_messages(LAUNCH_START, epoch), 2);
		assert_true(find_message(LAUNCH_START, epoch)->again);
	}
	/* The stop is said again as well, behind the start. */
	assert_true(find_message(LAUNCH_STOP, 2) > find_message(LAUNCH_START, 2));
	assert_int_equal(count_messages(LAUNCH_START, 4), 0);
	/* And the new one was told first which file is in use. */
	assert_true(has_rotate(2));
}

/* What could not be sent was not started: it goes without a mark, in its order. */
static void test_no_parent_yet(void **state)
{
	for (uint64_t epoch = 1; epoch <= 4; epoch++)
		start(epoch);
	until(turns, 0);
	for (uint64_t epoch = 1; epoch <= 4; epoch++)
		assert_true(is_in(epoch, HOST_WAITING));
	stop(4, false);
	assert_int_equal(told(SPOOL_ENDED, 4, NULL), 1);
	kit_listen();
	until(has_start, 3);
	assert_true(find_message(LAUNCH_START, 1) < find_message(LAUNCH_START, 2));
	assert_true(find_message(LAUNCH_START, 2) < find_message(LAUNCH_START, 3));
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		assert_false(find_message(LAUNCH_START, epoch)->again);
	assert_int_equal(t.messages[0].kind, LAUNCH_ROTATE);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 4), 0);
}

static void test_again_is_passed_on(void **state)
{
	struct link_start m = a_start(1);
	struct engine_request r = {.start = &m, .again = true};
	struct err err;

	assert_int_equal(engine_prepare(t.engine, &r, &err), 0);
	assert_int_equal(engine_start(t.engine, 1, &err), 0);
	until(has_start, 1);
	assert_true(find_message(LAUNCH_START, 1)->again);
}

/* It has just begun: that is read before anything is made for it. */
static void test_again_has_begun(void **state)
{
	struct spool_record began = kit_record(SPOOL_STARTED, 1);
	struct link_start m = a_start(1);
	struct engine_request r = {.start = &m, .again = true};
	struct err err;

	kit_append(kit_path("spool/000001.spool"), &began);
	assert_int_equal(engine_prepare(t.engine, &r, &err), -ERR_CONFLICT);
	assert_int_equal(told(SPOOL_STARTED, 1, NULL), 1);
	assert_int_equal(engine_start(t.engine, 1, &err), -ERR_CONFLICT);
}

/* Another engine's attempts, from the spool alone. */
static void test_restart(void **state)
{
	start(1);
	start(2);
	prepare(3);
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	say(SPOOL_ENDED, 2);
	engine_close(t.engine);
	t.n_reports = 0;
	kit_open(false);
	assert_int_equal(told(SPOOL_STARTED, 1, NULL), 1);
	assert_int_equal(told(SPOOL_ENDED, 2, NULL), 1);
	assert_true(is_in(1, HOST_LIVING));
	assert_true(is_in(2, HOST_ENDED));
	assert_null(host_find(t.host, 3));
	assert_int_equal(t.n_with_machine, 0);
}

/* Nothing that lived lives on, and what the crash may have cut off is not written behind. */
static void test_reboot(void **state)
{
	struct spool_record r;

	start(1);
	start(2);
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	say(SPOOL_ENDED, 2);
	kit_append_bytes(kit_path("spool/000001.spool"), "\xb5", 1);
	engine_close(t.engine);
	t.n_reports = 0;
	kit_open(true);
	assert_int_equal(told(SPOOL_ENDED, 1, &r), 1);
	assert_int_equal(r.cause, SPOOL_KEEPER_KILLED);
	assert_string_equal(r.text, "the machine was restarted");
	assert_int_equal(told(SPOOL_ENDED, 2, &r), 1);
	assert_int_equal(r.cause, SPOOL_EXIT);
	assert_int_equal(t.n_with_machine, 1);
	assert_int_equal(spools_current(t.host->spools), 2);
	until(is_up, 2);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 0), 0);
}

static void test_stranger(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	struct spool_record r;
	struct err err;

	stop(7, false);
	until(has_stop, 7);
	host_look(t.host, now_ms + 500);
	assert_int_equal(told(SPOOL_ENDED, 7, NULL), 0);
	/* It may have left something behind: a sweep will say its end. */
	host_look(t.host, now_ms + 2000);
	until(has_sweep, 7);
	assert_int_equal(find_message(LAUNCH_SWEEP, 7)->stop_cause, SPOOL_STOPPED);
	host_look(t.host, now_ms + 11000);
	until(turns, 0);
	assert_int_equal(told(SPOOL_ENDED, 7, NULL), 0);
	/* It did not. */
	host_look(t.host, now_ms + 13000);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 7), 1);
	assert_int_equal(told(SPOOL_ENDED, 7, &r), 1);
	assert_int_equal(r.cause, SPOOL_STOPPED);
	/* It turns up after all: it is ended for good, and not told twice. */
	say(SPOOL_STARTED, 7);
	until(turns, 0);
	assert_true(find_message(LAUNCH_STOP, 7)->force);
	assert_int_equal(told(SPOOL_STARTED, 7, NULL), 0);
	say(SPOOL_ENDED, 7);
	assert_int_equal(told(SPOOL_ENDED, 7, NULL), 1);
	assert_int_equal(engine_clean(t.engine, 7, &err), 0);
}

static void test_cannot_be_prepared(void **state)
{
	struct link_start m = a_start(1);
	struct engine_request r = {.start = &m};
	static char big[MIB];
	char *argv[12] = {"x"};
	struct err err;

	m.user = "no-such-account-here";
	assert_int_equal(engine_prepare(t.engine, &r, &err), -ERR_NOT_FOUND);
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 1; i < 11; i++)
		argv[i] = big;
	m = a_start(2);
	m.argv = argv;
	assert_int_equal(engine_prepare(t.engine, &r, &err), -ERR_TOO_LARGE);
	assert_non_null(strstr(err.text, "larger than"));
	assert_null(host_find(t.host, 1));
	assert_null(host_find(t.host, 2));
	assert_int_equal(t.n_reports, 0);
}

/* A full spool is left behind, and goes when everything in it is cleaned. */
static void test_rotation(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);
	struct spool_record r = kit_record(SPOOL_ENDED, 99);
	struct err err;

	start(1);
	until(has_start, 1);
	say(SPOOL_STARTED, 1);
	until(has_rotate, 1);
	while (b.len < SPOOLS_FILE_MAX)
		spool_encode(&r, &b);
	kit_append_bytes(kit_path("spool/000001.spool"), b.data, b.len);
	host_read(t.host);
	until(has_rotate, 2);
	assert_int_equal(spools_current(t.host->spools), 2);
	assert_string_equal(find_message(LAUNCH_ROTATE, 0)->path, kit_path("spool/000002.spool"));
	start(2);
	until(has_start, 2);
	say(SPOOL_STARTED, 2);
	assert_int_equal(engine_clean(t.engine, 99, &err), 0);
	assert_int_equal(engine_clean(t.engine, 1, &err), -ERR_CONFLICT);
	assert_int_equal(spools_count(t.host->spools), 2);
	r = kit_record(SPOOL_ENDED, 1);
	kit_append(kit_path("spool/000001.spool"), &r);
	host_read(t.host);
	assert_int_equal(engine_clean(t.engine, 1, &err), 0);
	assert_int_equal(spools_count(t.host->spools), 1);
	assert_int_equal(host_find(t.host, 2)->file, 2);
}

/* Looks, and does not remember. */
static void test_inspect(void **state)
{
	struct spool_record r = kit_record(SPOOL_STARTED, 1);
	void *ctx = talloc_new(NULL);
	struct engine_state now;
	struct err err;

	start(1);
	assert_int_equal(engine_inspect(t.engine, ctx, 1, &now, &err), 0);
	assert_int_equal(now.phase, ENGINE_STARTING);
	assert_int_equal(now.pid, 0);
	r.keeper_pid = (uint32_t)getppid();
	r.pid = (uint32_t)getpid();
	kit_append(kit_path("spool/000001.spool"), &r);
	assert_int_equal(engine_inspect(t.engine, ctx, 1, &now, &err), 0);
	assert_int_equal(told(SPOOL_STARTED, 1, NULL), 1);
	assert_int_equal(now.phase, ENGINE_LIVING);
	assert_int_equal(now.pid, getpid());
	assert_int_equal(now.root_pid, getppid());
	assert_int_equal(now.started_ms, 1000);
	/* A process that is none of it, behind a number that was used again. */
	assert_false(now.slices_known);
	say(SPOOL_ENDED, 1);
	assert_int_equal(engine_inspect(t.engine, ctx, 1, &now, &err), 0);
	assert_int_equal(now.phase, ENGINE_ENDED);
	assert_int_equal(now.pid, 0);
	talloc_free(ctx);
}

/* A process with that environment, which stands there a moment after the program was begun. */
static pid_t start_sleep(char *const *env)
{
	char *argv[] = {"sleep", "100", NULL}, path[32], first[13] = "";
	pid_t pid = fork();
	ssize_t n = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvpe(argv[0], argv, env);
		_exit(127);
	}
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	for (int i = 0; i < 5000 && !(n == sizeof(first) && !memcmp(first, env[0], n)); i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		n = read(fd, first, sizeof(first));
		close(fd);
		usleep(1000);
	}
	assert_memory_equal(first, env[0], sizeof(first));
	return pid;
}

/* What it may use is what its own first process was told, and nobody else's. */
static void test_slices(void **state)
{
	char *env[] = {"BERTH_EPOCH=1", "PATH=/bin", "CUDA_VISIBLE_DEVICES=GPU-a",
	        "BERTH_GPU_MEM_BYTES=77", "BERTH_GPU_SHARE_MILLI=5", NULL};
	pid_t pid = start_sleep(env);
	void *ctx = talloc_new(NULL);
	struct engine_state now;
	struct err err;

	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		struct spool_record r = kit_record(SPOOL_STARTED, epoch);

		r.pid = (uint32_t)pid;
		kit_append(kit_path("spool/000001.spool"), &r);
	}
	assert_int_equal(engine_inspect(t.engine, ctx, 1, &now, &err), 0);
	assert_true(now.slices_known);
	assert_int_equal(now.n_slices, 1);
	assert_string_equal(now.slices[0].device, "GPU-a");
	assert_int_equal(now.slices[0].mem_bytes, 77);
	assert_int_equal(now.slices[0].share_milli, 5);
	assert_int_equal(engine_inspect(t.engine, ctx, 2, &now, &err), 0);
	assert_false(now.slices_known);
	assert_int_equal(now.n_slices, 0);
	kit_let_go(pid);
	talloc_free(ctx);
}

/* Output goes; its directory, too, unless somebody has been told that it is there. */
static void test_remove(void **state)
{
	struct job_id first = {.num = 1, .task = TASK_NONE}, far = {.num = 5000, .task = TASK_NONE};
	struct err err;

	prepare(1);
	prepare(2);
	kit_append_bytes(kit_path("logs/0/1.1.out"), "x", 1);
	engine_remove(t.engine, first, 1);
	assert_int_equal(access(kit_path("logs/0/1.1.out"), F_OK), -1);
	assert_int_equal(access(kit_path("logs/0"), F_OK), 0);
	assert_int_equal(engine_clean(t.engine, 1, &err), 0);
	engine_remove(t.engine, first, 1);
	assert_int_equal(access(kit_path("logs/0"), F_OK), 0);
	assert_int_equal(engine_clean(t.engine, 2, &err), 0);
	engine_remove(t.engine, far, 1);
	assert_int_equal(access(kit_path("logs/0"), F_OK), 0);
	engine_remove(t.engine, first, 1);
	assert_int_equal(access(kit_path("logs/0"), F_OK), -1);
	/* And it is made again. */
	prepare(3);
	assert_int_equal(access(kit_path("logs/0"), F_OK), 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, host_kit_begin, host_kit_end)
	const struct CMUnitTest tests[] = {
	        CASE(test_a_life),
	        CASE(test_stop_before_start),
	        CASE(test_stop_and_force),
	        CASE(test_first_cause),
	        CASE(test_stop_of_the_ended),
	        CASE(test_sweep),
	        CASE(test_no_sweep_after_an_end),
	        CASE(test_silent_start),
	        CASE(test_parent_dies),
	        cmocka_unit_test_setup_teardown(
	                test_no_parent_yet, host_kit_begin_alone, host_kit_end),
	        CASE(test_again_is_passed_on),
	        CASE(test_again_has_begun),
	        CASE(test_restart),
	        CASE(test_reboot),
	        CASE(test_stranger),
	        CASE(test_cannot_be_prepared),
	        CASE(test_rotation),
	        CASE(test_inspect),
	        CASE(test_slices),
	        CASE(test_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
