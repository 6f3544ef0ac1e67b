/*
 * Pools: parts of the card's memory, pieces of which are given out.
 */
#include "cuda_pool.h"

#include "clock.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct cu_pool *pools;

struct cu_pool *pool_new(unsigned card)
{
	struct cu_pool *p = object_new(KIND_POOL, sizeof(*p));

	if (!p)
		return NULL;
	p->card = card;
	p->fd = -1;
	p->reuse[1] = p->reuse[2] = p->reuse[3] = 1;
	p->next = pools;
	pools = p;
	return p;
}

/* -- pieces -- */

/* What was freed in the order of a stream is free once that has come so far. */
static bool is_free(struct pool_piece *piece, struct cu_stream *s)
{
	struct tl_stream *line;
	bool done;

	if (piece->used)
		return false;
	if (!piece->ctx || (s && piece->ctx == s->ctx && piece->line == s->line))
		return true;
	if (!object_is(piece->ctx, KIND_CTX))
		return true;
	share_lock();
	line = &timeline_of()->cards[piece->ctx->card].streams[piece->line];
	done = line->head >= piece->number;
	share_unlock();
	if (done)
		piece->ctx = NULL;
	return done;
}

static void merge(struct pool_part *part)
{
	for (struct pool_piece *piece = part->pieces; piece; piece = piece->next) {
		struct pool_piece *next = piece->next;

		while (next && !piece->used && !piece->ctx && !next->used && !next->ctx) {
			piece->bytes += next->bytes;
			piece->next = next->next;
			free(next);
			next = piece->next;
		}
	}
}

static struct pool_piece *split(struct pool_piece *piece, uint64_t bytes)
{
	if (piece->bytes > bytes) {
		struct pool_piece *rest = malloc(sizeof(*rest));

		if (!rest)
			return NULL;
		*rest = *piece;
		rest->at += bytes;
		rest->bytes -= bytes;
		piece->bytes = bytes;
		piece->next = rest;
	}
	piece->used = true;
	piece->ctx = NULL;
	return piece;
}

static struct pool_piece *find_piece(
        struct cu_pool *p, uint64_t bytes, struct cu_stream *s, struct pool_part **ret_part)
{
	for (struct pool_part *part = p->parts; part; part = part->next) {
		for (struct pool_piece *piece = part->pieces; piece; piece = piece->next)
			is_free(piece, NULL);
		merge(part);
		for (struct pool_piece *piece = part->pieces; piece; piece = piece->next) {
			if (piece->bytes < bytes || !is_free(piece, s))
				continue;
			*ret_part = part;
			return split(piece, bytes);
		}
	}
	return NULL;
}

/* -- parts -- */

static void part_end(struct pool_part *part)
{
	struct cu_pool *p = part->pool;
	struct pool_part **at = &p->parts;

	while (*at && *at != part)
		at = &(*at)->next;
	if (*at)
		*at = part->next;
	backing_end(part->at, part->bytes);
	physical_give(p->card, part->bytes);
	p->reserved -= part->bytes;
	while (part->pieces) {
		struct pool_piece *piece = part->pieces;

		part->pieces = piece->next;
		free(piece);
	}
	free(part);
}

void pool_trim(struct cu_pool *p, uint64_t keep)
{
	for (struct pool_part *part = p->parts, *next; part && p->reserved > keep; part = next) {
		bool empty = true;

		next = part->next;
		for (struct pool_piece *piece = part->pieces; piece; piece = piece->next)
			empty &= is_free(piece, NULL);
		if (empty)
			part_end(part);
	}
}

void pools_settle(void)
{
	if (!__atomic_load_n(&pools, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&driver.lock);
	for (struct cu_pool *p = pools, *next; p; p = next) {
		next = p->next;
		if (p->reserved > p->threshold)
			pool_trim(p, p->threshold);
		pool_drop_if_closed(p);
	}
	pthread_mutex_unlock(&driver.lock);
}

static enum cu_result part_try(struct cu_pool *p, uint64_t bytes, struct pool_part **ret_part)
{
	struct pool_part *part;
	enum cu_result code;

	if (!bytes || (p->max_bytes &&
	                      (p->reserved > p->max_bytes || bytes > p->max_bytes - p->reserved)))
		return CU_ERROR_OUT_OF_MEMORY;
	code = physical_take(p->card, bytes);
	if (code)
		return code;
	part = calloc(1, sizeof(*part));
	if (part)
		part->pieces = calloc(1, sizeof(*part->pieces));
	if (part && part->pieces)
		part->at = p->fd >= 0 ? backing_map(p->fd, p->file_end, bytes)
		                      : backing_new(bytes, NULL);
	if (!part || !part->at) {
		if (part)
			free(part->pieces);
		free(part);
		physical_give(p->card, bytes);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	part->pool = p;
	part->bytes = bytes;
	part->offset = p->file_end;
	p->file_end += (int64_t)bytes;
	part->pieces->at = part->at;
	part->pieces->bytes = bytes;
	part->next = p->parts;
	p->parts = part;
	p->reserved += bytes;
	if (p->reserved > p->reserved_high)
		p->reserved_high = p->reserved;
	*ret_part = part;
	return CU_SUCCESS;
}

/* A chunk, or what is needed; when there is not so much left, after others have given up what they only keep. */
static enum cu_result part_new(struct cu_pool *p, uint64_t bytes, struct pool_part **ret_part)
{
	uint64_t chunk = granules(driver.sim->cards[p->card].chunk_bytes);
	enum cu_result code = CU_ERROR_OUT_OF_MEMORY;

	if (chunk < granules(bytes))
		chunk = granules(bytes);
	code = part_try(p, chunk, ret_part);
	if (code == CU_ERROR_OUT_OF_MEMORY)
		code = part_try(p, granules(bytes), ret_part);
	if (code != CU_ERROR_OUT_OF_MEMORY)
		return code;
	for (struct cu_pool *o = pools; o; o = o->next)
		if (o->card == p->card)
			pool_trim(o, 0);
	return part_try(p, granules(bytes), ret_part);
}

/* -- blocks -- */

enum cu_result pool_take_on(
        struct cu_pool *p, struct cu_stream *s, uint64_t bytes, struct block **ret_block)
{
	uint64_t rounded = (bytes + PLACE - 1) / PLACE * PLACE;
	struct pool_part *part = NULL;
	struct pool_piece *piece;
	enum cu_result code = CU_SUCCESS;
	struct block *b;

	if (rounded < bytes)
		return CU_ERROR_OUT_OF_MEMORY;
	piece = find_piece(p, rounded, s, &part);
	if (!piece) {
		code = part_new(p, rounded, &part);
		if (code)
			return code;
		piece = split(part->pieces, rounded);
	}
	b = piece ? object_new(KIND_BLOCK, sizeof(*b)) : NULL;
	if (!b)
		return CU_ERROR_OUT_OF_MEMORY;
	*b = (struct block){.o = b->o,
	        .at = piece->at,
	        .bytes = bytes,
	        .card = p->card,
	        .kind = BLOCK_POOL,
	        .offset = -1,
	        .part = part};
	code = block_add(b);
	p->used += rounded;
	if (p->used > p->used_high)
		p->used_high = p->used;
	*ret_block = b;
	return code;
}

void pool_drop_if_closed(struct cu_pool *p)
{
	struct cu_pool **at = &pools;

	if (!p->closing || p->used)
		return;
	pool_trim(p, 0);
	if (p->parts)
		return;
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	if (p->fd >= 0)
		close(p->fd);
	object_end(p);
}

static struct pool_piece *piece_of(struct block *b)
{
	struct pool_piece *piece = b->part->pieces;

	while (piece && piece->at != b->at)
		piece = piece->next;
	return piece;
}

static struct cu_pool *release(struct block *b)
{
	struct cu_pool *p = b->part->pool;
	struct pool_piece *piece = piece_of(b);

	p->used -= piece->bytes;
	piece->used = false;
	block_remove(b);
	object_end(b);
	return p;
}

/* At once, as cuMemFree does with memory of a pool. */
void pool_give(struct block *b)
{
	struct pool_part *part = b->part;
	struct cu_pool *p = release(b);

	merge(part);
	if (p->reserved > p->threshold)
		pool_trim(p, p->threshold);
	pool_drop_if_closed(p);
}

void pool_give_later(struct block *b, struct cu_stream *s)
{
	struct pool_piece *piece = piece_of(b);
	struct cu_pool *p = release(b);

	share_lock();
	piece->number = timeline_of()->cards[s->ctx->card].streams[s->line].tail;
	share_unlock();
	piece->ctx = s->ctx;
	piece->line = s->line;
	pool_drop_if_closed(p);
}
