#include "store/store_priv.h"

#include <inttypes.h>
#include <string.h>

#include "base/strtab.h"

static const char *const tables[ROW_MAX] = {
#define ROW(name, table) [ROW_##name] = table,
#include "../../tables/rows.def"
#undef ROW
};

const char *row_kind_table(enum row_kind kind)
{
	return strtab_name(STRTAB(tables), kind);
}

int store_err_not_leader(struct err *err)
{
	return err_set(err, ERR_CONFLICT, "this process does not lead the store");
}

int store_err_epoch(struct err *err, uint64_t epoch, uint64_t current)
{
	return err_set(err, ERR_CONFLICT,
	        "another server leads the store (epoch %" PRIu64 ", this one had %" PRIu64 ")",
	        current, epoch);
}

int store_err_seq(struct err *err, uint64_t seq, uint64_t last)
{
	return err_set(err, ERR_CONFLICT,
	        "batch %" PRIu64 " cannot follow batch %" PRIu64 " in the store", seq, last);
}

int store_err_no_row(struct err *err, enum row_kind kind, uint64_t key, int64_t sub)
{
	return err_set(err, ERR_NOT_FOUND, "the store has no %s %" PRIu64 " (%" PRId64 ")",
	        row_kind_table(kind), key, sub);
}

static int open_url(const char *url, bool is_reader, struct store **ret_store, struct err *err)
{
	const char *rest = strchr(url, ':');
	size_t n = rest ? (size_t)(rest - url) : 0;

	if (n == 6 && memcmp(url, "sqlite", n) == 0 && rest[1] != '\0')
		return sqlite_open(rest + 1, is_reader, ret_store, err);
	if (n == 6 && memcmp(url, "memory", n) == 0)
		return memory_open(rest + 1, ret_store, err);
	return err_set(err, ERR_INVALID,
	        "'%s' names no store; this build knows sqlite:PATH and memory:", url);
}

int store_open(const char *url, struct store **ret_store, struct err *err)
{
	return open_url(url, false, ret_store, err);
}

int store_open_reader(const char *url, struct store **ret_store, struct err *err)
{
	return open_url(url, true, ret_store, err);
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

int store_lead(struct store *s, uint64_t *ret_epoch, struct err *err)
{
	return s->ops->lead(s, ret_epoch, err);
}

static int check_batch(const struct store_event *events, size_t n_events,
        const struct store_row *rows, size_t n_rows, struct err *err)
{
	for (size_t i = 0; i < n_rows; i++) {
		if ((unsigned)rows[i].kind >= ROW_MAX)
			return err_set(err, ERR_INVALID, "the store keeps no rows of kind %d",
			        (int)rows[i].kind);
		if (rows[i].ended_ms < 0)
			return err_set(err, ERR_INVALID, "a %s cannot end at %" PRId64 " ms",
			        row_kind_table(rows[i].kind), rows[i].ended_ms);
		if (rows[i].data && rows[i].len > STORE_DATA_MAX)
			return err_set(err, ERR_TOO_LARGE,
			        "%s %" PRIu64 " has %zu bytes, the store takes %llu",
			        row_kind_table(rows[i].kind), rows[i].key, rows[i].len,
			        (unsigned long long)STORE_DATA_MAX);
	}
	for (size_t i = 0; i < n_events; i++)
		if (events[i].len > STORE_DATA_MAX)
			return err_set(err, ERR_TOO_LARGE,
			        "an event of %" PRIu64 " has %zu bytes, the store takes %llu",
			        events[i].key, events[i].len, (unsigned long long)STORE_DATA_MAX);
	return 0;
}

int store_commit(struct store *s, uint64_t epoch, uint64_t seq, const struct store_event *events,
        size_t n_events, const struct store_row *rows, size_t n_rows, struct err *err)
{
	int rc = check_batch(events, n_events, rows, n_rows, err);

	if (rc < 0)
		return rc;
	return s->ops->commit(s, epoch, seq, events, n_events, rows, n_rows, err);
}

int store_reserve_release(struct store *s, struct err *err)
{
	return s->ops->reserve_release(s, err);
}

int store_reserve_make(struct store *s, struct err *err)
{
	return s->ops->reserve_make(s, err);
}

uint64_t store_last_seq(struct store *s)
{
	return s->ops->last_seq(s);
}

int store_each(struct store *s, enum row_kind kind, enum store_which which, store_row_fn *fn,
        void *data, struct err *err)
{
	return s->ops->each(s, kind, which, fn, data, err);
}

int store_get(struct store *s, enum row_kind kind, uint64_t key, int64_t sub, store_row_fn *fn,
        void *data, struct err *err)
{
	return s->ops->get(s, kind, key, sub, fn, data, err);
}

int store_each_of_key(struct store *s, enum row_kind kind, uint64_t key, int64_t from_sub,
        size_t limit, store_row_fn *fn, void *data, struct err *err)
{
	return s->ops->each_of_key(s, kind, key, from_sub, limit, fn, data, err);
}

int store_each_ended(struct store *s, enum row_kind kind, int64_t before_ms, uint64_t before_key,
        int64_t before_sub, size_t limit, store_row_fn *fn, void *data, struct err *err)
{
	return s->ops->each_ended(s, kind, before_ms, before_key, before_sub, limit, fn, data, err);
}

int store_each_event(struct store *s, uint64_t after_seq, size_t limit, store_event_fn *fn,
        void *data, struct err *err)
{
	return s->ops->each_event(s, after_seq, limit, fn, data, err);
}

int store_each_oldest(struct store *s, enum row_kind kind, int64_t after_ms, uint64_t after_key,
        int64_t after_sub, int64_t before_ms, size_t limit, store_row_fn *fn, void *data,
        struct err *err)
{
	return s->ops->each_oldest(
	        s, kind, after_ms, after_key, after_sub, before_ms, limit, fn, data, err);
}

int store_prune_journal(
        struct store *s, int64_t before_ms, size_t limit, size_t *ret_removed, struct err *err)
{
	return s->ops->prune_journal(s, before_ms, limit, ret_removed, err);
}

int store_copy_begin(
        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err)
{
	return s->ops->copy_begin(s, path, ret_copy, err);
}

int store_copy_step(struct store_copy *copy, bool *ret_is_complete, struct err *err)
{
	return copy->step(copy, ret_is_complete, err);
}

int store_copy_end(struct store_copy *copy, struct err *err)
{
	return copy->end(copy, err);
}

int store_backup(struct store *s, const char *path, struct err *err)
{
	struct store_copy *copy;
	struct err second;
	bool is_complete = false;
	int rc = store_copy_begin(s, path, &copy, err);

	if (rc < 0)
		return rc;
	while (rc == 0 && !is_complete)
		rc = store_copy_step(copy, &is_complete, err);
	/* After a failed step its error is the one to read. */
	if (store_copy_end(copy, rc < 0 ? &second : err) < 0 && rc == 0)
		rc = -(int)err->kind;
	return rc;
}
