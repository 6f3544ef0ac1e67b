#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/reader.h"
#include "base/buf.h"
#include "kit.h"

static const struct job_id id = {.num = 1, .task = TASK_NONE};

static int begin(void **state)
{
	if (kit_begin(state) < 0 || mkdir(kit_path("logs"), 0700) < 0)
		return -1;
	return mkdir(kit_path("logs/0"), 0700);
}

/* Output and its index, as a keeper writes them. */
static void put_at(const char *kind, const char *text, uint64_t offset)
{
	char name[64];
	FILE *f;

	snprintf(name, sizeof(name), "logs/0/1.1.%s", kind);
	f = fopen(kit_path(name), "r+");
	if (!f)
		f = fopen(kit_path(name), "w+");
	assert_non_null(f);
	fseek(f, (long)offset, SEEK_SET);
	fputs(text, f);
	fclose(f);
}

static void put_index(const char *name, enum spool_stream stream, uint64_t offset, uint32_t len)
{
	struct spool_chunk c = {.offset = offset, .wall_ms = 1, .len = len, .stream = stream};

	kit_append_bytes(kit_path(name), &c, sizeof(c));
}

/* A chunk at the end of its file. */
static void put(enum spool_stream stream, const char *text)
{
	const char *kind = stream == SPOOL_STDERR && access(kit_path("logs/0/1.1.err"), F_OK) == 0
	                           ? "err"
	                           : "out";
	char name[64];
	struct stat st = {0};

	snprintf(name, sizeof(name), "logs/0/1.1.%s", kind);
	(void)!stat(kit_path(name), &st);
	put_at(kind, text, (uint64_t)st.st_size);
	put_index("logs/0/1.1.idx", stream, (uint64_t)st.st_size, (uint32_t)strlen(text));
}

static struct reader_options all(void)
{
	return (struct reader_options){.data_dir = kit_dir,
	        .id = id,
	        .attempt = 1,
	        .want_stdout = true,
	        .want_stderr = true};
}

static struct reader *open_reader(const struct reader_options *o)
{
	struct reader *r;
	struct err err;

	assert_int_equal(reader_open(o, &r, &err), 0);
	return r;
}

/* What there is now, as "1text2text": each run of a stream behind its number. `max` bytes at a time. */
static const char *read_some(struct reader *r, size_t max)
{
	static struct buf text = BUF_INIT(MIB);
	static char bytes[4096];
	int last = -1;

	buf_reset(&text);
	for (;;) {
		enum console_frame frame;
		struct err err;
		size_t len;
		int rc = reader_next(r, bytes, max, &frame, &len, &err);

		assert_true(rc >= 0);
		if (rc == 0)
			return buf_str(&text);
		assert_true(len > 0 && len <= max);
		if ((int)frame != last)
			buf_addf(&text, "%d", frame);
		last = (int)frame;
		buf_add(&text, bytes, len);
	}
}

static const char *read_now(struct reader *r)
{
	return read_some(r, 4096);
}

static const char *read_once(const struct reader_options *o)
{
	struct reader *r = open_reader(o);
	const char *text = read_now(r);

	reader_close(r);
	return text;
}

static void test_streams_apart(void **state)
{
	struct reader_options o = all();

	put(SPOOL_STDOUT, "one ");
	put(SPOOL_STDERR, "bad ");
	put(SPOOL_STDOUT, "two ");
	put(SPOOL_STDOUT, "three ");
	o.is_over = true;
	assert_string_equal(read_once(&o), "1one 2bad 1two three ");
	o.want_stderr = false;
	assert_string_equal(read_once(&o), "1one two three ");
	o.want_stdout = false;
	o.want_stderr = true;
	assert_string_equal(read_once(&o), "2bad ");
}

static void test_two_files(void **state)
{
	struct reader_options o = all();

	kit_append_bytes(kit_path("logs/0/1.1.err"), "", 0);
	put(SPOOL_STDOUT, "one ");
	put(SPOOL_STDERR, "bad ");
	put(SPOOL_STDOUT, "two ");
	put(SPOOL_STDERR, "worse ");
	assert_string_equal(read_once(&o), "1one 2bad 1two 2worse ");
}

static void test_small_pieces(void **state)
{
	struct reader_options o = all();
	struct reader *r;

	put(SPOOL_STDOUT, "abcdefghij");
	put(SPOOL_STDERR, "x");
	put(SPOOL_STDOUT, "klm");
	for (size_t max = 1; max < 15; max++) {
		r = open_reader(&o);
		assert_string_equal(read_some(r, max), "1abcdefghij2x1klm");
		reader_close(r);
	}
}

static void test_follow(void **state)
{
	struct reader_options o = all();
	struct reader *r = open_reader(&o);

	assert_string_equal(read_now(r), "");
	put(SPOOL_STDOUT, "one ");
	assert_string_equal(read_now(r), "1one ");
	assert_string_equal(read_now(r), "");
	for (int i = 0; i < 300; i++)
		put(SPOOL_STDOUT, "x");
	assert_int_equal(strlen(read_now(r)), 301);
	/* Bytes that the index does not tell of yet wait. */
	put_at("out", "tail", 304);
	assert_string_equal(read_now(r), "");
	reader_set_over(r);
	assert_string_equal(read_now(r), "1tail");
	assert_string_equal(read_now(r), "");
	reader_close(r);
}

static void test_offset(void **state)
{
	struct reader_options o = all();

	put(SPOOL_STDOUT, "12345");
	put(SPOOL_STDERR, "ab");
	put(SPOOL_STDOUT, "67890");
	for (o.offset = 0; o.offset < 5; o.offset++) {
		char want[32];

		snprintf(want, sizeof(want), "1%s2ab167890", &"12345"[o.offset]);
		assert_string_equal(read_once(&o), want);
	}
	o.offset = 6;
	assert_string_equal(read_once(&o), "2b167890");
	o.want_stderr = false;
	assert_string_equal(read_once(&o), "17890");
	o.offset = 1000;
	assert_string_equal(read_once(&o), "");
}

static void test_tail(void **state)
{
	struct reader_options o = all();

	put(SPOOL_STDOUT, "one\ntwo\nth");
	put(SPOOL_STDERR, "E1\nE2\n");
	put(SPOOL_STDOUT, "ree\nfour");
	o.tail_lines = 1;
	assert_string_equal(read_once(&o), "1four");
	o.tail_lines = 2;
	assert_string_equal(read_once(&o), "1ree\nfour");
	o.tail_lines = 3;
	assert_string_equal(read_once(&o), "2E2\n1ree\nfour");
	o.want_stderr = false;
	assert_string_equal(read_once(&o), "1two\nth"
	                                   "ree\nfour");
	o.tail_lines = 100;
	assert_string_equal(read_once(&o), "1one\ntwo\nthree\nfour");
	/* What comes later is read as well. */
	o.tail_lines = 1;
	struct reader *r = open_reader(&o);
	assert_string_equal(read_now(r), "1four");
	put(SPOOL_STDOUT, "more\n");
	assert_string_equal(read_now(r), "1more\n");
	reader_close(r);
	/* The break at the very end belongs to the last line. */
	assert_string_equal(read_once(&o), "1fourmore\n");
}

static void test_tail_over_blocks(void **state)
{
	struct reader_options o = all();
	static char line[1001];

	memset(line, 'x', 1000);
	line[999] = '\n';
	for (int i = 0; i < 100; i++)
		put(SPOOL_STDOUT, line);
	for (o.tail_lines = 1; o.tail_lines <= 100; o.tail_lines++)
		assert_int_equal(strlen(read_once(&o)), 1 + o.tail_lines * 1000);
}

static void test_nothing_there(void **state)
{
	struct reader_options o = all();

	o.is_over = true;
	assert_string_equal(read_once(&o), "");
	o.tail_lines = 5;
	assert_string_equal(read_once(&o), "");
}

static void test_no_index(void **state)
{
	struct reader_options o = all();

	put_at("out", "all\nof it\n", 0);
	assert_string_equal(read_once(&o), "");
	o.is_over = true;
	assert_string_equal(read_once(&o), "1all\nof it\n");
	o.offset = 4;
	assert_string_equal(read_once(&o), "1of it\n");
	o.offset = 0;
	o.tail_lines = 1;
	assert_string_equal(read_once(&o), "1of it\n");
	o.want_stdout = false;
	assert_string_equal(read_once(&o), "");
}

/* A ceiling of 20: head of 10, and a ring of 10 behind it that was written over one and a half times. */
static void make_ring(void)
{
	put_at("out", "0123456789", 0);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 0, 10);
	put_at("out", "abcdefghij", 10);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 10, 10);
	put_at("out", "ABCDE", 10);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 10, 5);
}

static void test_ring(void **state)
{
	struct reader_options o = all();
	struct reader *r;

	make_ring();
	assert_string_equal(read_once(&o), "10123456789\n[berth: 5 bytes left out]\nfghijABCDE");
	/* Who kept up sees everything. */
	r = open_reader(&o);
	assert_string_equal(read_now(r), "10123456789\n[berth: 5 bytes left out]\nfghijABCDE");
	put_at("out", "FGHIJ", 15);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 15, 5);
	assert_string_equal(read_now(r), "1FGHIJ");
	reader_close(r);
	o.tail_lines = 10;
	assert_string_equal(read_once(&o), "1ABCDEFGHIJ");
}

/* The same put in order by its keeper: the tail's oldest bytes give way to a line that says so. */
static void put_in_order(void)
{
	put_at("out", "0123456789[gap]fghijABCDE", 0);
	put_index("logs/0/new", SPOOL_STDOUT, 0, 10);
	put_index("logs/0/new", SPOOL_GAP, 10, 5);
	put_index("logs/0/new", SPOOL_STDOUT, 15, 5);
	put_index("logs/0/new", SPOOL_STDOUT, 20, 5);
	assert_int_equal(rename(kit_path("logs/0/new"), kit_path("logs/0/1.1.idx")), 0);
}

static void test_put_in_order(void **state)
{
	struct reader_options o = all();

	make_ring();
	put_in_order();
	o.is_over = true;
	assert_string_equal(read_once(&o), "10123456789[gap]fghijABCDE");
	o.want_stdout = false;
	assert_string_equal(read_once(&o), "");
}

/* A follower goes on where it was, whichever part that is in. */
/* Between the mark and the new index the file says nothing; who came that far waits, and misses nothing. */
static void test_while_it_is_put_in_order(void **state)
{
	struct reader_options o = all(), tail = all();
	struct reader *r, *late;

	make_ring();
	r = open_reader(&o);
	assert_string_equal(read_now(r), "10123456789\n[berth: 5 bytes left out]\nfghijABCDE");
	put_at("out", "FGHIJ", 15);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 15, 5);
	put_index("logs/0/1.1.idx", SPOOL_TURNING, 20, 0);
	put_at("out", "xxxxx", 15);
	assert_string_equal(read_now(r), "");
	tail.tail_lines = 10;
	late = open_reader(&tail);
	assert_string_equal(read_now(late), "");
	put_at("out", "0123456789[gap]ABCDEFGHIJ", 0);
	put_index("logs/0/new", SPOOL_STDOUT, 0, 10);
	put_index("logs/0/new", SPOOL_GAP, 10, 5);
	put_index("logs/0/new", SPOOL_STDOUT, 15, 10);
	assert_int_equal(rename(kit_path("logs/0/new"), kit_path("logs/0/1.1.idx")), 0);
	assert_string_equal(read_now(r), "");
	reader_set_over(r);
	assert_string_equal(read_now(r), "1FGHIJ");
	reader_close(r);
	reader_set_over(late);
	assert_string_equal(read_now(late), "10123456789[gap]ABCDEFGHIJ");
	reader_close(late);
	/* Its keeper was killed then: what there is, at the end of the attempt. */
	o.is_over = true;
	put_index("logs/0/1.1.idx", SPOOL_TURNING, 25, 0);
	assert_string_equal(read_once(&o), "10123456789[gap]ABCDEFGHIJ");
}

/* A keeper that begins to put the file in order at some moment of the reading: nothing of that is seen. */
static void test_it_is_put_in_order_meanwhile(void **state)
{
	enum { TURNS = 100, N = 200 * 1000 };
	char *bytes = malloc(N + 1), *wrong = malloc(N + 1);
	struct reader_options o = all();

	memset(bytes, '.', N);
	memset(wrong, 'X', N);
	bytes[N] = wrong[N] = '\0';
	for (unsigned i = 0; i < TURNS; i++) {
		pid_t keeper;
		struct reader *r;

		unlink(kit_path("logs/0/1.1.idx"));
		put_at("out", bytes, 0);
		put_index("logs/0/1.1.idx", SPOOL_STDOUT, 0, N);
		r = open_reader(&o);
		keeper = fork();
		if (keeper == 0) {
			usleep(i * 10);
			put_index("logs/0/1.1.idx", SPOOL_TURNING, N, 0);
			put_at("out", wrong, 0);
			_exit(0);
		}
		do
			assert_null(strchr(read_now(r), 'X'));
		while (waitpid(keeper, NULL, WNOHANG) == 0);
		reader_close(r);
	}
	free(bytes);
	free(wrong);
}

static void test_put_in_order_under_a_reader(void **state)
{
	static const struct {
		size_t read_before; /* bytes of the old file */
		const char *then;
	} cases[] = {
	        {0, "10123456789[gap]fghijABCDE"},
	        {4, "1456789[gap]fghijABCDE"},
	        {10, "1[gap]fghijABCDE"},
	        {13, "1[gap]fghijABCDE"},
	        {15, "1fghijABCDE"},
	        {17, "1hijABCDE"},
	        {20, "1ABCDE"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reader_options o = all();
		struct reader *r;
		enum console_frame frame;
		struct err err;
		char bytes[64];
		size_t len, got = 0;

		unlink(kit_path("logs/0/1.1.out"));
		unlink(kit_path("logs/0/1.1.idx"));
		put_at("out", "0123456789abcdefghij", 0);
		put_index("logs/0/1.1.idx", SPOOL_STDOUT, 0, 10);
		put_index("logs/0/1.1.idx", SPOOL_STDOUT, 10, 10);
		r = open_reader(&o);
		for (; got < cases[i].read_before; got += len)
			assert_int_equal(reader_next(r, bytes,
			                         MIN(cases[i].read_before - got, sizeof(bytes)),
			                         &frame, &len, &err),
			        1);
		put_at("out", "ABCDE", 10);
		put_index("logs/0/1.1.idx", SPOOL_STDOUT, 10, 5);
		put_in_order();
		reader_set_over(r);
		assert_string_equal(read_now(r), cases[i].then);
		reader_close(r);
	}
}

static void test_file_elsewhere(void **state)
{
	struct reader_options o = all();
	struct reader *r;
	struct err err;

	assert_int_equal(symlink(kit_path("mine"), kit_path("logs/0/1.1.out")), 0);
	kit_append_bytes(kit_path("mine"), "hello", 5);
	put_index("logs/0/1.1.idx", SPOOL_STDOUT, 0, 5);
	assert_string_equal(read_once(&o), "1hello");
	o.check_owner = true;
	assert_string_equal(read_once(&o), "1hello");
	/* Gone: known when it is over. */
	unlink(kit_path("mine"));
	assert_string_equal(read_once(&o), "");
	o.is_over = true;
	assert_int_equal(reader_open(&o, &r, &err), -ERR_NOT_FOUND);
	/* No file: neither opened for ever, nor read. */
	assert_int_equal(mkfifo(kit_path("mine"), 0600), 0);
	assert_int_equal(reader_open(&o, &r, &err), -ERR_CONFLICT);
}

/* A link into somebody else's file, laid by whoever could write its place. */
static void test_owner(void **state)
{
	struct reader_options o = all();
	struct reader *r;
	struct err err;

	if (geteuid() != 0) {
		skip();
		return;
	}
	assert_int_equal(symlink(kit_path("mine"), kit_path("logs/0/1.1.out")), 0);
	kit_append_bytes(kit_path("mine"), "secret", 6);
	assert_int_equal(lchown(kit_path("logs/0/1.1.out"), 65534, 65534), 0);
	o.check_owner = true;
	assert_int_equal(reader_open(&o, &r, &err), -ERR_CONFLICT);
	assert_int_equal(chown(kit_path("mine"), 65534, 65534), 0);
	assert_int_equal(reader_open(&o, &r, &err), 0);
	reader_close(r);
}

/* Somebody cut the file under its index. */
static void test_cut_file(void **state)
{
	struct reader_options o = all();

	put(SPOOL_STDOUT, "one ");
	put(SPOOL_STDOUT, "two ");
	assert_int_equal(truncate(kit_path("logs/0/1.1.out"), 2), 0);
	put_at("out", "", 0);
	assert_string_equal(read_once(&o), "1on");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, kit_end)
	const struct CMUnitTest tests[] = {
	        CASE(test_streams_apart),
	        CASE(test_two_files),
	        CASE(test_small_pieces),
	        CASE(test_follow),
	        CASE(test_offset),
	        CASE(test_tail),
	        CASE(test_tail_over_blocks),
	        CASE(test_nothing_there),
	        CASE(test_no_index),
	        CASE(test_ring),
	        CASE(test_put_in_order),
	        CASE(test_while_it_is_put_in_order),
	        CASE(test_it_is_put_in_order_meanwhile),
	        CASE(test_put_in_order_under_a_reader),
	        CASE(test_file_elsewhere),
	        CASE(test_owner),
	        CASE(test_cut_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
