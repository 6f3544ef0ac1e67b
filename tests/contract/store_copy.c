/*
 * Backups of a store in files: complete, consistent, and out of the way of what goes on meanwhile.
 */
#include "store_scene.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char target[160];

static const char *target_path(struct scene *sc, const char *name)
{
	snprintf(target, sizeof(target), "%s/%s", sc->dir, name);
	return target;
}

/* The same store, read from the copy. */
static void open_copy(struct scene *sc, struct scene *copy)
{
	*copy = *sc;
	copy->s = copy->anchor = NULL;
	snprintf(copy->path, sizeof(copy->path), "%.100s", target);
	snprintf(copy->url, sizeof(copy->url), "sqlite:%s", copy->path);
	scene_open(copy);
}

static void put_blobs(struct scene *sc, uint64_t first, uint64_t n)
{
	char *big = malloc(1 << 20);

	for (uint64_t key = first; key < first + n; key++) {
		struct store_row row = {.kind = ROW_BLOB, .key = key, .data = big, .len = 1 << 20};

		memset(big, (int)key, 1 << 20);
		commit_ok(sc, &row, 1);
	}
	free(big);
}

static int check_blob(void *data, const struct store_row *row, struct err *err)
{
	const uint8_t *bytes = row->data;

	++*(uint64_t *)data;
	assert_int_equal(row->len, 1 << 20);
	for (size_t i = 0; i < row->len; i += 511)
		assert_int_equal(bytes[i], (uint8_t)row->key);
	return 0;
}

void case_backup(void **state)
{
	struct scene *sc = *state;
	struct scene copy;
	struct stat st;

	put(sc, ROW_JOB, 1, -1, 0, 1);
	put(sc, ROW_JOB, 2, -1, 70, 2);
	assert_int_equal(store_backup(sc->s, target_path(sc, "copy.db"), &sc->err), 0);
	put(sc, ROW_JOB, 3, -1, 0, 1);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	open_copy(sc, &copy);
	assert_int_equal(copy.seq, 2);
	assert_int_equal(copy.epoch, sc->epoch + 1);
	assert_string_equal(list(&copy, ROW_JOB, STORE_ALL), "1.-1@0=1 2.-1@70=2 ");
	put(&copy, ROW_JOB, 4, -1, 0, 1);
	scene_close(&copy);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.-1@0=1 2.-1@70=2 3.-1@0=1 ");
}

/* Batches that come between the steps are in the copy: rows that change, are added and go. */
void case_backup_while_writing(void **state)
{
	struct scene *sc = *state;
	struct store_copy *work;
	struct scene copy;
	bool is_complete = false;
	uint64_t n_blobs = 0;
	int steps = 0;

	put(sc, ROW_JOB, 1, -1, 0, 1);
	put(sc, ROW_JOB, 2, -1, 0, 1);
	put_blobs(sc, 0, 8);
	assert_int_equal(store_copy_begin(sc->s, target_path(sc, "copy.db"), &work, &sc->err), 0);
	while (!is_complete) {
		assert_int_equal(store_copy_step(work, &is_complete, &sc->err), 0);
		assert_int_equal(access(target, F_OK), -1);
		if (is_complete)
			break;
		steps++;
		put(sc, ROW_JOB, 1, -1, 0, 1 + steps);
		put(sc, ROW_JOB, 2, -1, 1000 + steps, steps);
		if (steps < 3)
			put_blobs(sc, 8 + (uint64_t)steps, 1);
	}
	assert_true(steps >= 3);
	assert_int_equal(store_copy_end(work, &sc->err), 0);
	open_copy(sc, &copy);
	assert_int_equal(copy.seq, sc->seq);
	assert_string_equal(list(&copy, ROW_JOB, STORE_ALL), list(sc, ROW_JOB, STORE_ALL));
	assert_int_equal(
	        store_each(copy.s, ROW_BLOB, STORE_ALL, check_blob, &n_blobs, &sc->err), 0);
	assert_int_equal(n_blobs, 10);
	scene_close(&copy);
}

void case_backup_refused(void **state)
{
	struct scene *sc = *state;
	struct store_copy *work, *second;
	bool is_complete = false;
	struct stat st;

	assert_int_equal(
	        store_backup(sc->s, target_path(sc, "none/copy.db"), &sc->err), -ERR_NOT_FOUND);
	assert_int_equal(store_backup(sc->s, sc->path, &sc->err), -ERR_CONFLICT);
	assert_int_equal(store_copy_begin(sc->s, target_path(sc, "copy.db"), &work, &sc->err), 0);
	assert_int_equal(store_copy_begin(sc->s, target_path(sc, "second.db"), &second, &sc->err),
	        -ERR_CONFLICT);
	assert_int_equal(store_copy_end(work, &sc->err), 0);
	assert_int_equal(store_backup(sc->s, target_path(sc, "copy.db"), &sc->err), 0);
	assert_int_equal(store_backup(sc->s, target, &sc->err), -ERR_CONFLICT);
	assert_int_equal(access(target_path(sc, "copy.db.part"), F_OK), -1);
	/* Somebody else makes a file of that name meanwhile: it is left alone. */
	assert_int_equal(store_copy_begin(sc->s, target_path(sc, "third.db"), &work, &sc->err), 0);
	while (!is_complete)
		assert_int_equal(store_copy_step(work, &is_complete, &sc->err), 0);
	assert_int_equal(close(creat(target, 0600)), 0);
	assert_int_equal(store_copy_end(work, &sc->err), -ERR_CONFLICT);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(access(target_path(sc, "third.db.part"), F_OK), -1);
}

/* The copy runs out of room; the store goes on. */
void case_backup_full_disk(void **state)
{
	struct scene *sc = *state;
	struct rlimit before, small;
	int rc;

	put_blobs(sc, 0, 6);
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){.rlim_cur = 3 << 20, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = store_backup(sc->s, target_path(sc, "copy.db"), &sc->err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(rc, -ERR_NO_SPACE);
	assert_non_null(strstr(sc->err.text, target));
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(access(target_path(sc, "copy.db.part"), F_OK), -1);
	put(sc, ROW_JOB, 1, 0, 0, 1);
	assert_int_equal(store_backup(sc->s, target_path(sc, "copy.db"), &sc->err), 0);
}

void case_backup_given_up(void **state)
{
	struct scene *sc = *state;
	struct store_copy *work;
	bool is_complete = true;

	put_blobs(sc, 0, 4);
	assert_int_equal(store_copy_begin(sc->s, target_path(sc, "copy.db"), &work, &sc->err), 0);
	assert_int_equal(store_copy_step(work, &is_complete, &sc->err), 0);
	assert_false(is_complete);
	assert_int_equal(access(target_path(sc, "copy.db.part"), F_OK), 0);
	assert_int_equal(store_copy_end(work, &sc->err), 0);
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(access(target_path(sc, "copy.db"), F_OK), -1);
	/* A crash leaves its part behind; the next one takes its place. */
	assert_int_equal(close(creat(target_path(sc, "copy.db.part"), 0644)), 0);
	assert_int_equal(store_backup(sc->s, target_path(sc, "copy.db"), &sc->err), 0);
	assert_int_equal(access(target_path(sc, "copy.db.part"), F_OK), -1);
}

void case_reader_beside_leader(void **state)
{
	struct scene *sc = *state, second = {0};
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 9);

	put(sc, ROW_JOB, 1, 0, 0, 1);
	assert_int_equal(store_open_reader(sc->url, &second.s, &sc->err), 0);
	assert_string_equal(list(&second, ROW_JOB, STORE_ALL), "1.0@0=1 ");
	put(sc, ROW_JOB, 2, 0, 5, 1);
	assert_string_equal(list(&second, ROW_JOB, STORE_ALL),
	        sc->make == MAKE_MEMORY ? "1.0@0=1 2.0@5=1 " : "1.0@0=1 ");
	assert_int_equal(
	        store_commit(second.s, sc->epoch, 3, NULL, 0, &row, 1, &sc->err), -ERR_CONFLICT);
	store_close(second.s);
	put(sc, ROW_JOB, 1, 0, 0, 2);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=2 2.0@5=1 ");
}
