#include "store/sqlite_priv.h"

#include <errno.h>
#include <string.h>

static const char *const stmt_sql[STMT_MAX] = {
        [STMT_BEGIN] = "BEGIN IMMEDIATE",
        [STMT_COMMIT] = "COMMIT",
        [STMT_ROLLBACK] = "ROLLBACK",
        /* ?1 epoch, ?2 seq. That batch may be there: it failed, and a new connection found it in the log. It is then written again. */
        [STMT_FENCE] =
                "UPDATE store_state SET seq = ?2 WHERE id = 1 AND epoch = ?1 AND seq IN (?2 - 1, ?2)",
        [STMT_STATE] = "SELECT epoch, seq FROM store_state WHERE id = 1",
        [STMT_RAISE] = "UPDATE store_state SET epoch = epoch + 1 WHERE id = 1",
        [STMT_JOURNAL_ADD] =
                "INSERT OR REPLACE INTO journal (seq, time_ms, events) VALUES (?1, ?2, ?3)",
        [STMT_JOURNAL_EACH] = "SELECT seq, events FROM journal WHERE seq > ?1 ORDER BY seq",
        [STMT_JOURNAL_OLDEST] = "SELECT seq, time_ms FROM journal ORDER BY seq LIMIT ?1",
        [STMT_JOURNAL_PRUNE] = "DELETE FROM journal WHERE seq <= ?1",
};

/* %w is the table. ?1 key, ?2 sub, ?3 ended_ms, ?4 data, ?5 limit, ?6 before_ms. */
static const char *const row_sql[ROW_STMT_MAX] = {
        [ROW_UPDATE] = "UPDATE \"%w\" SET data = ?4 WHERE ended_ms = 0 AND key = ?1 AND sub = ?2",
        [ROW_INSERT] = "INSERT INTO \"%w\" (ended_ms, key, sub, data) VALUES (?3, ?1, ?2, ?4)",
        [ROW_DELETE_LIVING] = "DELETE FROM \"%w\" WHERE ended_ms = 0 AND key = ?1 AND sub = ?2",
        [ROW_DELETE_ENDED] = "DELETE FROM \"%w\" INDEXED BY \"%w_ended\" "
                             "WHERE ended_ms > 0 AND key = ?1 AND sub = ?2",
        [ROW_EACH_LIVING] =
                "SELECT key, sub, ended_ms, data FROM \"%w\" WHERE ended_ms = 0 ORDER BY key, sub",
        [ROW_EACH_ALL] =
                "SELECT key, sub, ended_ms, data FROM \"%w\" WHERE ended_ms = 0 UNION ALL "
                "SELECT key, sub, ended_ms, data FROM \"%w\" INDEXED BY \"%w_ended\" WHERE ended_ms > 0 "
                "ORDER BY key, sub",
        [ROW_GET] =
                "SELECT key, sub, ended_ms, data FROM \"%w\" WHERE ended_ms = 0 AND key = ?1 AND sub = ?2 "
                "UNION ALL SELECT key, sub, ended_ms, data FROM \"%w\" INDEXED BY \"%w_ended\" "
                "WHERE ended_ms > 0 AND key = ?1 AND sub = ?2 LIMIT 1",
        [ROW_OF_KEY] =
                "SELECT key, sub, ended_ms, data FROM \"%w\" WHERE ended_ms = 0 AND key = ?1 AND sub >= ?2 "
                "UNION ALL SELECT key, sub, ended_ms, data FROM \"%w\" INDEXED BY \"%w_ended\" "
                "WHERE ended_ms > 0 AND key = ?1 AND sub >= ?2 ORDER BY sub LIMIT ?5",
        [ROW_ENDED] = "SELECT key, sub, ended_ms, data FROM \"%w\" "
                      "WHERE ended_ms > 0 AND (ended_ms, key, sub) < (?3, ?1, ?2) "
                      "ORDER BY ended_ms DESC, key DESC, sub DESC LIMIT ?5",
        [ROW_OLDEST] =
                "SELECT key, sub, ended_ms, data FROM \"%w\" "
                "WHERE ended_ms > 0 AND ended_ms < ?6 AND (ended_ms, key, sub) > (?3, ?1, ?2) "
                "ORDER BY ended_ms, key, sub LIMIT ?5",
};

/* The errno behind a failure: SQLite's own record of it is not kept for COMMIT. What other calls left there is not ours. */
static int errno_of_disk(void)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: /* a file at the size limit of the process is as full as a disk is */
	case EROFS:
	case EACCES:
	case EPERM:
	case EIO:
		return errno;
	}
	return 0;
}

int sqlite_err(struct sqlite *q, const char *doing, struct err *err)
{
	int sys = errno_of_disk(), code = sqlite3_extended_errcode(q->db);
	const char *text = sqlite3_errmsg(q->db);

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		BUG_IF("out of memory");
		break;
	case SQLITE_FULL:
		return err_set(err, ERR_NO_SPACE, "%s '%s': %s", doing, q->path, text);
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		if (sys == EFBIG)
			return err_set(
			        err, ERR_NO_SPACE, "%s '%s': %s", doing, q->path, strerror(sys));
		if (sys != 0)
			return err_sys(err, sys, "%s '%s': %s (%d)", doing, q->path, text, code);
		return err_set(err, ERR_IO, "%s '%s': %s (%d)", doing, q->path, text, code);
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return err_set(err, ERR_FORBIDDEN, "%s '%s': %s", doing, q->path, text);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(err, ERR_UNAVAILABLE, "%s '%s': another program keeps it locked",
		        doing, q->path);
	case SQLITE_TOOBIG:
		return err_set(err, ERR_TOO_LARGE, "%s '%s': %s", doing, q->path, text);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		(void)!err_set(err, ERR_CORRUPT, "%s '%s': %s", doing, q->path, text);
		return err_hint(err,
		        "stop Berth, move %s and its -wal and -shm files away, and put the file of the last `berth backup` in its place",
		        q->path);
	}
	return err_set(err, ERR_INTERNAL, "%s '%s': %s (%d)", doing, q->path, text, code);
}

int sqlite_step(sqlite3_stmt *stmt)
{
	errno = 0;
	return sqlite3_step(stmt);
}

static int prepare(struct sqlite *q, const char *sql, sqlite3_stmt **ret_stmt, struct err *err)
{
	errno = 0;
	if (sqlite3_prepare_v3(q->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt, NULL) !=
	        SQLITE_OK)
		return sqlite_err(q, "asking", err);
	return 0;
}

static void give(sqlite3_stmt **slot, sqlite3_stmt *stmt)
{
	sqlite3_reset(stmt);
	if (*slot)
		sqlite3_finalize(stmt);
	else
		*slot = stmt;
}

int sqlite_take(struct sqlite *q, enum stmt id, sqlite3_stmt **ret_stmt, struct err *err)
{
	if (!q->stmts[id])
		return prepare(q, stmt_sql[id], ret_stmt, err);
	*ret_stmt = STEAL(q->stmts[id]);
	return 0;
}

void sqlite_give(struct sqlite *q, enum stmt id, sqlite3_stmt *stmt)
{
	give(&q->stmts[id], stmt);
}

int sqlite_row_take(struct sqlite *q, enum row_kind kind, enum row_stmt id, sqlite3_stmt **ret_stmt,
        struct err *err)
{
	const char *table = row_kind_table(kind);
	char *sql;
	int rc;

	if (q->row_stmts[kind][id]) {
		*ret_stmt = STEAL(q->row_stmts[kind][id]);
		return 0;
	}
	sql = sqlite3_mprintf(row_sql[id], table, table, table);
	BUG_IF(!sql);
	rc = prepare(q, sql, ret_stmt, err);
	sqlite3_free(sql);
	return rc;
}

void sqlite_row_give(struct sqlite *q, enum row_kind kind, enum row_stmt id, sqlite3_stmt *stmt)
{
	give(&q->row_stmts[kind][id], stmt);
}

void sqlite_forget_stmts(struct sqlite *q)
{
	for (int id = 0; id < STMT_MAX; id++)
		sqlite3_finalize(STEAL(q->stmts[id]));
	for (int kind = 0; kind < ROW_MAX; kind++)
		for (int id = 0; id < ROW_STMT_MAX; id++)
			sqlite3_finalize(STEAL(q->row_stmts[kind][id]));
}

/* The top bit flipped, so that the order of numbers without sign is SQLite's order. */
static int64_t key_to_sql(uint64_t key)
{
	return (int64_t)(key ^ ((uint64_t)1 << 63));
}

void sqlite_bind(sqlite3_stmt *stmt, const struct row_args *args)
{
	/* A parameter that a statement does not have is refused, and that is all. */
	sqlite3_bind_int64(stmt, 1, key_to_sql(args->key));
	sqlite3_bind_int64(stmt, 2, args->sub);
	sqlite3_bind_int64(stmt, 3, args->ended_ms);
	sqlite3_bind_blob64(stmt, 4, args->data, args->len, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 5, args->limit > INT64_MAX ? INT64_MAX : (int64_t)args->limit);
	sqlite3_bind_int64(stmt, 6, args->before_ms);
}

uint64_t sqlite_key(sqlite3_stmt *stmt, int column)
{
	return (uint64_t)sqlite3_column_int64(stmt, column) ^ ((uint64_t)1 << 63);
}

int sqlite_run(struct sqlite *q, enum stmt id, const char *doing, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = sqlite_take(q, id, &stmt, err);

	if (rc < 0)
		return rc;
	if (sqlite_step(stmt) != SQLITE_DONE)
		rc = sqlite_err(q, doing, err);
	sqlite_give(q, id, stmt);
	return rc;
}

int sqlite_state(struct sqlite *q, uint64_t *ret_epoch, uint64_t *ret_seq, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = sqlite_take(q, STMT_STATE, &stmt, err), step;

	if (rc < 0)
		return rc;
	step = sqlite_step(stmt);
	if (step == SQLITE_ROW) {
		*ret_epoch = (uint64_t)sqlite3_column_int64(stmt, 0);
		*ret_seq = (uint64_t)sqlite3_column_int64(stmt, 1);
	} else if (step == SQLITE_DONE) {
		rc = err_set(err, ERR_CORRUPT, "the store '%s' has lost its state row", q->path);
	} else {
		rc = sqlite_err(q, "reading", err);
	}
	sqlite_give(q, STMT_STATE, stmt);
	return rc;
}
