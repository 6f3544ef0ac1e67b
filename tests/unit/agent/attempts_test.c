#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <talloc.h>

#include "attempts_kit.h"
#include "plat/clock.h"

static void test_a_life(void **state)
{
	struct spool_record r;

	start(1);
	until(has_start, 1);
	assert_false(find_message(LAUNCH_START, 1)->again);
	assert_string_equal(find_message(LAUNCH_START, 1)->argv[0], "true");
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_STARTING), 1);
	say(SPOOL_STARTED, 1);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_LIVING), 1);
	assert_int_equal(told(LINK_STARTED, 1, &r), 1);
	assert_int_equal(r.pid, 1001);
	assert_int_equal(r.wall_ms, 1000);
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_TOLD), 1);
	attempts_ack(t.attempts, 1);
	assert_null(attempts_find(t.attempts, 1));
}

/* As many as four times the cores are starting; each that is heard of makes room for one. */
static void test_burst(void **state)
{
	for (uint64_t epoch = 1; epoch <= 20; epoch++)
		start(epoch);
	until(has_start, 8);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 0), 8);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_QUEUED), 12);
	say(SPOOL_STARTED, 3);
	until(has_start, 9);
	/* One that fails at once is heard of by its end. */
	say(SPOOL_ENDED, 5);
	until(has_start, 10);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 0), 10);
	attempts_set_burst(t.attempts, 5);
	until(has_start, 12);
	assert_int_equal(count_messages(LAUNCH_START, 0), 12);
}

static void test_stop_before_start(void **state)
{
	struct spool_record r;

	attempts_set_burst(t.attempts, 1);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		start(epoch);
	stop(3, false);
	assert_int_equal(told(LINK_ENDED, 3, &r), 1);
	assert_int_equal(r.cause, SPOOL_STOPPED);
	assert_int_equal(r.wait_status, 15);
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 3), 0);
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

/* The keeper of a living attempt is gone without a word. */
static void test_sweep(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	pid_t keeper = kit_hold(kit_path("spool/000001.spool"), 1);

	start(1);
	say(SPOOL_STARTED, 1);
	attempts_look(t.attempts, now_ms);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 0), 0);
	kit_let_go(keeper);
	attempts_look(t.attempts, now_ms + 1);
	until(has_sweep, 1);
	assert_string_equal(find_message(LAUNCH_SWEEP, 1)->path, kit_path("spool/000001.spool"));
	/* Not again at once, but when nothing comes of it. */
	attempts_look(t.attempts, now_ms + 5000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 1);
	attempts_look(t.attempts, now_ms + 10001);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 1), 2);
	say(SPOOL_ENDED, 1);
	attempts_look(t.attempts, now_ms + 30000);
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
	attempts_look(t.attempts, clock_mono_ms());
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_SWEEP, 0), 0);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
}

/* A START that nothing is heard of is sent again, marked. */
static void test_silent_start(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	pid_t keeper;

	start(1);
	until(has_start, 1);
	attempts_look(t.attempts, now_ms + 5000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 1);
	/* As long as its byte is held it will be heard of. */
	keeper = kit_hold(kit_path("spool/000001.spool"), 1);
	attempts_look(t.attempts, now_ms + 20000);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 1);
	kit_let_go(keeper);
	attempts_look(t.attempts, now_ms + 20001);
	until(turns, 0);
	assert_int_equal(count_messages(LAUNCH_START, 1), 2);
	assert_true(find_message(LAUNCH_START, 1)->again);
	assert_string_equal(find_message(LAUNCH_START, 1)->argv[0], "true");
}

/* The parent dies with STARTs in its socket: those are sent to the next one, marked; the queue waits and keeps its order. */
static void test_parent_dies(void **state)
{
	attempts_set_burst(t.attempts, 1);
	for (uint64_t epoch = 1; epoch <= 4; epoch++)
		start(epoch);
	until(has_start, 2);
	say(SPOOL_STARTED, 1);
	until(has_start, 3);
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
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		start(epoch);
	until(turns, 0);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_QUEUED), 3);
	kit_connect();
	until(turns, 0);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_QUEUED), 3);
	kit_listen();
	until(has_start, 3);
	assert_true(find_message(LAUNCH_START, 1) < find_message(LAUNCH_START, 2));
	assert_true(find_message(LAUNCH_START, 2) < find_message(LAUNCH_START, 3));
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		assert_false(find_message(LAUNCH_START, epoch)->again);
	assert_int_equal(t.messages[0].kind, LAUNCH_ROTATE);
}

static void test_again_is_passed_on(void **state)
{
	struct link_start m = a_start(1);

	attempts_start(t.attempts, &m, NULL, 0, true);
	until(has_start, 1);
	assert_true(find_message(LAUNCH_START, 1)->again);
}

/* Another agent's attempts, from the spool alone. */
static void test_restart(void **state)
{
	void *ctx = talloc_new(NULL);
	struct link_attempt *list;
	uint32_t n;

	start(1);
	start(2);
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	say(SPOOL_ENDED, 2);
	kit_free();
	buf_reset(&t.outbox.buf);
	kit_make();
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_LIVING), 1);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_TOLD), 1);
	attempts_list(t.attempts, ctx, &list, &n);
	assert_int_equal(n, 2);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(
		        list[i].phase, list[i].epoch == 1 ? LINK_LIVING : LINK_ENDED_UNACKED);
	buf_reset(&t.outbox.buf);
	attempts_resend(t.attempts);
	assert_int_equal(told(LINK_STARTED, 1, NULL), 1);
	assert_int_equal(told(LINK_ENDED, 2, NULL), 1);
	/* A START for either is not one. */
	start(1);
	start(2);
	assert_int_equal(told(LINK_ENDED, 2, NULL), 2);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_QUEUED), 0);
	talloc_free(ctx);
	kit_connect();
}

static void test_stranger(void **state)
{
	uint64_t now_ms = clock_mono_ms();
	struct spool_record r;

	stop(7, false);
	until(has_stop, 7);
	attempts_look(t.attempts, now_ms + 500);
	assert_int_equal(told(LINK_ENDED, 7, NULL), 0);
	attempts_look(t.attempts, now_ms + 2000);
	assert_int_equal(told(LINK_ENDED, 7, &r), 1);
	assert_int_equal(r.cause, SPOOL_STOPPED);
	/* It turns up after all: it is ended for good, and not told twice. */
	say(SPOOL_STARTED, 7);
	until(turns, 0);
	assert_true(find_message(LAUNCH_STOP, 7)->force);
	say(SPOOL_ENDED, 7);
	assert_int_equal(told(LINK_ENDED, 7, NULL), 1);
	attempts_ack(t.attempts, 7);
	assert_null(attempts_find(t.attempts, 7));
}

static void test_shutdown(void **state)
{
	struct spool_record r;

	attempts_set_burst(t.attempts, 1);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		start(epoch);
	say(SPOOL_STARTED, 1);
	until(has_start, 3);
	start(4);
	attempts_shutdown(t.attempts);
	until(has_stop, 3);
	assert_int_equal(find_message(LAUNCH_STOP, 1)->stop_cause, SPOOL_SHUTDOWN);
	assert_int_equal(told(LINK_ENDED, 4, &r), 1);
	assert_int_equal(r.cause, SPOOL_SHUTDOWN);
	start(5);
	assert_int_equal(told(LINK_ENDED, 5, &r), 1);
	assert_int_equal(r.cause, SPOOL_SHUTDOWN);
}

static void test_note(void **state)
{
	struct spool_record r;

	start(1);
	say(SPOOL_STARTED, 1);
	attempts_note(attempts_find(t.attempts, 1), "used too much");
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, &r), 1);
	assert_string_equal(r.text, "used too much");
}

static void test_cannot_be_prepared(void **state)
{
	struct link_start m = a_start(1);
	struct spool_record r;
	static char big[MIB];
	char *argv[12] = {"x"};

	m.user = "no-such-account-here";
	attempts_start(t.attempts, &m, NULL, 0, false);
	assert_int_equal(told(LINK_ENDED, 1, &r), 1);
	assert_int_equal(r.cause, SPOOL_SETUP_FAILED);
	assert_int_equal(r.wait_status, 125 << 8);
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 1; i < 11; i++)
		argv[i] = big;
	m = a_start(2);
	m.argv = argv;
	attempts_start(t.attempts, &m, NULL, 0, false);
	assert_int_equal(told(LINK_ENDED, 2, &r), 1);
	assert_non_null(strstr(r.text, "larger than"));
}

/* A full spool is left behind, and goes when everything in it is acknowledged. */
static void test_rotation(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);
	struct spool_record r = kit_record(SPOOL_ENDED, 99);

	start(1);
	until(has_start, 1);
	say(SPOOL_STARTED, 1);
	until(has_rotate, 1);
	while (b.len < SPOOLS_FILE_MAX)
		spool_encode(&r, &b);
	kit_append_bytes(kit_path("spool/000001.spool"), b.data, b.len);
	attempts_read(t.attempts);
	until(has_rotate, 2);
	assert_int_equal(spools_current(t.spools), 2);
	assert_string_equal(find_message(LAUNCH_ROTATE, 0)->path, kit_path("spool/000002.spool"));
	start(2);
	until(has_start, 2);
	say(SPOOL_STARTED, 2);
	attempts_ack(t.attempts, 99);
	assert_int_equal(spools_count(t.spools), 2);
	r = kit_record(SPOOL_ENDED, 1);
	kit_append(kit_path("spool/000001.spool"), &r);
	attempts_read(t.attempts);
	attempts_ack(t.attempts, 1);
	assert_int_equal(spools_count(t.spools), 1);
	assert_int_equal(attempts_find(t.attempts, 2)->file, 2);
}

/* With no link, nothing piles up for it. */
static void test_no_link(void **state)
{
	t.outbox.is_open = false;
	for (uint64_t epoch = 1; epoch <= 6; epoch++) {
		start(epoch);
		say(SPOOL_STARTED, epoch);
		say(SPOOL_ENDED, epoch);
	}
	assert_true(t.outbox.buf.len < 200);
	t.outbox.is_open = true;
	buf_reset(&t.outbox.buf);
	attempts_resend(t.attempts);
	for (uint64_t epoch = 1; epoch <= 6; epoch++)
		assert_int_equal(told(LINK_ENDED, epoch, NULL), 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, attempts_begin, attempts_end_kit)
	const struct CMUnitTest tests[] = {
	        CASE(test_a_life),
	        CASE(test_burst),
	        CASE(test_stop_before_start),
	        CASE(test_stop_and_force),
	        CASE(test_sweep),
	        CASE(test_no_sweep_after_an_end),
	        CASE(test_silent_start),
	        CASE(test_parent_dies),
	        cmocka_unit_test_setup_teardown(
	                test_no_parent_yet, attempts_begin_alone, attempts_end_kit),
	        CASE(test_again_is_passed_on),
	        CASE(test_restart),
	        CASE(test_stranger),
	        CASE(test_shutdown),
	        CASE(test_note),
	        CASE(test_cannot_be_prepared),
	        CASE(test_rotation),
	        CASE(test_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
