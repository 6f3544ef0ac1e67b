#include "server/rate.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* What is in a bucket is counted so finely that a millisecond adds per_min of it. */
#define ONE 60000

struct bucket {
	char name[RATE_NAME_MAX];
	int64_t level;
	int64_t filled_ms;
	UT_hash_handle hh;
};

struct rate {
	int64_t per_min;
	int64_t full;
	uint32_t max;
	struct bucket *by_name; /* the one heard of last stands last */
};

struct rate *rate_new(uint32_t per_min, uint32_t burst, uint32_t max)
{
	struct rate *r = mem_zalloc(sizeof(*r));

	r->per_min = MAX(per_min, 1u);
	r->full = (int64_t)MAX(burst, 1u) * ONE;
	r->max = MAX(max, 1u);
	return r;
}

static void forget(struct rate *r, struct bucket *b)
{
	HASH_DEL(r->by_name, b);
	free(b);
}

void rate_free(struct rate *r)
{
	struct bucket *b, *next;

	if (!r)
		return;
	HASH_ITER (hh, r->by_name, b, next)
		forget(r, b);
	free(r);
}

static struct bucket *bucket_of(struct rate *r, const char *name, int64_t now_ms)
{
	struct bucket *b;

	HASH_FIND_STR(r->by_name, name, b);
	if (b) {
		HASH_DEL(r->by_name, b);
	} else {
		if (HASH_COUNT(r->by_name) >= r->max)
			forget(r, r->by_name);
		b = mem_zalloc(sizeof(*b));
		snprintf(b->name, sizeof(b->name), "%s", name);
		b->level = r->full;
		b->filled_ms = now_ms;
	}
	HASH_ADD_STR(r->by_name, name, b);
	return b;
}

static struct bucket *filled(struct rate *r, const char *name, int64_t now_ms)
{
	struct bucket *b = bucket_of(r, name, now_ms);
	int64_t since_ms = MAX(now_ms - b->filled_ms, 0);

	/* However long it was: no more than full. */
	b->level = since_ms > (r->full - b->level) / r->per_min ? r->full
	                                                        : b->level + since_ms * r->per_min;
	b->filled_ms = now_ms;
	return b;
}

void rate_charge(struct rate *r, const char *name, int64_t now_ms, uint32_t n)
{
	struct bucket *b = filled(r, name, now_ms);

	b->level = MAX(b->level - (int64_t)n * ONE, -r->full);
}

bool rate_take(struct rate *r, const char *name, int64_t now_ms, int64_t *ret_wait_ms)
{
	struct bucket *b = filled(r, name, now_ms);

	if (b->level >= ONE) {
		b->level -= ONE;
		return true;
	}
	*ret_wait_ms = (ONE - b->level + r->per_min - 1) / r->per_min;
	return false;
}
