#include "box.h"
#include "base/mem.h"
#include "sched/room.h"
#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>

#define MANY 100000

/* The work of a plan, counted: how often it looks for room, and at how many jobs it looks. */
static uint64_t n_fits, n_jobs;

bool __real_room_fit(struct room *r, const struct need *need, struct placement *ret);
bool __wrap_room_fit(struct room *r, const struct need *need, struct placement *ret);
struct job *__real_job_order_RB_NEXT(struct job *j);
struct job *__wrap_job_order_RB_NEXT(struct job *j);
struct job *__real_job_order_RB_MINMAX(struct job_order *head, int which);
struct job *__wrap_job_order_RB_MINMAX(struct job_order *head, int which);

bool __wrap_room_fit(struct room *r, const struct need *need, struct placement *ret)
{
	n_fits++;
	return __real_room_fit(r, need, ret);
}

struct job *__wrap_job_order_RB_NEXT(struct job *j)
{
	n_jobs++;
	return __real_job_order_RB_NEXT(j);
}

struct job *__wrap_job_order_RB_MINMAX(struct job_order *head, int which)
{
	n_jobs++;
	return __real_job_order_RB_MINMAX(head, which);
}

static void plan(struct box *b, size_t max, struct sched_plan *p)
{
	struct sched *s = sched_new("pack");

	n_fits = n_jobs = 0;
	sched_plan_make(s, b->w, b->now.wall_ms, max, p);
	sched_free(s);
}

static bool fit_request(struct box *b, const struct request *r, struct placement *p)
{
	struct sched *s = sched_new("pack");
	bool fits = sched_fit_request(s, b->w, b->now.wall_ms, r, p);

	sched_free(s);
	return fits;
}

static size_t plan_and_start(struct box *b)
{
	struct sched_plan p = {0};
	size_t n;

	plan(b, 1000, &p);
	for (size_t i = 0; i < p.n; i++)
		box_apply(b, (struct event){.kind = EVENT_START, .placement = &p.v[i]});
	n = p.n;
	sched_plan_done(&p);
	return n;
}

static void expect_order(struct box *b, const uint64_t *nums, size_t n)
{
	struct sched_plan p = {0};

	plan(b, 1000, &p);
	assert_int_equal(p.n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p.v[i].id.num, nums[i]);
	sched_plan_done(&p);
}

static void submit_quickly(struct box *b, const struct request *r, uint32_t n)
{
	struct event e = {.kind = EVENT_SUBMIT, .request = r};

	for (uint32_t i = 0; i < n; i++) {
		b->fx.n = 0;
		assert_int_equal(core_apply(b->w, &e, b->now, &b->fx, &b->out, &b->err), 0);
	}
}

static void test_order(void **state)
{
	struct box b;
	struct request r = box_request();
	struct queue fast = {.name = "fast", .priority = 5, .configured = true};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 100, 0, 0);
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &fast});
	box_submit(&b, r);
	r.priority = 2;
	r.cpus = 2; /* of another class */
	box_submit(&b, r);
	r.cpus = 1;
	box_submit(&b, r);
	r.priority = -1;
	box_submit(&b, r);
	r.queue = "fast";
	box_submit(&b, r);
	r.priority = 0;
	r.cpus = 3;
	box_submit(&b, r);
	expect_order(&b, (const uint64_t[]){6, 5, 2, 3, 1, 4}, 6);
	box_apply(&b, (struct event){.kind = EVENT_QUEUE_PAUSE, .name = "fast"});
	expect_order(&b, (const uint64_t[]){2, 3, 1, 4}, 4);
	box_apply(&b, (struct event){.kind = EVENT_EDIT,
	                      .id = {4, TASK_NONE},
	                      .set_priority = true,
	                      .priority = 9});
	expect_order(&b, (const uint64_t[]){4, 2, 3, 1}, 4);
	box_done(&b);
}

static void test_a_class_that_does_not_fit_holds_up_no_other(void **state)
{
	struct box b;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 1, 8 * GIB);
	r.priority = 5;
	r.cpus = 5;
	submit_quickly(&b, &r, 100);
	r.priority = 0;
	r.cpus = 2;
	box_submit(&b, r);
	r.gpu.milli = 500;
	box_submit(&b, r);
	expect_order(&b, (const uint64_t[]){101, 102}, 2);
	assert_int_equal(n_fits, 3); /* of the hundred, one was asked about */
	box_done(&b);
}

static void test_the_ledger_within_a_plan(void **state)
{
	struct box b;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 100, 2, 8 * GIB);
	r.gpu.milli = 400;
	submit_quickly(&b, &r, 10);
	assert_int_equal(plan_and_start(&b), 4); /* two on each device; 0.2 of each stay */
	r.gpu.milli = 200;
	submit_quickly(&b, &r, 3);
	assert_int_equal(plan_and_start(&b), 2);
	assert_int_equal(plan_and_start(&b), 0);
	r.gpu = (struct gpu_ask){.count = 1};
	submit_quickly(&b, &r, 1);
	assert_int_equal(plan_and_start(&b), 0);
	for (const struct node *n = TAILQ_FIRST(&b.w->nodes); n; n = TAILQ_NEXT(n, link))
		for (uint32_t i = 0; i < n->n_devices; i++)
			assert_int_equal(n->devices[i].used_milli, 1000);
	box_done(&b);
}

static void test_arrays(void **state)
{
	struct box b;
	struct sched_plan p = {0};
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 100, 0, 0);
	a = box_submit_array(&b, 10, 19, 0);
	box_cancel(&b, (struct job_id){1, 12});
	plan(&b, 1000, &p);
	assert_int_equal(p.n, 9);
	assert_int_equal(p.v[1].pos, 1);
	assert_int_equal(p.v[2].pos, 3);
	sched_plan_done(&p);
	box_cancel(&b, a->id);
	/* The throttle, also for what comes back. */
	a = box_submit_array(&b, 0, 9, 4);
	assert_int_equal(plan_and_start(&b), 4);
	assert_int_equal(plan_and_start(&b), 0);
	for (int64_t i = 0; i < 2; i++) {
		struct job *t = box_find(&b, a->id.num, i);
		box_started(&b, t);
		box_lose(&b, t, REASON_NODE_LOST);
	}
	box_pass(&b, 1000);
	plan(&b, 1000, &p);
	assert_int_equal(p.n, 2);
	assert_true(p.v[0].id.task == 0 && p.v[1].id.task == 1);
	sched_plan_done(&p);
	assert_int_equal(plan_and_start(&b), 2);
	box_done(&b);
}

static void test_at_most_as_many_as_wanted(void **state)
{
	struct box b;
	struct sched_plan p = {0};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 100, 0, 0);
	box_submit_array(&b, 0, 9, 0);
	plan(&b, 3, &p);
	assert_int_equal(p.n, 3);
	plan(&b, 0, &p);
	assert_int_equal(p.n, 0);
	sched_plan_done(&p);
	box_done(&b);
}

static void test_the_same_world_gives_the_same_plan(void **state)
{
	struct box b;
	struct sched_plan first = {0}, again = {0};

	(void)state;
	box_init(&b);
	for (int i = 0; i < 5; i++)
		box_node(&b, (const char *const[]){"n1", "n2", "n3", "n4", "n5"}[i], 8, 4, 8 * GIB);
	for (uint32_t i = 0; i < 200; i++) {
		struct request r = box_request();
		r.cpus = i % 3;
		r.priority = (int32_t)(i * 7 % 5);
		r.gpu.milli = i % 4 ? 100 * (i % 9 + 1) : 0;
		r.gpu.count = i % 4 ? 0 : i % 3;
		box_submit(&b, r);
	}
	plan(&b, 1000, &first);
	plan(&b, 1000, &again);
	assert_true(first.n > 20);
	assert_int_equal(first.n, again.n);
	for (size_t i = 0; i < first.n; i++) {
		assert_true(job_id_eq(first.v[i].id, again.v[i].id) &&
		            first.v[i].node == again.v[i].node);
		assert_int_equal(first.v[i].n_slices, again.v[i].n_slices);
		assert_memory_equal(first.v[i].slices, again.v[i].slices,
		        first.v[i].n_slices * sizeof(struct slice));
		assert_memory_equal(&first.v[i].cpus, &again.v[i].cpus, sizeof(struct cpu_set));
	}
	sched_plan_done(&first);
	sched_plan_done(&again);
	box_done(&b);
}

/* With 100,000 jobs waiting a plan costs what it starts, and one look at each kind of job. */
static void test_work_goes_with_the_starts(void **state)
{
	struct box b;
	struct request r = box_request();
	struct sched_plan p = {0};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	submit_quickly(&b, &r, MANY / 2);
	r.cpus = 2;
	submit_quickly(&b, &r, MANY / 4);
	r.gpu.count = 1; /* for which there is no node */
	submit_quickly(&b, &r, MANY / 4);
	plan(&b, 256, &p);
	assert_int_equal(p.n, 8);
	assert_true(n_fits <= p.n + 3);
	assert_true(n_jobs <= p.n + 3);
	sched_plan_done(&p);
	/* Full: a look at each kind, however many wait. */
	assert_int_equal(plan_and_start(&b), 8);
	plan(&b, 256, &p);
	assert_int_equal(p.n, 0);
	assert_true(n_fits <= 3 && n_jobs <= 3);
	sched_plan_done(&p);
	box_done(&b);
}

static void test_work_of_an_array_goes_with_the_starts(void **state)
{
	struct box b;
	struct sched_plan p = {0};

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	box_submit_array(&b, 0, MANY - 1, 0);
	plan(&b, 256, &p);
	assert_int_equal(p.n, 8);
	assert_true(n_fits <= p.n + 1 && n_jobs <= 2);
	sched_plan_done(&p);
	box_done(&b);
}

static void test_a_dry_run(void **state)
{
	struct box b;
	struct request r = box_request();
	struct placement p;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 1, 8 * GIB);
	r.gpu.milli = 750;
	assert_true(fit_request(&b, &r, &p));
	assert_true(p.node == 1 && p.slices[0].mem_bytes == 6 * GIB);
	box_start_on(&b, box_submit_plain(&b), 4 * GIB, 500);
	assert_false(fit_request(&b, &r, &p));
	assert_true(b.w->n_living == 1);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_order),
	        cmocka_unit_test(test_a_class_that_does_not_fit_holds_up_no_other),
	        cmocka_unit_test(test_the_ledger_within_a_plan),
	        cmocka_unit_test(test_arrays),
	        cmocka_unit_test(test_at_most_as_many_as_wanted),
	        cmocka_unit_test(test_the_same_world_gives_the_same_plan),
	        cmocka_unit_test(test_work_goes_with_the_starts),
	        cmocka_unit_test(test_work_of_an_array_goes_with_the_starts),
	        cmocka_unit_test(test_a_dry_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
