/*
 * A life of a store, for tests/inject/run: DIR do | check N. `do` opens, leads, commits, backs up, keeps a reserve and prunes, and says
 * after each commit which batch is acknowledged; the first failure ends it with 1 and its text. `check` finds all batches up to N
 * whole, in order, and at most one more: that which was under way.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

enum { BATCHES = 6, BIG = 300000 };

static int say(const struct err *err)
{
	fprintf(stderr, "store: %s\n", err->text);
	return 1;
}

static int commit(struct store *s, uint64_t epoch, uint64_t seq, struct err *err)
{
	char *big = calloc(1, BIG), text[32];
	int len = snprintf(text, sizeof(text), "batch %" PRIu64, seq);
	const struct store_row rows[] = {
	        {.kind = ROW_JOB, .key = seq, .sub = -1, .data = text, .len = (size_t)len},
	        {.kind = ROW_BLOB, .key = seq % 2, .data = big, .len = BIG},
	        {.kind = ROW_JOB,
	                .key = 1000 + seq,
	                .sub = -1,
	                .ended_ms = 5,
	                .data = text,
	                .len = (size_t)len},
	};
	const struct store_event event = {
	        .time_ms = (int64_t)seq, .key = seq, .sub = -1, .data = text, .len = (size_t)len};
	int rc;

	memset(big, (int)seq, BIG);
	rc = store_commit(s, epoch, seq, &event, 1, rows, 3, err);
	free(big);
	return rc;
}

static int live(const char *dir)
{
	char url[512], copy[512];
	struct store *s;
	size_t removed;
	uint64_t epoch;
	struct err err;

	snprintf(url, sizeof(url), "sqlite:%s/x.db", dir);
	snprintf(copy, sizeof(copy), "%s/copy.db", dir);
	if (store_open(url, &s, &err) || store_lead(s, &epoch, &err) || store_reserve_make(s, &err))
		return say(&err);
	for (uint64_t seq = store_last_seq(s) + 1, n = 0; n < BATCHES; n++, seq++) {
		if (commit(s, epoch, seq, &err))
			return say(&err);
		printf("%" PRIu64 "\n", seq);
		fflush(stdout);
	}
	if (store_prune_journal(s, 2, 10, &removed, &err) || store_reserve_release(s, &err))
		return say(&err);
	(void)!unlink(copy);
	if (store_backup(s, copy, &err))
		return say(&err);
	store_close(s);
	return 0;
}

struct seen {
	uint64_t n;
};

static int see(void *data, const struct store_row *row, struct err *err)
{
	struct seen *seen = data;
	char want[32];
	int len = snprintf(want, sizeof(want), "batch %" PRIu64, seen->n + 1);

	if (row->key > 1000)
		return 0;
	seen->n++;
	if (row->key != seen->n || row->len != (size_t)len ||
	        memcmp(row->data, want, row->len) != 0)
		return err_set(err, ERR_CORRUPT, "row %" PRIu64 " is not batch %" PRIu64, row->key,
		        seen->n);
	return 0;
}

static int check(const char *dir, uint64_t acknowledged)
{
	struct seen seen = {0};
	char url[512];
	struct store *s;
	uint64_t epoch;
	struct err err;

	snprintf(url, sizeof(url), "sqlite:%s/x.db", dir);
	if (store_open(url, &s, &err) || store_lead(s, &epoch, &err) ||
	        store_each(s, ROW_JOB, STORE_ALL, see, &seen, &err) ||
	        commit(s, epoch, store_last_seq(s) + 1, &err))
		return say(&err);
	store_close(s);
	if (seen.n >= acknowledged && seen.n <= acknowledged + 1)
		return 0;
	fprintf(stderr, "store: %" PRIu64 " batches, and %" PRIu64 " were acknowledged\n", seen.n,
	        acknowledged);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[2], "do") == 0)
		return live(argv[1]);
	if (argc == 4 && strcmp(argv[2], "check") == 0)
		return check(argv[1], strtoull(argv[3], NULL, 10));
	return 2;
}
