#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "plat/clock.h"
#include "plat/loop.h"

struct log {
	struct loop *loop;
	char text[128];
	struct loop_timer *timer;
	struct loop_timer *other;
	struct loop_poll *poll;
	int fd;
	int count;
};

static void note(struct log *log, const char *what)
{
	assert_true(strlen(log->text) + strlen(what) + 2 < sizeof(log->text));
	strcat(log->text, what);
	strcat(log->text, " ");
}

static struct loop *make_loop(void)
{
	struct loop *loop;
	struct err err;

	assert_int_equal(loop_new(&loop, &err), 0);
	return loop;
}

static void test_new_free(void **state)
{
	struct loop *loop = make_loop();

	loop_run(loop);
	loop_free(loop);
	loop_free(NULL);
}

static void on_early(void *data)
{
	note(data, "early");
}

static void on_late(void *data)
{
	note(data, "late");
}

static void test_timers_in_order(void **state)
{
	struct log log = {.loop = make_loop()};
	struct loop_timer *late = loop_timer_new(log.loop, on_late, &log);
	struct loop_timer *early = loop_timer_new(log.loop, on_early, &log);
	struct loop_timer *never = loop_timer_new(log.loop, on_late, &log);
	uint64_t before_ms = clock_mono_ms();

	loop_timer_start(late, 4, 0);
	loop_timer_start(early, 1, 0);
	loop_timer_start(never, 1, 0);
	assert_true(loop_timer_is_running(never));
	loop_timer_stop(never);
	assert_false(loop_timer_is_running(never));
	loop_run(log.loop);
	assert_string_equal(log.text, "early late ");
	assert_true(clock_mono_ms() - before_ms >= 4);
	loop_timer_free(late);
	loop_timer_free(early);
	loop_timer_free(never);
	loop_timer_free(NULL);
	loop_free(log.loop);
}

static void on_repeat(void *data)
{
	struct log *log = data;

	if (++log->count == 3) {
		loop_timer_free(log->timer);
		loop_timer_free(log->other);
	}
}

static void on_freed(void *data)
{
	fail_msg("a freed timer fired");
}

/* Frees itself from its own callback, and another one that was due in the same turn. */
static void test_timer_frees_itself(void **state)
{
	struct log log = {.loop = make_loop()};

	log.timer = loop_timer_new(log.loop, on_repeat, &log);
	log.other = loop_timer_new(log.loop, on_freed, &log);
	loop_timer_start(log.timer, 0, 1);
	loop_timer_start(log.other, 10000, 0);
	loop_run(log.loop);
	assert_int_equal(log.count, 3);
	loop_free(log.loop);
}

static void on_turn_end(void *data)
{
	note(data, "end");
}

static void on_stop(void *data)
{
	struct log *log = data;

	note(log, "stop");
	loop_stop(log->loop);
}

/* Two timers of one turn come before its end; a stop still gets its end, though libuv sleeps no more. */
static void test_turn_end(void **state)
{
	struct log log = {.loop = make_loop()};
	struct loop_timer *a = loop_timer_new(log.loop, on_early, &log);
	struct loop_timer *b = loop_timer_new(log.loop, on_late, &log);

	loop_timer_start(a, 0, 0);
	loop_timer_start(b, 0, 0);
	loop_on_turn_end(log.loop, on_turn_end, &log);
	loop_run(log.loop);
	assert_memory_equal(log.text, "early late end ", 15);
	loop_timer_free(b);
	log.text[0] = '\0';
	loop_off_turn_end(log.loop, on_turn_end, &log);
	loop_timer_start(a, 0, 0);
	loop_run(log.loop);
	assert_string_equal(log.text, "early ");
	loop_timer_free(a);
	loop_free(log.loop);
}

static void on_readable_stop(void *data, int events)
{
	struct log *log = data;
	char byte;

	assert_int_equal(events, LOOP_READ);
	assert_int_equal(read(log->fd, &byte, 1), 1);
	note(log, "read");
	loop_stop(log->loop);
}

static void on_end_stop(void *data)
{
	struct log *log = data;

	note(log, "end");
	loop_stop(log->loop);
}

/* What a descriptor's callback did is gathered in the same run, also when that callback stopped the loop. */
static void test_turn_end_after_stop(void **state)
{
	struct log log = {.loop = make_loop()};
	struct err err;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log.fd = fds[0];
	assert_int_equal(
	        loop_poll_new(log.loop, fds[0], LOOP_READ, on_readable_stop, &log, &log.poll, &err),
	        0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	loop_on_turn_end(log.loop, on_turn_end, &log);
	loop_run(log.loop);
	assert_string_equal(log.text, "end read end ");

	/* A hook that stops in that last call has not stopped the next run. */
	loop_off_turn_end(log.loop, on_turn_end, &log);
	loop_on_turn_end(log.loop, on_end_stop, &log);
	log.text[0] = '\0';
	loop_run(log.loop);
	assert_string_equal(log.text, "end end ");
	log.text[0] = '\0';
	loop_run(log.loop);
	assert_string_equal(log.text, "end end ");
	loop_poll_free(log.poll);
	loop_free(log.loop);
	close(fds[0]);
	close(fds[1]);
}

static void on_error(void *data, int events)
{
	struct log *log = data;

	assert_int_equal(events, LOOP_READ | LOOP_WRITE | LOOP_ERROR);
	assert_int_equal(write(log->fd, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	note(log, "error");
	loop_poll_free(log->poll);
}

static void test_poll_error(void **state)
{
	struct log log = {.loop = make_loop()};
	struct err err;
	int fds[2];

	assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fds[1], log.text, 1) == 1)
		;
	log.fd = fds[1];
	assert_int_equal(
	        loop_poll_new(log.loop, fds[1], LOOP_WRITE, on_error, &log, &log.poll, &err), 0);
	close(fds[0]);
	loop_run(log.loop);
	assert_string_equal(log.text, "error ");
	loop_free(log.loop);
	close(fds[1]);
}

static void test_poll_refused(void **state)
{
	struct log log = {.loop = make_loop()};
	struct err err;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(
	        loop_poll_new(log.loop, fd, LOOP_READ, on_error, &log, &log.poll, &err), -ERR_IO);
	assert_int_equal(err.sys, EBADF);
	loop_free(log.loop);
}

static void on_signal(void *data, int signo)
{
	struct log *log = data;

	assert_int_equal(signo, SIGUSR1);
	note(log, "usr1");
	loop_stop(log->loop);
}

static void test_signal(void **state)
{
	struct log log = {.loop = make_loop()};
	struct loop_signal *sig = NULL, *bad = NULL;
	struct loop_timer *alive = loop_timer_new(log.loop, on_stop, &log);
	struct err err;

	assert_int_equal(loop_signal_new(log.loop, SIGUSR1, on_signal, &log, &sig, &err), 0);
	assert_int_equal(loop_signal_new(log.loop, SIGKILL, on_signal, &log, &bad, &err), -ERR_IO);
	assert_null(bad);
	loop_timer_start(alive, 10000, 0);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	loop_run(log.loop);
	assert_string_equal(log.text, "usr1 ");
	loop_signal_free(sig);
	loop_timer_free(alive);
	loop_free(log.loop);
}

static void *wake_main(void *data)
{
	loop_wake(data);
	return NULL;
}

static void on_woken(void *data)
{
	struct log *log = data;

	/* The first end comes before the first sleep. */
	if (++log->count == 2)
		loop_stop(log->loop);
}

static void test_wake(void **state)
{
	struct log log = {.loop = make_loop()};
	struct loop_timer *alive = loop_timer_new(log.loop, on_stop, &log);
	pthread_t thread;

	loop_timer_start(alive, 10000, 0);
	loop_on_turn_end(log.loop, on_woken, &log);
	assert_int_equal(pthread_create(&thread, NULL, wake_main, log.loop), 0);
	loop_run(log.loop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(log.text, "");
	loop_timer_free(alive);
	loop_free(log.loop);
}

static void test_clock(void **state)
{
	uint64_t ns = clock_mono_ns();

	assert_true(clock_mono_ms() >= ns / 1000000);
	assert_true(clock_wall_ms() > 1700000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_new_free),
	        cmocka_unit_test(test_timers_in_order),
	        cmocka_unit_test(test_timer_frees_itself),
	        cmocka_unit_test(test_turn_end),
	        cmocka_unit_test(test_turn_end_after_stop),
	        cmocka_unit_test(test_poll_error),
	        cmocka_unit_test(test_poll_refused),
	        cmocka_unit_test(test_signal),
	        cmocka_unit_test(test_wake),
	        cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
