#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <talloc.h>

#include "agent/attempts.h"

/* An engine that does nothing but remember what it was asked, and says what the test says. */

#define EPOCHS 32

static struct fake {
	struct engine base;
	bool has[EPOCHS], was_started[EPOCHS], was_cleaned[EPOCHS];
	unsigned n_started, n_signals[EPOCHS];
	struct engine_signal signals[EPOCHS]; /* the last */
	struct engine_request last;
	struct engine_state state; /* what inspect tells */
	bool has_state;
	bool ends_at_once;       /* whatever is signalled */
	bool again_has_begun;    /* prepare finds it living */
	uint64_t ends_meanwhile; /* prepare finds that this one has ended */
	const char *refusal;     /* of prepare */
	int refusal_sys;         /* with this errno; 0: none */
} fake;

static struct {
	struct outbox outbox;
	struct attempts *attempts;
	void *ctx;
} t;

static struct spool_record record(enum spool_kind kind, uint64_t epoch)
{
	return (struct spool_record){
	        .kind = kind,
	        .job = epoch,
	        .task = -1,
	        .attempt = 1,
	        .epoch = epoch,
	        .wall_ms = 1000,
	        .keeper_pid = kind == SPOOL_STARTED ? 1000 : 0,
	        .pid = kind == SPOOL_STARTED ? 1001 : 0,
	};
}

static void say(enum spool_kind kind, uint64_t epoch)
{
	struct spool_record r = record(kind, epoch);

	if (kind == SPOOL_STARTED)
		attempts_on_started(t.attempts, &r);
	else
		attempts_on_ended(t.attempts, &r, false);
}

static int fake_prepare(struct engine *e, const struct engine_request *r, struct err *err)
{
	fake.last = *r;
	if (fake.refusal && fake.refusal_sys)
		return err_sys(err, fake.refusal_sys, "%s", fake.refusal);
	if (fake.refusal)
		return err_set(err, ERR_NOT_FOUND, "%s", fake.refusal);
	if (r->again && fake.again_has_begun) {
		say(SPOOL_STARTED, r->start->epoch);
		return err_set(err, ERR_CONFLICT, "it is here");
	}
	if (fake.ends_meanwhile)
		say(SPOOL_ENDED, fake.ends_meanwhile);
	fake.has[r->start->epoch] = true;
	return 0;
}

static int fake_start(struct engine *e, uint64_t epoch, struct err *err)
{
	if (!fake.has[epoch] || fake.was_started[epoch])
		return err_set(err, ERR_CONFLICT, "not now");
	fake.was_started[epoch] = true;
	fake.n_started++;
	return 0;
}

/* Like any engine, it ends at once what it has not started. */
static int fake_signal(struct engine *e, const struct engine_signal *s, struct err *err)
{
	struct spool_record r = record(SPOOL_ENDED, s->epoch);

	fake.n_signals[s->epoch]++;
	fake.signals[s->epoch] = *s;
	r.cause = s->cause;
	if (fake.has[s->epoch] && (fake.ends_at_once || !fake.was_started[s->epoch]))
		attempts_on_ended(t.attempts, &r, false);
	return 0;
}

static int fake_inspect(struct engine *e, void *ctx, uint64_t epoch, struct engine_state *ret_state,
        struct err *err)
{
	if (!fake.has_state)
		return err_set(err, ERR_NOT_FOUND, "nothing");
	*ret_state = fake.state;
	return 0;
}

static int fake_clean(struct engine *e, uint64_t epoch, struct err *err)
{
	fake.was_cleaned[epoch] = true;
	return 0;
}

static const struct engine_ops fake_ops = {
        .name = "fake",
        .prepare = fake_prepare,
        .start = fake_start,
        .signal = fake_signal,
        .inspect = fake_inspect,
        .clean = fake_clean,
};

/* The server */

/* So many messages of that type about that epoch have gone to it; *ret is the last. */
static size_t told(enum link_type type, uint64_t epoch, struct spool_record *ret)
{
	const uint8_t *p = t.outbox.buf.data, *end = p + t.outbox.buf.len;
	struct link_message m;
	struct err err;
	size_t n = 0;

	while (p && link_next(&p, end, t.ctx, &m, &err) > 0) {
		if (m.type != type || (type == LINK_NOTE ? m.note.epoch : m.record.epoch) != epoch)
			continue;
		n++;
		if (ret)
			*ret = m.record;
	}
	return n;
}

static struct link_start a_start(uint64_t epoch)
{
	static char *argv[] = {"true", NULL};

	return (struct link_start){
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = epoch,
	        .argv = argv,
	};
}

static void start(uint64_t epoch)
{
	struct link_start m = a_start(epoch);

	attempts_start(t.attempts, &m, NULL, 0, false);
}

static void stop(uint64_t epoch, bool force)
{
	struct link_stop m = {.id = {.num = epoch, .task = TASK_NONE},
	        .epoch = epoch,
	        .cause = SPOOL_STOPPED,
	        .force = force};

	attempts_stop(t.attempts, &m);
}

static bool is_in(uint64_t epoch, enum attempt_state state)
{
	const struct known_attempt *a = attempts_find(t.attempts, epoch);

	return a && a->state == state;
}

/* Cases */

static int begin(void **state)
{
	struct attempts_options o = {
	        .outbox = &t.outbox, .cores = 2, .grace_ms = 7, .output_max = 8};

	memset(&fake, 0, sizeof(fake));
	fake.base.ops = &fake_ops;
	t.ctx = talloc_new(NULL);
	t.outbox = (struct outbox){.buf = BUF_INIT(OUTBOX_MAX), .is_open = true};
	t.attempts = attempts_new(&o);
	attempts_set_engine(t.attempts, &fake.base);
	return 0;
}

static int end(void **state)
{
	attempts_free(t.attempts);
	buf_done(&t.outbox.buf);
	talloc_free(t.ctx);
	return 0;
}

static void test_a_life(void **state)
{
	struct spool_record r;

	start(1);
	assert_true(is_in(1, ATTEMPT_STARTING));
	assert_int_equal(fake.last.grace_ms, 7);
	assert_int_equal(fake.last.output_max, 8);
	say(SPOOL_STARTED, 1);
	assert_true(is_in(1, ATTEMPT_LIVING));
	assert_int_equal(told(LINK_STARTED, 1, &r), 1);
	assert_int_equal(r.pid, 1001);
	assert_int_equal(r.keeper_pid, 1000);
	assert_int_equal(r.wall_ms, 1000);
	attempts_ack(t.attempts, 1);
	assert_true(is_in(1, ATTEMPT_LIVING));
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
	assert_true(is_in(1, ATTEMPT_TOLD));
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
	assert_false(fake.was_cleaned[1]);
	attempts_ack(t.attempts, 1);
	assert_true(fake.was_cleaned[1]);
	assert_null(attempts_find(t.attempts, 1));
}

static void test_limits(void **state)
{
	struct link_start m = a_start(1);

	attempts_set_limits(t.attempts, 70, 80);
	attempts_start(t.attempts, &m, "A=1", 4, false);
	assert_int_equal(fake.last.grace_ms, 70);
	assert_int_equal(fake.last.output_max, 80);
	assert_string_equal(fake.last.env, "A=1");
	assert_int_equal(fake.last.env_len, 4);
	assert_false(fake.last.again);
}

/* As many as four times the cores are starting; each that is heard of makes room for one. */
static void test_burst(void **state)
{
	for (uint64_t epoch = 1; epoch <= 20; epoch++)
		start(epoch);
	assert_int_equal(fake.n_started, 8);
	assert_int_equal(attempts_count(t.attempts, ATTEMPT_QUEUED), 12);
	say(SPOOL_STARTED, 3);
	assert_true(fake.was_started[9]);
	/* One that fails at once is heard of by its end. */
	say(SPOOL_ENDED, 5);
	assert_true(fake.was_started[10]);
	assert_int_equal(fake.n_started, 10);
	attempts_set_burst(t.attempts, 5);
	assert_int_equal(fake.n_started, 12);
	attempts_set_burst(t.attempts, 0);
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	assert_int_equal(fake.n_started, 12);
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
	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	assert_false(fake.was_started[3]);
}

static void test_stop(void **state)
{
	start(1);
	say(SPOOL_STARTED, 1);
	stop(1, false);
	assert_int_equal(fake.n_signals[1], 1);
	assert_int_equal(fake.signals[1].cause, SPOOL_STOPPED);
	assert_false(fake.signals[1].force);
	stop(1, true);
	assert_true(fake.signals[1].force);
	say(SPOOL_ENDED, 1);
	/* The server did not hear it: it hears it again, and nobody else does. */
	stop(1, true);
	assert_int_equal(fake.n_signals[1], 2);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 2);
}

/* One that nobody here knows may be on its way: the engine is told, and hears of it. */
static void test_stranger(void **state)
{
	stop(7, false);
	assert_true(is_in(7, ATTEMPT_STARTING));
	assert_int_equal(fake.n_signals[7], 1);
	assert_int_equal(fake.signals[7].id.num, 7);
	say(SPOOL_ENDED, 7);
	assert_int_equal(told(LINK_ENDED, 7, NULL), 1);
}

static void test_again(void **state)
{
	struct link_start m = a_start(1);

	attempts_start(t.attempts, &m, NULL, 0, true);
	assert_true(fake.last.again);
	assert_true(is_in(1, ATTEMPT_STARTING));
	/* It has begun: that is told, and it is not started. */
	fake.again_has_begun = true;
	m = a_start(2);
	attempts_start(t.attempts, &m, NULL, 0, true);
	assert_true(is_in(2, ATTEMPT_LIVING));
	assert_int_equal(told(LINK_STARTED, 2, NULL), 1);
	assert_int_equal(told(LINK_ENDED, 2, NULL), 0);
	assert_false(fake.was_started[2]);
}

/* What was told as ended, and begins nevertheless, is ended for good; that is not told twice. */
static void test_late(void **state)
{
	fake.refusal = "no";
	start(1);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
	say(SPOOL_STARTED, 1);
	assert_int_equal(fake.n_signals[1], 1);
	assert_true(fake.signals[1].force);
	assert_int_equal(told(LINK_STARTED, 1, NULL), 0);
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
}

/* Another agent's attempts, as the engine reports them. */
static void test_restart(void **state)
{
	struct link_attempt *list;
	uint32_t n;

	say(SPOOL_STARTED, 1);
	say(SPOOL_STARTED, 2);
	say(SPOOL_ENDED, 2);
	attempts_list(t.attempts, t.ctx, &list, &n);
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
	assert_false(fake.has[1]);
}

/* What ended with the machine is named as living: that it is not, the server sees by the boot. */
static void test_reboot(void **state)
{
	struct spool_record r = record(SPOOL_ENDED, 1);
	struct link_attempt *list;
	uint32_t n;

	say(SPOOL_STARTED, 1);
	attempts_on_ended(t.attempts, &r, true);
	attempts_list(t.attempts, t.ctx, &list, &n);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].phase, LINK_LIVING);
}

static void test_slices(void **state)
{
	struct slice_record slice = {.device = "GPU-1", .mem_bytes = 5};
	struct link_start m = a_start(1);
	struct known_attempt *a;

	m.slices = &slice;
	m.n_slices = 1;
	attempts_start(t.attempts, &m, NULL, 0, false);
	a = attempts_find(t.attempts, 1);
	assert_true(a->slices_known);
	assert_string_equal(a->slices[0].device, "GPU-1");
	/* Of an earlier agent's: the engine knows, or nobody does. */
	say(SPOOL_STARTED, 2);
	a = attempts_find(t.attempts, 2);
	attempts_find_slices(t.attempts, a);
	assert_false(a->slices_known);
	fake.has_state = true;
	attempts_find_slices(t.attempts, a);
	assert_false(a->slices_known);
	fake.state = (struct engine_state){.slices = &slice, .n_slices = 1, .slices_known = true};
	attempts_find_slices(t.attempts, a);
	assert_true(a->slices_known);
	assert_int_equal(a->n_slices, 1);
	assert_int_equal(a->slices[0].mem_bytes, 5);
}

static void test_shutdown(void **state)
{
	struct spool_record r;

	attempts_set_burst(t.attempts, 1);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		start(epoch);
	say(SPOOL_STARTED, 1);
	start(4);
	start(5);
	fake.ends_at_once = true;
	attempts_shutdown(t.attempts);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		assert_int_equal(fake.signals[epoch].cause, SPOOL_SHUTDOWN);
	for (uint64_t epoch = 4; epoch <= 5; epoch++) {
		assert_int_equal(told(LINK_ENDED, epoch, &r), 1);
		assert_int_equal(r.cause, SPOOL_SHUTDOWN);
		assert_false(fake.was_started[epoch]);
	}
	start(6);
	assert_int_equal(told(LINK_ENDED, 6, &r), 1);
	assert_int_equal(r.cause, SPOOL_SHUTDOWN);
	assert_false(fake.has[6]);
}

/* A report of another, from inside of prepare, makes room: what is not prepared yet does not take it. */
static void test_end_while_preparing(void **state)
{
	start(1);
	fake.ends_meanwhile = 1;
	start(2);
	assert_int_equal(told(LINK_ENDED, 1, NULL), 1);
	assert_int_equal(told(LINK_ENDED, 2, NULL), 0);
	assert_true(fake.was_started[2]);
}

static void test_note(void **state)
{
	struct spool_record r;

	start(1);
	say(SPOOL_STARTED, 1);
	attempts_note(t.attempts, attempts_find(t.attempts, 1), SPOOL_GPU_MEMORY, "used too much");
	attempts_note(t.attempts, attempts_find(t.attempts, 1), SPOOL_GPU_MEMORY, "used too much");
	assert_int_equal(told(LINK_NOTE, 1, NULL), 1);
	attempts_note(t.attempts, attempts_find(t.attempts, 1), SPOOL_GPU_AROUND, "went around");
	attempts_note(t.attempts, attempts_find(t.attempts, 1), SPOOL_GPU_MEMORY, "used too much");
	attempts_note(t.attempts, attempts_find(t.attempts, 1), SPOOL_GPU_AROUND, "still does");
	assert_int_equal(told(LINK_NOTE, 1, NULL), 2);
	say(SPOOL_ENDED, 1);
	assert_int_equal(told(LINK_ENDED, 1, &r), 1);
	assert_string_equal(r.text, "still does");
}

static void test_cannot_be_prepared(void **state)
{
	struct link_start m = a_start(1);
	struct spool_record r;
	char *none[] = {NULL};

	fake.refusal = "there is no such account";
	start(1);
	assert_int_equal(told(LINK_ENDED, 1, &r), 1);
	assert_int_equal(r.cause, SPOOL_SETUP_FAILED);
	assert_int_equal(r.wait_status, 125 << 8);
	assert_string_equal(r.text, "there is no such account");
	assert_false(r.no_disk);
	fake.refusal_sys = EROFS;
	start(3);
	assert_int_equal(told(LINK_ENDED, 3, &r), 1);
	assert_int_equal(r.cause, SPOOL_SETUP_FAILED);
	assert_true(r.no_disk);
	fake.refusal = NULL;
	m = a_start(2);
	m.argv = none;
	attempts_start(t.attempts, &m, NULL, 0, false);
	assert_int_equal(told(LINK_ENDED, 2, &r), 1);
	assert_false(r.no_disk);
	assert_non_null(strstr(r.text, "no command"));
	assert_int_equal(fake.n_started, 0);
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
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	        CASE(test_a_life),
	        CASE(test_limits),
	        CASE(test_burst),
	        CASE(test_stop_before_start),
	        CASE(test_stop),
	        CASE(test_stranger),
	        CASE(test_again),
	        CASE(test_late),
	        CASE(test_restart),
	        CASE(test_reboot),
	        CASE(test_slices),
	        CASE(test_shutdown),
	        CASE(test_end_while_preparing),
	        CASE(test_note),
	        CASE(test_cannot_be_prepared),
	        CASE(test_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
