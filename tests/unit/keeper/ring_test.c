/* Head and tail of an output, against a model that keeps everything; and what a disk does to it that takes no more. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/output.h"
#include "plat/fs.h"

static char dir[64];
static char paths[3][96]; /* stdout, stderr, index */
static struct keeper_base base;

static int set_up(void **state)
{
	static const char *const names[] = {"out", "err", "idx"};

	snprintf(dir, sizeof(dir), "/tmp/berth-ring-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
	return 0;
}

static int tear_down(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		unlink(paths[i]);
	return rmdir(dir);
}

/* What a stream was given, all of it. */
struct model {
	struct buf all;
	uint64_t max;
};

static uint32_t seed;

static uint32_t next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

static void give(struct output *o, struct model *m, enum spool_stream stream, size_t len)
{
	uint8_t *bytes = malloc(len ? len : 1);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)('!' + next_random() % 90);
	output_write(o, stream, bytes, len);
	buf_add(&m->all, bytes, len);
	free(bytes);
}

static void read_file(const char *path, struct buf *b)
{
	struct err err;

	*b = BUF_INIT(64 * MIB);
	assert_int_equal(fs_read(path, b, &err), 0);
	(void)buf_str(b); /* ends it with a NUL, for those who read it as text */
}

/* The file against the model; returns how many bytes of the model are not in it. */
static uint64_t check_file(const char *path, const struct model *m)
{
	CLEANUP_BUF struct buf file = {0};
	uint64_t n = m->all.len, head = m->max / 2, left_out, kept;
	char line[80];
	size_t len;

	read_file(path, &file);
	if (n <= m->max) {
		assert_int_equal(file.len, n);
		assert_memory_equal(file.data, m->all.data, n);
		return 0;
	}
	assert_int_equal(file.len, m->max);
	assert_memory_equal(file.data, m->all.data, head);
	assert_int_equal(sscanf((const char *)file.data + head, "\n[berth: %ju bytes left out]\n",
	                         &left_out),
	        1);
	len = (size_t)snprintf(
	        line, sizeof(line), "\n[berth: %ju bytes left out]\n", (uintmax_t)left_out);
	assert_memory_equal(file.data + head, line, len);
	kept = m->max - head - len;
	assert_memory_equal(file.data + head + len, m->all.data + n - kept, kept);
	assert_int_equal(left_out, n - head - kept);
	return left_out;
}

/* The index covers each file once, in order, and tells of the gap where it is. */
static void check_index(const struct model models[2], bool is_split)
{
	CLEANUP_BUF struct buf b = {0};
	uint64_t at[2] = {0}, end[2];

	read_file(paths[2], &b);
	assert_int_equal(b.len % sizeof(struct spool_chunk), 0);
	for (size_t i = 0; i < 2; i++)
		end[i] = MIN(models[i].all.len, models[i].max);
	for (size_t i = 0; i < b.len / sizeof(struct spool_chunk); i++) {
		struct spool_chunk c;
		size_t file;

		memcpy(&c, b.data + i * sizeof(c), sizeof(c));
		file = is_split && (c.stream == SPOOL_STDERR || c.stream == SPOOL_GAP_STDERR);
		assert_int_equal(c.offset, at[file]);
		assert_true(c.len > 0);
		if (c.stream == SPOOL_GAP || c.stream == SPOOL_GAP_STDERR)
			assert_int_equal(c.offset, models[file].max / 2);
		at[file] += c.len;
	}
	for (size_t i = 0; i < 1u + is_split; i++)
		assert_int_equal(at[i], end[i]);
}

/* The index that was in use until then: behind its last entry stands that the files were about to be rearranged. */
static void check_mark(const struct output *o)
{
	struct spool_chunk c;

	assert_int_equal(pread(o->index_fd, &c, sizeof(c), (off_t)o->index_len), sizeof(c));
	assert_int_equal(c.stream, SPOOL_TURNING);
	assert_int_equal(c.len, 0);
}

static void run_case(uint64_t max, size_t n_writes, size_t most, bool is_split)
{
	struct launch l = {.out_path = paths[0],
	        .index_path = paths[2],
	        .out_internal = true,
	        .output_max = max};
	struct model models[2] = {{BUF_INIT(64 * MIB), 0}, {BUF_INIT(64 * MIB), 0}};
	uint64_t total, dropped, left_out = 0;
	struct output o;
	struct err err;

	l.err_path = is_split ? paths[1] : NULL;
	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	models[0].max = models[1].max = o.files[0].max;
	for (size_t i = 0; i < n_writes; i++) {
		bool is_err = is_split && next_random() % 3 == 0;

		give(&o, &models[is_err], is_err ? SPOOL_STDERR : SPOOL_STDOUT,
		        1 + next_random() % most);
	}
	output_finish(&o, &total, &dropped);
	assert_int_equal(total, models[0].all.len + models[1].all.len);
	for (size_t i = 0; i < 1u + is_split; i++)
		if (models[i].all.len)
			left_out += check_file(paths[i], &models[i]);
	assert_int_equal(dropped, left_out);
	check_index(models, is_split);
	if (left_out)
		check_mark(&o);
	for (size_t i = 0; i < 2; i++) {
		close(o.files[i].fd);
		buf_done(&models[i].all);
		unlink(paths[i]);
	}
	close(o.index_fd);
	unlink(paths[2]);
}

static void test_random_writes(void **state)
{
	for (seed = 1; seed <= 300; seed++) {
		uint32_t first = seed;

		run_case(4096 + next_random() % 9000, 1 + next_random() % 60,
		        1 + next_random() % 3000, next_random() % 2);
		seed = first;
	}
}

/* Just below, at and above the ceiling, and around each further round of the ring. */
static void test_edges(void **state)
{
	const uint64_t max = 4096, tail = max - max / 2;

	seed = 7;
	for (uint64_t round = 0; round < 3; round++)
		for (int64_t d = -2; d <= 2; d++) {
			struct launch l = {
			        .out_path = paths[0], .out_internal = true, .output_max = max};
			struct model m = {BUF_INIT(64 * MIB), max};
			uint64_t total, dropped;
			struct output o;
			struct err err;

			assert_int_equal(output_open(&o, &base, &l, &err), 0);
			give(&o, &m, SPOOL_STDOUT, (size_t)((int64_t)(max + round * tail) + d));
			output_finish(&o, &total, &dropped);
			assert_int_equal(check_file(paths[0], &m), dropped);
			close(o.files[0].fd);
			unlink(paths[0]);
			buf_done(&m.all);
		}
}

/* A ring of which neither part fits into memory at once. */
static void test_large_ring(void **state)
{
	seed = 42;
	run_case(9 * MIB, 300, 65536, false);
	run_case(20 * MIB + 12345, 700, 65536, false);
}

static void test_no_ceiling(void **state)
{
	struct launch l = {.out_path = paths[0], .out_internal = true};
	struct model m = {BUF_INIT(64 * MIB), UINT64_MAX};
	uint64_t total, dropped;
	struct output o;
	struct err err;

	seed = 3;
	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	give(&o, &m, SPOOL_STDOUT, 3 * MIB);
	output_finish(&o, &total, &dropped);
	assert_int_equal(dropped, 0);
	assert_int_equal(check_file(paths[0], &m), 0);
	close(o.files[0].fd);
	buf_done(&m.all);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What is lost is counted and told of in the file, as soon as it takes bytes again. */
static void test_writing_resumes(void **state)
{
	struct launch l = {.out_path = paths[0],
	        .index_path = paths[2],
	        .out_internal = true,
	        .output_max = 1 * MIB};
	CLEANUP_BUF struct buf file = {0};
	uint64_t total, dropped;
	struct output o;
	struct err err;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	limit_files(5);
	output_write(&o, SPOOL_STDOUT, "first\nsecond\n", 13);
	output_write(&o, SPOOL_STDOUT, "third\n", 6);
	limit_files(RLIM_INFINITY);
	output_write(&o, SPOOL_STDOUT, "fourth\n", 7);
	output_finish(&o, &total, &dropped);
	assert_int_equal(total, 26);
	assert_int_equal(dropped, 14);
	read_file(paths[0], &file);
	assert_string_equal(
	        buf_str(&file), "first\n[berth: 14 bytes not kept: File too large]\nfourth\n");
	close(o.files[0].fd);
	close(o.index_fd);
}

/* The disk takes output, but not the entries that tell of it: they are made up for, before what comes later. */
static void test_index_is_made_up_for(void **state)
{
	struct launch l = {.out_path = paths[0], .index_path = paths[2], .out_internal = true};
	static const struct spool_chunk want[] = {{.offset = 0, .len = 4, .stream = SPOOL_STDERR},
	        {.offset = 4, .len = 4, .stream = SPOOL_STDOUT},
	        {.offset = 8, .len = 8, .stream = SPOOL_STDOUT},
	        {.offset = 16, .len = 2, .stream = SPOOL_STDERR}};
	CLEANUP_BUF struct buf index = {0};
	struct spool_chunk got[ARRAY_LEN(want)];
	uint64_t total, dropped;
	struct output o;
	struct err err;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	limit_files(sizeof(struct spool_chunk) - 1);
	output_write(&o, SPOOL_STDERR, "one\n", 4);
	output_flush(&o);
	assert_in_range(output_flush_in(&o), 1, 1000);
	limit_files(RLIM_INFINITY);
	output_flush(&o);
	assert_int_equal(output_flush_in(&o), -1);
	output_write(&o, SPOOL_STDOUT, "two\n", 4);
	output_flush(&o);
	limit_files(2 * sizeof(struct spool_chunk));
	output_write(&o, SPOOL_STDERR, "red\n", 4);
	output_write(&o, SPOOL_STDOUT, "ten\n", 4);
	output_flush(&o);
	limit_files(RLIM_INFINITY);
	output_write(&o, SPOOL_STDERR, "6\n", 2);
	output_finish(&o, &total, &dropped);
	assert_int_equal(total, 18);
	assert_int_equal(dropped, 0);
	read_file(paths[2], &index);
	assert_int_equal(index.len, sizeof(want));
	memcpy(got, index.data, sizeof(got));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(got[i].offset, want[i].offset);
		assert_int_equal(got[i].len, want[i].len);
		assert_int_equal(got[i].stream, want[i].stream);
	}
	close(o.files[0].fd);
	close(o.index_fd);
}

static void test_a_device_has_no_ceiling(void **state)
{
	struct launch l = {.out_path = "/dev/null", .output_max = 4096};
	uint64_t total, dropped;
	struct output o;
	struct err err;
	char bytes[10000] = "";

	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	output_write(&o, SPOOL_STDOUT, bytes, sizeof(bytes));
	output_finish(&o, &total, &dropped);
	assert_int_equal(total, sizeof(bytes));
	assert_int_equal(dropped, 0);
	close(o.files[0].fd);
	l.out_path = "/dev/full";
	assert_int_equal(output_open(&o, &base, &l, &err), 0);
	output_write(&o, SPOOL_STDOUT, bytes, sizeof(bytes));
	output_finish(&o, &total, &dropped);
	assert_int_equal(dropped, sizeof(bytes));
	close(o.files[0].fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_random_writes),
	        TEST(test_edges),
	        TEST(test_large_ring),
	        TEST(test_no_ceiling),
	        TEST(test_writing_resumes),
	        TEST(test_index_is_made_up_for),
	        TEST(test_a_device_has_no_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
