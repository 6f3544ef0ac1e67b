#include "box.h"

#include <string.h>

#define TASKS 100000

static uint64_t jobs_in_memory(const struct box *b)
{
	uint64_t n = 0;

	for (const struct job *j = world_next_job(b->w, NULL); j; j = world_next_job(b->w, j))
		n++;
	return n;
}

static void cancel_task(struct box *b, const struct job *a, int64_t task)
{
	box_cancel(b, (struct job_id){a->id.num, task});
}

static void retry(struct box *b, struct job_id id)
{
	box_apply(b, (struct event){.kind = EVENT_RETRY, .id = id, .actor = "ada"});
}

static void test_an_array_is_one_record_until_it_starts(void **state)
{
	struct box b;
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = box_submit_array(&b, 0, TASKS - 1, 0);
	assert_true(a->is_array && a->array->n == TASKS && array_unstarted(a->array) == TASKS);
	assert_int_equal(jobs_in_memory(&b), 1);
	assert_int_equal(b.w->n_living, 1);
	box_take_dirty(&b);
	t = box_start(&b, a);
	assert_true(
	        t->id.num == a->id.num && t->id.task == 0 && t->parent == a && t->req == a->req);
	assert_int_equal(jobs_in_memory(&b), 2);
	assert_int_equal(b.w->n_dirty, 2);
	assert_true(array_unstarted(a->array) == TASKS - 1);
	assert_int_equal(a->state, JOB_PENDING);
	box_started(&b, t);
	box_expect(a, JOB_RUNNING, REASON_EXEC);
	assert_true(a->started_ms == BOX_WALL_MS);
	box_exit(&b, t, 0);
	assert_int_equal(a->state, JOB_RUNNING);
	/* All of it cancelled: still no record for each. */
	box_cancel(&b, a->id);
	box_expect(a, JOB_CANCELLED, REASON_CANCELLED);
	assert_string_equal(a->transitions[a->n_transitions - 1].text, "ada");
	assert_int_equal(jobs_in_memory(&b), 2);
	assert_true(
	        array_cut(a->array) == TASKS - 1 && a->array->by_state[JOB_CANCELLED] == TASKS - 1);
	assert_int_equal(job_result_code(a), 143);
	box_done(&b);
}

static void test_tasks_start_in_turn(void **state)
{
	struct box b;
	struct job *a;
	struct placement p = {.node = 1};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 5, 9, 0);
	p.id = a->id;
	p.pos = 1;
	box_refuse(&b, (struct event){.kind = EVENT_START, .placement = &p}, ERR_CONFLICT,
	        "not the next one");
	for (int64_t task = 5; task <= 9; task++)
		assert_int_equal(box_start(&b, a)->id.task, task);
	assert_int_equal(a->wait, WAIT_NONE);
	p.pos = 5;
	box_refuse(&b, (struct event){.kind = EVENT_START, .placement = &p}, ERR_CONFLICT,
	        "not ready");
	box_done(&b);
}

static void run_all(struct box *b, struct job *a, const int32_t *codes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		box_exit(b, box_run(b, a), codes[i]);
}

static void test_verdict_and_worst_code(void **state)
{
	static const int32_t good[] = {0, 0, 0}, bad[] = {0, 7, 3};
	struct box b;
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = box_submit_array(&b, 0, 2, 0);
	run_all(&b, a, good, 3);
	box_expect(a, JOB_COMPLETED, REASON_EXITED);
	assert_int_equal(job_result_code(a), 0);
	a = box_submit_array(&b, 0, 2, 0);
	run_all(&b, a, bad, 3);
	box_expect(a, JOB_FAILED, REASON_EXITED);
	assert_int_equal(job_result_code(a), 7);
	/* One that timed out stands above one that failed. */
	a = box_submit_array(&b, 0, 2, 0);
	t = box_run(&b, a);
	box_end(&b, t, REASON_TIME_LIMIT);
	run_all(&b, a, bad, 2);
	assert_int_equal(a->state, JOB_TIMEOUT);
	assert_int_equal(job_result_code(a), 124);
	box_done(&b);
}

static void test_one_unstarted_task_is_cancelled(void **state)
{
	struct box b;
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 5, 0);
	cancel_task(&b, a, 3);
	t = box_find(&b, 1, 3);
	box_expect(t, JOB_CANCELLED, REASON_CANCELLED);
	assert_true(b.out.job == t);
	/* Nothing has started yet. */
	assert_int_equal(a->state, JOB_PENDING);
	assert_int_equal(a->started_ms, 0);
	assert_int_equal(a->array->n_skip, 1);
	cancel_task(&b, a, 1);
	cancel_task(&b, a, 2);
	assert_int_equal(a->array->n_skip, 3);
	box_refuse(&b,
	        (struct event){.kind = EVENT_CANCEL, .id = {1, 3}, .reason = REASON_CANCELLED},
	        ERR_CONFLICT, "ended already");
	box_refuse(&b,
	        (struct event){.kind = EVENT_CANCEL, .id = {1, 6}, .reason = REASON_CANCELLED},
	        ERR_NOT_FOUND, "1_6");
	assert_int_equal(box_start(&b, a)->id.task, 0);
	/* The skipped ones are passed in one go. */
	assert_int_equal(a->array->n_skip, 0);
	assert_int_equal(a->array->next_pos, 4);
	assert_int_equal(box_start(&b, a)->id.task, 4);
	box_done(&b);
}

static void test_a_cancelled_task_that_left_memory_is_not_made_again(void **state)
{
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	a = box_submit_array(&b, 0, 5, 0);
	cancel_task(&b, a, 3);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_null(box_find(&b, 1, 3));
	box_refuse(&b,
	        (struct event){.kind = EVENT_CANCEL, .id = {1, 3}, .reason = REASON_CANCELLED},
	        ERR_NOT_FOUND, "1_3");
	box_done(&b);
}

static void test_all_is_cancelled_while_some_run(void **state)
{
	struct box b;
	struct job *a, *first, *second;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 9, 0);
	first = box_run(&b, a);
	second = box_start(&b, a);
	box_cancel(&b, a->id);
	assert_int_equal(a->state, JOB_RUNNING);
	assert_true(array_cut(a->array) == 8 && array_unstarted(a->array) == 0);
	assert_int_equal(first->state, JOB_COMPLETING);
	assert_int_equal(second->state, JOB_COMPLETING);
	/* Again, by force. */
	box_apply(&b, (struct event){.kind = EVENT_CANCEL,
	                      .id = a->id,
	                      .reason = REASON_CANCELLED,
	                      .force = true});
	assert_true(box_effect(&b, EFFECT_STOP, first->id)->force &&
	            box_effect(&b, EFFECT_STOP, second->id)->force);
	box_end(&b, first, REASON_CANCELLED);
	assert_int_equal(a->state, JOB_RUNNING);
	box_lose(&b, second, REASON_NODE_LOST);
	box_expect(a, JOB_CANCELLED, REASON_CANCELLED);
	box_refuse(&b,
	        (struct event){.kind = EVENT_CANCEL, .id = a->id, .reason = REASON_CANCELLED},
	        ERR_CONFLICT, "ended already");
	box_refuse(&b,
	        (struct event){.kind = EVENT_CANCEL, .id = {1, 7}, .reason = REASON_CANCELLED},
	        ERR_NOT_FOUND, "1_7");
	box_done(&b);
}

static void test_retry_of_an_array(void **state)
{
	static const int32_t codes[] = {0, 9, 0};
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 9, 0);
	run_all(&b, a, codes, 3);
	box_cancel(&b, a->id);
	assert_int_equal(a->state, JOB_FAILED);
	assert_int_equal(job_result_code(a), 143);
	retry(&b, a->id);
	/* Whatever did not complete: one that failed, and seven that never started. */
	box_expect(a, JOB_PENDING, REASON_RETRY_BY_USER);
	assert_true(array_unstarted(a->array) == 7 && array_cut(a->array) == 0);
	assert_true(a->array->by_state[JOB_COMPLETED] == 2 && a->array->by_state[JOB_PENDING] == 1);
	assert_int_equal(box_find(&b, 1, 1)->state, JOB_PENDING);
	box_exit(&b, box_run(&b, box_find(&b, 1, 1)), 0);
	for (int i = 0; i < 7; i++)
		box_exit(&b, box_run(&b, a), 0);
	/* That it was cancelled once is forgotten. */
	box_expect(a, JOB_COMPLETED, REASON_EXITED);
	assert_int_equal(job_result_code(a), 0);
	box_refuse(&b, (struct event){.kind = EVENT_RETRY, .id = a->id}, ERR_CONFLICT,
	        "every task of job 1 completed");
	box_done(&b);
}

static void test_half_of_an_array_is_not_retried_as_the_whole(void **state)
{
	static const int32_t codes[] = {9, 9, 0};
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 2, 0);
	run_all(&b, a, codes, 3);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 3; /* task 0 goes, the oldest */
	world_trim(b.w, &b.fx);
	assert_null(box_find(&b, 1, 0));
	box_refuse(&b, (struct event){.kind = EVENT_RETRY, .id = a->id}, ERR_CONFLICT,
	        "1 ended tasks of job 1 are not in memory");
	assert_int_equal(a->state, JOB_FAILED);
	box_done(&b);
}

static void test_retry_of_one_task(void **state)
{
	static const int32_t codes[] = {9, 4, 0};
	struct box b;
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 2, 0);
	run_all(&b, a, codes, 3);
	assert_int_equal(job_result_code(a), 9);
	t = box_find(&b, 1, 0);
	retry(&b, t->id);
	box_expect(a, JOB_PENDING, REASON_RETRY_BY_USER);
	box_expect(t, JOB_PENDING, REASON_RETRY_BY_USER);
	box_run(&b, t);
	assert_int_equal(a->state, JOB_RUNNING);
	box_exit(&b, t, 0);
	assert_int_equal(a->state, JOB_FAILED);
	/* The 9 is gone; the 4 is the largest now. */
	assert_int_equal(job_result_code(a), 4);
	retry(&b, (struct job_id){1, 1});
	box_exit(&b, box_run(&b, box_find(&b, 1, 1)), 0);
	assert_int_equal(a->state, JOB_COMPLETED);
	assert_int_equal(job_result_code(a), 0);
	box_done(&b);
}

/* Ended tasks may have left memory; what they came to is known all the same. */
static void test_codes_of_tasks_that_left_memory(void **state)
{
	static const int32_t worse[] = {9, 4}, better[] = {0, 9};
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	b.w->policy.keep_ended = 0;
	a = box_submit_array(&b, 0, 1, 0);
	box_exit(&b, box_run(&b, a), worse[0]);
	box_take_dirty(&b);
	world_trim(b.w, &b.fx);
	box_exit(&b, box_run(&b, a), worse[1]);
	assert_int_equal(job_result_code(a), 9);
	/* Cut off behind one that is gone. */
	a = box_submit_array(&b, 0, 3, 0);
	box_exit(&b, box_run(&b, a), worse[0]);
	box_take_dirty(&b);
	world_trim(b.w, &b.fx);
	box_cancel(&b, a->id);
	assert_int_equal(job_result_code(a), 143);
	/* One that completed is gone; the other is tried again, and its old code is forgotten. */
	a = box_submit_array(&b, 0, 1, 0);
	box_exit(&b, box_run(&b, a), better[0]);
	box_take_dirty(&b);
	world_trim(b.w, &b.fx);
	box_exit(&b, box_run(&b, a), better[1]);
	retry(&b, a->id);
	box_exit(&b, box_run(&b, box_find(&b, a->id.num, 1)), 3);
	assert_int_equal(job_result_code(a), 3);
	box_done(&b);
}

static void test_a_task_without_its_array_is_not_retried(void **state)
{
	static const int32_t codes[] = {9};
	struct box b;
	struct job *a, *t;
	struct job_id id;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 0, 0);
	run_all(&b, a, codes, 1);
	t = box_find(&b, 1, 0);
	/* The task was read back later than its array, and so outlasts it in memory. */
	TAILQ_REMOVE(&b.w->ended, t, by_end);
	TAILQ_INSERT_TAIL(&b.w->ended, t, by_end);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 1;
	id = a->id;
	world_trim(b.w, &b.fx);
	assert_null(world_find_job(b.w, id));
	assert_null(t->parent);
	box_refuse(&b, (struct event){.kind = EVENT_RETRY, .id = t->id}, ERR_CONFLICT,
	        "the array of task 1_0 is not in memory");
	box_done(&b);
}

static void test_held_arrays(void **state)
{
	struct box b;
	struct job *a, *t;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 3, 0);
	t = box_run(&b, a);
	box_exit(&b, t, 1);
	retry(&b, t->id);
	assert_int_equal(t->wait, WAIT_READY);
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = a->id});
	assert_int_equal(a->wait, WAIT_HELD);
	assert_int_equal(t->wait, WAIT_HELD); /* with its array */
	box_refuse(&b, (struct event){.kind = EVENT_HOLD, .id = {a->id.num, 2}}, ERR_CONFLICT,
	        "goes with its array");
	box_refuse(&b, (struct event){.kind = EVENT_HOLD, .id = {a->id.num, 4}}, ERR_NOT_FOUND,
	        "does not exist");
	/* All that never started goes; the task that waits can still be released with its array. */
	for (int64_t task = 1; task <= 3; task++)
		cancel_task(&b, a, task);
	assert_true(array_unstarted(a->array) == 0 && !job_state_is_final(a->state));
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = a->id});
	assert_int_equal(t->wait, WAIT_READY);
	/* One task alone. */
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = t->id});
	assert_int_equal(t->wait, WAIT_HELD);
	box_cancel(&b, t->id);
	assert_int_equal(a->state, JOB_CANCELLED);
	box_refuse(
	        &b, (struct event){.kind = EVENT_HOLD, .id = a->id}, ERR_CONFLICT, "does not wait");
	box_done(&b);
}

static void test_cancel_when_every_task_is_a_job_of_its_own(void **state)
{
	static const int32_t codes[] = {1, 1};
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 1, 0);
	run_all(&b, a, codes, 2);
	retry(&b, a->id);
	box_cancel(&b, a->id);
	box_expect(a, JOB_CANCELLED, REASON_CANCELLED);
	box_expect(box_find(&b, 1, 0), JOB_CANCELLED, REASON_CANCELLED);
	box_done(&b);
}

static void test_edit_of_an_array(void **state)
{
	struct box b;
	struct job *a, *t, *other;
	struct request r;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 3, 0);
	t = box_run(&b, a);
	r = *a->req;
	r.name = "new";
	r.time_limit_ms = 7;
	box_apply(&b, (struct event){.kind = EVENT_EDIT, .id = a->id, .request = &r});
	assert_string_equal(a->req->name, "new");
	assert_true(t->has_own_request && t->req->time_limit_ms == 0);
	box_exit(&b, t, 1);
	assert_true(t->has_own_request);
	retry(&b, t->id);
	assert_ptr_equal(t->req, a->req);
	other = box_submit_plain(&b);
	box_take_dirty(&b);
	box_apply(
	        &b, (struct event){
	                    .kind = EVENT_EDIT, .id = a->id, .set_priority = true, .priority = 3});
	assert_true(a->priority == 3 && t->priority == 3 && a->dirty && t->dirty);
	assert_int_equal(world_position(b.w, other), 3);
	box_refuse(&b, (struct event){.kind = EVENT_EDIT, .id = t->id, .request = a->req},
	        ERR_CONFLICT, "belongs to its array: job 1");
	box_apply(
	        &b, (struct event){
	                    .kind = EVENT_EDIT, .id = t->id, .set_priority = true, .priority = -1});
	assert_true(a->priority == 3 && t->priority == -1);
	box_done(&b);
}

/* What runs is counted where it was started, and with what; what waits where it waits now. */
static void test_an_array_in_another_queue(void **state)
{
	struct box b;
	struct job *a, *runs, *again;
	struct request r;
	const struct queue *from, *to;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 4, 0);
	runs = box_run(&b, a);
	again = box_run(&b, a);
	box_lose(&b, again, REASON_NODE_LOST);
	r = *a->req;
	r.queue = "night";
	r.cpus = 4;
	box_apply(&b, (struct event){.kind = EVENT_EDIT, .id = a->id, .request = &r});
	from = world_find_queue(b.w, "default");
	to = world_find_queue(b.w, "night");
	assert_true(from->n_running == 1 && from->n_waiting == 0);
	assert_true(to->n_running == 0 && to->n_waiting == 4);
	assert_ptr_equal(again->req, a->req);
	assert_true(runs->node->n_cpus_used == 1);
	/* A second change leaves what was started before the first one. */
	r.cpus = 2;
	box_apply(&b, (struct event){.kind = EVENT_EDIT, .id = a->id, .request = &r});
	assert_true(runs->has_own_request && runs->req->cpus == 1 && again->req->cpus == 2);
	box_lose(&b, runs, REASON_NODE_LOST);
	assert_true(!runs->has_own_request && runs->req == a->req);
	assert_true(from->n_running == 0 && from->n_waiting == 0 && to->n_waiting == 5);
	box_cancel(&b, a->id);
	assert_true(from->n_waiting == 0 && to->n_waiting == 0);
	box_done(&b);
}

/* Positions out of turn, in any order, against a plain list. */
static void test_many_tasks_out_of_turn(void **state)
{
	enum { N = 64 };
	bool gone[N] = {false};
	uint64_t seed = 12345;
	struct box b;
	struct job *a;
	int left = N;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 100, 0, 0);
	a = box_submit_array(&b, 0, N - 1, 0);
	while (left > 0) {
		int64_t task;
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		task = (int64_t)(seed >> 33) % N;
		if (seed >> 32 & 1) {
			int64_t want = 0;
			while (gone[want])
				want++;
			assert_int_equal(array_next(a->array, 0), want);
			task = box_start(&b, a)->id.task;
			assert_int_equal(task, want);
		} else if (!gone[task]) {
			cancel_task(&b, a, task);
		} else {
			continue;
		}
		gone[task] = true;
		left--;
		assert_int_equal(array_unstarted(a->array), left);
	}
	assert_int_equal(a->array->n_skip, 0);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_an_array_is_one_record_until_it_starts),
	        cmocka_unit_test(test_tasks_start_in_turn),
	        cmocka_unit_test(test_verdict_and_worst_code),
	        cmocka_unit_test(test_one_unstarted_task_is_cancelled),
	        cmocka_unit_test(test_a_cancelled_task_that_left_memory_is_not_made_again),
	        cmocka_unit_test(test_all_is_cancelled_while_some_run),
	        cmocka_unit_test(test_retry_of_an_array),
	        cmocka_unit_test(test_half_of_an_array_is_not_retried_as_the_whole),
	        cmocka_unit_test(test_retry_of_one_task),
	        cmocka_unit_test(test_codes_of_tasks_that_left_memory),
	        cmocka_unit_test(test_a_task_without_its_array_is_not_retried),
	        cmocka_unit_test(test_held_arrays),
	        cmocka_unit_test(test_cancel_when_every_task_is_a_job_of_its_own),
	        cmocka_unit_test(test_edit_of_an_array),
	        cmocka_unit_test(test_an_array_in_another_queue),
	        cmocka_unit_test(test_many_tasks_out_of_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
