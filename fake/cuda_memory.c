/*
 * Device memory by address: plain, pitched, managed; host memory that the driver knows; what is behind an address.
 * An allocation of at least a granule has whole granules of its own; smaller ones of a card share granules.
 */
#include "cuda.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PLACES (GRANULE / PLACE)

/* A granule that small allocations share. */
struct shelf {
	struct shelf *next;
	struct cu_ctx *ctx;
	cu_ptr at;
	int64_t offset;
	unsigned n_used;
	unsigned char used[PLACES];
};

static struct shelf *shelves;
static void *blocks; /* a tree by address */

/* -- which block is where -- */

/* Blocks do not overlap, so one that touches another is it. */
static int compare(const void *a, const void *b)
{
	const struct block *x = a, *y = b;

	if (x->at + (x->bytes ? x->bytes : 1) <= y->at)
		return -1;
	return x->at >= y->at + (y->bytes ? y->bytes : 1);
}

struct block *block_at(cu_ptr inside)
{
	struct block key = {.at = inside, .bytes = 1};
	struct block **found = tfind(&key, &blocks, compare);

	return found ? *found : NULL;
}

enum cu_result block_add(struct block *b)
{
	struct block **found = tsearch(b, &blocks, compare);

	if (!found)
		return CU_ERROR_OUT_OF_MEMORY;
	return *found == b ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

/* -- shelves -- */

static int find_places(const struct shelf *s, unsigned n)
{
	unsigned run = 0;

	if (PLACES - s->n_used < n)
		return -1;
	for (unsigned i = 0; i < PLACES; i++) {
		run = s->used[i] ? 0 : run + 1;
		if (run == n)
			return (int)(i + 1 - n);
	}
	return -1;
}

static unsigned places(uint64_t bytes)
{
	return (unsigned)((bytes + PLACE - 1) / PLACE);
}

static enum cu_result shelf_new(struct cu_ctx *ctx, struct shelf **ret_shelf)
{
	enum cu_result code = physical_take(ctx->card, GRANULE);
	struct shelf *s;

	if (code)
		return code;
	s = calloc(1, sizeof(*s));
	if (s)
		s->at = backing_new(GRANULE, &s->offset);
	if (!s || !s->at) {
		free(s);
		physical_give(ctx->card, GRANULE);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	s->ctx = ctx;
	s->next = shelves;
	shelves = s;
	*ret_shelf = s;
	return CU_SUCCESS;
}

static enum cu_result take_small(struct block *b)
{
	unsigned n = places(b->bytes);
	struct cu_ctx *ctx = b->ctx;
	struct shelf *s;
	int first = -1;

	for (s = shelves; s; s = s->next)
		if (s->ctx == ctx && (first = find_places(s, n)) >= 0)
			break;
	if (!s) {
		enum cu_result code = shelf_new(ctx, &s);

		if (code)
			return code;
		first = 0;
	}
	memset(s->used + first, 1, n);
	s->n_used += n;
	b->at = s->at + (unsigned)first * (uint64_t)PLACE;
	b->offset = s->offset < 0 ? -1 : s->offset + first * PLACE;
	return CU_SUCCESS;
}

static void give_small(cu_ptr at, uint64_t bytes)
{
	struct shelf **link = &shelves, *s;

	while (*link && (at < (*link)->at || at >= (*link)->at + GRANULE))
		link = &(*link)->next;
	s = *link;
	if (!s)
		return;
	memset(s->used + (at - s->at) / PLACE, 0, places(bytes));
	s->n_used -= places(bytes);
	if (s->n_used)
		return;
	*link = s->next;
	backing_end(s->at, GRANULE);
	physical_give(s->ctx->card, GRANULE);
	free(s);
}

/* -- blocks -- */

static enum cu_result place_block(struct block *b)
{
	enum cu_result code;

	if (b->kind == BLOCK_HOST) {
		b->at = backing_new(granules(b->bytes), NULL);
		return b->at ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
	}
	if (b->bytes < GRANULE)
		return take_small(b);
	b->taken = granules(b->bytes);
	if (!b->taken)
		return CU_ERROR_OUT_OF_MEMORY;
	code = physical_take(b->ctx->card, b->taken);
	if (code)
		return code;
	b->at = backing_new(b->taken, &b->offset);
	if (b->at)
		return CU_SUCCESS;
	physical_give(b->ctx->card, b->taken);
	return CU_ERROR_OUT_OF_MEMORY;
}

static void unplace_block(const struct block *b)
{
	switch (b->kind) {
	case BLOCK_DEVICE:
	case BLOCK_MANAGED:
		if (b->shared)
			shared_leave(b->shared);
		if (!b->taken) {
			give_small(b->at, b->bytes);
			break;
		}
		if (b->shared) { /* others still see what is in it */
			munmap((void *)(uintptr_t)b->at, b->taken);
			break;
		}
		backing_end(b->at, b->taken);
		physical_give(b->card, b->taken);
		break;
	case BLOCK_IMPORT:
		munmap((void *)(uintptr_t)(b->at & ~UINT64_C(4095)), b->taken);
		if (b->shared)
			shared_leave(b->shared);
		break;
	case BLOCK_GRAPH:
		backing_end(b->at, b->taken);
		break;
	case BLOCK_POOL:
	case BLOCK_MAPPED: /* theirs to end */
		break;
	case BLOCK_HOST:
		backing_end(b->at, granules(b->bytes));
		break;
	case BLOCK_REGISTERED:
		break;
	}
}

enum cu_result block_new(
        struct cu_ctx *ctx, enum block_kind kind, uint64_t bytes, struct block **ret_block)
{
	struct block *b = object_new(KIND_BLOCK, sizeof(*b));
	enum cu_result code = CU_ERROR_OUT_OF_MEMORY;

	if (!b)
		return code;
	b->ctx = ctx;
	b->card = ctx->card;
	b->kind = kind;
	b->bytes = bytes;
	b->offset = -1;
	code = place_block(b);
	if (!code) {
		code = block_add(b);
		if (code)
			unplace_block(b);
	}
	if (code) {
		object_end(b);
		return code;
	}
	*ret_block = b;
	return CU_SUCCESS;
}

void block_remove(struct block *b)
{
	tdelete(b, &blocks, compare);
}

void block_end(struct block *b)
{
	block_remove(b);
	unplace_block(b);
	object_end(b);
}

static struct {
	struct cu_ctx *ctx;
	struct block *found;
} sought;

static void seek(const void *node, VISIT visit, int depth)
{
	struct block *b = *(struct block *const *)node;

	if ((visit == postorder || visit == leaf) && b->ctx == sought.ctx)
		sought.found = b;
}

void blocks_end_of(struct cu_ctx *ctx)
{
	do {
		sought.ctx = ctx;
		sought.found = NULL;
		twalk(blocks, seek);
		if (sought.found)
			block_end(sought.found);
	} while (sought.found);
}

/* -- device memory -- */

static enum cu_result allocate(
        struct cu_ctx *ctx, enum block_kind kind, uint64_t bytes, cu_ptr *ret_at)
{
	struct block *b;
	enum cu_result code;

	if (!ret_at || !bytes)
		return CU_ERROR_INVALID_VALUE;
	code = capture_unsafe();
	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	code = block_new(ctx, kind, bytes, &b);
	if (!code)
		*ret_at = b->at;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemAlloc_v2(cu_ptr *dptr, size_t bytesize)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	return code ? code : allocate(ctx, BLOCK_DEVICE, bytesize, dptr);
}

enum cu_result cuMemAllocManaged(cu_ptr *dptr, size_t bytesize, unsigned flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	if (flags != 1 && flags != 2) /* attached to all, or to the host */
		return CU_ERROR_INVALID_VALUE;
	return allocate(ctx, BLOCK_MANAGED, bytesize, dptr);
}

enum cu_result cuMemAllocPitch_v2(cu_ptr *dptr, size_t *p_pitch, size_t width_in_bytes,
        size_t height, unsigned element_size_bytes)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	uint64_t pitch, bytes;

	if (code)
		return code;
	if (!p_pitch || !width_in_bytes || !height ||
	        (element_size_bytes != 4 && element_size_bytes != 8 && element_size_bytes != 16))
		return CU_ERROR_INVALID_VALUE;
	pitch = (width_in_bytes + PLACE - 1) / PLACE * PLACE;
	if (pitch < width_in_bytes || __builtin_mul_overflow(pitch, height, &bytes))
		return CU_ERROR_OUT_OF_MEMORY;
	code = allocate(ctx, BLOCK_DEVICE, bytes, dptr);
	if (!code)
		*p_pitch = pitch;
	return code;
}

enum cu_result cuMemFree_v2(cu_ptr dptr)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct block *b;

	if (!code && dptr)
		code = capture_unsafe();
	if (code || !dptr)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(dptr);
	if (!b || b->at != dptr || b->kind == BLOCK_HOST || b->kind == BLOCK_REGISTERED ||
	        b->kind == BLOCK_MAPPED || (b->kind == BLOCK_IMPORT && b->shared))
		code = CU_ERROR_INVALID_VALUE;
	else if (b->kind == BLOCK_POOL)
		pool_give(b);
	else if (b->kind == BLOCK_GRAPH)
		graph_give(b);
	else
		block_end(b);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* Outputs of this type, which may be too narrow. */
#define GET_INFO(symbol, type, most)                                             \
	enum cu_result symbol(type *free_bytes, type *total)                     \
	{                                                                        \
		struct cu_ctx *ctx;                                              \
		enum cu_result code = call_context(__func__, &ctx);              \
		uint64_t left, all;                                              \
                                                                                 \
		if (code)                                                        \
			return code;                                             \
		physical_look(ctx->card, &left, &all);                           \
		if (free_bytes)                                                  \
			*free_bytes = left < (most) ? (type)left : (type)(most); \
		if (total)                                                       \
			*total = all < (most) ? (type)all : (type)(most);        \
		return CU_SUCCESS;                                               \
	}
GET_INFO(cuMemGetInfo, unsigned, UINT32_MAX)
GET_INFO(cuMemGetInfo_v2, size_t, SIZE_MAX)

/* -- host memory -- */

enum cu_result cuMemHostAlloc(void **pp, size_t bytesize, unsigned flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	cu_ptr at;

	if (code)
		return code;
	if (!pp || !granules(bytesize))
		return CU_ERROR_INVALID_VALUE;
	code = allocate(ctx, BLOCK_HOST, bytesize, &at);
	if (!code)
		*pp = (void *)(uintptr_t)at;
	return code;
}

enum cu_result cuMemAllocHost_v2(void **pp, size_t bytesize)
{
	return cuMemHostAlloc(pp, bytesize, 0);
}

enum cu_result cuMemAllocHost(void **pp, unsigned bytesize)
{
	return cuMemHostAlloc(pp, bytesize, 0);
}

/* Ends a block of one kind that begins there. */
static enum cu_result end_host(const char *function, void *p, enum block_kind kind)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at((uintptr_t)p);
	if (!b || b->at != (uintptr_t)p || b->kind != kind)
		code = CU_ERROR_INVALID_VALUE;
	else
		block_end(b);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemFreeHost(void *p)
{
	return end_host(__func__, p, BLOCK_HOST);
}

static enum cu_result host_register(const char *function, void *p, size_t bytes)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);
	struct block *b;

	if (code)
		return code;
	if (!p || !bytes)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	b = object_new(KIND_BLOCK, sizeof(*b));
	code = CU_ERROR_OUT_OF_MEMORY;
	if (b) {
		b->at = (uintptr_t)p;
		b->bytes = bytes;
		b->ctx = ctx;
		b->kind = BLOCK_REGISTERED;
		b->card = ctx->card;
		code = block_add(b);
		if (code)
			object_end(b);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemHostRegister(void *p, size_t bytesize, unsigned flags)
{
	return host_register(__func__, p, bytesize);
}

enum cu_result cuMemHostRegister_v2(void *p, size_t bytesize, unsigned flags)
{
	return host_register(__func__, p, bytesize);
}

enum cu_result cuMemHostUnregister(void *p)
{
	return end_host(__func__, p, BLOCK_REGISTERED);
}

enum cu_result cuMemHostGetDevicePointer_v2(cu_ptr *pdptr, void *p, unsigned flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at((uintptr_t)p);
	pthread_mutex_unlock(&driver.lock);
	if (!pdptr || flags || !b || (b->kind != BLOCK_HOST && b->kind != BLOCK_REGISTERED))
		return CU_ERROR_INVALID_VALUE;
	*pdptr = (uintptr_t)p;
	return CU_SUCCESS;
}
