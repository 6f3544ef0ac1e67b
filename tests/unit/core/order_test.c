#include "box.h"

#define JOBS  306 /* one less than a prime: so each is cancelled once */
#define STEPS 1500

static uint64_t position_by_walk(const struct box *b, const struct job *j)
{
	uint64_t n = 1;

	for (const struct job *o = world_next_job(b->w, NULL); o; o = world_next_job(b->w, o))
		n += o->wait == WAIT_READY && job_order_cmp(o, j) < 0;
	return n;
}

/* Every way into and out of the trees, in the middle and at the ends; box_apply() looks at every count after each. */
static void test_counts_stay_right(void **state)
{
	static const enum event_kind kinds[] = {EVENT_HOLD, EVENT_RELEASE, EVENT_EDIT};
	uint64_t dice = 1;
	struct box b;

	(void)state;
	box_init(&b);
	for (uint32_t i = 0; i < JOBS; i++) {
		struct request r = box_request();
		r.priority = (int32_t)(i * 7 % 5);
		r.cpus = i % 3;
		box_submit(&b, r);
	}
	for (uint32_t i = 0; i < STEPS; i++) {
		struct event e = {.actor = "ada", .set_priority = true};
		dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
		e.kind = kinds[(dice >> 60) % ARRAY_LEN(kinds)];
		e.id = (struct job_id){1 + (dice >> 33) % JOBS, TASK_NONE};
		e.priority = (int32_t)(dice >> 20 & 7);
		(void)box_try(&b, e); /* who is held is not held again */
	}
	for (uint64_t num = 1; num <= JOBS; num++) {
		const struct job *j = box_find(&b, num, TASK_NONE);
		assert_int_equal(world_position(b.w, j), position_by_walk(&b, j));
	}
	for (uint64_t num = JOBS; num >= 1; num--)
		box_cancel(&b, (struct job_id){num * 7 % (JOBS + 1), TASK_NONE});
	box_done(&b);
}

static void test_of_nobody_and_of_all(void **state)
{
	struct job_order o = RB_INITIALIZER(&o);
	const struct job *j;
	struct box b;

	(void)state;
	assert_int_equal(job_order_count(&o, NULL), 0);
	box_init(&b);
	j = box_submit_plain(&b);
	assert_int_equal(job_order_count(&o, j), 0);
	assert_int_equal(job_order_count(&j->class->ready, j), 0);
	assert_int_equal(job_order_count(&j->class->ready, NULL), 1);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_counts_stay_right),
	        cmocka_unit_test(test_of_nobody_and_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
