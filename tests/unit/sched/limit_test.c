#include "box.h"
#include "sched/limit.h"

#include <stdio.h>

static char user[] = "ada";

static struct sched_shape shape_in(struct box *b, struct queue q, uint64_t time_limit_ms)
{
	snprintf(q.name, sizeof(q.name), "default");
	q.configured = true;
	box_apply(b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &q});
	return (struct sched_shape){.queue = world_find_queue(b->w, "default"),
	        .user = user,
	        .cpus = 1,
	        .time_limit_ms = time_limit_ms};
}

static void run_for(struct box *b, uint64_t time_limit_ms)
{
	struct request r = box_request();

	r.time_limit_ms = time_limit_ms;
	box_run(b, box_submit(b, r));
}

static int64_t ease(struct box *b, const struct sched_shape *shape)
{
	struct limits *l = limits_new();
	int64_t at_ms = limits_ease_ms(l, shape, b->now.wall_ms);

	limits_free(l);
	return at_ms == ROOM_NEVER ? -1 : at_ms - BOX_WALL_MS;
}

static void test_when_a_limit_eases(void **state)
{
	struct sched_shape shape;
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 8, 0, 0);
	run_for(&b, 60000);
	run_for(&b, 30000);
	run_for(&b, 0);
	shape = shape_in(&b, (struct queue){.max_running = 4}, 0);
	assert_int_equal(ease(&b, &shape), 0);
	shape = shape_in(&b, (struct queue){.max_running = 3}, 0);
	assert_int_equal(ease(&b, &shape), 30000);
	shape = shape_in(&b, (struct queue){.max_running = 2}, 0);
	assert_int_equal(ease(&b, &shape), 60000);
	shape = shape_in(&b, (struct queue){.max_running = 1}, 0);
	assert_int_equal(ease(&b, &shape), -1);
	shape = shape_in(&b, (struct queue){.max_running = 3, .max_running_per_user = 2}, 0);
	assert_int_equal(ease(&b, &shape), 60000);
	box_done(&b);
}

static void test_devices(void **state)
{
	struct limits *l = limits_new();
	struct sched_shape shape;
	struct placement p = {.n_slices = 1, .slices = {{.share_milli = 600}}};
	struct box b;

	(void)state;
	box_init(&b);
	shape = shape_in(&b, (struct queue){.max_gpus = 1}, 0);
	shape.gpu.milli = 600;
	assert_true(limits_allow(l, &shape, 0) && limits_most_milli(l, &shape, 0) == 1000);
	assert_true(limits_take(l, &shape, &p, 0));
	assert_false(limits_allow(l, &shape, 0) || limits_take(l, &shape, &p, 0));
	assert_int_equal(limits_most_milli(l, &shape, 0), 400);
	/* Who waits for devices is not passed by those who want less of them. */
	limits_close(l, &shape);
	shape.gpu.milli = 100;
	assert_false(limits_allow(l, &shape, 0));
	assert_int_equal(limits_most_milli(l, &shape, 0), 0);
	shape.gpu.milli = 0;
	assert_true(limits_allow(l, &shape, 0) && limits_most_milli(l, &shape, 0) == UINT64_MAX);
	shape.gpu.count = 1;
	assert_false(limits_forbid(&shape));
	shape.gpu.count = 2;
	assert_true(limits_forbid(&shape));
	limits_free(l);
	box_done(&b);
}

/* Who is gone by the moment may have what is kept; who ends a millisecond later may not. */
static void test_a_share_is_kept(void **state)
{
	struct limits *l = limits_new();
	struct sched_shape shape, big;
	struct box b;

	(void)state;
	box_init(&b);
	shape = shape_in(&b, (struct queue){.max_running = 1}, 60000);
	big = shape;
	limits_keep(l, &big, 60000);
	assert_true(limits_allow(l, &shape, 0));
	assert_false(limits_allow(l, &shape, 1));
	shape.time_limit_ms = 0;
	assert_false(limits_allow(l, &shape, 0));
	limits_keep(l, &big, ROOM_NEVER);
	shape.time_limit_ms = 1;
	assert_false(limits_allow(l, &shape, 0));
	limits_free(l);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_when_a_limit_eases),
	        cmocka_unit_test(test_devices),
	        cmocka_unit_test(test_a_share_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
