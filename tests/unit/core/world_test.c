#include "box.h"

#include <stdio.h>
#include <string.h>

static void test_find_and_walk(void **state)
{
	struct box b;
	struct job *first, *a, *t, *last;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	assert_null(world_next_job(b.w, NULL));
	first = box_submit_plain(&b);
	a = box_submit_array(&b, 3, 9, 0);
	last = box_submit_plain(&b);
	t = box_start(&b, a);
	assert_ptr_equal(world_next_job(b.w, NULL), first);
	assert_ptr_equal(world_next_job(b.w, first), a);
	assert_ptr_equal(world_next_job(b.w, a), t);
	assert_ptr_equal(world_next_job(b.w, t), last);
	assert_null(world_next_job(b.w, last));
	assert_ptr_equal(box_find(&b, 2, TASK_NONE), a);
	assert_ptr_equal(box_find(&b, 2, 3), t);
	assert_null(box_find(&b, 2, 4));
	assert_null(box_find(&b, 4, TASK_NONE));
	box_done(&b);
}

static void test_dirty_is_told_once(void **state)
{
	struct box b;
	struct job *j, **jobs;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	j = box_run(&b, box_submit_plain(&b));
	assert_int_equal(world_take_dirty(b.w, &jobs), 1);
	assert_ptr_equal(jobs[0], j);
	assert_false(j->dirty);
	assert_int_equal(world_take_dirty(b.w, &jobs), 0);
	box_exit(&b, j, 0);
	box_submit_plain(&b);
	assert_int_equal(world_take_dirty(b.w, &jobs), 2);
	box_done(&b);
}

static void test_trim(void **state)
{
	struct box b;
	struct job_id ids[5];

	(void)state;
	box_init(&b);
	for (int i = 0; i < 5; i++)
		ids[i] = box_submit_plain(&b)->id;
	/* They end in another order than they came. */
	for (int i = 4; i >= 0; i--)
		box_cancel(&b, ids[i]);
	box_submit_plain(&b);
	b.w->policy.keep_ended = 2;
	world_trim(b.w, &b.fx);
	assert_int_equal(b.w->n_ended, 5); /* none of them is stored yet */
	box_take_dirty(&b);
	box_apply(&b, (struct event){.kind = EVENT_RETRY, .id = ids[4]});
	box_cancel(&b, ids[4]); /* the latest end now, and not stored */
	b.fx.n = 0;
	world_trim(b.w, &b.fx);
	assert_int_equal(b.w->n_ended, 2);
	assert_int_equal(b.fx.n, 3);
	for (int i = 3; i >= 1; i--) {
		assert_int_equal(b.fx.v[3 - i].kind, EFFECT_FORGET);
		assert_true(job_id_eq(b.fx.v[3 - i].id, ids[i]));
		assert_null(world_find_job(b.w, ids[i]));
	}
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_int_equal(b.w->n_ended, 1);
	assert_non_null(world_find_job(b.w, ids[4]));
	box_take_dirty(&b);
	world_trim(b.w, &b.fx);
	assert_int_equal(b.w->n_ended, 0);
	assert_int_equal(b.w->n_living, 1);
	box_done(&b);
}

static void test_keys(void **state)
{
	struct box b;
	struct request r = box_request();
	struct job *j;

	(void)state;
	box_init(&b);
	r.idempotency_key = "k";
	j = box_submit(&b, r);
	assert_int_equal(world_find_idem(b.w, "ada", "k"), j->id.num);
	assert_int_equal(world_find_idem(b.w, "bob", "k"), 0);
	assert_int_equal(world_find_idem(b.w, "ada", "kk"), 0);
	/* The first one stands; a later one with the same key does not take it away, nor does its end. */
	box_cancel(&b, box_submit(&b, r)->id);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_int_equal(b.w->n_ended, 0);
	assert_int_equal(world_find_idem(b.w, "ada", "k"), 1);
	r.user = "bob";
	j = box_submit(&b, r);
	assert_int_equal(world_find_idem(b.w, "bob", "k"), j->id.num);
	box_done(&b);
}

static void test_a_key_goes_with_its_job(void **state)
{
	struct box b;
	struct request r = box_request();

	(void)state;
	box_init(&b);
	r.idempotency_key = "k";
	box_cancel(&b, box_submit(&b, r)->id);
	assert_int_equal(world_find_idem(b.w, "ada", "k"), 1);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_int_equal(world_find_idem(b.w, "ada", "k"), 0);
	box_done(&b);
}

static void test_blobs(void **state)
{
	struct box b;
	struct event e = {.kind = EVENT_BLOB, .data = "A=1", .len = 4, .hash = {1, 2, 3}};
	struct request r = box_request();
	const struct blob *x;
	struct job *j;

	(void)state;
	box_init(&b);
	b.w->counters_dirty = false;
	box_apply(&b, e);
	assert_true(b.out.num == 1 && b.out.is_new && b.w->counters_dirty);
	x = world_find_blob(b.w, e.hash);
	assert_true(x && x->num == 1 && x->len == 4 && x->used_ms == BOX_WALL_MS);
	assert_memory_equal(x->data, "A=1", 4);
	assert_ptr_equal(world_find_blob_num(b.w, 1), x);
	/* The same bytes again: the one that is there. */
	box_apply(&b, e);
	assert_true(b.out.num == 1 && !b.out.is_new);
	e.hash[0] = 9;
	e.len = 0;
	e.data = NULL;
	box_apply(&b, e);
	assert_int_equal(b.out.num, 2);
	assert_null(world_find_blob_num(b.w, 3));
	r.env_blob = 1;
	j = box_submit(&b, r);
	assert_int_equal(x->refs, 1);
	box_cancel(&b, j->id);
	assert_int_equal(x->refs, 1);
	box_take_dirty(&b);
	b.w->policy.keep_ended = 0;
	world_trim(b.w, &b.fx);
	assert_int_equal(x->refs, 0);
	box_done(&b);
}

static void test_an_unknown_event_changes_nothing(void **state)
{
	struct box b;

	(void)state;
	box_init(&b);
	box_refuse(&b, (struct event){.kind = (enum event_kind)999}, ERR_INTERNAL,
	        "unknown event 999");
	box_done(&b);
}

static void test_nothing_is_left_behind(void **state)
{
	struct box b;
	struct job *a;

	(void)state;
	/* Freed in the middle of everything; the leak checker looks at what is left. */
	box_init(&b);
	box_node(&b, "n1", 8, 2, 8 * GIB);
	a = box_submit_array(&b, 0, 9, 2);
	for (int i = 0; i < 2; i++)
		box_lose(&b, box_run(&b, a), REASON_NODE_LOST);
	box_pass(&b, 1000);
	box_start_on(&b, box_find(&b, 1, 0), GIB, 10);
	box_submit_after(&b, DEP_AFTER_OK, a->id);
	box_submit_after(&b, DEP_AFTER_OK, (struct job_id){50, TASK_NONE});
	box_job_in(&b, JOB_FAILED);
	box_done(&b);
	world_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_find_and_walk),
	        cmocka_unit_test(test_dirty_is_told_once),
	        cmocka_unit_test(test_trim),
	        cmocka_unit_test(test_keys),
	        cmocka_unit_test(test_a_key_goes_with_its_job),
	        cmocka_unit_test(test_blobs),
	        cmocka_unit_test(test_an_unknown_event_changes_nothing),
	        cmocka_unit_test(test_nothing_is_left_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
