#include "box.h"

#include <string.h>

static struct request everything(void)
{
	static char *argv[] = {"python", "train.py", "", NULL};
	static struct array_range ranges[] = {{1, 9, 2}, {20, 20, 1}};
	static struct dep deps[] = {{DEP_AFTER, {3, TASK_NONE}}, {DEP_AFTER_OK, {4, 7}}};

	return (struct request){.uid = 1000,
	        .gid = 1001,
	        .user = "ada",
	        .name = "train",
	        .queue = "default",
	        .argv = argv,
	        .n_argv = 3,
	        .env_blob = 12,
	        .chdir = "/data",
	        .output = "/data/out",
	        .error = "/data/err",
	        .idempotency_key = "key-1",
	        .gpu = {.milli = 500,
	                .mem_bytes = 12,
	                .share_milli = 30,
	                .cc_min = 80,
	                .model = "a100"},
	        .cpus = 2,
	        .mem_bytes = 8 * GIB,
	        .time_limit_ms = 60000,
	        .retry_max = 3,
	        .no_retry = true,
	        .hold = true,
	        .tty = true,
	        .priority = -5,
	        .throttle = 8,
	        .ranges = ranges,
	        .n_ranges = 2,
	        .deps = deps,
	        .n_deps = 2};
}

static void test_pack_keeps_everything_in_one_block(void **state)
{
	struct request from = everything();
	struct request *r = request_pack(&from);
	const char *low = (const char *)r, *high = low + r->bytes;

	(void)state;
	assert_int_equal(r->refs, 1);
	assert_int_equal(r->uid, 1000);
	assert_int_equal(r->gid, 1001);
	assert_string_equal(r->user, "ada");
	assert_string_equal(r->name, "train");
	assert_string_equal(r->queue, "default");
	assert_string_equal(r->argv[0], "python");
	assert_string_equal(r->argv[1], "train.py");
	assert_string_equal(r->argv[2], "");
	assert_null(r->argv[3]);
	assert_string_equal(r->chdir, "/data");
	assert_string_equal(r->output, "/data/out");
	assert_string_equal(r->error, "/data/err");
	assert_string_equal(r->idempotency_key, "key-1");
	assert_string_equal(r->gpu.model, "a100");
	assert_memory_equal(r->ranges, from.ranges, 2 * sizeof(*r->ranges));
	assert_memory_equal(r->deps, from.deps, 2 * sizeof(*r->deps));
	assert_true(r->env_blob == 12 && r->cpus == 2 && r->mem_bytes == 8 * GIB &&
	            r->time_limit_ms == 60000);
	assert_true(r->retry_max == 3 && r->no_retry && r->hold && r->tty && r->priority == -5 &&
	            r->throttle == 8);
	const void *const places[] = {r->argv, r->argv[2], r->user, r->name, r->queue, r->chdir,
	        r->output, r->error, r->idempotency_key, r->gpu.model, r->ranges, r->deps};
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		assert_true((const char *)places[i] > low && (const char *)places[i] < high);
	request_unref(r);
}

static void test_pack_of_the_least(void **state)
{
	struct request from = box_request();
	struct request *r = request_pack(&from), *again = request_pack(r);

	(void)state;
	assert_null(r->name);
	assert_null(r->ranges);
	assert_null(r->deps);
	assert_null(r->gpu.model);
	assert_string_equal(again->argv[0], "/bin/true");
	assert_true(again->bytes == r->bytes);
	assert_ptr_equal(request_ref(again), again);
	assert_int_equal(again->refs, 2);
	request_unref(again);
	assert_int_equal(again->refs, 1);
	request_unref(again);
	request_unref(r);
	request_unref(NULL);
}

static void test_tasks_and_positions(void **state)
{
	struct request r = everything();

	(void)state;
	/* 1 3 5 7 9 20 */
	assert_int_equal(request_n_tasks(&r), 6);
	assert_int_equal(request_task_at(&r, 0), 1);
	assert_int_equal(request_task_at(&r, 4), 9);
	assert_int_equal(request_task_at(&r, 5), 20);
	assert_int_equal(request_task_at(&r, 6), TASK_NONE);
	assert_int_equal(request_task_pos(&r, 1), 0);
	assert_int_equal(request_task_pos(&r, 9), 4);
	assert_int_equal(request_task_pos(&r, 20), 5);
	for (int64_t task = -1; task < 30; task++) {
		uint64_t pos = request_task_pos(&r, task);
		assert_true(pos == UINT64_MAX || request_task_at(&r, pos) == task);
	}
	assert_true(request_task_pos(&r, 2) == UINT64_MAX);
	assert_true(request_task_pos(&r, 21) == UINT64_MAX);
	r.n_ranges = 0;
	assert_int_equal(request_n_tasks(&r), 0);
}

static void refuse(struct request r, const char *part)
{
	struct err err = {0};

	assert_int_equal(request_check(&r, &err), -(int)ERR_INVALID);
	if (!strstr(err.text, part))
		fail_msg("'%s' does not say '%s'", err.text, part);
}

static void test_check(void **state)
{
	static char *empty[] = {"", NULL};
	static char long_text[100];
	struct request good = everything(), r;
	struct array_range range;
	struct dep dep = {DEP_AFTER, {1, TASK_NONE}};
	struct err err;

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	assert_int_equal(request_check(&good, &err), 0);
#define WITH(change, part) \
	r = good;          \
	change;            \
	refuse(r, part)
	WITH(r.n_argv = 0, "command");
	WITH(r.argv = empty, "command");
	WITH(r.user = NULL, "account");
	WITH(r.user = "", "account");
	WITH(r.queue = NULL, "queue");
	WITH(r.queue = "", "queue");
	WITH(r.queue = long_text, "queue");
	WITH(r.gpu.model = long_text, "model");
	WITH(r.cpus = NODE_CPUS_MAX + 1, "CPUs");
	WITH(r.mem_bytes = (uint64_t)INT64_MAX + 1, "memory");
	WITH(r.gpu.mem_bytes = UINT64_MAX, "memory");
	WITH(r.deps = &dep; r.n_deps = 1; dep.on.num = 0, "dependency");
	WITH(r.deps = &dep; r.n_deps = 1; dep.on = ((struct job_id){1, -3}), "dependency");
	r = good;
	r.ranges = &range;
	r.n_ranges = 1;
	const struct array_range bad[] = {{-1, 3, 1}, {3, 2, 1}, {0, 3, 0}, {0, 3, -1},
	        {INT64_MIN, INT64_MAX, 1}, {0, INT64_MAX, 1}};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		range = bad[i];
		refuse(r, "ranges");
	}
	const struct array_range apart[] = {{0, 4, 1}, {4, 5, 1}};
	r.ranges = (struct array_range *)(uintptr_t)apart;
	r.n_ranges = 2;
	refuse(r, "ranges");
}

static void test_gpu_ask_any(void **state)
{
	(void)state;
	assert_false(gpu_ask_any(&(struct gpu_ask){.model = "x", .cc_min = 80}));
	assert_true(gpu_ask_any(&(struct gpu_ask){.count = 1}));
	assert_true(gpu_ask_any(&(struct gpu_ask){.milli = 1}));
	assert_true(gpu_ask_any(&(struct gpu_ask){.fgpu_milli = 1}));
	assert_true(gpu_ask_any(&(struct gpu_ask){.mem_bytes = 1}));
	assert_true(gpu_ask_any(&(struct gpu_ask){.share_milli = 1}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pack_keeps_everything_in_one_block),
	        cmocka_unit_test(test_pack_of_the_least),
	        cmocka_unit_test(test_tasks_and_positions),
	        cmocka_unit_test(test_check),
	        cmocka_unit_test(test_gpu_ask_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
