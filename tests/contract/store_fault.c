/*
 * A disk that fails in the middle of a batch: the batch is not there, comes again, and is there; also after a crash.
 */
#include "store_scene.h"

#include <unistd.h>

#include "fault_vfs.h"

#define BIG_BYTES \
	3000000 /* with the batches before it, past the length at which the log is copied into the database */

static char *big;

/* The scene's store again, over the layer that fails. */
static void begin(struct scene *sc)
{
	fault_install();
	fault = (struct fault){0};
	scene_move(sc, "fault.db");
	big = calloc(1, BIG_BYTES);
}

static void end(struct scene *sc)
{
	fault = (struct fault){0};
	free(big);
}

/* What a machine that lost its power now would find: the files as they are, without the shared memory. */
static void check_crash_image(struct scene *sc, const char *want)
{
	struct scene image = {0};
	char command[500];

	snprintf(command, sizeof(command),
	        "cd '%s' && rm -f image.db* && cp fault.db image.db && cp fault.db-wal image.db-wal",
	        sc->dir);
	assert_int_equal(system(command), 0);
	snprintf(image.url, sizeof(image.url), "sqlite:%s/image.db", sc->dir);
	scene_open(&image);
	assert_int_equal(image.seq, sc->seq);
	assert_string_equal(list(&image, ROW_JOB, STORE_ALL), want);
	scene_close(&image);
}

/* One batch with a fault after n calls. Returns whether the fault came. */
static bool try_batch(struct scene *sc, enum fault_kind kind, int n, size_t blob_len)
{
	struct store_row rows[] = {
	        row_of(ROW_JOB, 1, 0, 0, n + 1),
	        {.kind = ROW_BLOB, .key = (uint64_t)n % 2, .data = big, .len = blob_len},
	        row_of(ROW_JOB, 2, 0, n + 1, n + 1),
	};
	uint64_t seq = sc->seq;
	char before[64], after[64];
	int rc;

	/* SQLite does not write what is there already. */
	memset(big, n + (int)seq, blob_len);
	snprintf(before, sizeof(before), "%s", list(sc, ROW_JOB, STORE_ALL));
	snprintf(after, sizeof(after), "1.0@0=%d 2.0@%d=%d ", n + 1, n + 1, n + 1);
	fault = (struct fault){.kind = kind, .after = n};
	rc = commit_rows(sc, rows, 3);
	fault.kind = FAULT_NONE;
	if (rc < 0) {
		assert_int_equal(rc, kind == FAULT_WRITE ? -ERR_NO_SPACE : -ERR_IO);
		assert_true(fault.n_failed > 0);
		assert_int_equal(store_last_seq(sc->s), seq);
		assert_string_equal(list(sc, ROW_JOB, STORE_ALL), before);
		commit_ok(sc, rows, 3);
	}
	assert_int_equal(store_last_seq(sc->s), seq + 1);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), after);
	if (fault.n_failed > 0)
		check_crash_image(sc, after);
	return fault.n_failed > 0;
}

void case_every_write_fails_once(void **state)
{
	struct scene *sc = *state;
	int n = 0, last;

	begin(sc);
	while (try_batch(sc, FAULT_WRITE, n, 10000))
		n++;
	assert_true(n >= 5);
	/* And where a batch also has the log copied into the database. */
	for (last = 0; try_batch(sc, FAULT_WRITE, last, BIG_BYTES);)
		last += 97;
	assert_true(last > 1000);
	end(sc);
}

void case_every_sync_fails_once(void **state)
{
	struct scene *sc = *state;
	int n = 0, most = 0;

	begin(sc);
	while (try_batch(sc, FAULT_SYNC, n, 10000))
		n++;
	assert_true(n >= 1);
	/* The second sync of a batch is that of the database, after the log was copied into it. */
	for (int round = 0; round < 6; round++) {
		for (n = 0; try_batch(sc, FAULT_SYNC, n, BIG_BYTES);)
			n++;
		most = MAX(most, n);
	}
	assert_true(most >= 2);
	end(sc);
}

void case_lead_and_prune_fail(void **state)
{
	const struct store_event event = {.time_ms = 5, .key = 1, .sub = -1, .data = "a", .len = 1};
	struct scene *sc = *state;
	struct store *second;
	size_t removed = 0;
	uint64_t epoch = 0;

	begin(sc);
	assert_int_equal(
	        store_commit(sc->s, sc->epoch, ++sc->seq, &event, 1, NULL, 0, &sc->err), 0);
	fault = (struct fault){.kind = FAULT_WRITE};
	assert_int_equal(store_prune_journal(sc->s, 100, 100, &removed, &sc->err), -ERR_NO_SPACE);
	assert_string_equal(list_events(sc, 0, 9), "1:1.-1@5=a ");
	assert_int_equal(store_prune_journal(sc->s, 100, 100, &removed, &sc->err), 0);
	assert_int_equal(removed, 1);
	/* Who could not write that it leads does not lead, and keeps nobody else from it. */
	scene_close(sc);
	assert_int_equal(store_open(sc->url, &sc->s, &sc->err), 0);
	fault = (struct fault){.kind = FAULT_SYNC};
	assert_int_equal(store_lead(sc->s, &epoch, &sc->err), -ERR_IO);
	assert_int_equal(epoch, 0);
	assert_int_equal(
	        store_commit(sc->s, sc->epoch, 2, NULL, 0, NULL, 0, &sc->err), -ERR_CONFLICT);
	assert_int_equal(store_open(sc->url, &second, &sc->err), 0);
	assert_int_equal(store_lead(second, &epoch, &sc->err), 0);
	assert_int_equal(epoch, sc->epoch + 1);
	store_close(second);
	end(sc);
}

/* Nothing works for some time, a backup is under way, then all is well again. */
void case_disk_dead_for_a_while(void **state)
{
	struct scene *sc = *state;
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 2);
	struct store_copy *copy;
	bool is_complete = false;
	char path[100];

	begin(sc);
	put(sc, ROW_JOB, 1, 0, 0, 1);
	snprintf(path, sizeof(path), "%s/copy.db", sc->dir);
	assert_int_equal(store_copy_begin(sc->s, path, &copy, &sc->err), 0);
	fault = (struct fault){.kind = FAULT_DEAD};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(commit_rows(sc, &row, 1), -ERR_IO);
		assert_int_equal(store_last_seq(sc->s), 1);
	}
	assert_int_equal(store_copy_step(copy, &is_complete, &sc->err), -ERR_IO);
	assert_false(is_complete);
	fault.kind = FAULT_NONE;
	assert_int_equal(store_copy_end(copy, &sc->err), 0);
	assert_int_equal(access(path, F_OK), -1);
	commit_ok(sc, &row, 1);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=2 ");
	check_crash_image(sc, "1.0@0=2 ");
	assert_int_equal(store_backup(sc->s, path, &sc->err), 0);
	end(sc);
}
