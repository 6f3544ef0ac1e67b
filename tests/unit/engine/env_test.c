#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <talloc.h>

#include "engine/env.h"

static void *ctx;

static int begin(void **state)
{
	ctx = talloc_new(NULL);
	return 0;
}

static int end(void **state)
{
	talloc_free(ctx);
	return 0;
}

/* The value of a key that stands there exactly once; NULL when it is absent. */
static const char *value_of(char **env, const char *key)
{
	const char *found = NULL;
	size_t len = strlen(key);

	for (; *env; env++) {
		if (strncmp(*env, key, len) != 0 || (*env)[len] != '=')
			continue;
		assert_null(found);
		found = *env + len + 1;
	}
	return found;
}

static struct link_start a_start(void)
{
	return (struct link_start){
	        .id = {.num = 17, .task = TASK_NONE}, .attempt = 2, .epoch = 9, .n_cpus = 3};
}

static void test_what_berth_says(void **state)
{
	struct link_start m = a_start();
	struct env_input in = {.start = &m};
	char **env = env_compose(ctx, &in);

	assert_string_equal(value_of(env, "BERTH_JOB_ID"), "17");
	assert_null(value_of(env, "BERTH_TASK_ID"));
	assert_string_equal(value_of(env, "BERTH_ATTEMPT"), "2");
	assert_string_equal(value_of(env, "BERTH_EPOCH"), "9");
	assert_string_equal(value_of(env, "BERTH_CPUS"), "3");
	assert_string_equal(value_of(env, "CUDA_VISIBLE_DEVICES"), "");
	assert_null(value_of(env, "BERTH_GPU_MEM_BYTES"));
	assert_null(value_of(env, "BERTH_FAKE_GPUS"));
	m.id.task = 0;
	assert_string_equal(value_of(env_compose(ctx, &in), "BERTH_TASK_ID"), "0");
}

/* Each task has its share; who submits from a task does not pass on whose rank it was. */
static void test_tasks(void **state)
{
	static const char inside[] = "RANK=1\0BERTH_TASKS=2\0MASTER_PORT=7\0A=b",
	                  outside[] = "RANK=1\0MASTER_PORT=7\0XBERTH_TASKS=2";
	struct link_start m = a_start();
	struct env_input in = {.start = &m, .blob = inside, .blob_len = sizeof(inside)};
	char **env;

	m.ranks = 3;
	assert_string_equal(value_of(env_compose(ctx, &in), "BERTH_CPUS"), "1");
	m.ranks = 0;
	env = env_compose(ctx, &in);
	assert_null(value_of(env, "RANK"));
	assert_null(value_of(env, "BERTH_TASKS"));
	assert_null(value_of(env, "MASTER_PORT"));
	assert_string_equal(value_of(env, "A"), "b");
	in.blob = outside;
	in.blob_len = sizeof(outside);
	env = env_compose(ctx, &in);
	assert_string_equal(value_of(env, "RANK"), "1");
	assert_string_equal(value_of(env, "MASTER_PORT"), "7");
}

static void test_account_fills_in(void **state)
{
	static const char blob[] = "HOME=/elsewhere";
	struct link_start m = a_start();
	struct env_account account = {.name = "ada", .home = "/home/ada"};
	struct env_input in = {.start = &m, .account = &account};
	char **env = env_compose(ctx, &in);

	assert_string_equal(value_of(env, "HOME"), "/home/ada");
	assert_string_equal(value_of(env, "USER"), "ada");
	assert_string_equal(value_of(env, "PATH"), "/usr/local/bin:/usr/bin:/bin");
	assert_string_equal(value_of(env, "LANG"), "C.UTF-8");
	in.blob = blob;
	in.blob_len = sizeof(blob);
	in.lang = "de_DE.UTF-8";
	account.is_root = true;
	env = env_compose(ctx, &in);
	assert_string_equal(value_of(env, "HOME"), "/elsewhere");
	assert_string_equal(value_of(env, "LANG"), "de_DE.UTF-8");
	assert_non_null(strstr(value_of(env, "PATH"), "/sbin"));
	/* An account without a name here has a PATH all the same. */
	in.account = NULL;
	in.blob = NULL;
	env = env_compose(ctx, &in);
	assert_non_null(value_of(env, "PATH"));
	assert_null(value_of(env, "HOME"));
}

/* The submitter's own shell may run in another job: its names are not this job's. */
static void test_ours_win(void **state)
{
	static const char blob[] =
	        "BERTH_JOB_ID=1\0CUDA_VISIBLE_DEVICES=all\0BERTH_KEEPER=x\0BERTH_FAKE_GPUS=y\0"
	        "BERTH_TASK_ID=5\0BERTH_DATA=/keep\0X=a=b\0EMPTY=";
	struct link_start m = a_start();
	struct env_input in = {.start = &m, .blob = blob, .blob_len = sizeof(blob)};
	char **env = env_compose(ctx, &in);

	assert_string_equal(value_of(env, "BERTH_JOB_ID"), "17");
	assert_string_equal(value_of(env, "CUDA_VISIBLE_DEVICES"), "");
	assert_null(value_of(env, "BERTH_KEEPER"));
	assert_null(value_of(env, "BERTH_FAKE_GPUS"));
	assert_null(value_of(env, "BERTH_TASK_ID"));
	assert_string_equal(value_of(env, "BERTH_DATA"), "/keep");
	assert_string_equal(value_of(env, "X"), "a=b");
	assert_string_equal(value_of(env, "EMPTY"), "");
}

static void test_bytes_that_are_no_entries(void **state)
{
	static const char blob[] = "NOEQUALS\0=novalue\0\0\0A=1\0B=cut";
	struct link_start m = a_start();
	struct env_input in = {.start = &m, .blob = blob, .blob_len = sizeof(blob) - 2};
	char **env = env_compose(ctx, &in);

	assert_string_equal(value_of(env, "A"), "1");
	assert_string_equal(value_of(env, "B"), "cu");
	for (char **e = env; *e; e++) {
		assert_non_null(strchr(*e, '='));
		assert_true((*e)[0] != '=');
	}
}

static void test_slices(void **state)
{
	struct slice_record slices[] = {
	        {.device = "GPU-a", .mem_bytes = 5000, .share_milli = 500},
	        {.device = "GPU-b", .mem_bytes = 4000, .share_milli = 600},
	};
	struct link_start m = a_start();
	struct env_input in = {.start = &m, .fake_gpus = "/d/sim/gpus.sim"};
	char **env;

	m.slices = slices;
	m.n_slices = 2;
	env = env_compose(ctx, &in);
	assert_string_equal(value_of(env, "CUDA_VISIBLE_DEVICES"), "GPU-a,GPU-b");
	assert_string_equal(value_of(env, "BERTH_GPU_MEM_BYTES"), "4000");
	assert_string_equal(value_of(env, "BERTH_GPU_SHARE_MILLI"), "500");
	assert_string_equal(value_of(env, "BERTH_FAKE_GPUS"), "/d/sim/gpus.sim");
}

/* Under MPS: what it is told wins over what the submitter's shell had. */
static void test_mps(void **state)
{
	static const char blob[] = "CUDA_MPS_PIPE_DIRECTORY=/mine\0CUDA_MPS_CLIENT_PRIORITY=0\0A=1";
	struct slice_record slice = {
	        .device = "GPU-a", .mem_bytes = 2 * GIB + 1, .share_milli = 251};
	struct link_start m = a_start();
	struct env_input in = {.start = &m,
	        .blob = blob,
	        .blob_len = sizeof(blob),
	        .mps_pipes = "/d/pipe",
	        .mps_logs = "/d/log"};
	char **env;

	m.slices = &slice;
	m.n_slices = 1;
	env = env_compose(ctx, &in);
	assert_string_equal(value_of(env, "CUDA_MPS_PIPE_DIRECTORY"), "/d/pipe");
	assert_string_equal(value_of(env, "CUDA_MPS_LOG_DIRECTORY"), "/d/log");
	assert_string_equal(value_of(env, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"), "26");
	assert_string_equal(value_of(env, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"), "0=2049M");
	assert_null(value_of(env, "CUDA_MPS_CLIENT_PRIORITY"));
	assert_string_equal(value_of(env, "A"), "1");
	in.mps_pipes = NULL;
	assert_string_equal(value_of(env_compose(ctx, &in), "CUDA_MPS_PIPE_DIRECTORY"), "/mine");
}

/* For a command beside it: what such an attempt was given stands as it is. */
static void test_keep_ours(void **state)
{
	static const char blob[] = "BERTH_JOB_ID=17\0CUDA_VISIBLE_DEVICES=GPU-a\0PATH=/x";
	struct link_start m = a_start();
	struct env_input in = {
	        .start = &m, .blob = blob, .blob_len = sizeof(blob), .keep_ours = true};
	char **env = env_compose(ctx, &in);

	assert_string_equal(value_of(env, "CUDA_VISIBLE_DEVICES"), "GPU-a");
	assert_string_equal(value_of(env, "BERTH_JOB_ID"), "17");
	assert_null(value_of(env, "BERTH_CPUS"));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	        CASE(test_what_berth_says),
	        CASE(test_tasks),
	        CASE(test_account_fills_in),
	        CASE(test_ours_win),
	        CASE(test_bytes_that_are_no_entries),
	        CASE(test_slices),
	        CASE(test_mps),
	        CASE(test_keep_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
