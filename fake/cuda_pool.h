/*
 * Inside of pools: memory taken from the card in parts, given out in pieces. All of it under the driver's lock; the owner of
 * a part is its pool, of a piece its part. Failures are CUDA's result codes.
 */
#pragma once

#include "cuda.h"

struct pool_piece {
	struct pool_piece *next; /* by address */
	cu_ptr at;
	uint64_t bytes;
	bool used;
	struct cu_ctx *
	        ctx; /* freed in the order of this stream, until `number` of it is done; NULL: free */
	uint32_t line;
	uint64_t number;
};

struct pool_part {
	struct pool_part *next;
	struct cu_pool *pool;
	cu_ptr at;
	uint64_t bytes;
	int64_t offset; /* in the pool's own file */
	struct pool_piece *pieces;
};

struct cu_pool {
	struct object o;
	struct cu_pool *next;
	unsigned card;
	int fd; /* of a pool that others may import; -1 */
	int64_t file_end;
	bool imported; /* its memory is somebody else's */
	bool closing;
	int reuse[4];
	uint64_t max_bytes, threshold;
	uint64_t reserved, reserved_high, used, used_high;
	struct pool_part *parts;
};

extern struct cu_pool *pools;

struct cu_pool *pool_new(unsigned card);
void pool_trim(struct cu_pool *p, uint64_t keep);
/* Frees in the order of a stream: what it was told before this is to be done first. */
void pool_give_later(struct block *b, struct cu_stream *s);
void pool_drop_if_closed(struct cu_pool *p);
