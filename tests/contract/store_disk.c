/*
 * What a store in files leaves on the disk, what it refuses to open, and how it bears a disk that is full or read-only.
 */
#include "store_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void run_sql(struct scene *sc, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(sc->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void refused(struct scene *sc, int want)
{
	struct store *s = NULL;

	assert_int_equal(store_open(sc->url, &s, &sc->err), want);
	assert_null(s);
	assert_non_null(strstr(sc->err.text, sc->path));
}

void case_reserve(void **state)
{
	struct scene *sc = *state;
	struct stat st;
	char path[160];

	snprintf(path, sizeof(path), "%s.reserve", sc->path);
	assert_int_equal(store_reserve_release(sc->s, &sc->err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_reserve_make(sc->s, &sc->err), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_blocks * 512 >= 4 << 20);
	}
	assert_int_equal(store_reserve_release(sc->s, &sc->err), 0);
	assert_false(has_file(sc, ".reserve"));
	assert_int_equal(store_reserve_release(sc->s, &sc->err), 0);
}

void case_file_modes(void **state)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", ".lock", ".reserve"};
	struct scene *sc = *state;
	mode_t before = umask(0);

	scene_move(sc, "open.db");
	put(sc, ROW_JOB, 1, 0, 0, 1);
	assert_int_equal(store_reserve_make(sc->s, &sc->err), 0);
	umask(before);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		struct stat st;
		char path[160];

		snprintf(path, sizeof(path), "%s%s", sc->path, suffixes[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

void case_newer_schema(void **state)
{
	struct scene *sc = *state;

	put(sc, ROW_JOB, 1, 0, 0, 1);
	scene_close(sc);
	run_sql(sc, "PRAGMA user_version = 999");
	refused(sc, -ERR_VERSION);
	assert_non_null(strstr(sc->err.text, "999"));
	assert_true(strlen(sc->err.hint) > 0);
	/* Nothing was done to it. */
	run_sql(sc, "PRAGMA user_version = 3");
	scene_open(sc);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=1 ");
}

void case_foreign_file(void **state)
{
	struct scene *sc = *state;

	scene_close(sc);
	assert_int_equal(unlink(sc->path), 0);
	run_sql(sc, "CREATE TABLE job (id)");
	refused(sc, -ERR_CORRUPT);
	assert_non_null(strstr(sc->err.text, "another program"));
	assert_int_equal(unlink(sc->path), 0);
	run_sql(sc, "PRAGMA application_id = 5; CREATE TABLE t (id)");
	refused(sc, -ERR_CORRUPT);
	/* A crash right after the file was made leaves it empty; that is a new store. */
	assert_int_equal(truncate(sc->path, 0), 0);
	scene_open(sc);
	assert_int_equal(sc->epoch, 1);
}

static void overwrite(struct scene *sc, off_t at, size_t len)
{
	int fd = open(sc->path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(pwrite(fd, "\xa5", 1, at + (off_t)i), 1);
	close(fd);
}

static int ignore_row(void *data, const struct store_row *row, struct err *err)
{
	return 0;
}

/* A batch whose second row falls on a broken page: SQLite does not end the transaction by itself then. */
static void check_undone(struct scene *sc)
{
	struct store_row rows[] = {row_of(ROW_TASK, 1, 0, 0, 1), row_of(ROW_JOB, 10, 0, 0, 2)};
	uint64_t seq = sc->seq;

	while (store_get(sc->s, ROW_JOB, rows[1].key, 0, ignore_row, NULL, &sc->err) == 0)
		rows[1].key++;
	assert_int_equal(sc->err.kind, ERR_CORRUPT);
	assert_int_equal(commit_rows(sc, rows, 2), -ERR_CORRUPT);
	assert_string_equal(list(sc, ROW_TASK, STORE_ALL), "");
	put(sc, ROW_TASK, 2, 0, 0, 1);
	assert_int_equal(store_last_seq(sc->s), seq + 1);
	assert_string_equal(list(sc, ROW_TASK, STORE_ALL), "2.0@0=1 ");
}

void case_corrupt_file(void **state)
{
	struct scene *sc = *state;
	struct stat st;

	for (uint64_t key = 1; key <= 2000; key++) {
		struct store_row rows[10];

		for (uint64_t i = 0; i < 10; i++)
			rows[i] = row_of(ROW_JOB, key * 10 + i, 0, 0, 1);
		commit_ok(sc, rows, 10);
	}
	scene_close(sc);
	/* In the middle: found when it is read. */
	assert_int_equal(stat(sc->path, &st), 0);
	assert_true(st.st_size > 100000);
	overwrite(sc, st.st_size / 2, 8192);
	scene_open(sc);
	assert_int_equal(
	        store_each(sc->s, ROW_JOB, STORE_ALL, ignore_row, NULL, &sc->err), -ERR_CORRUPT);
	assert_non_null(strstr(sc->err.text, sc->path));
	assert_non_null(strstr(sc->err.hint, "backup"));
	check_undone(sc);
	scene_close(sc);
	/* At the start: found at once. */
	overwrite(sc, 0, 100);
	refused(sc, -ERR_CORRUPT);
	assert_non_null(strstr(sc->err.hint, "backup"));
}

void case_missing_folder(void **state)
{
	struct scene *sc = *state;

	scene_close(sc);
	snprintf(sc->path, sizeof(sc->path), "%s/none/berth.db", sc->dir);
	snprintf(sc->url, sizeof(sc->url), "sqlite:%s", sc->path);
	refused(sc, -ERR_NOT_FOUND);
}

/* Where the lock does not hold (it was removed; a file system does not know locks), the epoch still does. */
void case_lost_lock_is_fenced(void **state)
{
	struct scene *sc = *state;
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 1);
	struct store *second;
	size_t removed = 0;
	uint64_t epoch;
	char lock[160];

	put(sc, ROW_JOB, 9, 0, 5, 1);
	snprintf(lock, sizeof(lock), "%s.lock", sc->path);
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(store_open(sc->url, &second, &sc->err), 0);
	assert_int_equal(store_lead(second, &epoch, &sc->err), 0);
	assert_int_equal(epoch, sc->epoch + 1);
	assert_int_equal(commit_rows(sc, &row, 1), -ERR_CONFLICT);
	assert_non_null(strstr(sc->err.text, "epoch 2"));
	assert_int_equal(store_prune_journal(sc->s, 100, 100, &removed, &sc->err), -ERR_CONFLICT);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "9.0@5=1 ");
	assert_int_equal(store_commit(second, epoch, 2, NULL, 0, &row, 1, &sc->err), 0);
	assert_int_equal(commit_rows(sc, &row, 1), -ERR_CONFLICT);
	store_close(second);
}

void case_file_size_limit(void **state)
{
	struct scene *sc = *state;
	struct rlimit before, small;
	char *big = calloc(1, 400000);
	struct store_row rows[] = {
	        row_of(ROW_JOB, 1, 0, 0, 2),
	        {.kind = ROW_BLOB, .key = 1, .data = big, .len = 400000},
	        row_of(ROW_JOB, 2, 0, 0, 2),
	};

	put(sc, ROW_JOB, 1, 0, 0, 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = 300000, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 3; i++) {
		int rc = commit_rows(sc, rows, 3);

		assert_int_equal(rc, -ERR_NO_SPACE);
		assert_int_equal(store_last_seq(sc->s), 1);
		assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=1 ");
	}
	/* What fits is taken meanwhile. */
	put(sc, ROW_JOB, 3, 0, 0, 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	commit_ok(sc, rows, 3);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=2 2.0@0=2 3.0@0=1 ");
	scene_close(sc);
	scene_open(sc);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=2 2.0@0=2 3.0@0=1 ");
	free(big);
}

static void fill(const char *path)
{
	static char block[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	size_t len = sizeof(block);

	assert_true(fd >= 0);
	while (len > 0)
		if (write(fd, block, len) < 0) {
			assert_int_equal(errno, ENOSPC);
			len /= 2;
		}
	close(fd);
}

void case_full_disk(void **state)
{
	struct scene *sc = *state;
	char filler[100];
	int rc = 0;

	if (!mount_small(sc, 24)) {
		print_message("# full_disk needs to mount a tmpfs, which this process may not\n");
		skip();
	}
	scene_move(sc, "mnt/berth.db");
	assert_int_equal(store_reserve_make(sc->s, &sc->err), 0);
	put(sc, ROW_JOB, 1, 0, 0, 1);
	snprintf(filler, sizeof(filler), "%s/mnt/filler", sc->dir);
	fill(filler);
	/* Until the log has used what it had: then a batch is refused, as often as it is tried. */
	for (uint64_t key = 2; key < 10000 && rc == 0; key++) {
		struct store_row row = row_of(ROW_JOB, key, 0, 0, 1);

		rc = commit_rows(sc, &row, 1);
	}
	assert_int_equal(rc, -ERR_NO_SPACE);
	assert_int_equal(store_reserve_make(sc->s, &sc->err), 0); /* it is there */
	for (int i = 0; i < 3; i++) {
		struct store_row row = row_of(ROW_JOB, 1, 0, 1000, 2);

		assert_int_equal(commit_rows(sc, &row, 1), -ERR_NO_SPACE);
		assert_string_equal(get(sc, ROW_JOB, 1, 0), "1.0@0=1 ");
	}
	/* The reserve is given up for the ends of jobs: hundreds, one batch each. */
	assert_int_equal(store_reserve_release(sc->s, &sc->err), 0);
	for (uint64_t key = 1; key <= 300; key++)
		put(sc, ROW_JOB, key, 0, 1000, 2);
	assert_int_equal(store_reserve_make(sc->s, &sc->err), -ERR_NO_SPACE);
	assert_false(has_file(sc, ".reserve"));
	assert_int_equal(unlink(filler), 0);
	assert_int_equal(store_reserve_make(sc->s, &sc->err), 0);
	put(sc, ROW_JOB, 1, 0, 2000, 3);
	scene_close(sc);
	scene_open(sc);
	assert_string_equal(get(sc, ROW_JOB, 1, 0), "1.0@2000=3 ");
	assert_string_equal(get(sc, ROW_JOB, 300, 0), "300.0@1000=2 ");
}

void case_read_only_disk(void **state)
{
	struct scene *sc = *state;
	char mnt[80];

	if (geteuid() == 0) {
		if (!mount_small(sc, 8)) {
			print_message(
			        "# read_only_disk needs to mount a tmpfs, which this process may not\n");
			skip();
		}
		scene_move(sc, "mnt/berth.db");
		scene_close(sc);
		snprintf(mnt, sizeof(mnt), "%s/mnt", sc->dir);
		assert_int_equal(mount("", mnt, "", MS_REMOUNT | MS_RDONLY, NULL), 0);
	} else {
		scene_close(sc);
		assert_int_equal(chmod(sc->path, 0400), 0);
	}
	refused(sc, -ERR_FORBIDDEN);
}
