#include "store/journal.h"
#include "store/sqlite_priv.h"

static int query(struct sqlite *q, enum row_kind kind, enum row_stmt id,
        const struct row_args *args, store_row_fn *fn, void *data, size_t *ret_n, struct err *err)
{
	sqlite3_stmt *stmt;
	size_t n = 0;
	int rc = sqlite_ready(q, err), step = SQLITE_DONE;

	if (rc == 0)
		rc = sqlite_row_take(q, kind, id, &stmt, err);
	if (rc < 0)
		return rc;
	sqlite_bind(stmt, args);
	while (rc >= 0 && (step = sqlite_step(stmt)) == SQLITE_ROW) {
		struct store_row row = {
		        .kind = kind,
		        .key = sqlite_key(stmt, 0),
		        .sub = sqlite3_column_int64(stmt, 1),
		        .ended_ms = sqlite3_column_int64(stmt, 2),
		        .data = sqlite3_column_blob(stmt, 3),
		        .len = (size_t)sqlite3_column_bytes(stmt, 3),
		};

		/* SQLite has no pointer for no bytes; in a row, NULL means removal. */
		if (row.len == 0)
			row.data = "";
		n++;
		rc = fn(data, &row, err);
	}
	if (rc >= 0)
		rc = step == SQLITE_DONE ? 0 : sqlite_err(q, "reading", err);
	sqlite_row_give(q, kind, id, stmt);
	if (n > SQLITE_ROWS_LARGE)
		sqlite3_db_release_memory(q->db);
	if (ret_n)
		*ret_n = n;
	return rc;
}

int sqlite_each(struct store *s, enum row_kind kind, enum store_which which, store_row_fn *fn,
        void *data, struct err *err)
{
	const struct row_args args = {0};

	return query(sqlite_of(s), kind, which == STORE_ALL ? ROW_EACH_ALL : ROW_EACH_LIVING, &args,
	        fn, data, NULL, err);
}

int sqlite_get(struct store *s, enum row_kind kind, uint64_t key, int64_t sub, store_row_fn *fn,
        void *data, struct err *err)
{
	const struct row_args args = {.key = key, .sub = sub};
	size_t n;
	int rc = query(sqlite_of(s), kind, ROW_GET, &args, fn, data, &n, err);

	if (rc == 0 && n == 0)
		return store_err_no_row(err, kind, key, sub);
	return rc;
}

int sqlite_each_of_key(struct store *s, enum row_kind kind, uint64_t key, int64_t from_sub,
        size_t limit, store_row_fn *fn, void *data, struct err *err)
{
	const struct row_args args = {.key = key, .sub = from_sub, .limit = limit};

	return query(sqlite_of(s), kind, ROW_OF_KEY, &args, fn, data, NULL, err);
}

int sqlite_each_ended(struct store *s, enum row_kind kind, int64_t before_ms, uint64_t before_key,
        int64_t before_sub, size_t limit, store_row_fn *fn, void *data, struct err *err)
{
	const struct row_args args = {
	        .key = before_key,
	        .sub = before_sub,
	        .ended_ms = before_ms,
	        .limit = limit,
	};

	return query(sqlite_of(s), kind, ROW_ENDED, &args, fn, data, NULL, err);
}

int sqlite_each_oldest(struct store *s, enum row_kind kind, int64_t after_ms, uint64_t after_key,
        int64_t after_sub, int64_t before_ms, size_t limit, store_row_fn *fn, void *data,
        struct err *err)
{
	const struct row_args args = {
	        .key = after_key,
	        .sub = after_sub,
	        .ended_ms = after_ms,
	        .limit = limit,
	        .before_ms = before_ms,
	};

	return query(sqlite_of(s), kind, ROW_OLDEST, &args, fn, data, NULL, err);
}

int sqlite_each_event(struct store *s, uint64_t after_seq, size_t limit, store_event_fn *fn,
        void *data, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	sqlite3_stmt *stmt;
	size_t given = 0;
	int rc = sqlite_ready(q, err), step = SQLITE_DONE;

	if (rc == 0)
		rc = sqlite_take(q, STMT_JOURNAL_EACH, &stmt, err);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, after_seq > INT64_MAX ? INT64_MAX : (int64_t)after_seq);
	while (rc >= 0 && given < limit && (step = sqlite_step(stmt)) == SQLITE_ROW) {
		size_t n = 0;

		rc = journal_decode(sqlite3_column_blob(stmt, 1),
		        (size_t)sqlite3_column_bytes(stmt, 1),
		        (uint64_t)sqlite3_column_int64(stmt, 0), fn, data, &n, err);
		given += n;
	}
	if (rc >= 0)
		rc = step == SQLITE_DONE || step == SQLITE_ROW ? 0 : sqlite_err(q, "reading", err);
	sqlite_give(q, STMT_JOURNAL_EACH, stmt);
	return rc;
}
