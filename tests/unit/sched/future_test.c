#include "box.h"
#include "sched/room.h"

#include <string.h>

static struct need need_cpus(const struct gpu_ask *none, uint32_t cpus, uint64_t time_limit_ms)
{
	return (struct need){.gpu = none, .cpus = cpus, .time_limit_ms = time_limit_ms};
}

static struct job *run_for(struct box *b, uint32_t cpus, uint64_t time_limit_ms)
{
	struct request r = box_request();

	r.cpus = cpus;
	r.time_limit_ms = time_limit_ms;
	return box_run(b, box_submit(b, r));
}

static int64_t reserve(struct box *b, struct room *room, uint32_t cpus, int64_t not_before_ms)
{
	static const struct gpu_ask none;
	struct need need = need_cpus(&none, cpus, 0);
	struct reservation at;

	room_sync(room, b->w, b->now.wall_ms);
	assert_true(room_reserve(room, &need, not_before_ms, true, &at));
	return at.at_ms == ROOM_NEVER ? -1 : at.at_ms - BOX_WALL_MS;
}

static void test_the_first_moment(void **state)
{
	struct room *room = room_new("pack");
	struct box b;
	struct job *a;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	a = run_for(&b, 2, 60000);
	run_for(&b, 1, 90000);
	run_for(&b, 1, 0);
	assert_int_equal(reserve(&b, room, 2, 0), 60000);
	assert_int_equal(reserve(&b, room, 3, 0), 90000);
	assert_int_equal(reserve(&b, room, 4, 0), -1);
	assert_int_equal(reserve(&b, room, 2, BOX_WALL_MS + 70000), 70000);
	assert_int_equal(reserve(&b, room, 3, BOX_WALL_MS + 70000), 90000);
	/* Asked again nothing is forgotten, and what happens is seen. */
	box_pass(&b, 1000);
	assert_int_equal(reserve(&b, room, 2, 0), 60000);
	box_cancel(&b, a->id);
	assert_int_equal(reserve(&b, room, 2, 0), 1000);
	room_free(room);
	box_done(&b);
}

/* Nobody ends later than a whole limit from now. */
static void test_a_clock_that_is_set_back(void **state)
{
	struct room *room = room_new("pack");
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	box_pass(&b, 30000);
	run_for(&b, 4, 60000);
	box_pass(&b, 1000);
	assert_int_equal(reserve(&b, room, 4, 0), 90000);
	b.now.wall_ms -= 21000;
	assert_int_equal(reserve(&b, room, 4, 0), 70000);
	b.now.wall_ms += 1000;
	assert_int_equal(reserve(&b, room, 4, 0), 71000);
	room_free(room);
	box_done(&b);
}

static void test_who_is_overdue_ends_now(void **state)
{
	struct room *room = room_new("pack");
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	run_for(&b, 4, 5000);
	box_pass(&b, 9000);
	assert_int_equal(reserve(&b, room, 4, 0), 9000);
	room_free(room);
	box_done(&b);
}

/* What is kept for one is beside what is kept for the other; who stays gets what both leave. */
static void test_two_places(void **state)
{
	static const struct gpu_ask none;
	struct need two = need_cpus(&none, 2, 0), one = need_cpus(&none, 1, 0);
	struct need brief = need_cpus(&none, 1, 1000);
	struct room *room = room_new("pack");
	struct reservation at;
	struct placement p;
	struct box b;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 5, 0, 0);
	run_for(&b, 2, 60000);
	run_for(&b, 2, 90000);
	room_sync(room, b.w, b.now.wall_ms);
	assert_true(room_reserve(room, &two, 0, true, &at) && at.at_ms == BOX_WALL_MS + 60000);
	assert_true(room_fit(room, &one, &p));
	assert_true(room_reserve(room, &two, 0, true, &at) && at.at_ms == BOX_WALL_MS + 90000);
	assert_true(room_fit(room, &one, &p));
	room_take(room, &one, &p);
	assert_false(room_fit(room, &one, &p) || room_fit(room, &brief, &p));
	/* With the next look everything is free again that is not the world's. */
	room_sync(room, b.w, b.now.wall_ms);
	assert_true(room_fit(room, &one, &p));
	room_free(room);
	box_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_first_moment),
	        cmocka_unit_test(test_a_clock_that_is_set_back),
	        cmocka_unit_test(test_who_is_overdue_ends_now),
	        cmocka_unit_test(test_two_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
