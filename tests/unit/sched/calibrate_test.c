/* Calibration for a scheduler: on a copy, of use or not, and what plans are like before and after its result is taken over. */
#include "box.h"
#include "base/mem.h"
#include "sched/calibrate.h"
#include "sched/sched.h"

#include <math.h>
#include <string.h>

#define STEPS_MAX 100000

/* Two nodes; half of the second one's device is taken. Fractions and whole devices wait. */
static void begin(struct box *b)
{
	struct request r = box_request();
	struct placement p = {
	        .node = 2, .n_slices = 1, .slices = {{.mem_bytes = 4 * GIB, .share_milli = 500}}};

	box_init(b);
	box_node(b, "n1", 16, 1, 8 * GIB);
	box_node(b, "n2", 16, 1, 8 * GIB);
	r.gpu.milli = 500;
	p.id = box_submit(b, r)->id;
	box_apply(b, (struct event){.kind = EVENT_START, .placement = &p});
	box_submit(b, r);
	r.gpu = (struct gpu_ask){.count = 1};
	box_submit(b, r);
}

/* Where the fraction that waits is placed. */
static uint64_t node_of_first(struct box *b, struct sched *s)
{
	struct sched_plan p = {0};
	uint64_t node;

	sched_plan_make(s, b->w, b->now.wall_ms, 1, &p);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.v[0].id.num, 2);
	node = p.v[0].node;
	sched_plan_done(&p);
	return node;
}

static struct calibrated to_the_end(struct calibration *c, uint32_t step)
{
	struct calibrated found;

	for (uint32_t i = 0; calibration_step(c, step); i++)
		assert_true(i < STEPS_MAX);
	assert_true(calibration_result(c, &found));
	return found;
}

static void test_the_same_snapshot_gives_the_same_settings(void **state)
{
	struct box b;
	struct sched *s;
	struct calibration *c, *again;
	struct calibrated a, z;

	(void)state;
	begin(&b);
	s = sched_new("fragment");
	sched_learn(s, b.w);
	c = sched_calibrate(s, NULL);
	again = sched_calibrate(s, NULL);
	assert_non_null(c);
	/* What it was taken from is not needed any more. */
	sched_free(s);
	box_done(&b);
	assert_false(calibration_result(c, &a));
	a = to_the_end(c, 1);
	z = to_the_end(again, 1000);
	assert_memory_equal(&a, &z, sizeof(a));
	assert_true(a.share >= a.usual_share && a.usual_share > 0 && a.share <= 1);
	calibration_free(c);
	calibration_free(again);
}

static void test_a_plan_is_what_it_was_until_the_result_is_taken_over(void **state)
{
	static const struct sched_settings all_alike; /* the first node that has room */
	struct box b;
	struct sched *s, *other;
	struct calibration *c;

	(void)state;
	begin(&b);
	s = sched_new("fragment");
	other = sched_new("fragment");
	sched_learn(s, b.w);
	c = sched_calibrate(s, NULL);
	assert_int_equal(node_of_first(&b, s), 2);
	to_the_end(c, 100);
	assert_int_equal(node_of_first(&b, s), 2);
	assert_true(sched_adopt(s, b.w, &all_alike));
	assert_int_equal(node_of_first(&b, s), 1);
	/* The same inputs elsewhere, in another course of questions. */
	assert_int_equal(node_of_first(&b, other), 2);
	assert_true(sched_adopt(other, b.w, &all_alike));
	assert_int_equal(node_of_first(&b, other), 1);
	sched_learn(other, b.w);
	assert_int_equal(node_of_first(&b, other), 1);
	calibration_free(c);
	sched_free(s);
	sched_free(other);
	box_done(&b);
}

static void test_settings_outlive_the_nodes(void **state)
{
	static const struct sched_settings all_alike;
	struct box b, none;
	struct sched *s = sched_new("fragment");
	struct request r = box_request();
	struct placement p;

	(void)state;
	begin(&b);
	box_init(&none);
	r.gpu.milli = 500;
	assert_true(sched_adopt(s, b.w, &all_alike));
	assert_false(sched_fit_request(s, none.w, 0, &r, &p)); /* every node is gone */
	assert_int_equal(node_of_first(&b, s), 1);
	sched_free(s);
	box_done(&b);
	box_done(&none);
}

static void test_settings_out_of_bounds_change_nothing(void **state)
{
	static const double wrong[] = {-0.001, 1000.5, NAN, INFINITY, -INFINITY};
	struct box b;
	struct sched *s, *pack;

	(void)state;
	begin(&b);
	s = sched_new("fragment");
	pack = sched_new("pack");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		for (size_t k = 0; k < SCHED_SETTINGS; k++) {
			struct sched_settings settings = {0};
			settings.v[k] = wrong[i];
			assert_false(sched_adopt(s, b.w, &settings));
		}
	assert_int_equal(node_of_first(&b, s), 2);
	assert_false(sched_adopt(pack, b.w, &(struct sched_settings){0}));
	sched_free(s);
	sched_free(pack);
	box_done(&b);
}

/* What sched_calibrate() says of the world as it is. */
static bool is_due(struct box *b, const char *policy, const struct calibration *last)
{
	struct sched *s = sched_new(policy);
	struct calibration *c;

	sched_learn(s, b->w);
	c = sched_calibrate(s, last);
	sched_free(s);
	calibration_free(c);
	return c;
}

static void test_when_it_is_of_use(void **state)
{
	struct box b;
	struct request r = box_request();
	struct sched *s;
	struct calibration *last;

	(void)state;
	box_init(&b);
	box_submit(&b, r);
	assert_false(is_due(&b, "fragment", NULL)); /* no devices */
	box_node(&b, "n1", 16, 8, 8 * GIB);
	assert_false(is_due(&b, "fragment", NULL)); /* nobody asks for one */
	r.gpu.count = 1;
	for (int i = 0; i < 19; i++)
		box_submit(&b, r);
	assert_false(is_due(&b, "pack", NULL));
	s = sched_new("fragment");
	sched_learn(s, b.w);
	last = sched_calibrate(s, NULL);
	assert_non_null(last);
	sched_free(s);
	/* The same, a little more, and another mix. */
	assert_false(is_due(&b, "fragment", last));
	r.gpu.count = 2;
	box_submit(&b, r);
	assert_false(is_due(&b, "fragment", last));
	for (int i = 0; i < 3; i++)
		box_submit(&b, r);
	assert_true(is_due(&b, "fragment", last));
	for (uint64_t i = 21; i <= 24; i++)
		box_cancel(&b, (struct job_id){i, TASK_NONE});
	assert_false(is_due(&b, "fragment", last));
	/* Other nodes; one that takes no jobs does not count. */
	box_node(&b, "n2", 16, 1, 8 * GIB);
	assert_true(is_due(&b, "fragment", last));
	box_apply(&b, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n2"});
	assert_false(is_due(&b, "fragment", last));
	calibration_free(last);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_same_snapshot_gives_the_same_settings),
	        cmocka_unit_test(test_a_plan_is_what_it_was_until_the_result_is_taken_over),
	        cmocka_unit_test(test_settings_outlive_the_nodes),
	        cmocka_unit_test(test_settings_out_of_bounds_change_nothing),
	        cmocka_unit_test(test_when_it_is_of_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
