#include "box.h"

#include <stdlib.h>
#include <string.h>

#define MANY 100000

/* What each kind of dependency comes to when the job it waits for is in a state: a wait, or CANCELLED. */
enum outcome { WAITS, GOES, FALLS };

static const enum outcome outcomes[3][JOB_STATE_MAX] = {
        /*                 PENDING STARTING RUNNING COMPLETING COMPLETED FAILED CANCELLED TIMEOUT OUT_OF_MEMORY NODE_FAIL */
        [DEP_AFTER] = {WAITS, WAITS, GOES, GOES, GOES, GOES, GOES, GOES, GOES, GOES},
        [DEP_AFTER_ANY] = {WAITS, WAITS, WAITS, WAITS, GOES, GOES, GOES, GOES, GOES, GOES},
        [DEP_AFTER_OK] = {WAITS, WAITS, WAITS, WAITS, GOES, FALLS, FALLS, FALLS, FALLS, FALLS},
};

static void expect(const struct job *j, enum outcome o)
{
	if (o == FALLS) {
		box_expect(j, JOB_CANCELLED, REASON_DEPENDENCY_FAILED);
	} else {
		assert_int_equal(j->state, JOB_PENDING);
		assert_int_equal(j->wait, o == GOES ? WAIT_READY : WAIT_DEPENDENCY);
	}
}

static void test_submitted_after_it_happened(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (int s = 0; s < JOB_STATE_MAX; s++) {
			struct box b;
			struct job *on;
			box_init(&b);
			box_node(&b, "n1", 4, 0, 0);
			on = box_job_in(&b, (enum job_state)s);
			expect(box_submit_after(&b, (enum dep_kind)kind, on->id),
			        outcomes[kind][s]);
			box_done(&b);
		}
}

/* The same, decided while it waits. */
static void test_decided_while_it_waits(void **state)
{
	static const struct {
		enum reason end;
		enum job_state becomes;
	} ends[] = {{REASON_EXITED, JOB_COMPLETED}, {REASON_SIGNALLED, JOB_FAILED},
	        {REASON_TIME_LIMIT, JOB_TIMEOUT}, {REASON_MEMORY_LIMIT, JOB_OUT_OF_MEMORY},
	        {REASON_CANCELLED, JOB_CANCELLED}};

	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
			struct box b;
			struct job *on, *j;
			box_init(&b);
			box_node(&b, "n1", 4, 0, 0);
			on = box_submit_plain(&b);
			j = box_submit_after(&b, (enum dep_kind)kind, on->id);
			expect(j, WAITS);
			box_start(&b, on);
			expect(j, WAITS);
			box_started(&b, on);
			expect(j, outcomes[kind][JOB_RUNNING]);
			box_end(&b, on, ends[i].end);
			assert_int_equal(on->state, ends[i].becomes);
			expect(j, outcomes[kind][ends[i].becomes]);
			box_done(&b);
		}
}

static void test_never_started(void **state)
{
	struct box b;
	struct job *on, *after, *any, *ok;

	(void)state;
	box_init(&b);
	on = box_submit_plain(&b);
	after = box_submit_after(&b, DEP_AFTER, on->id);
	any = box_submit_after(&b, DEP_AFTER_ANY, on->id);
	ok = box_submit_after(&b, DEP_AFTER_OK, on->id);
	box_cancel(&b, on->id);
	expect(after, FALLS);
	expect(any, GOES);
	expect(ok, FALLS);
	assert_string_equal(
	        after->transitions[after->n_transitions - 1].text, "job 1 can no longer start");
	assert_string_equal(
	        ok->transitions[ok->n_transitions - 1].text, "job 1 can no longer complete");
	assert_int_equal(job_result_code(ok), 143);
	assert_null(b.w->deps);
	box_done(&b);
}

static void test_several(void **state)
{
	struct box b;
	struct dep deps[4];
	struct request r = box_request();
	struct job *first, *second, *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	first = box_submit_plain(&b);
	second = box_submit_plain(&b);
	/* Twice on the same job, too. */
	deps[0] = (struct dep){DEP_AFTER, first->id};
	deps[1] = (struct dep){DEP_AFTER_OK, first->id};
	deps[2] = (struct dep){DEP_AFTER_ANY, second->id};
	deps[3] = (struct dep){DEP_AFTER_OK, first->id};
	r.deps = deps;
	r.n_deps = 4;
	j = box_submit(&b, r);
	box_take_dirty(&b);
	box_run(&b, first);
	assert_true(j->dep_met[0] && !j->dep_met[1] && j->dirty);
	box_exit(&b, first, 0);
	assert_true(j->dep_met[1] && j->dep_met[3] && !j->dep_met[2]);
	expect(j, WAITS);
	box_cancel(&b, second->id);
	expect(j, GOES);
	assert_null(b.w->deps);
	/* One that fails is enough. */
	first = box_submit_plain(&b);
	deps[0].on = deps[1].on = deps[3].on = first->id;
	deps[2].on = box_submit_plain(&b)->id;
	j = box_submit(&b, r);
	box_exit(&b, box_run(&b, first), 1);
	expect(j, FALLS);
	assert_null(b.w->deps);
	box_done(&b);
}

static void test_a_waiter_that_ends_is_forgotten(void **state)
{
	struct box b;
	struct job *on, *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	on = box_submit_plain(&b);
	j = box_submit_after(&b, DEP_AFTER_OK, on->id);
	box_cancel(&b, j->id);
	assert_null(b.w->deps);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx); /* and freed */
	box_exit(&b, box_run(&b, on), 0);
	box_done(&b);
}

static void test_retries_of_both_sides(void **state)
{
	struct box b;
	struct job *on, *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	on = box_submit_plain(&b);
	j = box_submit_after(&b, DEP_AFTER_OK, on->id);
	box_exit(&b, box_run(&b, on), 1);
	expect(j, FALLS);
	/* What it depends on has still failed. */
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = j->id});
	expect(j, FALLS);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = on->id});
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = j->id});
	expect(j, WAITS);
	box_exit(&b, box_run(&b, on), 0);
	expect(j, GOES);
	/* What was met once stays met. */
	box_exit(&b, box_run(&b, j), 1);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = on->id});
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = j->id});
	expect(j, GOES);
	box_done(&b);
}

static void test_a_failure_that_is_retried_is_no_failure_yet(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *on, *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	r.retry_max = 1;
	on = box_submit(&b, r);
	j = box_submit_after(&b, DEP_AFTER_OK, on->id);
	box_exit(&b, box_run(&b, on), 1);
	expect(j, WAITS);
	box_pass(&b, 5000);
	box_exit(&b, box_run(&b, on), 0);
	expect(j, GOES);
	box_done(&b);
}

static void test_tasks(void **state)
{
	struct box b;
	struct job *a, *on_task, *on_late, *any_late, *after_array, *ok_array;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = box_submit_array(&b, 0, 4, 0);
	on_task = box_submit_after(&b, DEP_AFTER_OK, (struct job_id){1, 0});
	on_late = box_submit_after(&b, DEP_AFTER_OK, (struct job_id){1, 4});
	any_late = box_submit_after(&b, DEP_AFTER_ANY, (struct job_id){1, 4});
	after_array = box_submit_after(&b, DEP_AFTER, a->id);
	ok_array = box_submit_after(&b, DEP_AFTER_OK, a->id);
	struct job *t = box_run(&b, a);
	expect(after_array, GOES);
	box_exit(&b, t, 0);
	expect(on_task, GOES);
	expect(on_late, WAITS);
	expect(ok_array, WAITS);
	/* The rest is cut off: its tasks never become jobs, and are decided all the same, while one runs. */
	t = box_run(&b, a);
	box_cancel(&b, a->id);
	expect(on_late, FALLS);
	expect(any_late, GOES);
	expect(ok_array, WAITS);
	expect(box_submit_after(&b, DEP_AFTER_OK, (struct job_id){1, 3}), FALLS);
	expect(box_submit_after(&b, DEP_AFTER_ANY, (struct job_id){1, 3}), GOES);
	expect(box_submit_after(&b, DEP_AFTER, (struct job_id){1, 3}), FALLS);
	box_end(&b, t, REASON_CANCELLED);
	expect(ok_array, FALLS);
	box_done(&b);
}

/* What left memory is not guessed at: who depends on it has it brought back first. */
static void test_tasks_that_left_memory(void **state)
{
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = box_submit_array(&b, 0, 4, 0);
	box_exit(&b, box_run(&b, a), 0);
	box_cancel(&b, (struct job_id){1, 3});
	box_run(&b, a);
	box_cancel(&b, a->id);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_null(box_find(&b, 1, 0));
	assert_null(box_find(&b, 1, 3));
	expect(box_submit_after(&b, DEP_AFTER_ANY, (struct job_id){1, 0}), WAITS);
	expect(box_submit_after(&b, DEP_AFTER_OK, (struct job_id){1, 3}), WAITS);
	expect(box_submit_after(&b, DEP_AFTER_OK, (struct job_id){1, 2}), FALLS); /* cut */
	box_done(&b);
}

static void test_arrays_that_wait(void **state)
{
	struct box b;
	struct array_range range = {0, 3, 1};
	struct request r = box_request();
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct job *on, *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	on = box_submit_plain(&b);
	r.ranges = &range;
	r.deps = &d;
	r.n_ranges = r.n_deps = 1;
	a = box_submit(&b, r);
	expect(a, WAITS);
	/* A task that was cancelled and comes back waits with its array. */
	box_cancel(&b, (struct job_id){2, 2});
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = {2, 2}});
	t = box_find(&b, 2, 2);
	expect(t, WAITS);
	box_run(&b, on);
	box_exit(&b, on, 0);
	expect(a, GOES);
	expect(t, GOES);
	/* And falls with it. */
	on = box_submit_plain(&b);
	d.on = on->id;
	a = box_submit(&b, r);
	box_cancel(&b, (struct job_id){a->id.num, 2});
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = {a->id.num, 2}});
	box_cancel(&b, on->id);
	expect(a, FALLS);
	assert_string_equal(
	        a->transitions[a->n_transitions - 1].text, "job 3 can no longer complete");
	expect(box_find(&b, a->id.num, 2), FALLS);
	/* All of it again, and down again. */
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = a->id});
	expect(a, FALLS);
	box_done(&b);
}

/* 100,000 jobs, each after the one before it: they fall in one event, without recursion. */
static void test_a_long_chain_falls(void **state)
{
	struct box b;
	struct applied out;
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct request r = box_request();
	struct event e = {.kind = EVENT_SUBMIT, .request = &r};

	(void)state;
	box_init(&b);
	for (uint64_t i = 1; i <= MANY; i++) {
		r.deps = &d;
		r.n_deps = i > 1;
		d.on.num = i - 1;
		b.fx.n = 0;
		assert_int_equal(core_apply(b.w, &e, b.now, &b.fx, &out, &b.err), 0);
	}
	box_take_dirty(&b);
	box_cancel(&b, (struct job_id){1, TASK_NONE});
	assert_int_equal(b.w->n_ended, MANY);
	assert_int_equal(b.w->n_dirty, MANY);
	assert_int_equal(box_find(&b, MANY, TASK_NONE)->reason, REASON_DEPENDENCY_FAILED);
	assert_null(b.w->deps);
	box_done(&b);
}

static struct job *submit_twins(
        struct box *b, enum dep_kind kind, uint64_t on, struct array_range range)
{
	struct request r = box_request();
	struct dep d = {kind, {on, TASK_SAME}};

	r.ranges = &range;
	r.n_ranges = 1;
	r.deps = &d;
	r.n_deps = 1;
	return box_submit(b, r);
}

/* What one task costs does not depend on how many there are, whatever the order they come in. */
static void test_many_twins(void **state)
{
	enum { N = 10000 };
	struct event cancel = {.kind = EVENT_CANCEL, .reason = REASON_CANCELLED};
	struct applied out;
	struct box b;
	struct job *j;

	(void)state;
	box_init(&b);
	box_submit_array(&b, 0, N, 0);
	j = submit_twins(&b, DEP_AFTER_ANY, 1, (struct array_range){0, N - 1, 1});
	for (int64_t i = N; i-- > 0;) {
		cancel.id = (struct job_id){1, i};
		box_take_dirty(&b);
		assert_int_equal(core_apply(b.w, &cancel, b.now, &b.fx, &out, &b.err), 0);
		assert_int_equal(b.w->n_dirty, 4); /* two tasks, and their arrays */
		assert_int_equal(box_find(&b, 2, i)->wait, WAIT_READY);
	}
	assert_int_equal(array_unstarted(j->array), 0);
	assert_int_equal(j->wait, WAIT_NONE);
	assert_int_equal(world_check(b.w, &b.err), 0);
	box_done(&b);
}

static void test_twins_again(void **state)
{
	struct event again = {.kind = EVENT_RETRY, .id = {2, 1}};
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	box_submit_array(&b, 0, 1, 0);
	submit_twins(&b, DEP_AFTER_OK, 1, (struct array_range){0, 1, 1});
	box_cancel(&b, (struct job_id){1, 1});
	box_expect(box_find(&b, 2, 1), JOB_CANCELLED, REASON_DEPENDENCY_FAILED);
	assert_null(box_find(&b, 2, 0));
	/* Not before its twin, which may run again itself. */
	box_refuse(&b, again, ERR_CONFLICT, "1_1");
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = {1, 1}});
	box_refuse(&b, again, ERR_CONFLICT, "1_1");
	box_exit(&b, box_run(&b, box_find(&b, 1, 1)), 0);
	box_apply(&b, again);
	assert_int_equal(box_find(&b, 2, 1)->wait, WAIT_READY);
	box_done(&b);
}

/* Task by task, and something else as well. */
static void test_twins_of_two(void **state)
{
	struct array_range range = {0, 1, 1};
	struct dep deps[] = {{DEP_AFTER_OK, {1, TASK_SAME}}, {DEP_AFTER, {2, TASK_SAME}},
	        {DEP_AFTER_ANY, {3, TASK_NONE}}};
	struct request r = box_request();
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 9, 0, 0);
	box_submit_array(&b, 0, 1, 0);
	box_submit_array(&b, 0, 1, 0);
	box_submit_plain(&b);
	r.ranges = &range;
	r.n_ranges = 1;
	r.deps = deps;
	r.n_deps = 3;
	box_submit(&b, r);
	box_exit(&b, box_run(&b, box_find(&b, 1, TASK_NONE)), 0);
	box_run(&b, box_find(&b, 2, TASK_NONE));
	assert_null(box_find(&b, 4, 0));
	box_cancel(&b, (struct job_id){3, TASK_NONE});
	assert_int_equal(box_find(&b, 4, 0)->wait, WAIT_READY);
	box_exit(&b, box_run(&b, box_find(&b, 1, TASK_NONE)), 1);
	box_expect(box_find(&b, 4, 1), JOB_CANCELLED, REASON_DEPENDENCY_FAILED);
	r.n_ranges = 0;
	box_refuse(&b, (struct event){.kind = EVENT_SUBMIT, .request = &r}, ERR_INVALID,
	        "task by task");
	box_done(&b);
}

/* 100,000 jobs after one: what each costs, to come and to go, does not depend on how many there are. */
static void test_many_wait_for_one(void **state)
{
	struct box b;
	struct applied out;
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct request r = box_request();
	struct event e = {.kind = EVENT_SUBMIT, .request = &r};
	struct event cancel = {.kind = EVENT_CANCEL, .reason = REASON_CANCELLED};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	box_submit_plain(&b);
	r.deps = &d;
	r.n_deps = 1;
	for (uint64_t i = 0; i < MANY; i++)
		assert_int_equal(core_apply(b.w, &e, b.now, &b.fx, &out, &b.err), 0);
	for (uint64_t i = 0; i < MANY / 2; i++) {
		cancel.id = (struct job_id){2 + 2 * i, TASK_NONE};
		assert_int_equal(core_apply(b.w, &cancel, b.now, &b.fx, &out, &b.err), 0);
	}
	box_take_dirty(&b);
	box_exit(&b, box_run(&b, box_find(&b, 1, TASK_NONE)), 0);
	assert_int_equal(b.w->n_dirty, 1 + MANY / 2);
	assert_int_equal(box_find(&b, 3, TASK_NONE)->wait, WAIT_READY);
	assert_int_equal(box_find(&b, 2, TASK_NONE)->state, JOB_CANCELLED);
	assert_null(b.w->deps);
	box_done(&b);
}

/* The word of a start was lost, on a full disk: what ended by itself has started all the same, and so has its array. */
static void test_a_start_that_was_not_heard_of(void **state)
{
	struct job *on, *a, *j, *task;
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	on = box_start(&b, box_submit_plain(&b));
	j = box_submit_after(&b, DEP_AFTER, on->id);
	expect(j, WAITS);
	box_exit(&b, on, 1);
	expect(j, GOES);
	assert_true(on->started_ms && on->attempts[0].started_ms == on->attempts[0].ended_ms);
	a = box_submit_array(&b, 0, 0, 0);
	task = box_start(&b, a);
	j = box_submit_after(&b, DEP_AFTER, a->id);
	box_exit(&b, task, 1);
	assert_int_equal(a->state, JOB_FAILED);
	expect(j, GOES);
	/* One that could not begin has not started. */
	on = box_start(&b, box_submit_plain(&b));
	j = box_submit_after(&b, DEP_AFTER, on->id);
	box_end(&b, on, REASON_EXEC_FAILED);
	expect(j, FALLS);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_submitted_after_it_happened),
	        cmocka_unit_test(test_decided_while_it_waits),
	        cmocka_unit_test(test_never_started),
	        cmocka_unit_test(test_several),
	        cmocka_unit_test(test_a_waiter_that_ends_is_forgotten),
	        cmocka_unit_test(test_retries_of_both_sides),
	        cmocka_unit_test(test_a_failure_that_is_retried_is_no_failure_yet),
	        cmocka_unit_test(test_tasks),
	        cmocka_unit_test(test_tasks_that_left_memory),
	        cmocka_unit_test(test_arrays_that_wait),
	        cmocka_unit_test(test_a_long_chain_falls),
	        cmocka_unit_test(test_many_twins),
	        cmocka_unit_test(test_twins_again),
	        cmocka_unit_test(test_twins_of_two),
	        cmocka_unit_test(test_many_wait_for_one),
	        cmocka_unit_test(test_a_start_that_was_not_heard_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
