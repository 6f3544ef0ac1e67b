/* What was asked for, in the row of its job: what came to it later, each with bytes of its day. The rest: record_test.c. */
#include "box.h"
#include "golden.h"
#include "base/mem.h"
#include "wire/record.h"

#include <string.h>

static void test_codes_to_retry_on(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct request q = box_request();
	struct job *j = world_job_new(), *k;
	struct err err;

	(void)state;
	j->id.num = 1;
	q.retry_max = 3;
	code_set_add(&q.retry_on, 1);
	code_set_add(&q.retry_on, 137);
	code_set_add(&q.retry_on, 255);
	j->req = request_pack(&q);
	record_put_job(&b, j);
	golden_made("row-retry-on", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err), 0);
	assert_memory_equal(&k->req->retry_on, &q.retry_on, sizeof(q.retry_on));
	world_job_free(j);
	world_job_free(k);
}

static void test_ranks(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct request q = box_request();
	struct job *j = world_job_new(), *k;
	struct err err;

	(void)state;
	j->id.num = 17;
	q.ranks = 4;
	q.label = true;
	j->req = request_pack(&q);
	j->attempts = mem_zalloc(2 * sizeof(*j->attempts));
	j->n_attempts = 2;
	j->attempts[0] = (struct attempt){.n = 1, .epoch = 8, .has_rank = true};
	j->attempts[1] = (struct attempt){.n = 2, .epoch = 9};
	j->epoch = 9;
	record_put_job(&b, j);
	golden_made("row-tasks", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err), 0);
	assert_true(k->req->ranks == 4 && k->req->label);
	assert_true(k->attempts[0].has_rank && !k->attempts[0].rank && !k->attempts[1].has_rank);
	world_job_free(j);
	world_job_free(k);
}

static void test_twins(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct array_range range = {0, 9, 1};
	struct dep dep = {DEP_AFTER_OK, {16, TASK_SAME}};
	struct request q = box_request();
	struct job *j = world_job_new(), *k;
	struct err err;

	(void)state;
	j->id.num = 17;
	q.ranges = &range;
	q.n_ranges = q.n_deps = 1;
	q.deps = &dep;
	j->req = request_pack(&q);
	j->is_array = true;
	j->array = mem_zalloc(sizeof(*j->array));
	j->array->n = j->array->cut = 10;
	record_put_job(&b, j);
	golden_made("row-twins", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err), 0);
	assert_true(k->req->n_deps == 1 && k->req->deps[0].on.num == 16 &&
	            k->req->deps[0].on.task == TASK_SAME);
	world_job_free(j);
	world_job_free(k);
}

static void test_which_node(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct request q = box_request();
	struct job *j = world_job_new(), *k;

	(void)state;
	j->id.num = 1;
	q.constraint = "a100,zone=eu";
	q.gpu = (struct gpu_ask){.count = 1, .cuda_min = 12040, .driver_min = 550054000};
	j->req = request_pack(&q);
	record_put_job(&b, j);
	golden_made("row-which-node", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &(struct err){0}), 0);
	assert_string_equal(k->req->constraint, q.constraint);
	assert_memory_equal(&k->req->gpu, &q.gpu, sizeof(q.gpu));
	world_job_free(j);
	world_job_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_codes_to_retry_on),
	        cmocka_unit_test(test_ranks),
	        cmocka_unit_test(test_twins),
	        cmocka_unit_test(test_which_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
