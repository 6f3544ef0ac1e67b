#include "agent/blobs.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/mem.h"

struct entry {
	struct agent_blob blob;
	UT_hash_handle hh; /* in order of arrival */
};

struct blobs {
	struct entry *entries;
	uint64_t bytes;
};

struct blobs *blobs_new(void)
{
	return mem_zalloc(sizeof(struct blobs));
}

void blobs_free(struct blobs *b)
{
	if (!b)
		return;
	blobs_clear(b);
	free(b);
}

static struct entry *find_entry(const struct blobs *b, uint64_t num)
{
	struct entry *e;

	HASH_FIND(hh, b->entries, &num, sizeof(num), e);
	return e;
}

static void drop(struct blobs *b, struct entry *e)
{
	HASH_DEL(b->entries, e);
	b->bytes -= e->blob.len;
	free(e);
}

void blobs_put(struct blobs *b, uint64_t num, const void *data, size_t len)
{
	struct entry *e = find_entry(b, num);

	if (e)
		drop(b, e);
	e = mem_zalloc(sizeof(*e) + len);
	e->blob = (struct agent_blob){.num = num, .len = len, .data = e + 1};
	if (len)
		memcpy(e + 1, data, len);
	HASH_ADD(hh, b->entries, blob.num, sizeof(e->blob.num), e);
	b->bytes += len;
	/* The newest always stays: a START that needs it follows. */
	while (b->bytes > BLOBS_MAX_BYTES && b->entries != e)
		drop(b, b->entries);
}

void blobs_drop(struct blobs *b, uint64_t num)
{
	struct entry *e = find_entry(b, num);

	if (e)
		drop(b, e);
}

void blobs_clear(struct blobs *b)
{
	while (b->entries)
		drop(b, b->entries);
}

const struct agent_blob *blobs_find(const struct blobs *b, uint64_t num)
{
	struct entry *e = find_entry(b, num);

	return e ? &e->blob : NULL;
}
