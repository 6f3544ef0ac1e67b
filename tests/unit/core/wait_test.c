#include "box.h"

#include <stdlib.h>
#include <string.h>

static struct job key(int32_t priority, uint64_t order, uint64_t num, int64_t task)
{
	return (struct job){.priority = priority, .order = order, .id = {num, task}};
}

static void test_order(void **state)
{
	/* First to last. */
	struct job v[] = {key(5, 9, 9, TASK_NONE), key(0, 1, 1, TASK_NONE), key(0, 2, 7, 0),
	        key(0, 2, 7, 3), key(0, 2, 7, TASK_NONE), key(0, 3, 2, TASK_NONE),
	        key(-1, 0, 3, TASK_NONE)};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		for (size_t k = 0; k < ARRAY_LEN(v); k++) {
			int sign = job_order_cmp(&v[i], &v[k]);
			assert_int_equal(sign, i < k ? -1 : i > k);
		}
}

static void test_jobs_that_are_alike_share_a_class(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *first, *second, *other;

	(void)state;
	box_init(&b);
	r.gpu.milli = 500;
	r.gpu.model = "a100";
	r.name = "x";
	first = box_submit(&b, r);
	r.name = "y";
	r.priority = 4;
	r.retry_max = 9;
	second = box_submit(&b, r);
	assert_ptr_equal(first->class, second->class);
	assert_int_equal(first->class->n_jobs, 2);
	assert_string_equal(first->class->shape.gpu.model, "a100");
#define OTHER(change)                                             \
	{                                                         \
		struct request saved = r;                         \
		change;                                           \
		other = box_submit(&b, r);                        \
		assert_ptr_not_equal(other->class, first->class); \
		r = saved;                                        \
	}
	OTHER(r.queue = "fast")
	OTHER(r.gpu.count = 1)
	OTHER(r.gpu.milli = 501)
	OTHER(r.gpu.fgpu_milli = 1)
	OTHER(r.gpu.mem_bytes = 1)
	OTHER(r.gpu.share_milli = 1)
	OTHER(r.gpu.cc_min = 80)
	OTHER(r.gpu.model = "h100")
	OTHER(r.cpus = 7)
	OTHER(r.mem_bytes = 1)
	assert_int_equal(HASH_COUNT(b.w->classes), 11);
	box_cancel(&b, first->id);
	box_cancel(&b, second->id);
	assert_int_equal(HASH_COUNT(b.w->classes), 10);
	box_done(&b);
}

static void test_position(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *v[4];

	(void)state;
	box_init(&b);
	for (int i = 0; i < 3; i++) {
		r.cpus = (uint32_t)i + 1; /* of different classes */
		v[i] = box_submit(&b, r);
	}
	r.priority = 1;
	v[3] = box_submit(&b, r);
	assert_int_equal(world_position(b.w, v[3]), 1);
	assert_int_equal(world_position(b.w, v[0]), 2);
	assert_int_equal(world_position(b.w, v[2]), 4);
	r.queue = "other";
	assert_int_equal(world_position(b.w, box_submit(&b, r)), 1);
	box_cancel(&b, v[0]->id);
	assert_int_equal(world_position(b.w, v[2]), 3);
	assert_int_equal(world_position(b.w, v[0]), 1);
	box_done(&b);
}

static void test_what_a_job_waits_for_has_an_order(void **state)
{
	struct box b;
	struct request r = box_request();
	struct dep d = {DEP_AFTER_OK, {1, TASK_NONE}};
	struct job *on, *j;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	on = box_submit_plain(&b);
	r.hold = true;
	r.deps = &d;
	r.n_deps = 1;
	j = box_submit(&b, r);
	assert_int_equal(j->wait, WAIT_HELD);
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = j->id});
	assert_int_equal(j->wait, WAIT_DEPENDENCY);
	box_exit(&b, box_run(&b, on), 0);
	assert_int_equal(j->wait, WAIT_READY);
	box_run(&b, j);
	assert_int_equal(j->wait, WAIT_NONE);
	box_lose(&b, j, REASON_NODE_LOST);
	assert_int_equal(j->wait, WAIT_BACKOFF);
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = j->id});
	assert_int_equal(j->wait, WAIT_HELD);
	box_pass(&b, 5000);
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = j->id});
	assert_int_equal(j->wait, WAIT_READY);
	box_done(&b);
}

/* The wall clock was set: they wait as long as they would have. Set while nobody looked: not longer than the longest wait. */
static void test_clock_is_set(void **state)
{
	static const int64_t by_ms[] = {86400000, -86400000, -BOX_WALL_MS};
	struct box b;
	struct job *v[2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(by_ms); i++) {
		box_init(&b);
		box_node(&b, "n1", 4, 0, 0);
		for (int k = 0; k < 2; k++) {
			v[k] = box_run(&b, box_submit_plain(&b));
			box_lose(&b, v[k], REASON_NODE_LOST);
			box_pass(&b, 100);
		}
		b.now.wall_ms += by_ms[i];
		box_apply(&b, (struct event){.kind = EVENT_TICK, .shift_ms = by_ms[i]});
		box_pass(&b, 790);
		assert_true(v[0]->wait == WAIT_BACKOFF && v[1]->wait == WAIT_BACKOFF);
		box_pass(&b, 10);
		assert_true(v[0]->wait == WAIT_READY && v[1]->wait == WAIT_BACKOFF);
		b.now.wall_ms -= 86400000;
		box_pass(&b, b.policy.backoff_max_ms);
		assert_int_equal(v[1]->wait, WAIT_BACKOFF);
		box_pass(&b, b.policy.backoff_max_ms);
		assert_int_equal(v[1]->wait, WAIT_READY);
		box_done(&b);
	}
}

static void test_backoffs_end_in_turn(void **state)
{
	struct box b;
	struct job *v[3];

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	for (int i = 0; i < 3; i++)
		v[i] = box_run(&b, box_submit_plain(&b));
	for (int i = 2; i >= 0; i--) {
		box_lose(&b, v[i], REASON_NODE_LOST);
		b.now.wall_ms += 100;
	}
	assert_true(world_next_tick(b.w) == v[2]->not_before_ms);
	box_pass(&b, 700);
	assert_true(v[2]->wait == WAIT_READY && v[1]->wait == WAIT_BACKOFF);
	assert_true(world_next_tick(b.w) == v[1]->not_before_ms);
	/* The clock of the wall may jump back: they wait longer, and nothing else. */
	b.now.wall_ms -= 60000;
	box_pass(&b, 0);
	assert_int_equal(v[1]->wait, WAIT_BACKOFF);
	box_pass(&b, 61000);
	assert_true(v[1]->wait == WAIT_READY && v[0]->wait == WAIT_READY);
	box_done(&b);
}

static uint64_t ready_tasks(const struct job *a)
{
	return a->array->n_ready;
}

static void test_throttle(void **state)
{
	struct box b;
	struct job *a, *t[3];

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 9, 2);
	t[0] = box_run(&b, a);
	assert_int_equal(a->wait, WAIT_READY);
	t[1] = box_run(&b, a);
	assert_int_equal(a->wait, WAIT_THROTTLE);
	/* One that ends makes place for the next. */
	box_exit(&b, t[0], 0);
	assert_int_equal(a->wait, WAIT_READY);
	t[2] = box_run(&b, a);
	assert_int_equal(a->wait, WAIT_THROTTLE);
	/* One that comes back has the place before the next of the array. */
	box_lose(&b, t[1], REASON_NODE_LOST);
	assert_true(a->wait == WAIT_READY && t[1]->wait == WAIT_BACKOFF);
	box_pass(&b, 1000);
	assert_true(a->wait == WAIT_THROTTLE && t[1]->wait == WAIT_READY && ready_tasks(a) == 1);
	/* Held, it gives the place away, and comes back to the end of the line. */
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = t[1]->id});
	assert_true(a->wait == WAIT_READY && ready_tasks(a) == 0);
	struct job *next = box_run(&b, a);
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = t[1]->id});
	assert_int_equal(t[1]->wait, WAIT_THROTTLE);
	box_exit(&b, next, 0);
	assert_true(t[1]->wait == WAIT_READY && a->wait == WAIT_THROTTLE);
	box_run(&b, t[1]);
	assert_true(a->wait == WAIT_THROTTLE && ready_tasks(a) == 0);
	box_done(&b);
}

/* A thousand tasks come back at once to two places: two are ready, the rest waits in line, as they came. */
static void test_many_that_come_back(void **state)
{
	enum { N = 1000 };
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, N - 1, 2);
	for (int i = 0; i < N; i++)
		box_exit(&b, box_run(&b, a), 1);
	assert_int_equal(a->state, JOB_FAILED);
	box_take_dirty(&b);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = a->id});
	for (int64_t i = 0; i < N; i++) {
		struct job *t = box_find(&b, 1, i);
		assert_int_equal(ready_tasks(a), MIN(2, N - i));
		assert_int_equal(t->wait, WAIT_READY);
		if (i + 2 < N)
			assert_int_equal(box_find(&b, 1, i + 2)->wait, WAIT_THROTTLE);
		/* Only what has to do with it changes. */
		box_take_dirty(&b);
		box_exit(&b, box_run(&b, t), 0);
		assert_int_equal(b.w->n_dirty, 2);
	}
	assert_int_equal(a->state, JOB_COMPLETED);
	box_done(&b);
}

static void test_held_with_places(void **state)
{
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	a = box_submit_array(&b, 0, 5, 1);
	for (int i = 0; i < 3; i++)
		box_exit(&b, box_run(&b, a), 1);
	for (int64_t i = 0; i < 3; i++)
		box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = {1, i}});
	assert_int_equal(ready_tasks(a), 1);
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = a->id});
	for (int64_t i = 0; i < 3; i++)
		assert_int_equal(box_find(&b, 1, i)->wait, WAIT_HELD);
	assert_true(ready_tasks(a) == 0 && RB_EMPTY(&a->array->throttled));
	box_apply(&b, (struct event){.kind = EVENT_RELEASE, .id = a->id});
	assert_int_equal(ready_tasks(a), 1);
	box_cancel(&b, a->id);
	assert_true(job_state_is_final(a->state) && RB_EMPTY(&a->array->throttled));
	box_done(&b);
}

/* A strict queue lets nobody pass who comes first. */
static void test_first_goes_away(void **state)
{
	struct box b;
	struct job *first, *behind;

	(void)state;
	box_init(&b);
	first = box_submit_plain(&b);
	behind = box_submit_plain(&b);
	b.w->plan_wanted = false;
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = behind->id});
	assert_false(b.w->plan_wanted);
	box_apply(&b, (struct event){.kind = EVENT_HOLD, .id = first->id});
	assert_true(b.w->plan_wanted);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_order),
	        cmocka_unit_test(test_jobs_that_are_alike_share_a_class),
	        cmocka_unit_test(test_position),
	        cmocka_unit_test(test_what_a_job_waits_for_has_an_order),
	        cmocka_unit_test(test_backoffs_end_in_turn),
	        cmocka_unit_test(test_clock_is_set),
	        cmocka_unit_test(test_throttle),
	        cmocka_unit_test(test_many_that_come_back),
	        cmocka_unit_test(test_held_with_places),
	        cmocka_unit_test(test_first_goes_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
