/*
 * What a store of one make gives to store.c: one table of functions, and a struct that begins with struct store.
 * store.c has checked the arguments; ownership, threads and failures are those of store.h.
 */
#pragma once

#include "store/store.h"

struct store_ops {
	void (*close)(struct store *s);
	int (*lead)(struct store *s, uint64_t *ret_epoch, struct err *err);
	int (*commit)(struct store *s, uint64_t epoch, uint64_t seq,
	        const struct store_event *events, size_t n_events, const struct store_row *rows,
	        size_t n_rows, struct err *err);
	int (*reserve_release)(struct store *s, struct err *err);
	int (*reserve_make)(struct store *s, struct err *err);
	uint64_t (*last_seq)(struct store *s);
	int (*each)(struct store *s, enum row_kind kind, enum store_which which, store_row_fn *fn,
	        void *data, struct err *err);
	int (*get)(struct store *s, enum row_kind kind, uint64_t key, int64_t sub, store_row_fn *fn,
	        void *data, struct err *err);
	int (*each_of_key)(struct store *s, enum row_kind kind, uint64_t key, int64_t from_sub,
	        size_t limit, store_row_fn *fn, void *data, struct err *err);
	int (*each_ended)(struct store *s, enum row_kind kind, int64_t before_ms,
	        uint64_t before_key, int64_t before_sub, size_t limit, store_row_fn *fn, void *data,
	        struct err *err);
	int (*each_event)(struct store *s, uint64_t after_seq, size_t limit, store_event_fn *fn,
	        void *data, struct err *err);
	int (*each_oldest)(struct store *s, enum row_kind kind, int64_t after_ms,
	        uint64_t after_key, int64_t after_sub, int64_t before_ms, size_t limit,
	        store_row_fn *fn, void *data, struct err *err);
	int (*prune_journal)(struct store *s, int64_t before_ms, size_t limit, size_t *ret_removed,
	        struct err *err);
	int (*copy_begin)(
	        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err);
};

struct store {
	const struct store_ops *ops;
};

struct store_copy {
	int (*step)(struct store_copy *copy, bool *ret_is_complete, struct err *err);
	int (*end)(struct store_copy *copy, struct err *err);
};

MUST_CHECK int memory_open(const char *name, struct store **ret_store, struct err *err);
MUST_CHECK int sqlite_open(
        const char *path, bool is_reader, struct store **ret_store, struct err *err);

/* "job" */
const char *row_kind_table(enum row_kind kind);

/* The words for what every make refuses alike. */
MUST_CHECK int store_err_not_leader(struct err *err);
MUST_CHECK int store_err_epoch(struct err *err, uint64_t epoch, uint64_t current);
MUST_CHECK int store_err_seq(struct err *err, uint64_t seq, uint64_t last);
MUST_CHECK int store_err_no_row(struct err *err, enum row_kind kind, uint64_t key, int64_t sub);
