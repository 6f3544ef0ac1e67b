/* What is kept of a job's output, through the real program. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/clock.h"
#include "rig.h"

static struct rig r;

static int set_up(void **state)
{
	r.fsize_limit = 0;
	rig_start(&r, RIG_USER);
	return 0;
}

static int tear_down(void **state)
{
	rig_stop(&r);
	return 0;
}

static const struct spool_record *run(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);

	rig_send(&r, &l);
	return rig_wait(&r, epoch, SPOOL_ENDED);
}

static void test_no_output_makes_no_file(void **state)
{
	const struct spool_record *end = run(1, "true");

	assert_int_equal(end->output_bytes, 0);
	assert_false(rig_exists(&r, "logs/1.out"));
	assert_false(rig_exists(&r, "logs/1.idx"));
}

/* Entry number i of an index. */
static struct spool_chunk chunk_at(const char *name, size_t i, size_t *ret_n)
{
	struct spool_chunk c = {0};
	struct stat st;
	int fd = open(rig_path(&r, name), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*ret_n = (size_t)st.st_size / sizeof(c);
	if (i < *ret_n)
		assert_int_equal(pread(fd, &c, sizeof(c), (off_t)(i * sizeof(c))), sizeof(c));
	close(fd);
	return c;
}

static void test_both_streams_with_index(void **state)
{
	const struct spool_record *end =
	        run(1, "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three");
	static const struct {
		uint64_t offset;
		uint32_t len, stream;
	} want[] = {{0, 4, SPOOL_STDOUT}, {4, 4, SPOOL_STDERR}, {8, 6, SPOOL_STDOUT}};
	int64_t before = 0;
	size_t n;

	assert_int_equal(end->output_bytes, 14);
	assert_int_equal(end->dropped_bytes, 0);
	assert_string_equal(rig_text(&r, "logs/1.out"), "one\ntwo\nthree\n");
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct spool_chunk c = chunk_at("logs/1.idx", i, &n);

		assert_int_equal(n, ARRAY_LEN(want));
		assert_int_equal(c.offset, want[i].offset);
		assert_int_equal(c.len, want[i].len);
		assert_int_equal(c.stream, want[i].stream);
		assert_true(c.wall_ms > before);
		before = c.wall_ms;
	}
}

static void test_output_can_be_followed(void **state)
{
	struct launch l = rig_launch(
	        &r, 1, "echo early; while [ ! -e $D/jobs/go ]; do sleep 0.01; done; echo late");
	size_t n = 0;

	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "early");
	while (!rig_exists(&r, "logs/1.idx"))
		usleep(1000);
	while (chunk_at("logs/1.idx", 0, &n).len != 6)
		usleep(1000);
	rig_touch(&r, "jobs/go");
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "logs/1.out"), "early\nlate\n");
}

static void test_streams_apart(void **state)
{
	struct launch l = rig_launch(&r, 1, "echo out; echo err >&2");

	l.err_path = rig_path(&r, "logs/1.err");
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "logs/1.out"), "out\n");
	assert_string_equal(rig_text(&r, "logs/1.err"), "err\n");
}

/* A file of the user's gets the bytes of both streams in the order in which they were written. */
static void test_users_file_keeps_order(void **state)
{
	struct launch l = rig_launch(
	        &r, 1, "i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done");
	char want[16];
	const char *at;

	l.out_path = rig_path(&r, "jobs/out.txt");
	l.out_internal = false;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	at = rig_text(&r, "jobs/out.txt");
	for (int i = 0; i < 300; i++) {
		snprintf(want, sizeof(want), "o%d\ne%d\n", i, i);
		assert_memory_equal(at, want, strlen(want));
		at += strlen(want);
	}
	assert_string_equal(at, "");
}

static void test_users_file_is_made_at_the_start(void **state)
{
	struct launch l = rig_launch(&r, 1, "true");
	struct stat st;

	l.out_path = rig_path(&r, "jobs/empty.txt");
	l.err_path = l.out_path;
	l.out_internal = false;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(stat(rig_path(&r, "jobs/empty.txt"), &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

/* The same file for both, by two names: nothing is written over. */
static void test_one_file_by_two_names(void **state)
{
	struct launch l =
	        rig_launch(&r, 1, "echo out; sleep 0.05; echo err >&2; sleep 0.05; echo out");

	assert_int_equal(symlink("out.txt", rig_path(&r, "jobs/err.txt")), 0);
	l.out_path = rig_path(&r, "jobs/out.txt");
	l.err_path = rig_path(&r, "jobs/err.txt");
	l.out_internal = false;
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "jobs/out.txt"), "out\nerr\nout\n");
}

static void test_ceiling_keeps_head_and_tail(void **state)
{
	struct launch l = rig_launch(&r, 1,
	        "i=100000; while [ $i -lt 130000 ]; do echo line$i; i=$((i+1)); done; exit 3");
	const struct spool_record *end;
	const uint64_t total = 30000 * 11, max = 64 * KIB;
	char line[64];
	const char *text, *gap;
	uint64_t covered = 0;
	size_t n;

	l.output_max = max;
	rig_send(&r, &l);
	end = rig_wait(&r, 1, SPOOL_ENDED);
	assert_int_equal(WEXITSTATUS(end->wait_status), 3);
	assert_int_equal(end->output_bytes, total);
	text = rig_text(&r, "logs/1.out");
	assert_int_equal(strlen(text), max);
	gap = strstr(text, "\n[berth: ");
	assert_non_null(gap);
	assert_int_equal(gap - text, max / 2);
	snprintf(line, sizeof(line), "\n[berth: %ju bytes left out]\n",
	        (uintmax_t)end->dropped_bytes);
	assert_memory_equal(gap, line, strlen(line));
	assert_int_equal(end->output_bytes - end->dropped_bytes + strlen(line), max);
	assert_memory_equal(text, "line100000\nline100001\n", 22);
	assert_string_equal(text + max - 22, "line129998\nline129999\n");
	/* The index covers the file, once, in order. */
	for (size_t i = 0; i < 1 || i < n; i++) {
		struct spool_chunk c = chunk_at("logs/1.idx", i, &n);

		assert_int_equal(c.offset, covered);
		assert_int_equal(c.stream, covered == max / 2 ? SPOOL_GAP : SPOOL_STDOUT);
		covered += c.len;
	}
	assert_int_equal(covered, max);
	assert_false(rig_exists(&r, "logs/1.idx.new"));
}

/* A file may not grow beyond 100 KiB, as if the disk were full. The job does not notice. */
static void test_full_disk(void **state)
{
	const struct spool_record *end;

	rig_kill_parent(&r, SIGTERM);
	r.fsize_limit = 100 * KIB;
	rig_start_parent(&r);
	end = run(1, "head -c 300000 /dev/zero && echo done >&2 && exit 4");
	assert_int_equal(WEXITSTATUS(end->wait_status), 4);
	assert_int_equal(end->output_bytes, 300005);
	assert_int_equal(end->dropped_bytes, 300005 - 100 * KIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_no_output_makes_no_file),
	        TEST(test_both_streams_with_index),
	        TEST(test_output_can_be_followed),
	        TEST(test_streams_apart),
	        TEST(test_users_file_keeps_order),
	        TEST(test_users_file_is_made_at_the_start),
	        TEST(test_one_file_by_two_names),
	        TEST(test_ceiling_keeps_head_and_tail),
	        TEST(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
