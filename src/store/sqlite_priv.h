/*
 * For the files of the SQLite store only: its struct, its prepared statements, its errors.
 * A `struct sqlite` belongs to sqlite.c; statements are borrowed between take and give. The store's thread only.
 * What fails says so through err, in the words of sqlite_err.
 */
#pragma once

#include <sqlite3.h>

#include "store/store_priv.h"

/* More rows than this in one call leave a full page cache behind, which an idle server should not keep. */
#define SQLITE_ROWS_LARGE 1000

enum row_stmt {
	ROW_UPDATE,
	ROW_INSERT,
	ROW_DELETE_LIVING,
	ROW_DELETE_ENDED,
	ROW_EACH_LIVING,
	ROW_EACH_ALL,
	ROW_GET,
	ROW_OF_KEY,
	ROW_ENDED,
	ROW_OLDEST,
	ROW_STMT_MAX
};

enum stmt {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_ROLLBACK,
	STMT_FENCE,
	STMT_STATE,
	STMT_RAISE,
	STMT_JOURNAL_ADD,
	STMT_JOURNAL_EACH,
	STMT_JOURNAL_OLDEST,
	STMT_JOURNAL_PRUNE,
	STMT_MAX
};

struct sqlite {
	struct store base;
	char *path;
	sqlite3 *db;    /* NULL while broken */
	bool is_broken; /* the connection is of no more use; the next call makes a new one */
	bool is_reader;
	int lock_fd;    /* -1: this handle does not lead */
	uint64_t epoch; /* of its own leadership */
	uint64_t last_seq;
	struct buf events;
	struct sqlite_copy *copy; /* under way, or NULL */
	/* Prepared when first needed; NULL also while taken. */
	sqlite3_stmt *stmts[STMT_MAX];
	sqlite3_stmt *row_stmts[ROW_MAX][ROW_STMT_MAX];
};

static inline struct sqlite *sqlite_of(struct store *s)
{
	return CONTAINER_OF(s, struct sqlite, base);
}

/* With a slash somewhere, so that no name means anything special to SQLite. Freed with sqlite3_free. */
char *sqlite_path(const char *path);
/* sqlite3_step, with errno cleared for sqlite_err. */
int sqlite_step(sqlite3_stmt *stmt);
/* An err from what the connection and errno say about the call just made; doing: "writing a batch to". */
MUST_CHECK int sqlite_err(struct sqlite *q, const char *doing, struct err *err);
/* Makes a new connection when the last one broke. */
MUST_CHECK int sqlite_ready(struct sqlite *q, struct err *err);

/* A statement is the taker's until it is given back, so that a callback may start the same query again. */
MUST_CHECK int sqlite_take(
        struct sqlite *q, enum stmt id, sqlite3_stmt **ret_stmt, struct err *err);
void sqlite_give(struct sqlite *q, enum stmt id, sqlite3_stmt *stmt);
MUST_CHECK int sqlite_row_take(struct sqlite *q, enum row_kind kind, enum row_stmt id,
        sqlite3_stmt **ret_stmt, struct err *err);
void sqlite_row_give(struct sqlite *q, enum row_kind kind, enum row_stmt id, sqlite3_stmt *stmt);
void sqlite_forget_stmts(struct sqlite *q);

/* What a row's statements have as ?1 to ?6; each uses some of them. */
struct row_args {
	uint64_t key;     /* ?1 */
	int64_t sub;      /* ?2 */
	int64_t ended_ms; /* ?3 */
	const void *data; /* ?4 */
	size_t len;
	size_t limit;      /* ?5 */
	int64_t before_ms; /* ?6 */
};
void sqlite_bind(sqlite3_stmt *stmt, const struct row_args *args);
uint64_t sqlite_key(sqlite3_stmt *stmt, int column);

/* For statements without parameters and results. */
MUST_CHECK int sqlite_run(struct sqlite *q, enum stmt id, const char *doing, struct err *err);
MUST_CHECK int sqlite_state(
        struct sqlite *q, uint64_t *ret_epoch, uint64_t *ret_seq, struct err *err);

/* Refuses a file of another program (CORRUPT) or of a newer Berth (VERSION). */
MUST_CHECK int sqlite_check_file(struct sqlite *q, struct err *err);
/* The schema, made or brought up to date. */
MUST_CHECK int sqlite_migrate(struct sqlite *q, struct err *err);
/* Takes PATH.lock, and renews the log; fs_unlock(q->lock_fd) gives it back. */
MUST_CHECK int sqlite_lock(struct sqlite *q, struct err *err);
/* Before anything is appended to a log that another process or connection has written. Under the leader's lock. */
MUST_CHECK int sqlite_log_renew(struct sqlite *q, struct err *err);
/* The connection goes; the copy can only be ended from now on. */
void sqlite_copy_lose(struct sqlite_copy *copy);

/* The parts of the store in other files. */
int sqlite_each(struct store *s, enum row_kind kind, enum store_which which, store_row_fn *fn,
        void *data, struct err *err);
int sqlite_get(struct store *s, enum row_kind kind, uint64_t key, int64_t sub, store_row_fn *fn,
        void *data, struct err *err);
int sqlite_each_of_key(struct store *s, enum row_kind kind, uint64_t key, int64_t from_sub,
        size_t limit, store_row_fn *fn, void *data, struct err *err);
int sqlite_each_ended(struct store *s, enum row_kind kind, int64_t before_ms, uint64_t before_key,
        int64_t before_sub, size_t limit, store_row_fn *fn, void *data, struct err *err);
int sqlite_each_oldest(struct store *s, enum row_kind kind, int64_t after_ms, uint64_t after_key,
        int64_t after_sub, int64_t before_ms, size_t limit, store_row_fn *fn, void *data,
        struct err *err);
int sqlite_each_event(struct store *s, uint64_t after_seq, size_t limit, store_event_fn *fn,
        void *data, struct err *err);
int sqlite_reserve_release(struct store *s, struct err *err);
int sqlite_reserve_make(struct store *s, struct err *err);
int sqlite_copy_begin(
        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err);
