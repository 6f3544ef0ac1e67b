#include "box.h"

#include <string.h>

#include "base/mem.h"

/* How an end is judged: the job's state, its reason and its code, without and with a stop that was asked for. */
struct ending {
	enum reason reported;
	bool has_code;
	int32_t code;
	enum reason stopped_for; /* NONE: nobody asked */
	enum job_state state;
	enum reason reason;
	int32_t result;
};

static const struct ending endings[] = {
        {REASON_EXITED, true, 0, REASON_NONE, JOB_COMPLETED, REASON_EXITED, 0},
        {REASON_EXITED, true, 3, REASON_NONE, JOB_FAILED, REASON_EXITED, 3},
        {REASON_EXITED, true, 255, REASON_NONE, JOB_FAILED, REASON_EXITED, 255},
        {REASON_EXITED, false, 0, REASON_NONE, JOB_FAILED, REASON_EXITED, 125},
        {REASON_SIGNALLED, true, 139, REASON_NONE, JOB_FAILED, REASON_SIGNALLED, 139},
        {REASON_TIME_LIMIT, true, 143, REASON_NONE, JOB_TIMEOUT, REASON_TIME_LIMIT, 124},
        {REASON_MEMORY_LIMIT, true, 137, REASON_NONE, JOB_OUT_OF_MEMORY, REASON_MEMORY_LIMIT, 137},
        {REASON_GPU_MEMORY_LIMIT, true, 143, REASON_NONE, JOB_OUT_OF_MEMORY,
                REASON_GPU_MEMORY_LIMIT, 137},
        {REASON_GPU_AROUND, true, 0, REASON_NONE, JOB_CANCELLED, REASON_GPU_AROUND, 143},
        {REASON_EXEC_FAILED, false, 0, REASON_NONE, JOB_FAILED, REASON_EXEC_FAILED, 125},
        {REASON_EXEC_FAILED, true, 127, REASON_NONE, JOB_FAILED, REASON_EXEC_FAILED, 127},
        {REASON_KEEPER_KILLED, false, 0, REASON_NONE, JOB_FAILED, REASON_KEEPER_KILLED, 125},
        {REASON_CANCELLED, true, 143, REASON_NONE, JOB_CANCELLED, REASON_CANCELLED, 143},
        {REASON_CANCELLED, true, 143, REASON_CANCELLED, JOB_CANCELLED, REASON_CANCELLED, 143},
        {REASON_CANCELLED, true, 143, REASON_GPU_MEMORY_LIMIT, JOB_OUT_OF_MEMORY,
                REASON_GPU_MEMORY_LIMIT, 137},
        /* It ended by itself before the stop reached it. */
        {REASON_EXITED, true, 0, REASON_CANCELLED, JOB_COMPLETED, REASON_EXITED, 0},
        {REASON_EXITED, true, 4, REASON_CANCELLED, JOB_FAILED, REASON_EXITED, 4},
        /* At most once: what is no fault of the job ends it too. */
        {REASON_SHUTDOWN, true, 143, REASON_NONE, JOB_CANCELLED, REASON_SHUTDOWN, 143},
        {REASON_CANCELLED, true, 143, REASON_DEVICE_LOST, JOB_NODE_FAIL, REASON_DEVICE_LOST, 125},
        {REASON_NODE_LOST, false, 0, REASON_NONE, JOB_NODE_FAIL, REASON_NODE_LOST, 125},
        {REASON_REBOOTED, false, 0, REASON_NONE, JOB_NODE_FAIL, REASON_REBOOTED, 125},
        /* Lost while a user's stop was on its way: it is what the user wanted. */
        {REASON_NODE_LOST, false, 0, REASON_CANCELLED, JOB_CANCELLED, REASON_CANCELLED, 143},
        {REASON_SHUTDOWN, true, 143, REASON_CANCELLED, JOB_CANCELLED, REASON_CANCELLED, 143},
};

static void check_ending(const struct ending *x)
{
	struct attempt_end end = {.reason = x->reported,
	        .has_code = x->has_code,
	        .exit_code = x->code,
	        .wall_ms = BOX_WALL_MS + 5,
	        .peak_mem_bytes = 1,
	        .cpu_ms = 2,
	        .output_bytes = 3,
	        .dropped_bytes = 4,
	        .text = "why"};
	struct request r = box_request();
	struct box b;
	struct job *j;

	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.no_retry = true;
	j = box_run(&b, box_submit(&b, r));
	if (x->stopped_for)
		box_apply(&b, (struct event){
		                      .kind = EVENT_CANCEL, .id = j->id, .reason = x->stopped_for});
	box_apply(&b,
	        (struct event){.kind = EVENT_ENDED, .id = j->id, .epoch = j->epoch, .end = &end});
	if (j->state != x->state || j->reason != x->reason || job_result_code(j) != x->result)
		fail_msg("row %td: %s, %s, %d", x - endings, strtab_name(job_state_names, j->state),
		        reason_code(j->reason), job_result_code(j));
	assert_string_equal(j->transitions[j->n_transitions - 1].text, "why");
	assert_int_equal(j->attempts[0].state, x->state);
	assert_int_equal(j->attempts[0].reason, x->reason);
	assert_true(j->attempts[0].ended_ms == BOX_WALL_MS + 5);
	assert_true(j->attempts[0].peak_mem_bytes == 1 && j->attempts[0].cpu_ms == 2 &&
	            j->attempts[0].output_bytes == 3 && j->attempts[0].dropped_bytes == 4);
	assert_null(j->node);
	box_done(&b);
}

static void test_endings(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endings); i++)
		check_ending(&endings[i]);
}

static void test_started(void **state)
{
	struct box b;
	struct job *j;
	struct attempt_end when = {.wall_ms = BOX_WALL_MS + 7};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_start(&b, box_submit_plain(&b));
	box_apply(&b, (struct event){.kind = EVENT_STARTED,
	                      .id = j->id,
	                      .epoch = j->epoch,
	                      .pid = 99,
	                      .end = &when});
	box_expect(j, JOB_RUNNING, REASON_EXEC);
	assert_true(j->started_ms == BOX_WALL_MS + 7 &&
	            j->attempts[0].started_ms == BOX_WALL_MS + 7 && j->attempts[0].pid == 99);
	/* A repeat changes nothing. */
	when.wall_ms++;
	box_take_dirty(&b);
	box_apply(&b, (struct event){.kind = EVENT_STARTED,
	                      .id = j->id,
	                      .epoch = j->epoch,
	                      .pid = 98,
	                      .end = &when});
	assert_true(j->attempts[0].pid == 99 && b.w->n_dirty == 0);
	/* Of an agent without a clock: ours. */
	j = box_start(&b, box_submit_plain(&b));
	when.wall_ms = 0;
	box_apply(&b, (struct event){
	                      .kind = EVENT_STARTED, .id = j->id, .epoch = j->epoch, .end = &when});
	assert_true(j->started_ms == BOX_WALL_MS);
	box_done(&b);
}

/* What is seen of its slices is told to who looks, and nothing of it is stored. */
static void test_use(void **state)
{
	struct slice_record seen[] = {{.device = "GPU-other", .used_bytes = 9},
	        {.device = "GPU-mine", .used_bytes = 5, .driver_bytes = 7}};
	struct event e = {.kind = EVENT_USE, .slices = seen, .n_slices = 2};
	struct slice_record *r;
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	e.id = j->id;
	e.epoch = j->epoch;
	/* A job without slices has nothing that could be seen. */
	box_apply(&b, e);
	r = mem_zalloc(sizeof(*r));
	memcpy(r->device, seen[1].device, sizeof(r->device));
	job_attempt(j)->slices = r;
	job_attempt(j)->n_slices = 1;
	box_take_dirty(&b);
	e.epoch++;
	box_apply(&b, e);
	assert_false(r->is_seen);
	e.epoch--;
	box_apply(&b, e);
	assert_true(r->is_seen);
	assert_int_equal(r->used_bytes, 5);
	assert_int_equal(r->driver_bytes, 7);
	assert_int_equal(b.w->n_dirty, 0);
	box_done(&b);
}

/* What is seen of a living attempt stands in its history, once, and changes nothing else. */
static void test_note(void **state)
{
	struct event e = {.kind = EVENT_NOTE, .reason = REASON_GPU_MEMORY_LIMIT, .text = "6 GiB"};
	struct box b;
	struct job *j;
	uint32_t n;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	n = j->n_transitions;
	e.id = j->id;
	e.epoch = j->epoch + 1;
	box_apply(&b, e);
	assert_int_equal(j->n_transitions, n);
	e.epoch = j->epoch;
	box_take_dirty(&b);
	box_apply(&b, e);
	box_expect(j, JOB_RUNNING, REASON_GPU_MEMORY_LIMIT);
	assert_int_equal(b.w->n_dirty, 1);
	assert_int_equal(j->n_transitions, n + 1);
	assert_string_equal(j->transitions[n].text, "6 GiB");
	box_take_dirty(&b);
	e.text = "7 GiB";
	box_apply(&b, e);
	assert_int_equal(j->n_transitions, n + 1);
	assert_int_equal(b.w->n_dirty, 0);
	e.reason = REASON_GPU_AROUND;
	box_apply(&b, e);
	box_expect(j, JOB_RUNNING, REASON_GPU_AROUND);
	assert_int_equal(j->n_transitions, n + 2);
	box_exit(&b, j, 0);
	box_expect(j, JOB_COMPLETED, REASON_EXITED);
	n = j->n_transitions;
	box_apply(&b, e);
	assert_int_equal(j->n_transitions, n);
	box_done(&b);
}

static void test_a_stop_overtakes_the_start(void **state)
{
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_start(&b, box_submit_plain(&b));
	box_cancel(&b, j->id);
	box_started(&b, j);
	assert_int_equal(j->state, JOB_COMPLETING);
	assert_int_equal(j->attempts[0].pid, 77);
	assert_true(j->started_ms != 0 && j->dirty);
	box_end(&b, j, REASON_CANCELLED);
	assert_int_equal(j->state, JOB_CANCELLED);
	box_done(&b);
}

/* Lost n times: the wait before the next start doubles up to the policy's most. */
static void test_lost_attempts_are_started_again(void **state)
{
	static const int64_t waits[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_submit_plain(&b);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		box_run(&b, j);
		box_lose(&b, j, i % 2 ? REASON_NODE_LOST : REASON_REBOOTED);
		box_expect(j, JOB_PENDING, i % 2 ? REASON_NODE_LOST : REASON_REBOOTED);
		assert_int_equal(j->attempts[i].state, JOB_NODE_FAIL);
		assert_int_equal(j->wait, WAIT_BACKOFF);
		assert_true(j->not_before_ms == b.now.wall_ms + waits[i]);
		assert_true(world_next_tick(b.w) == j->not_before_ms);
		box_pass(&b, waits[i] - 1);
		assert_int_equal(j->wait, WAIT_BACKOFF);
		box_pass(&b, 1);
		assert_int_equal(j->wait, WAIT_READY);
		assert_true(world_next_tick(b.w) == INT64_MAX);
	}
	assert_int_equal(j->failures, 0); /* none of them counts against --retry */
	box_done(&b);
}

/* Nothing of it has run: at most once is not once yet, and --retry is for what has. */
static void test_no_disk_to_start_on(void **state)
{
	struct request r = box_request();
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.no_retry = true;
	j = box_submit(&b, r);
	for (uint32_t i = 0; i < 3; i++) {
		box_start(&b, j);
		box_end(&b, j, REASON_NO_DISK);
		box_expect(j, JOB_PENDING, REASON_NO_DISK);
		assert_int_equal(j->attempts[i].state, JOB_FAILED);
		assert_int_equal(j->attempts[i].started_ms, 0);
		assert_int_equal(j->wait, WAIT_BACKOFF);
		assert_true(j->not_before_ms == b.now.wall_ms + (1000 << i));
		assert_int_equal(j->failures, 0);
		box_pass(&b, 60000);
	}
	box_run(&b, j);
	box_exit(&b, j, 3);
	box_expect(j, JOB_FAILED, REASON_EXITED);
	j = box_start(&b, box_submit(&b, r));
	box_cancel(&b, j->id);
	box_end(&b, j, REASON_NO_DISK);
	box_expect(j, JOB_CANCELLED, REASON_CANCELLED);
	box_done(&b);
}

static void test_failures_are_retried_as_often_as_asked(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.retry_max = 2;
	j = box_submit(&b, r);
	for (uint32_t i = 1; i <= 2; i++) {
		box_run(&b, j);
		box_exit(&b, j, 5);
		box_expect(j, JOB_PENDING, REASON_RETRY);
		assert_false(j->has_code);
		assert_int_equal(j->failures, i);
		assert_true(j->not_before_ms == b.now.wall_ms + 1000 * i);
		box_pass(&b, 10000);
	}
	box_run(&b, j);
	box_exit(&b, j, 6);
	box_expect(j, JOB_FAILED, REASON_EXITED);
	assert_int_equal(job_result_code(j), 6);
	assert_int_equal(j->n_attempts, 3);
	/* A user's retry counts anew. */
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = j->id});
	assert_int_equal(j->failures, 0);
	box_run(&b, j);
	box_exit(&b, j, 6);
	assert_int_equal(j->state, JOB_PENDING);
	box_done(&b);
}

/* With a list, what `wait` would end with decides: 124 and 137 are also a time limit and memory. */
static void test_retry_on_some_codes(void **state)
{
	static const struct {
		enum reason reason;
		int32_t code; /* 0: none */
		bool again;
	} ends[] = {{REASON_EXITED, 75, true}, {REASON_EXITED, 1, false},
	        {REASON_SIGNALLED, 137, true}, {REASON_SIGNALLED, 143, false},
	        {REASON_MEMORY_LIMIT, 0, true}, {REASON_TIME_LIMIT, 0, false},
	        {REASON_KEEPER_KILLED, 0, false}, {REASON_CANCELLED, 0, false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct box b;
		struct request r = box_request();
		struct attempt_end end = {.reason = ends[i].reason,
		        .has_code = ends[i].code != 0,
		        .exit_code = ends[i].code};
		struct job *j;

		box_init(&b);
		box_node(&b, "n1", 4, 0, 0);
		r.retry_max = 1;
		code_set_add(&r.retry_on, 75);
		code_set_add(&r.retry_on, 137);
		j = box_run(&b, box_submit(&b, r));
		box_apply(&b,
		        (struct event){
		                .kind = EVENT_ENDED, .id = j->id, .epoch = j->epoch, .end = &end});
		assert_int_equal(j->state == JOB_PENDING, ends[i].again);
		box_done(&b);
	}
}

static void check_no_retry_of(enum reason reason, enum job_state expected)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.retry_max = 5;
	j = box_run(&b, box_submit(&b, r));
	box_end(&b, j, reason);
	assert_int_equal(j->state, expected);
	box_done(&b);
}

static void test_what_retry_is_for(void **state)
{
	(void)state;
	check_no_retry_of(REASON_SIGNALLED, JOB_PENDING);
	check_no_retry_of(REASON_EXEC_FAILED, JOB_PENDING);
	check_no_retry_of(REASON_KEEPER_KILLED, JOB_PENDING);
	check_no_retry_of(REASON_EXITED, JOB_COMPLETED); /* with 0 */
	check_no_retry_of(REASON_TIME_LIMIT, JOB_TIMEOUT);
	check_no_retry_of(REASON_MEMORY_LIMIT, JOB_OUT_OF_MEMORY);
	check_no_retry_of(REASON_GPU_MEMORY_LIMIT, JOB_OUT_OF_MEMORY);
	check_no_retry_of(REASON_GPU_AROUND, JOB_CANCELLED);
	check_no_retry_of(REASON_CANCELLED, JOB_CANCELLED);
}

static void test_a_user_who_cancelled_wants_no_retry(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.retry_max = 5;
	j = box_run(&b, box_submit(&b, r));
	box_cancel(&b, j->id);
	box_exit(&b, j, 1);
	box_expect(j, JOB_FAILED, REASON_EXITED);
	j = box_run(&b, box_submit(&b, r));
	box_cancel(&b, j->id);
	box_lose(&b, j, REASON_KEEPER_KILLED);
	assert_true(job_state_is_final(j->state));
	box_done(&b);
}

static void test_down_and_up_again(void **state)
{
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	box_end(&b, j, REASON_SHUTDOWN);
	box_expect(j, JOB_PENDING, REASON_SHUTDOWN);
	/* Whoever ends all of a service may come to the server last. The next up finds the moment gone, or waits for it. */
	assert_int_equal(j->wait, WAIT_BACKOFF);
	assert_int_equal(j->not_before_ms, b.now.wall_ms + 1000);
	assert_int_equal(j->attempts[0].state, JOB_CANCELLED);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_endings),
	        cmocka_unit_test(test_started),
	        cmocka_unit_test(test_use),
	        cmocka_unit_test(test_note),
	        cmocka_unit_test(test_a_stop_overtakes_the_start),
	        cmocka_unit_test(test_lost_attempts_are_started_again),
	        cmocka_unit_test(test_no_disk_to_start_on),
	        cmocka_unit_test(test_failures_are_retried_as_often_as_asked),
	        cmocka_unit_test(test_retry_on_some_codes),
	        cmocka_unit_test(test_what_retry_is_for),
	        cmocka_unit_test(test_a_user_who_cancelled_wants_no_retry),
	        cmocka_unit_test(test_down_and_up_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
