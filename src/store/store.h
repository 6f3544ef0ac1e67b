/*
 * The store: what survives. Rows by (kind, key, sub) and a journal of events, committed together.
 * A `struct store` is owned by whoever opened it; rows and events passed in are borrowed for the call.
 * One thread at a time: the server gives it a thread of its own. Every call blocks until the disk has answered.
 * A failed commit leaves the store as it was before the call; NO_SPACE and IO may be tried again with the same batch.
 *
 * Fencing: store_lead() raises the epoch, durably. A commit with an older epoch fails with CONFLICT and changes
 * nothing, so a server that was replaced can never write again. `seq` numbers batches and must be the last one + 1.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum row_kind {
#define ROW(name, table) ROW_##name,
#include "../../tables/rows.def"
#undef ROW
	ROW_MAX
};

struct store;

struct store_row {
	enum row_kind kind;
	uint64_t key;
	int64_t sub;
	int64_t ended_ms; /* 0: living; else milliseconds since 1970 when it ended, for listing and pruning */
	const void *data; /* NULL: remove the row */
	size_t len;
};

struct store_event {
	int64_t time_ms;
	uint64_t key; /* the job number it speaks of, or 0 */
	int64_t sub;
	const void *data; /* encoded, wire/record.h */
	size_t len;
};

/* A row's or an event's bytes; more is refused with TOO_LARGE. */
#define STORE_DATA_MAX (64 * MIB)

/* url: "sqlite:PATH" (the file is made, mode 0600; PATH-wal, PATH-shm, PATH.lock and PATH.reserve stand beside it), or for tests
 * "memory:" or "memory:NAME", whose content is shared by all of that name in the process and goes with the last of them.
 * On a full disk it gives up the reserve. Refuses a schema newer than this program with VERSION, and what is no store of ours with CORRUPT. */
MUST_CHECK int store_open(const char *url, struct store **ret_store, struct err *err);
/* A handle beside the leader's, for a thread of its own: it only reads, and finds what had been committed when it was opened, also while
 * a commit is under way or cannot be done. Nothing is made or upgraded, and it cannot lead. Not for long: the log grows meanwhile.
 * Of a store in memory it finds what is there. */
MUST_CHECK int store_open_reader(const char *url, struct store **ret_store, struct err *err);
void store_close(struct store *s);

/* Become the one writer: durable before it returns. A second holder of the same store as leader: CONFLICT, naming its process.
 * Asked again, it raises the epoch again. */
MUST_CHECK int store_lead(struct store *s, uint64_t *ret_epoch, struct err *err);

/* All or nothing, synced to the disk before it returns. Rows are written in order: the last one of a (kind, key, sub) stays. */
MUST_CHECK int store_commit(struct store *s, uint64_t epoch, uint64_t seq,
        const struct store_event *events, size_t n_events, const struct store_row *rows,
        size_t n_rows, struct err *err);

/* Free space that store_commit may fall back on when the disk is full is kept in a reserve file beside the store;
 * giving it up is asked for here (to take the ends of jobs), and it is made again when there is room: for itself and as
 * much again, else NO_SPACE. Both may be asked for at any time. */
MUST_CHECK int store_reserve_release(struct store *s, struct err *err);
MUST_CHECK int store_reserve_make(struct store *s, struct err *err);

uint64_t store_last_seq(struct store *s); /* of the last commit, 0 when there was none */

/* Called for each row, in order of (key, sub); data is borrowed for the call. Return 0, or negative with err set to stop. */
typedef int store_row_fn(void *data, const struct store_row *row, struct err *err);
typedef int store_event_fn(
        void *data, uint64_t seq, const struct store_event *event, struct err *err);

enum store_which { STORE_LIVING, STORE_ALL };
MUST_CHECK int store_each(struct store *s, enum row_kind kind, enum store_which which,
        store_row_fn *fn, void *data, struct err *err);
/* One row; NOT_FOUND when absent. */
MUST_CHECK int store_get(struct store *s, enum row_kind kind, uint64_t key, int64_t sub,
        store_row_fn *fn, void *data, struct err *err);
/* Rows of one key (a job's tasks), in order of sub, from from_sub on; INT64_MIN begins. */
MUST_CHECK int store_each_of_key(struct store *s, enum row_kind kind, uint64_t key,
        int64_t from_sub, size_t limit, store_row_fn *fn, void *data, struct err *err);
/* Ended rows, latest first, strictly before (ended_ms, key, sub); INT64_MAX, UINT64_MAX, INT64_MAX begins. */
MUST_CHECK int store_each_ended(struct store *s, enum row_kind kind, int64_t before_ms,
        uint64_t before_key, int64_t before_sub, size_t limit, store_row_fn *fn, void *data,
        struct err *err);
/* Journal after seq, oldest first: whole batches, until limit events or more were given. Batches without events are not in it. */
MUST_CHECK int store_each_event(struct store *s, uint64_t after_seq, size_t limit,
        store_event_fn *fn, void *data, struct err *err);

/* Ended rows that ended before before_ms, oldest first, strictly after (after_ms, key, sub); 0, 0, INT64_MIN begins. For pruning:
 * what of a row must not be lost is written by the same commit that removes it. */
MUST_CHECK int store_each_oldest(struct store *s, enum row_kind kind, int64_t after_ms,
        uint64_t after_key, int64_t after_sub, int64_t before_ms, size_t limit, store_row_fn *fn,
        void *data, struct err *err);

/* Removes batches of the journal from its old end as long as all of their events are before before_ms; at most limit. Says how many
 * went: 0 when nothing is left to remove. */
MUST_CHECK int store_prune_journal(
        struct store *s, int64_t before_ms, size_t limit, size_t *ret_removed, struct err *err);

/* A consistent copy at path (a new file, mode 0600; CONFLICT when there is one) while the store is in use. The memory store
 * says UNSUPPORTED. */
MUST_CHECK int store_backup(struct store *s, const char *path, struct err *err);

/* The same in steps of a few milliseconds, between which the store may be used; the copy is of the moment of the last step.
 * One at a time, and it is ended before the store is closed. PATH.part is what has been copied so far. */
struct store_copy;
MUST_CHECK int store_copy_begin(
        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err);
MUST_CHECK int store_copy_step(struct store_copy *copy, bool *ret_is_complete, struct err *err);
/* Frees it always. Complete: the file stands under its name, durable. Not complete: it is removed, and 0 returned. */
MUST_CHECK int store_copy_end(struct store_copy *copy, struct err *err);
