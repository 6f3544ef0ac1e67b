/*
 * Pools and stream-ordered memory: the calls.
 */
#include "cuda_pool.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_BYTES \
	(INT64_C(1) << 42) /* of a pool that others may import; what is not touched takes nothing */
#define FILE_MAGIC UINT64_C(0x4c4f4f5054524542)

/* At the beginning of such a file, a granule before the memory. */
struct head {
	uint64_t magic, card;
};

/* What a pointer of such a pool is exported as. */
struct exported {
	uint64_t magic;
	int64_t offset;
	uint64_t bytes;
};

static struct cu_pool *default_pools[SIM_CARDS_MAX], *current_pools[SIM_CARDS_MAX];

/* Under the driver's lock. */
static struct cu_pool *made_once(struct cu_pool **pool, unsigned card)
{
	if (!*pool)
		*pool = pool_new(card);
	return *pool;
}

static struct cu_pool *current_pool(unsigned card)
{
	if (object_is(current_pools[card], KIND_POOL))
		return current_pools[card];
	return made_once(&default_pools[card], card);
}

/* -- memory -- */

static enum cu_result allocate(const char *function, cu_ptr *dptr, uint64_t bytes,
        struct cu_pool *pool, struct cu_stream *handle, bool per_thread)
{
	struct work nothing = {.kind = WORK_WAIT};
	struct cu_stream *s;
	struct cu_ctx *ctx;
	struct block *b;
	enum cu_result code = call_context(function, &ctx);

	if (!code)
		code = stream_find(ctx, handle, per_thread, &s);
	if (code)
		return code;
	if (!dptr || !bytes || (pool && (!object_is(pool, KIND_POOL) || pool->imported)))
		return CU_ERROR_INVALID_VALUE;
	if (s->capture)
		return capture_alloc(s, pool ? pool->card : ctx->card, bytes, dptr);
	pthread_mutex_lock(&driver.lock);
	if (!pool)
		pool = current_pool(ctx->card);
	code = pool ? pool_take_on(pool, s, bytes, &b) : CU_ERROR_OUT_OF_MEMORY;
	if (!code)
		*dptr = b->at;
	pthread_mutex_unlock(&driver.lock);
	return code ? code : stream_put(s, &nothing, NULL);
}

enum cu_result cuMemAllocAsync(cu_ptr *dptr, size_t bytesize, struct cu_stream *h_stream)
{
	return allocate(__func__, dptr, bytesize, NULL, h_stream, false);
}

enum cu_result cuMemAllocAsync_ptsz(cu_ptr *dptr, size_t bytesize, struct cu_stream *h_stream)
{
	return allocate(__func__, dptr, bytesize, NULL, h_stream, true);
}

enum cu_result cuMemAllocFromPoolAsync(
        cu_ptr *dptr, size_t bytesize, struct cu_pool *pool, struct cu_stream *h_stream)
{
	return pool ? allocate(__func__, dptr, bytesize, pool, h_stream, false)
	            : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuMemAllocFromPoolAsync_ptsz(
        cu_ptr *dptr, size_t bytesize, struct cu_pool *pool, struct cu_stream *h_stream)
{
	return pool ? allocate(__func__, dptr, bytesize, pool, h_stream, true)
	            : CU_ERROR_INVALID_VALUE;
}

static enum cu_result free_async(
        const char *function, cu_ptr at, struct cu_stream *handle, bool per_thread)
{
	struct work nothing = {.kind = WORK_WAIT};
	struct cu_stream *s;
	struct cu_ctx *ctx;
	struct block *b;
	enum cu_result code = call_context(function, &ctx);

	if (!code)
		code = stream_find(ctx, handle, per_thread, &s);
	if (code)
		return code;
	if (s->capture)
		return capture_free(s, at);
	code = stream_put(s, &nothing, NULL);
	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(at);
	if (!b || b->at != at || b->kind == BLOCK_HOST || b->kind == BLOCK_REGISTERED ||
	        b->kind == BLOCK_MAPPED)
		code = CU_ERROR_INVALID_VALUE;
	else if (b->kind == BLOCK_POOL)
		pool_give_later(b, s);
	else if (b->kind == BLOCK_GRAPH)
		graph_give(b);
	else
		block_end(b);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemFreeAsync(cu_ptr dptr, struct cu_stream *h_stream)
{
	return free_async(__func__, dptr, h_stream, false);
}

enum cu_result cuMemFreeAsync_ptsz(cu_ptr dptr, struct cu_stream *h_stream)
{
	return free_async(__func__, dptr, h_stream, true);
}

/* -- pools -- */

static bool make_file(struct cu_pool *p)
{
	struct head head = {FILE_MAGIC, p->card};

	p->fd = memfd_create("simulated pool", MFD_CLOEXEC);
	p->file_end = (int64_t)GRANULE;
	return p->fd >= 0 && ftruncate(p->fd, FILE_BYTES) == 0 &&
	       pwrite(p->fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head);
}

enum cu_result cuMemPoolCreate(struct cu_pool **pool, const struct cu_pool_props *props)
{
	enum cu_result code = call_ready(__func__);
	struct cu_pool *p;

	if (code)
		return code;
	if (!pool || !props || props->type != 1)
		return CU_ERROR_INVALID_VALUE;
	if (props->location.type != CU_LOCATION_DEVICE || props->handle_types & ~1)
		return CU_ERROR_NOT_SUPPORTED;
	if (props->location.id < 0 || props->location.id >= (int)driver.n_devs)
		return CU_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&driver.lock);
	p = pool_new(driver.cards[props->location.id]);
	if (p)
		p->max_bytes = props->max_size;
	if (p && props->handle_types && !make_file(p)) {
		p->closing = true;
		pool_drop_if_closed(p);
		p = NULL;
	}
	pthread_mutex_unlock(&driver.lock);
	*pool = p;
	return p ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result check(const char *function, const struct cu_pool *p)
{
	enum cu_result code = call_ready(function);

	return code ? code : object_is(p, KIND_POOL) ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

enum cu_result cuMemPoolDestroy(struct cu_pool *pool)
{
	enum cu_result code = check(__func__, pool);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (pool == default_pools[pool->card]) {
		code = CU_ERROR_INVALID_VALUE;
	} else {
		if (current_pools[pool->card] == pool)
			current_pools[pool->card] = NULL;
		pool->closing = true;
		pool_drop_if_closed(pool);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemPoolTrimTo(struct cu_pool *pool, size_t min_bytes_to_keep)
{
	enum cu_result code = check(__func__, pool);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	pool_trim(pool, min_bytes_to_keep);
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

static uint64_t *high_of(struct cu_pool *p, int attribute, uint64_t *ret_now)
{
	*ret_now = attribute == CU_POOL_RESERVED_HIGH ? p->reserved : p->used;
	return attribute == CU_POOL_RESERVED_HIGH ? &p->reserved_high : &p->used_high;
}

enum cu_result cuMemPoolSetAttribute(struct cu_pool *pool, int attr, void *value)
{
	enum cu_result code = check(__func__, pool);
	uint64_t now, *high;

	if (code)
		return code;
	if (!value)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	switch (attr) {
	case 1:
	case 2:
	case 3:
		pool->reuse[attr] = *(int *)value;
		break;
	case CU_POOL_RELEASE_THRESHOLD:
		pool->threshold = *(uint64_t *)value;
		break;
	case CU_POOL_RESERVED_HIGH:
	case CU_POOL_USED_HIGH: /* to 0: from now on */
		high = high_of(pool, attr, &now);
		if (*(uint64_t *)value)
			code = CU_ERROR_INVALID_VALUE;
		else
			*high = now;
		break;
	default:
		code = CU_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemPoolGetAttribute(struct cu_pool *pool, int attr, void *value)
{
	enum cu_result code = check(__func__, pool);

	if (code)
		return code;
	if (!value || attr < 1 || attr > CU_POOL_USED_HIGH)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	if (attr < CU_POOL_RELEASE_THRESHOLD)
		*(int *)value = pool->reuse[attr];
	else
		*(uint64_t *)value =
		        (uint64_t[]){pool->threshold, pool->reserved, pool->reserved_high,
		                pool->used, pool->used_high}[attr - CU_POOL_RELEASE_THRESHOLD];
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

enum cu_result cuMemPoolSetAccess(struct cu_pool *pool, const struct cu_access *map, size_t count)
{
	enum cu_result code = check(__func__, pool);

	return code || map ? code : CU_ERROR_INVALID_VALUE;
}

/* -- of devices -- */

static enum cu_result get_pool(const char *function, struct cu_pool **pool, int dev, bool first)
{
	enum cu_result code = call_device(function, dev);

	if (code)
		return code;
	if (!pool)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	*pool = first ? made_once(&default_pools[driver.cards[dev]], driver.cards[dev])
	              : current_pool(driver.cards[dev]);
	pthread_mutex_unlock(&driver.lock);
	return *pool ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result set_pool(const char *function, int dev, struct cu_pool *pool)
{
	enum cu_result code = call_device(function, dev);

	if (!code)
		code = check(function, pool);
	if (code)
		return code;
	if (pool->card != driver.cards[dev])
		return CU_ERROR_INVALID_VALUE;
	current_pools[pool->card] = pool;
	return CU_SUCCESS;
}

enum cu_result cuDeviceGetDefaultMemPool(struct cu_pool **pool_out, int dev)
{
	return get_pool(__func__, pool_out, dev, true);
}

enum cu_result cuDeviceGetMemPool(struct cu_pool **pool, int dev)
{
	return get_pool(__func__, pool, dev, false);
}

enum cu_result cuDeviceSetMemPool(int dev, struct cu_pool *pool)
{
	return set_pool(__func__, dev, pool);
}

/* Pinned memory of devices alone. */
static bool is_device(const struct cu_location *location, int type)
{
	return location && location->type == CU_LOCATION_DEVICE && type == 1;
}

enum cu_result cuMemGetDefaultMemPool(
        struct cu_pool **pool_out, struct cu_location *location, int type)
{
	return is_device(location, type) ? get_pool(__func__, pool_out, location->id, true)
	                                 : CU_ERROR_NOT_SUPPORTED;
}

enum cu_result cuMemGetMemPool(struct cu_pool **pool_out, struct cu_location *location, int type)
{
	return is_device(location, type) ? get_pool(__func__, pool_out, location->id, false)
	                                 : CU_ERROR_NOT_SUPPORTED;
}

enum cu_result cuMemSetMemPool(struct cu_location *location, int type, struct cu_pool *pool)
{
	return is_device(location, type) ? set_pool(__func__, location->id, pool)
	                                 : CU_ERROR_NOT_SUPPORTED;
}

/* -- between processes: memory of an imported pool is its maker's, and paid by him -- */

enum cu_result cuMemPoolExportToShareableHandle(
        void *handle_out, struct cu_pool *pool, int handle_type, unsigned long long flags)
{
	enum cu_result code = check(__func__, pool);

	if (code)
		return code;
	if (!handle_out || flags || handle_type != 1 || pool->fd < 0 || pool->imported)
		return CU_ERROR_INVALID_VALUE;
	*(int *)handle_out = dup(pool->fd);
	return *(int *)handle_out >= 0 ? CU_SUCCESS : CU_ERROR_OPERATING_SYSTEM;
}

enum cu_result cuMemPoolImportFromShareableHandle(
        struct cu_pool **pool_out, void *handle, int handle_type, unsigned long long flags)
{
	enum cu_result code = call_ready(__func__);
	int fd = (int)(intptr_t)handle;
	struct head head;
	struct cu_pool *p = NULL;

	if (code)
		return code;
	if (!pool_out || flags || handle_type != 1 ||
	        pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
	        head.magic != FILE_MAGIC || head.card >= driver.sim->n_cards)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	p = pool_new((unsigned)head.card);
	if (p) {
		p->imported = true;
		p->fd = dup(fd);
	}
	pthread_mutex_unlock(&driver.lock);
	*pool_out = p;
	return p ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

enum cu_result cuMemPoolExportPointer(struct cu_pool_pointer *out, cu_ptr ptr)
{
	enum cu_result code = call_ready(__func__);
	struct exported e = {.magic = FILE_MAGIC};
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(ptr);
	if (!out || !b || b->kind != BLOCK_POOL || b->part->pool->fd < 0) {
		code = CU_ERROR_INVALID_VALUE;
	} else {
		e.offset = b->part->offset + (int64_t)(b->at - b->part->at);
		e.bytes = b->bytes;
		memset(out, 0, sizeof(*out));
		memcpy(out, &e, sizeof(e));
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMemPoolImportPointer(
        cu_ptr *ptr_out, struct cu_pool *pool, struct cu_pool_pointer *share_data)
{
	enum cu_result code = check(__func__, pool);
	struct exported e;
	struct block *b;

	if (code)
		return code;
	if (!ptr_out || !share_data || !pool->imported)
		return CU_ERROR_INVALID_VALUE;
	memcpy(&e, share_data, sizeof(e));
	if (e.magic != FILE_MAGIC || e.offset < 0 || !granules(e.bytes))
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = block_of_file(NULL, pool->card, pool->fd, e.offset, e.bytes, &b);
	if (!code)
		*ptr_out = b->at;
	pthread_mutex_unlock(&driver.lock);
	return code;
}
