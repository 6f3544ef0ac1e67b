#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "wire/launch.h"

static char *argv_full[] = {
        (char[]){"python"}, (char[]){"train.py"}, (char[]){""}, (char[]){"--name=\xc3\xa9"}, NULL};
static char *env_full[] = {(char[]){"PATH=/bin"}, (char[]){"EMPTY="}, NULL};
static uint32_t groups_full[] = {0, 4, 4000000000u};

static struct launch full(void)
{
	struct launch l = {
	        .kind = LAUNCH_START,
	        .job = 17,
	        .task = 3,
	        .attempt = 2,
	        .epoch = 1ull << 60,
	        .again = true,
	        .console_id = 9,
	        .user = "ada",
	        .argv = argv_full,
	        .env = env_full,
	        .cwd = "/home/ada",
	        .make_cwd = true,
	        .out_path = "/d/logs/17.out",
	        .err_path = "/d/logs/17.err",
	        .index_path = "/d/logs/17.idx",
	        .out_internal = true,
	        .output_max = 1 * GIB,
	        .tty = true,
	        .console = true,
	        .console_path = "/d/run/17.sock",
	        .rows = 50,
	        .cols = 132,
	        .grace_ms = 10000,
	        .time_limit_ms = 86400000,
	        .force = true,
	        .stop_cause = 3,
	        .path = "/d/spool/2",
	        .has_account = true,
	        .uid = 1000,
	        .gid = 4000000000u,
	        .groups = groups_full,
	        .n_groups = ARRAY_LEN(groups_full),
	        .refusal = "no",
	        .grant = "ab",
	};

	l.cpus[0] = 5;
	l.mem_bytes = 1ull << 40;
	l.max_processes = 4096;
	l.cpu_weight = 300;
	l.cpu_max_milli = 3000;
	l.io_weight = 50;
	l.hold_devices = true;
	l.minors[0] = 1;
	l.minors[LAUNCH_MINORS / 64 - 1] = 1ull << 63;
	l.caps_major = 237;
	l.caps[LAUNCH_CAPS / 64 - 1] = 1ull << 63;
	l.group_parent = "/jobs";
	l.gpu_limits = "nvidia/0000:3b:00.0/vidmem 1024\n";
	l.device = "GPU-1";
	l.place = 63;
	l.by_mps = true;
	l.ranks = 1;
	l.label = true;
	l.cpus[LAUNCH_CPUS / 64 - 1] = 1ull << 63;
	return l;
}

static void check_list(char *const *got, char *const *want)
{
	for (; *want; got++, want++)
		assert_string_equal(*got, *want);
	assert_null(*got);
}

static void check_same(const struct launch *got, const struct launch *want)
{
	struct launch g = *got, w = *want;

	assert_string_equal(g.user, w.user);
	assert_string_equal(g.cwd, w.cwd);
	assert_string_equal(g.out_path, w.out_path);
	assert_string_equal(g.err_path, w.err_path);
	assert_string_equal(g.index_path, w.index_path);
	assert_string_equal(g.console_path, w.console_path);
	assert_string_equal(g.path, w.path);
	assert_string_equal(g.refusal, w.refusal);
	assert_string_equal(g.grant, w.grant);
	check_list(g.argv, w.argv);
	check_list(g.env, w.env);
	assert_int_equal(g.n_groups, w.n_groups);
	assert_memory_equal(g.groups, w.groups, w.n_groups * sizeof(*w.groups));
	/* What is left are plain values. */
	for (struct launch *l = &g; l; l = l == &g ? &w : NULL) {
		l->user = l->cwd = l->out_path = l->err_path = l->index_path = NULL;
		l->console_path = l->path = l->refusal = NULL;
		l->argv = l->env = NULL;
		l->groups = NULL;
		l->block = NULL;
	}
	assert_memory_equal(g.cpus, w.cpus, sizeof(w.cpus));
	assert_memory_equal(g.minors, w.minors, sizeof(w.minors));
	assert_int_equal(g.caps_major, w.caps_major);
	assert_memory_equal(g.caps, w.caps, sizeof(w.caps));
	assert_true(g.mem_bytes == w.mem_bytes && g.max_processes == w.max_processes);
	assert_true(g.cpu_weight == w.cpu_weight && g.cpu_max_milli == w.cpu_max_milli);
	assert_true(g.io_weight == w.io_weight && g.hold_devices == w.hold_devices);
	assert_string_equal(g.group_parent, w.group_parent);
	assert_string_equal(g.gpu_limits, w.gpu_limits);
	assert_string_equal(g.device, w.device);
	assert_int_equal(g.place, w.place);
	assert_true(g.by_mps);
	assert_true(g.ranks == 1 && g.label);
	assert_int_equal(g.kind, w.kind);
	assert_true(g.job == w.job && g.task == w.task && g.attempt == w.attempt);
	assert_true(g.epoch == w.epoch && g.again == w.again && g.console_id == w.console_id);
	assert_true(g.make_cwd == w.make_cwd && g.out_internal == w.out_internal);
	assert_true(g.output_max == w.output_max && g.tty == w.tty && g.console == w.console);
	assert_true(g.rows == w.rows && g.cols == w.cols && g.grace_ms == w.grace_ms);
	assert_true(g.time_limit_ms == w.time_limit_ms && g.force == w.force);
	assert_true(g.stop_cause == w.stop_cause && g.has_account == w.has_account);
	assert_true(g.uid == w.uid && g.gid == w.gid);
}

static void test_everything_comes_back(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch want = full(), got;
	struct err err;
	size_t len;

	buf_add_str(&b, "before");
	launch_encode(&want, &b);
	assert_memory_equal(b.data, "before", 6);
	len = (size_t)b.data[6] << 24 | (size_t)b.data[7] << 16 | (size_t)b.data[8] << 8 |
	      b.data[9];
	assert_int_equal(len, b.len - 10);
	assert_int_equal(launch_decode(b.data + 10, len, &got, &err), 0);
	check_same(&got, &want);
	launch_done(&got);
	assert_null(got.block);
}

/* No keeper has room for more, and a terminal is of one. */
static void test_ranks_that_cannot_be(void **state)
{
	struct launch wrong[] = {
	        {.kind = LAUNCH_START, .epoch = 5, .ranks = LAUNCH_RANKS + 1},
	        {.kind = LAUNCH_START, .epoch = 5, .ranks = 2, .tty = true},
	        {.kind = LAUNCH_START, .epoch = 5, .ranks = UINT32_MAX},
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
		struct launch got;
		struct err err;

		launch_encode(&wrong[i], &b);
		assert_int_equal(launch_decode(b.data + 4, b.len - 4, &got, &err), -ERR_CORRUPT);
	}
}

static void test_least(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch want = {.kind = LAUNCH_STOP, .task = -1, .epoch = 5}, got;
	struct err err;

	launch_encode(&want, &b);
	assert_int_equal(launch_decode(b.data + 4, b.len - 4, &got, &err), 0);
	assert_int_equal(got.kind, LAUNCH_STOP);
	assert_int_equal(got.task, -1);
	assert_int_equal(got.epoch, 5);
	assert_null(got.user);
	assert_null(got.cwd);
	assert_null(got.argv[0]);
	assert_null(got.env[0]);
	assert_false(got.has_account);
	launch_done(&got);
}

static void test_room_behind_env(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch want = full(), got;
	struct err err;

	launch_encode(&want, &b);
	assert_int_equal(launch_decode(b.data + 4, b.len - 4, &got, &err), 0);
	assert_null(got.env[2]);
	assert_null(got.env[3]);
	got.env[2] = got.argv[0];
	assert_string_equal(got.argv[0], "python");
	assert_int_equal(got.groups[2], 4000000000u);
	launch_done(&got);
}

static void check_refused(const struct buf *b, int kind, const char *part)
{
	struct launch got = {.job = 1234};
	struct err err;

	assert_int_equal(launch_decode(b->data, b->len, &got, &err), -kind);
	assert_non_null(strstr(err.text, part));
	assert_int_equal(got.job, 1234);
}

static void test_refused(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);

	codec_put_u64(&b, 1, LAUNCH_MPS_END + 1);
	check_refused(&b, ERR_VERSION, "kind 12");
	buf_reset(&b);
	codec_put_u64(&b, 2, 1);
	check_refused(&b, ERR_VERSION, "kind 0");
	buf_reset(&b);
	codec_put_u64(&b, 1, LAUNCH_START);
	codec_put_bytes(&b, 8, "a\0b", 3); /* an argument with a NUL inside */
	check_refused(&b, ERR_CORRUPT, "no text");
	buf_reset(&b);
	codec_put_u64(&b, 1, LAUNCH_START);
	codec_put_u64(&b, 10, 3); /* cwd as a number */
	check_refused(&b, ERR_CORRUPT, "no text");
	b.len--;
	check_refused(&b, ERR_CORRUPT, "malformed");
}

static void test_every_cut_is_safe(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch want = full(), got;
	struct err err;

	launch_encode(&want, &b);
	for (size_t len = 0; len < b.len - 4; len++) {
		/* A copy of the exact size, so that a sanitizer sees any step too far. */
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, b.data + 4, len);
		if (launch_decode(copy, len, &got, &err) == 0)
			launch_done(&got);
		free(copy);
	}
}

static void test_unknown_fields_are_passed_over(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch want = full(), got;
	struct err err;

	launch_encode(&want, &b);
	codec_put_u64(&b, 4000, 5);
	codec_put_str(&b, 4001, "from the future");
	assert_int_equal(launch_decode(b.data + 4, b.len - 4, &got, &err), 0);
	check_same(&got, &want);
	launch_done(&got);
}

static void test_ceiling(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4096);
	char *huge = malloc(LAUNCH_MAX + 1);
	char *argv[] = {huge, NULL};
	struct launch l = {.kind = LAUNCH_START, .argv = argv};

	memset(huge, 'x', LAUNCH_MAX);
	huge[LAUNCH_MAX] = '\0';
	launch_encode(&l, &b);
	assert_true(b.overflow);
	free(huge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_everything_comes_back),
	        cmocka_unit_test(test_least),
	        cmocka_unit_test(test_ranks_that_cannot_be),
	        cmocka_unit_test(test_room_behind_env),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_every_cut_is_safe),
	        cmocka_unit_test(test_unknown_fields_are_passed_over),
	        cmocka_unit_test(test_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
