#include "store/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/fs.h"
#include "store/journal.h"

/*
 * DESIGN. One connection in WAL mode with synchronous=FULL: a commit is one append to the log and one fdatasync. The log is copied into
 * the database by the commit that makes it longer than the settings below say, and then begun again in place, so its file does not grow.
 *
 * Leadership is a lock file held open and an epoch in the database: the lock keeps two servers of one machine apart, the epoch keeps a
 * replaced one out for ever. Both the epoch and the number of the batch are checked by the one UPDATE that every commit begins with.
 *
 * After a failed write or sync the transaction is rolled back, and the same batch may come again: it is then written again to the same
 * place in the log, so a page that the kernel dropped after a failed sync is never relied on. A connection that cannot even say what
 * the last batch was is given up and made anew by the next call.
 */

#define EVENTS_MAX  ((size_t)900 * MIB) /* SQLite's own limit is 10^9 */
#define EVENTS_KEEP ((size_t)256 * KIB)
#define BUSY_MS     5000

static int ask_pragma(struct sqlite *q, const char *sql, const char *want, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = 0;

	errno = 0;
	if (sqlite3_prepare_v2(q->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return sqlite_err(q, "opening", err);
	if (sqlite_step(stmt) != SQLITE_ROW)
		rc = sqlite_err(q, "opening", err);
	else if (strcmp((const char *)sqlite3_column_text(stmt, 0), want) != 0)
		rc = err_set(err, ERR_IO,
		        "opening '%s': %s gives '%s', is this a local file system?", q->path, sql,
		        (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	return rc;
}

static void disconnect(struct sqlite *q)
{
	sqlite_forget_stmts(q);
	if (q->copy)
		sqlite_copy_lose(q->copy);
	/* With every statement finalized it cannot refuse; what it cannot write stays in the log. */
	BUG_IF(sqlite3_close(q->db) != SQLITE_OK);
	q->db = NULL;
}

static int connect(struct sqlite *q, struct err *err)
{
	/* The log may grow to 4 MiB before it is copied, and its file is kept at that size. The page cache is small: behind it is the
	 * kernel's, which an idle server is not charged for. */
	static const char settings[] =
	        "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;"
	        "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 8388608;"
	        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";
	/* A reader's first read fixes the moment that it sees. */
	const char *const more = q->is_reader ? "BEGIN" : "";
	int flags = q->is_reader ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc = sqlite3_open_v2(q->path, &q->db, flags | SQLITE_OPEN_NOMUTEX, NULL);

	BUG_IF(!q->db);
	if (rc != SQLITE_OK) {
		rc = sqlite_err(q, "opening", err);
		goto fail;
	}
	sqlite3_extended_result_codes(q->db, 1);
	sqlite3_busy_timeout(q->db, BUSY_MS);
	sqlite3_db_config(q->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (!q->is_reader && sqlite3_db_readonly(q->db, "main") == 1) {
		rc = err_set(
		        err, ERR_FORBIDDEN, "opening '%s': it is read-only for this user", q->path);
		goto fail;
	}
	rc = sqlite_check_file(q, err);
	if (rc < 0)
		goto fail;
	rc = ask_pragma(q, "PRAGMA journal_mode = WAL", "wal", err);
	if (rc < 0)
		goto fail;
	errno = 0;
	if (sqlite3_exec(q->db, settings, NULL, NULL, NULL) != SQLITE_OK ||
	        sqlite3_exec(q->db, more, NULL, NULL, NULL) != SQLITE_OK) {
		rc = sqlite_err(q, "opening", err);
		goto fail;
	}
	return 0;
fail:
	disconnect(q);
	return rc;
}

int sqlite_ready(struct sqlite *q, struct err *err)
{
	uint64_t epoch, seq;
	int rc = 0;

	if (!q->is_broken)
		return 0;
	if (q->db)
		disconnect(q);
	if (q->lock_fd >= 0)
		rc = sqlite_log_renew(q, err);
	if (rc == 0)
		rc = connect(q, err);
	if (rc < 0)
		return rc;
	rc = sqlite_state(q, &epoch, &seq, err);
	if (rc < 0)
		return rc;
	q->is_broken = false;
	return 0;
}

static void sqlite_close(struct store *s)
{
	struct sqlite *q = sqlite_of(s);

	BUG_IF(q->copy);
	if (q->db)
		disconnect(q);
	fs_unlock(q->lock_fd);
	buf_done(&q->events);
	sqlite3_free(q->path);
	free(q);
}

/* After a failure inside a transaction. */
static void undo(struct sqlite *q)
{
	uint64_t epoch, seq;
	struct err err;

	/* A full disk or a failed write may have ended the transaction already. */
	if (!sqlite3_get_autocommit(q->db) && sqlite_run(q, STMT_ROLLBACK, "leaving", &err) < 0)
		q->is_broken = true;
	if (sqlite_state(q, &epoch, &seq, &err) < 0)
		q->is_broken = true;
}

static int sqlite_lead(struct store *s, uint64_t *ret_epoch, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	uint64_t epoch, seq;
	bool had_lock = q->lock_fd >= 0;
	int rc = sqlite_ready(q, err);

	if (rc < 0)
		return rc;
	if (!had_lock) {
		rc = sqlite_lock(q, err);
		if (rc < 0)
			return rc;
	}
	rc = sqlite_run(q, STMT_BEGIN, "leading", err);
	if (rc == 0) {
		rc = sqlite_run(q, STMT_RAISE, "leading", err);
		if (rc == 0)
			rc = sqlite_state(q, &epoch, &seq, err);
		if (rc == 0)
			rc = sqlite_run(q, STMT_COMMIT, "leading", err);
		if (rc < 0)
			undo(q);
	}
	if (rc < 0) {
		if (!had_lock) {
			fs_unlock(q->lock_fd);
			q->lock_fd = -1;
		}
		return rc;
	}
	q->epoch = epoch;
	q->last_seq = seq;
	*ret_epoch = epoch;
	return 0;
}

static int write_stmt(struct sqlite *q, const struct store_row *row, enum row_stmt id,
        int *ret_changes, struct err *err)
{
	const struct row_args args = {
	        .key = row->key,
	        .sub = row->sub,
	        .ended_ms = row->ended_ms,
	        .data = row->data,
	        .len = row->len,
	};
	sqlite3_stmt *stmt;
	int rc = sqlite_row_take(q, row->kind, id, &stmt, err);

	if (rc < 0)
		return rc;
	sqlite_bind(stmt, &args);
	if (sqlite_step(stmt) != SQLITE_DONE)
		rc = sqlite_err(q, "writing to", err);
	else
		*ret_changes = sqlite3_changes(q->db);
	sqlite_row_give(q, row->kind, id, stmt);
	return rc;
}

/* A row stands either among the living or among the ended, never in both; the usual case costs one search. */
static int write_row(struct sqlite *q, const struct store_row *row, struct err *err)
{
	bool is_living = row->data && row->ended_ms == 0;
	int changes, rc;

	rc = write_stmt(q, row, is_living ? ROW_UPDATE : ROW_DELETE_LIVING, &changes, err);
	if (rc < 0 || (is_living && changes > 0))
		return rc;
	if (changes == 0)
		rc = write_stmt(q, row, ROW_DELETE_ENDED, &changes, err);
	if (rc == 0 && row->data)
		rc = write_stmt(q, row, ROW_INSERT, &changes, err);
	return rc;
}

static int fence(struct sqlite *q, uint64_t epoch, uint64_t seq, struct err *err)
{
	uint64_t is_epoch, is_seq;
	sqlite3_stmt *stmt;
	int rc = sqlite_take(q, STMT_FENCE, &stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, (int64_t)epoch);
	sqlite3_bind_int64(stmt, 2, (int64_t)seq);
	if (sqlite_step(stmt) != SQLITE_DONE)
		rc = sqlite_err(q, "writing to", err);
	sqlite_give(q, STMT_FENCE, stmt);
	if (rc < 0 || sqlite3_changes(q->db) == 1)
		return rc;
	rc = sqlite_state(q, &is_epoch, &is_seq, err);
	if (rc < 0)
		return rc;
	return is_epoch != epoch ? store_err_epoch(err, epoch, is_epoch)
	                         : store_err_seq(err, seq, is_seq);
}

static int write_journal(struct sqlite *q, uint64_t seq, int64_t latest_ms, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = sqlite_take(q, STMT_JOURNAL_ADD, &stmt, err);

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, (int64_t)seq);
	sqlite3_bind_int64(stmt, 2, latest_ms);
	sqlite3_bind_blob64(stmt, 3, q->events.data, q->events.len, SQLITE_STATIC);
	if (sqlite_step(stmt) != SQLITE_DONE)
		rc = sqlite_err(q, "writing to", err);
	sqlite_give(q, STMT_JOURNAL_ADD, stmt);
	return rc;
}

static int check_leader(struct sqlite *q, struct err *err)
{
	return q->lock_fd >= 0 ? 0 : store_err_not_leader(err);
}

static int sqlite_commit(struct store *s, uint64_t epoch, uint64_t seq,
        const struct store_event *events, size_t n_events, const struct store_row *rows,
        size_t n_rows, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	int rc = check_leader(q, err);

	if (rc == 0 && epoch != q->epoch)
		rc = store_err_epoch(err, epoch, q->epoch);
	if (rc == 0 && seq != q->last_seq + 1)
		rc = store_err_seq(err, seq, q->last_seq);
	buf_reset(&q->events);
	if (rc == 0)
		rc = journal_encode(&q->events, events, n_events, err);
	if (rc == 0)
		rc = sqlite_ready(q, err);
	if (rc == 0)
		rc = sqlite_run(q, STMT_BEGIN, "writing to", err);
	if (rc < 0)
		return rc;
	rc = fence(q, epoch, seq, err);
	for (size_t i = 0; i < n_rows && rc == 0; i++)
		rc = write_row(q, &rows[i], err);
	if (rc == 0 && n_events > 0)
		rc = write_journal(q, seq, journal_latest_ms(events, n_events), err);
	if (rc == 0)
		rc = sqlite_run(q, STMT_COMMIT, "writing to", err);
	if (rc < 0) {
		undo(q);
		return rc;
	}
	q->last_seq = seq;
	if (q->events.cap > EVENTS_KEEP)
		buf_done(&q->events);
	if (n_rows > SQLITE_ROWS_LARGE)
		sqlite3_db_release_memory(q->db);
	return 0;
}

static uint64_t sqlite_last_seq(struct store *s)
{
	return sqlite_of(s)->last_seq;
}

/* Up to the first batch that is not older, so that the journal has no holes. */
static int prune_journal(
        struct sqlite *q, int64_t before_ms, size_t limit, size_t *ret_removed, struct err *err)
{
	sqlite3_stmt *stmt;
	int64_t last = -1;
	int rc = sqlite_take(q, STMT_JOURNAL_OLDEST, &stmt, err), step;

	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
	while ((step = sqlite_step(stmt)) == SQLITE_ROW &&
	        sqlite3_column_int64(stmt, 1) < before_ms)
		last = sqlite3_column_int64(stmt, 0);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		rc = sqlite_err(q, "pruning", err);
	sqlite_give(q, STMT_JOURNAL_OLDEST, stmt);
	*ret_removed = 0;
	if (rc < 0 || last < 0)
		return rc;
	rc = sqlite_take(q, STMT_JOURNAL_PRUNE, &stmt, err);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(stmt, 1, last);
	if (sqlite_step(stmt) != SQLITE_DONE)
		rc = sqlite_err(q, "pruning", err);
	else
		*ret_removed = (size_t)sqlite3_changes(q->db);
	sqlite_give(q, STMT_JOURNAL_PRUNE, stmt);
	return rc;
}

static int check_epoch(struct sqlite *q, struct err *err)
{
	uint64_t epoch, seq;
	int rc = sqlite_state(q, &epoch, &seq, err);

	if (rc == 0 && epoch != q->epoch)
		rc = store_err_epoch(err, q->epoch, epoch);
	return rc;
}

static int sqlite_prune_journal(
        struct store *s, int64_t before_ms, size_t limit, size_t *ret_removed, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	size_t n = 0;
	int rc = check_leader(q, err);

	if (rc == 0)
		rc = sqlite_ready(q, err);
	if (rc == 0)
		rc = sqlite_run(q, STMT_BEGIN, "pruning", err);
	if (rc < 0)
		return rc;
	rc = check_epoch(q, err);
	if (rc == 0)
		rc = prune_journal(q, before_ms, limit, &n, err);
	if (rc == 0)
		rc = sqlite_run(q, STMT_COMMIT, "pruning", err);
	if (rc < 0) {
		undo(q);
		return rc;
	}
	*ret_removed = n;
	return 0;
}

static const struct store_ops sqlite_ops = {
        .close = sqlite_close,
        .lead = sqlite_lead,
        .commit = sqlite_commit,
        .reserve_release = sqlite_reserve_release,
        .reserve_make = sqlite_reserve_make,
        .last_seq = sqlite_last_seq,
        .each = sqlite_each,
        .get = sqlite_get,
        .each_of_key = sqlite_each_of_key,
        .each_ended = sqlite_each_ended,
        .each_event = sqlite_each_event,
        .each_oldest = sqlite_each_oldest,
        .prune_journal = sqlite_prune_journal,
        .copy_begin = sqlite_copy_begin,
};

char *sqlite_path(const char *path)
{
	char *out = sqlite3_mprintf("%s%s", path[0] == '/' ? "" : "./", path);

	BUG_IF(!out);
	return out;
}

/* Only a new file is opened here: closing any descriptor of an open database would drop SQLite's locks on it. */
static int make_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno == EEXIST ? 0 : err_sys(err, errno, "making '%s'", path);
	close(fd);
	return fs_sync_parent(path, err);
}

int sqlite_open(const char *path, bool is_reader, struct store **ret_store, struct err *err)
{
	struct sqlite *q = mem_zalloc(sizeof(*q));
	uint64_t epoch;
	int rc = 0;

	q->base.ops = &sqlite_ops;
	q->lock_fd = -1;
	q->events = BUF_INIT(EVENTS_MAX);
	q->path = sqlite_path(path);
	q->is_reader = is_reader;
	if (!is_reader)
		rc = make_file(q->path, err);
	if (rc == 0)
		rc = connect(q, err);
	/* Opening it takes some room, too. */
	if (rc == -ERR_NO_SPACE && !is_reader && sqlite_reserve_release(&q->base, err) == 0)
		rc = connect(q, err);
	if (rc == 0 && !is_reader)
		rc = sqlite_migrate(q, err);
	if (rc == 0)
		rc = sqlite_state(q, &epoch, &q->last_seq, err);
	if (rc < 0) {
		sqlite_close(&q->base);
		return rc;
	}
	*ret_store = &q->base;
	return 0;
}
