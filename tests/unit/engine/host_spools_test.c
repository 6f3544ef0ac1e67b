#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/host_spools.h"
#include "kit.h"

#define READ_MAX 100000

static struct {
	uint64_t epochs[READ_MAX];
	uint32_t files[READ_MAX];
	size_t n;
	/* to be done while a record is taken */
	struct spools *rotate;
} got;

static void on_record(void *data, const struct spool_record *r, uint32_t file)
{
	struct err err;

	assert_true(got.n < READ_MAX);
	got.epochs[got.n] = r->epoch;
	got.files[got.n++] = file;
	if (got.rotate)
		assert_int_equal(spools_rotate(got.rotate, &err), 0);
}

static struct spools *open_spools(bool is_new)
{
	struct spools *s;
	struct err err;

	memset(&got, 0, sizeof(got));
	assert_int_equal(spools_open(kit_path("spool"), is_new, &s, &err), 0);
	return s;
}

static size_t read_new(struct spools *s)
{
	struct err err;
	size_t before = got.n;

	assert_int_equal(spools_read(s, on_record, NULL, &err), 0);
	return got.n - before;
}

static void append(const char *path, uint64_t epoch)
{
	struct spool_record r = kit_record(SPOOL_STARTED, epoch);

	kit_append(path, &r);
}

static bool is_readable(const struct spools *s)
{
	struct pollfd p = {.fd = spools_fd(s), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_fresh_directory(void **state)
{
	struct spools *s = open_spools(false);

	assert_int_equal(spools_count(s), 1);
	assert_int_equal(spools_current(s), 1);
	assert_string_equal(spools_path(s, 1), kit_path("spool/000001.spool"));
	assert_int_equal(spools_size(s), 0);
	assert_int_equal(read_new(s), 0);
	spools_close(s);
}

static void test_reads_what_is_new(void **state)
{
	struct spools *s = open_spools(false);

	append(spools_path(s, 1), 5);
	assert_true(is_readable(s));
	append(spools_path(s, 1), 6);
	assert_int_equal(read_new(s), 2);
	assert_int_equal(got.epochs[0], 5);
	assert_int_equal(got.epochs[1], 6);
	assert_false(is_readable(s));
	assert_int_equal(read_new(s), 0);
	append(spools_path(s, 1), 7);
	assert_int_equal(read_new(s), 1);
	spools_close(s);
	/* Another reader begins at the beginning. */
	s = open_spools(false);
	assert_int_equal(read_new(s), 3);
	spools_close(s);
}

static void test_more_than_one_block(void **state)
{
	struct spools *s = open_spools(false);
	CLEANUP_BUF struct buf b = BUF_INIT(16 * MIB);

	for (uint64_t epoch = 1; epoch <= 20000; epoch++) {
		struct spool_record r = kit_record(SPOOL_STARTED, epoch);

		spool_encode(&r, &b);
	}
	kit_append_bytes(spools_path(s, 1), b.data, b.len);
	assert_int_equal(read_new(s), 20000);
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(got.epochs[i], i + 1);
	spools_close(s);
}

/* Cut in the middle of a write, and written again whole behind it. */
static void test_damage(void **state)
{
	struct spools *s = open_spools(false);
	struct spool_record r = kit_record(SPOOL_ENDED, 2);
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	append(spools_path(s, 1), 1);
	spool_encode(&r, &b);
	kit_append_bytes(spools_path(s, 1), b.data, b.len - 3);
	assert_int_equal(read_new(s), 1);
	kit_append_bytes(spools_path(s, 1), b.data, b.len);
	append(spools_path(s, 1), 3);
	assert_int_equal(read_new(s), 2);
	assert_int_equal(got.epochs[1], 2);
	assert_int_equal(got.epochs[2], 3);
	assert_int_equal(spools_damaged_bytes(s), b.len - 3);
	spools_close(s);
}

static void test_noise_alone(void **state)
{
	struct spools *s = open_spools(false);
	static uint8_t noise[40000];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 7 + i / 256);
	kit_append_bytes(spools_path(s, 1), noise, sizeof(noise));
	/* Something that may still become a record is waited for. */
	append(spools_path(s, 1), 1);
	for (int i = 0; i < 4200; i += 40)
		append(spools_path(s, 1), 2);
	assert_true(read_new(s) >= 2);
	assert_int_equal(got.epochs[got.n - 1], 2);
	spools_close(s);
}

static void test_rotation(void **state)
{
	struct spools *s = open_spools(false);
	struct err err;
	pid_t keeper;

	spools_hold(s, 1);
	append(spools_path(s, 1), 1);
	assert_int_equal(read_new(s), 1);
	assert_int_equal(spools_rotate(s, &err), 0);
	assert_int_equal(spools_current(s), 2);
	assert_int_equal(spools_count(s), 2);
	/* Both are read; older first. */
	append(spools_path(s, 2), 3);
	append(spools_path(s, 1), 2);
	assert_int_equal(read_new(s), 2);
	assert_int_equal(got.files[1], 1);
	assert_int_equal(got.files[2], 2);
	/* A keeper that lives keeps its file, whoever let go. */
	keeper = kit_hold(spools_path(s, 1), 1);
	assert_int_equal(spools_holder(s, 1), keeper);
	assert_int_equal(spools_holder(s, 2), 0);
	spools_release(s, 1);
	assert_int_equal(spools_count(s), 2);
	kit_let_go(keeper);
	assert_int_equal(spools_holder(s, 1), 0);
	spools_hold(s, 1);
	/* Unread bytes keep it, too. */
	append(spools_path(s, 1), 4);
	spools_release(s, 1);
	assert_int_equal(spools_count(s), 2);
	assert_int_equal(read_new(s), 1);
	spools_hold(s, 1);
	spools_release(s, 1);
	assert_int_equal(spools_count(s), 1);
	assert_int_not_equal(access(kit_path("spool/000001.spool"), F_OK), 0);
	assert_int_equal(access(kit_path("spool/000002.spool"), F_OK), 0);
	spools_close(s);
}

static void test_rotation_while_reading(void **state)
{
	struct spools *s = open_spools(false);

	for (uint64_t epoch = 1; epoch <= 40; epoch++)
		append(spools_path(s, 1), epoch);
	got.rotate = s;
	assert_int_equal(read_new(s), 40);
	for (uint64_t i = 0; i < 40; i++) {
		assert_int_equal(got.epochs[i], i + 1);
		assert_int_equal(got.files[i], 1);
	}
	assert_int_equal(spools_current(s), 41);
	spools_close(s);
}

static void test_new_file_on_request(void **state)
{
	struct spools *s = open_spools(false);

	append(spools_path(s, 1), 1);
	spools_close(s);
	kit_append_bytes(kit_path("spool/notes.txt"), "x", 1);
	kit_append_bytes(kit_path("spool/x.spool"), "x", 1);
	s = open_spools(true);
	assert_int_equal(spools_current(s), 2);
	assert_int_equal(read_new(s), 1);
	spools_close(s);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, kit_begin, kit_end)
	const struct CMUnitTest tests[] = {
	        CASE(test_fresh_directory),
	        CASE(test_reads_what_is_new),
	        CASE(test_more_than_one_block),
	        CASE(test_damage),
	        CASE(test_noise_alone),
	        CASE(test_rotation),
	        CASE(test_rotation_while_reading),
	        CASE(test_new_file_on_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
