/*
 * What every store must do with rows, events, epochs and numbers, with a disk that is well.
 */
#include "store_scene.h"

#include <unistd.h>

#define END INT64_MAX, UINT64_MAX, INT64_MAX

void case_new_is_empty(void **state)
{
	struct scene *sc = *state;

	assert_int_equal(sc->epoch, 1);
	assert_int_equal(store_last_seq(sc->s), 0);
	for (int kind = 0; kind < ROW_MAX; kind++)
		assert_string_equal(list(sc, (enum row_kind)kind, STORE_ALL), "");
	assert_string_equal(list_events(sc, 0, 100), "");
	assert_string_equal(list_ended(sc, ROW_JOB, END, 10), "");
	assert_string_equal(get(sc, ROW_JOB, 1, -1), "none");
	assert_non_null(strstr(sc->err.text, "job"));
}

/* A kind that has no table of its own would show here. */
void case_every_kind(void **state)
{
	struct scene *sc = *state;

	for (int kind = 0; kind < ROW_MAX; kind++) {
		put(sc, (enum row_kind)kind, 7, 0, 0, kind);
		put(sc, (enum row_kind)kind, 8, 0, 1000, kind);
	}
	for (int kind = 0; kind < ROW_MAX; kind++) {
		char want[64];

		snprintf(want, sizeof(want), "7.0@0=%d 8.0@1000=%d ", kind, kind);
		assert_string_equal(list(sc, (enum row_kind)kind, STORE_ALL), want);
	}
}

void case_write_and_remove(void **state)
{
	struct scene *sc = *state;

	put(sc, ROW_JOB, 17, -1, 0, 1);
	assert_string_equal(get(sc, ROW_JOB, 17, -1), "17.-1@0=1 ");
	assert_string_equal(get(sc, ROW_JOB, 17, 0), "none");
	assert_string_equal(get(sc, ROW_TASK, 17, -1), "none");
	put(sc, ROW_JOB, 17, -1, 0, 2);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "17.-1@0=2 ");
	put(sc, ROW_JOB, 17, -1, 0, -1);
	assert_string_equal(get(sc, ROW_JOB, 17, -1), "none");
	/* What is not there can be removed, too. */
	put(sc, ROW_JOB, 17, -1, 0, -1);
	assert_int_equal(store_last_seq(sc->s), 4);
}

void case_last_write_stays(void **state)
{
	struct scene *sc = *state;
	struct store_row rows[] = {
	        row_of(ROW_JOB, 1, 0, 0, 1),
	        row_of(ROW_JOB, 2, 0, 0, 1),
	        row_of(ROW_JOB, 1, 0, 500, 2),
	        row_of(ROW_JOB, 2, 0, 0, -1),
	        row_of(ROW_JOB, 3, 0, 0, -1),
	        row_of(ROW_JOB, 3, 0, 0, 5),
	        row_of(ROW_JOB, 1, 0, 600, 3),
	};

	commit_ok(sc, rows, ARRAY_LEN(rows));
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@600=3 3.0@0=5 ");
}

/* From living to ended, to another end, back to life, and away from either. */
void case_living_and_ended(void **state)
{
	struct scene *sc = *state;

	put(sc, ROW_JOB, 1, -1, 0, 1);
	put(sc, ROW_JOB, 2, -1, 0, 1);
	put(sc, ROW_JOB, 1, -1, 1000, 2);
	assert_string_equal(list(sc, ROW_JOB, STORE_LIVING), "2.-1@0=1 ");
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.-1@1000=2 2.-1@0=1 ");
	assert_string_equal(get(sc, ROW_JOB, 1, -1), "1.-1@1000=2 ");
	put(sc, ROW_JOB, 1, -1, 2000, 3);
	assert_string_equal(list_ended(sc, ROW_JOB, END, 10), "1.-1@2000=3 ");
	put(sc, ROW_JOB, 1, -1, 2000, 4);
	assert_string_equal(list_ended(sc, ROW_JOB, END, 10), "1.-1@2000=4 ");
	put(sc, ROW_JOB, 1, -1, 0, 5);
	assert_string_equal(list_ended(sc, ROW_JOB, END, 10), "");
	assert_string_equal(list(sc, ROW_JOB, STORE_LIVING), "1.-1@0=5 2.-1@0=1 ");
	put(sc, ROW_JOB, 1, -1, 3000, 6);
	put(sc, ROW_JOB, 1, -1, 0, -1);
	put(sc, ROW_JOB, 2, -1, 0, -1);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "");
	assert_string_equal(list_ended(sc, ROW_JOB, END, 10), "");
}

void case_order(void **state)
{
	struct scene *sc = *state;
	struct store_row rows[] = {
	        row_of(ROW_JOB, 10, 0, 0, 1),
	        row_of(ROW_JOB, 2, 5, 70, 1),
	        row_of(ROW_JOB, 2, -1, 0, 1),
	        row_of(ROW_JOB, 9, 0, 50, 1),
	        row_of(ROW_JOB, 2, 0, 60, 1),
	        row_of(ROW_JOB, 100, 0, 0, 1),
	};

	commit_ok(sc, rows, ARRAY_LEN(rows));
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL),
	        "2.-1@0=1 2.0@60=1 2.5@70=1 9.0@50=1 10.0@0=1 100.0@0=1 ");
	assert_string_equal(list(sc, ROW_JOB, STORE_LIVING), "2.-1@0=1 10.0@0=1 100.0@0=1 ");
}

void case_extreme_keys(void **state)
{
	struct scene *sc = *state;
	struct store_row rows[] = {
	        row_of(ROW_NODE, UINT64_MAX, INT64_MAX, 0, 1),
	        row_of(ROW_NODE, UINT64_MAX, INT64_MIN, INT64_MAX, 1),
	        row_of(ROW_NODE, (uint64_t)INT64_MAX + 1, 0, 0, 1),
	        row_of(ROW_NODE, INT64_MAX, 0, 1, 1),
	        row_of(ROW_NODE, 0, INT64_MIN, 0, 1),
	        row_of(ROW_NODE, 0, INT64_MAX, INT64_MAX, 1),
	};

	commit_ok(sc, rows, ARRAY_LEN(rows));
	assert_string_equal(list(sc, ROW_NODE, STORE_ALL),
	        "0.-9223372036854775808@0=1 0.9223372036854775807@9223372036854775807=1 "
	        "9223372036854775807.0@1=1 9223372036854775808.0@0=1 "
	        "18446744073709551615.-9223372036854775808@9223372036854775807=1 "
	        "18446744073709551615.9223372036854775807@0=1 ");
	assert_string_equal(list_of_key(sc, ROW_NODE, UINT64_MAX, INT64_MIN, SIZE_MAX),
	        "18446744073709551615.-9223372036854775808@9223372036854775807=1 "
	        "18446744073709551615.9223372036854775807@0=1 ");
	assert_string_equal(list_ended(sc, ROW_NODE, END, 1),
	        "18446744073709551615.-9223372036854775808@9223372036854775807=1 ");
	assert_string_equal(list_ended(sc, ROW_NODE, INT64_MAX, UINT64_MAX, INT64_MIN, 10),
	        "0.9223372036854775807@9223372036854775807=1 9223372036854775807.0@1=1 ");
	assert_string_equal(
	        get(sc, ROW_NODE, (uint64_t)INT64_MAX + 1, 0), "9223372036854775808.0@0=1 ");
}

static int check_bytes(void *data, const struct store_row *row, struct err *err)
{
	const struct store_row *want = data;

	assert_non_null(row->data);
	assert_int_equal(row->len, want->len);
	assert_memory_equal(row->data, want->data, want->len);
	return 0;
}

void case_empty_data(void **state)
{
	struct scene *sc = *state;
	struct store_row row = {.kind = ROW_BLOB, .key = 1, .data = "", .len = 0};
	struct store_event event = {.time_ms = 5, .key = 1, .sub = 2, .data = NULL, .len = 0};

	assert_int_equal(store_commit(sc->s, sc->epoch, 1, &event, 1, &row, 1, &sc->err), 0);
	assert_int_equal(store_get(sc->s, ROW_BLOB, 1, 0, check_bytes, &row, &sc->err), 0);
	assert_string_equal(list_events(sc, 0, 10), "1:1.2@5= ");
}

void case_huge_data(void **state)
{
	struct scene *sc = *state;
	size_t len = 4 * MIB;
	uint8_t *bytes = malloc(len);
	struct store_row rows[3] = {
	        {.kind = ROW_BLOB, .key = 1, .data = bytes, .len = len},
	        {.kind = ROW_BLOB, .key = 2, .ended_ms = 9, .data = bytes, .len = len},
	        {.kind = ROW_BLOB, .key = 3, .data = bytes, .len = STORE_DATA_MAX + 1},
	};

	/* Every byte value, NUL too. */
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i ^ (i >> 8) ^ (i >> 16));
	assert_int_equal(commit_rows(sc, rows, 3), -ERR_TOO_LARGE);
	commit_ok(sc, rows, 2);
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(store_get(sc->s, ROW_BLOB, 1, 0, check_bytes, &rows[0], &sc->err), 0);
	assert_int_equal(store_get(sc->s, ROW_BLOB, 2, 0, check_bytes, &rows[1], &sc->err), 0);
	assert_int_equal(
	        store_get(sc->s, ROW_BLOB, 3, 0, check_bytes, &rows[1], &sc->err), -ERR_NOT_FOUND);
	free(bytes);
}

void case_data_is_copied(void **state)
{
	struct scene *sc = *state;
	char bytes[] = "5.0=1", event_bytes[] = "began";
	struct store_row row = {.kind = ROW_JOB, .key = 5, .data = bytes, .len = 5};
	struct store_event event = {.time_ms = 1, .key = 5, .data = event_bytes, .len = 5};

	assert_int_equal(store_commit(sc->s, sc->epoch, 1, &event, 1, &row, 1, &sc->err), 0);
	memset(bytes, 'x', sizeof(bytes));
	memset(event_bytes, 'x', sizeof(event_bytes));
	assert_string_equal(get(sc, ROW_JOB, 5, 0), "5.0@0=1 ");
	assert_string_equal(list_events(sc, 0, 10), "1:5.0@1=began ");
}

void case_each_of_key(void **state)
{
	struct scene *sc = *state;

	put(sc, ROW_JOB, 4, 0, 0, 1);
	for (int sub = 4; sub >= -1; sub--)
		put(sc, ROW_JOB, 5, sub, sub % 2 ? 0 : 100 - sub, 1);
	put(sc, ROW_JOB, 6, 0, 0, 1);
	assert_string_equal(list_of_key(sc, ROW_JOB, 5, INT64_MIN, SIZE_MAX),
	        "5.-1@0=1 5.0@100=1 5.1@0=1 5.2@98=1 5.3@0=1 5.4@96=1 ");
	assert_string_equal(list_of_key(sc, ROW_JOB, 7, INT64_MIN, SIZE_MAX), "");
	assert_string_equal(list_of_key(sc, ROW_JOB, 5, 1, 3), "5.1@0=1 5.2@98=1 5.3@0=1 ");
	assert_string_equal(list_of_key(sc, ROW_JOB, 5, 4, 3), "5.4@96=1 ");
	assert_string_equal(list_of_key(sc, ROW_JOB, 5, 5, 3), "");
}

void case_ended_pages(void **state)
{
	struct scene *sc = *state;
	struct store_row rows[] = {
	        row_of(ROW_JOB, 1, -1, 100, 1),
	        row_of(ROW_JOB, 2, -1, 300, 1),
	        row_of(ROW_JOB, 3, -1, 200, 1),
	        row_of(ROW_JOB, 4, 0, 200, 1),
	        row_of(ROW_JOB, 4, 1, 200, 1),
	        row_of(ROW_JOB, 5, -1, 0, 1),
	};

	commit_ok(sc, rows, ARRAY_LEN(rows));
	assert_string_equal(list_ended(sc, ROW_JOB, END, 2), "2.-1@300=1 4.1@200=1 ");
	/* Strictly before what came last: equal times are told apart by key and sub. */
	assert_string_equal(list_ended(sc, ROW_JOB, 200, 4, 1, 2), "4.0@200=1 3.-1@200=1 ");
	assert_string_equal(list_ended(sc, ROW_JOB, 200, 3, -1, 2), "1.-1@100=1 ");
	assert_string_equal(list_ended(sc, ROW_JOB, 100, 1, -1, 2), "");
	assert_string_equal(list_ended(sc, ROW_JOB, END, 0), "");
	assert_string_equal(list_ended(sc, ROW_JOB, 200, 3, 5, SIZE_MAX), "3.-1@200=1 1.-1@100=1 ");
}

static int stop_at_second(void *data, const struct store_row *row, struct err *err)
{
	int *n = data;

	return ++*n == 2 ? err_set(err, ERR_LIMIT, "enough") : 0;
}

static int stop_at_event(void *data, uint64_t seq, const struct store_event *event, struct err *err)
{
	int *n = data;

	return ++*n == 2 ? err_set(err, ERR_LIMIT, "enough") : 0;
}

void case_reader_stops(void **state)
{
	struct scene *sc = *state;
	struct store_event events[3] = {{.time_ms = 1}, {.time_ms = 2}, {.time_ms = 3}};
	int n = 0;

	for (uint64_t key = 1; key <= 4; key++)
		put(sc, ROW_JOB, key, 0, 0, 1);
	assert_int_equal(
	        store_each(sc->s, ROW_JOB, STORE_ALL, stop_at_second, &n, &sc->err), -ERR_LIMIT);
	assert_int_equal(n, 2);
	assert_string_equal(sc->err.text, "enough");
	assert_int_equal(store_commit(sc->s, sc->epoch, 5, events, 3, NULL, 0, &sc->err), 0);
	n = 0;
	assert_int_equal(store_each_event(sc->s, 0, 10, stop_at_event, &n, &sc->err), -ERR_LIMIT);
	assert_int_equal(n, 2);
	/* The store is of use as before. */
	sc->seq = 5;
	put(sc, ROW_JOB, 1, 0, 0, 2);
	n = -10;
	assert_int_equal(store_each(sc->s, ROW_JOB, STORE_ALL, stop_at_second, &n, &sc->err), 0);
	assert_int_equal(n, -6);
}

struct nested {
	struct scene *sc;
	int inner;
	int outer;
};

static int count_inner(void *data, const struct store_row *row, struct err *err)
{
	((struct nested *)data)->inner++;
	return 0;
}

static int read_again(void *data, const struct store_row *row, struct err *err)
{
	struct nested *n = data;
	int rc = store_get(n->sc->s, ROW_JOB, row->key, row->sub, count_inner, n, err);

	n->outer++;
	return rc < 0 ? rc : store_each(n->sc->s, ROW_JOB, STORE_ALL, count_inner, n, err);
}

/* Readers may read, the same query too. */
void case_reader_reads(void **state)
{
	struct scene *sc = *state;
	struct nested n = {.sc = sc};

	for (uint64_t key = 1; key <= 3; key++)
		put(sc, ROW_JOB, key, 0, 0, 1);
	assert_int_equal(store_each(sc->s, ROW_JOB, STORE_ALL, read_again, &n, &sc->err), 0);
	assert_int_equal(n.outer, 3);
	assert_int_equal(n.inner, 12);
}

static void commit_events(struct scene *sc, int n, int64_t time_ms)
{
	struct store_event events[8];

	for (int i = 0; i < n; i++)
		events[i] = (struct store_event){
		        .time_ms = time_ms + i,
		        .key = (uint64_t)i,
		        .sub = -i,
		        .data = "abcdefgh",
		        .len = (size_t)i,
		};
	if (store_commit(sc->s, sc->epoch, sc->seq + 1, events, (size_t)n, NULL, 0, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	sc->seq++;
}

void case_events(void **state)
{
	struct scene *sc = *state;

	commit_events(sc, 2, 100);
	commit_events(sc, 0, 0);
	commit_events(sc, 3, -5);
	assert_string_equal(list_events(sc, 0, 100),
	        "1:0.0@100= 1:1.-1@101=a 3:0.0@-5= 3:1.-1@-4=a 3:2.-2@-3=ab ");
	assert_string_equal(list_events(sc, 1, 100), "3:0.0@-5= 3:1.-1@-4=a 3:2.-2@-3=ab ");
	assert_string_equal(list_events(sc, 3, 100), "");
	assert_string_equal(list_events(sc, UINT64_MAX, 100), "");
	assert_int_equal(store_last_seq(sc->s), 3);
}

void case_events_whole_batches(void **state)
{
	struct scene *sc = *state;

	commit_events(sc, 2, 100);
	commit_events(sc, 2, 200);
	commit_events(sc, 1, 300);
	assert_string_equal(list_events(sc, 0, 0), "");
	assert_string_equal(list_events(sc, 0, 1), "1:0.0@100= 1:1.-1@101=a ");
	assert_string_equal(list_events(sc, 0, 2), "1:0.0@100= 1:1.-1@101=a ");
	assert_string_equal(
	        list_events(sc, 0, 3), "1:0.0@100= 1:1.-1@101=a 2:0.0@200= 2:1.-1@201=a ");
	assert_string_equal(list_events(sc, 2, 1), "3:0.0@300= ");
}

static size_t prune(struct scene *sc, int64_t before_ms, size_t limit)
{
	size_t removed = 12345;

	if (store_prune_journal(sc->s, before_ms, limit, &removed, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return removed;
}

void case_oldest_pages(void **state)
{
	struct scene *sc = *state;

	for (uint64_t key = 1; key <= 6; key++)
		put(sc, ROW_JOB, key, -1, key == 3 ? 0 : (int64_t)(7 - key) * 100, 1);
	put(sc, ROW_JOB, 9, -1, 200, 1);
	put(sc, ROW_TASK, 1, 0, 100, 1);
	assert_string_equal(list_oldest(sc, ROW_JOB, 0, 0, INT64_MIN, 100, 10), "");
	assert_string_equal(list_oldest(sc, ROW_JOB, 0, 0, INT64_MIN, INT64_MAX, 3),
	        "6.-1@100=1 5.-1@200=1 9.-1@200=1 ");
	assert_string_equal(
	        list_oldest(sc, ROW_JOB, 200, 5, -1, 501, 10), "9.-1@200=1 4.-1@300=1 2.-1@500=1 ");
	assert_string_equal(list_oldest(sc, ROW_JOB, 500, 2, -1, 600, 10), "");
	assert_string_equal(list_oldest(sc, ROW_TASK, 0, 0, INT64_MIN, 200, 10), "1.0@100=1 ");
}

void case_prune_journal_no_holes(void **state)
{
	struct scene *sc = *state;

	commit_events(sc, 2, 100); /* the latest is at 101 */
	commit_events(sc, 1, 500);
	commit_events(sc, 1, 200); /* the clock was set back */
	commit_events(sc, 1, 600);
	assert_int_equal(prune(sc, 101, 100), 0);
	assert_int_equal(prune(sc, 300, 100), 1);
	assert_string_equal(list_events(sc, 0, 100), "2:0.0@500= 3:0.0@200= 4:0.0@600= ");
	assert_int_equal(prune(sc, 600, 1), 1);
	assert_int_equal(prune(sc, 600, 100), 1);
	assert_string_equal(list_events(sc, 0, 100), "4:0.0@600= ");
	assert_int_equal(prune(sc, INT64_MAX, 100), 1);
	/* It is not a batch; the numbers go on where they were. */
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(sc->seq, 4);
	commit_events(sc, 1, 700);
	assert_string_equal(list_events(sc, 0, 100), "5:0.0@700= ");
}

void case_seq_is_checked(void **state)
{
	struct scene *sc = *state;
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 1);

	put(sc, ROW_JOB, 9, 0, 0, 1);
	for (uint64_t seq = 0; seq < 5; seq++)
		if (seq != 2)
			assert_int_equal(
			        store_commit(sc->s, sc->epoch, seq, NULL, 0, &row, 1, &sc->err),
			        -ERR_CONFLICT);
	assert_int_equal(store_commit(sc->s, sc->epoch, UINT64_MAX, NULL, 0, &row, 1, &sc->err),
	        -ERR_CONFLICT);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "9.0@0=1 ");
	commit_ok(sc, &row, 1);
}

void case_epoch_is_checked(void **state)
{
	struct scene *sc = *state;
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 1);
	uint64_t old = sc->epoch;

	assert_int_equal(store_lead(sc->s, &sc->epoch, &sc->err), 0);
	assert_int_equal(sc->epoch, old + 1);
	assert_int_equal(store_commit(sc->s, old, 1, NULL, 0, &row, 1, &sc->err), -ERR_CONFLICT);
	assert_int_equal(
	        store_commit(sc->s, sc->epoch + 1, 1, NULL, 0, &row, 1, &sc->err), -ERR_CONFLICT);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "");
	commit_ok(sc, &row, 1);
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(sc->epoch, old + 2);
}

void case_only_the_leader_writes(void **state)
{
	struct scene *sc = *state;
	struct store_row row = row_of(ROW_JOB, 1, 0, 0, 1);
	struct store *reader;
	size_t removed = 0;

	put(sc, ROW_JOB, 2, 0, 5, 1);
	assert_int_equal(store_open(sc->url, &reader, &sc->err), 0);
	assert_int_equal(store_last_seq(reader), 1);
	assert_int_equal(
	        store_commit(reader, sc->epoch, 2, NULL, 0, &row, 1, &sc->err), -ERR_CONFLICT);
	assert_int_equal(store_prune_journal(reader, 100, 100, &removed, &sc->err), -ERR_CONFLICT);
	/* It reads what the leader has committed. */
	put(sc, ROW_JOB, 3, 0, 0, 1);
	struct scene other = {.s = reader};
	assert_string_equal(list(&other, ROW_JOB, STORE_ALL), "2.0@5=1 3.0@0=1 ");
	store_close(reader);
	put(sc, ROW_JOB, 4, 0, 0, 1);
}

void case_two_leaders(void **state)
{
	struct scene *sc = *state;
	struct store *second;
	uint64_t epoch = 0;
	char pid[32];

	assert_int_equal(store_open(sc->url, &second, &sc->err), 0);
	assert_int_equal(store_lead(second, &epoch, &sc->err), -ERR_CONFLICT);
	assert_int_equal(epoch, 0);
	snprintf(pid, sizeof(pid), "process %d", (int)getpid());
	assert_non_null(strstr(sc->err.text, pid));
	/* The first is not disturbed, and when it goes, the second may. */
	put(sc, ROW_JOB, 1, 0, 0, 1);
	scene_close(sc);
	assert_int_equal(store_lead(second, &epoch, &sc->err), 0);
	assert_int_equal(epoch, sc->epoch + 1);
	assert_int_equal(store_last_seq(second), 1);
	store_close(second);
}

void case_bad_batch_changes_nothing(void **state)
{
	struct scene *sc = *state;
	struct store_row rows[] = {row_of(ROW_JOB, 1, 0, 0, 2), row_of(ROW_JOB, 2, 0, 0, 1)};
	struct store_event event = {.time_ms = 1, .data = "x", .len = STORE_DATA_MAX + 1};

	put(sc, ROW_JOB, 1, 0, 0, 1);
	rows[1].ended_ms = -1;
	assert_int_equal(commit_rows(sc, rows, 2), -ERR_INVALID);
	rows[1].ended_ms = 0;
	rows[1].kind = ROW_MAX;
	assert_int_equal(commit_rows(sc, rows, 2), -ERR_INVALID);
	rows[1].kind = ROW_JOB;
	assert_int_equal(store_commit(sc->s, sc->epoch, sc->seq + 1, &event, 1, rows, 2, &sc->err),
	        -ERR_TOO_LARGE);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=1 ");
	assert_string_equal(list_events(sc, 0, 10), "");
	assert_int_equal(store_last_seq(sc->s), 1);
	commit_ok(sc, rows, 2);
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.0@0=2 2.0@0=1 ");
}

void case_reopen(void **state)
{
	struct scene *sc = *state;
	uint64_t epoch = sc->epoch;

	put(sc, ROW_META, 0, 0, 0, 7);
	put(sc, ROW_JOB, 1, -1, 0, 1);
	put(sc, ROW_JOB, 2, -1, 99, 2);
	commit_events(sc, 2, 10);
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(sc->epoch, epoch + 1);
	assert_int_equal(sc->seq, 4);
	assert_string_equal(list(sc, ROW_META, STORE_LIVING), "0.0@0=7 ");
	assert_string_equal(list(sc, ROW_JOB, STORE_ALL), "1.-1@0=1 2.-1@99=2 ");
	assert_string_equal(list_events(sc, 0, 10), "4:0.0@10= 4:1.-1@11=a ");
	put(sc, ROW_JOB, 3, -1, 0, 1);
	assert_int_equal(store_last_seq(sc->s), 5);
}

void case_unknown_url(void **state)
{
	static const char *const urls[] = {
	        "", "sqlite", "sqlite:", "SQLITE:x", "mysql://x", ":memory:", "/tmp/x"};
	struct scene *sc = *state;
	struct store *s = NULL;

	for (size_t i = 0; i < ARRAY_LEN(urls); i++)
		assert_int_equal(store_open(urls[i], &s, &sc->err), -ERR_INVALID);
	assert_null(s);
	store_close(NULL);
}

static int check_in_order(void *data, const struct store_row *row, struct err *err)
{
	uint64_t *next = data;

	assert_int_equal(row->key, (*next)++);
	assert_int_equal(row->len, 300);
	assert_int_equal(((const uint8_t *)row->data)[299], (uint8_t)row->key);
	return 0;
}

void case_many_rows(void **state)
{
	enum { ROWS = 20000 };
	struct scene *sc = *state;
	struct store_row *rows = calloc(ROWS, sizeof(rows[0]));
	uint8_t *bytes = calloc(ROWS, 300);
	uint64_t next = 0;

	for (uint64_t i = 0; i < ROWS; i++) {
		bytes[i * 300 + 299] = (uint8_t)i;
		rows[i] = (struct store_row){
		        .kind = ROW_JOB, .key = i, .data = bytes + i * 300, .len = 300};
	}
	commit_ok(sc, rows, ROWS);
	scene_close(sc);
	scene_open(sc);
	assert_int_equal(
	        store_each(sc->s, ROW_JOB, STORE_LIVING, check_in_order, &next, &sc->err), 0);
	assert_int_equal(next, ROWS);
	/* All end at once, each with its own time, and half of them go. */
	for (uint64_t i = 0; i < ROWS; i++)
		rows[i].ended_ms = (int64_t)i + 1;
	commit_ok(sc, rows, ROWS);
	next = 0;
	assert_int_equal(
	        store_each(sc->s, ROW_JOB, STORE_LIVING, check_in_order, &next, &sc->err), 0);
	assert_int_equal(next, 0);
	assert_int_equal(store_each(sc->s, ROW_JOB, STORE_ALL, check_in_order, &next, &sc->err), 0);
	assert_int_equal(next, ROWS);
	for (uint64_t i = 0; i < ROWS / 2; i++)
		rows[i].data = NULL;
	commit_ok(sc, rows, ROWS / 2);
	next = ROWS / 2;
	assert_int_equal(store_each(sc->s, ROW_JOB, STORE_ALL, check_in_order, &next, &sc->err), 0);
	assert_int_equal(next, ROWS);
	free(rows);
	free(bytes);
}
