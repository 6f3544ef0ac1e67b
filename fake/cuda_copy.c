/*
 * Copies and fills, and what is known of an address. Device memory is host memory here, so that data are real; they move
 * when the call is made, and take their time on the stream.
 */
#include "cuda.h"

#include <string.h>

static void *pointer(cu_ptr at)
{
	return (void *)(uintptr_t)at;
}

/* One that is not asynchronous waits for its own stream. */
static enum cu_result move(const char *function, void *to, const void *from, uint64_t bytes,
        struct cu_stream *stream, bool per_thread, bool wait)
{
	struct work work = {.kind = WORK_COPY, .bytes = bytes};
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code || !bytes)
		return code;
	if (!to || !from)
		return CU_ERROR_INVALID_VALUE;
	memmove(to, from, bytes);
	return stream_do(ctx, stream, per_thread, &work, wait);
}

#define MOVE(symbol, params, to, from, n, stream, per_thread, wait)           \
	enum cu_result symbol params                                          \
	{                                                                     \
		return move(__func__, to, from, n, stream, per_thread, wait); \
	}

/* A copy of one kind: by two types of address, at once and asynchronous, for either default stream. */
#define COPIES(name, v, to_type, from_type, to, from)                                             \
	MOVE(name##v, (to_type dst, from_type src, size_t n), to, from, n, NULL, false, true)     \
	MOVE(name##v##_ptds, (to_type dst, from_type src, size_t n), to, from, n, NULL, true,     \
	        true)                                                                             \
	MOVE(name##Async##v, (to_type dst, from_type src, size_t n, struct cu_stream * h), to,    \
	        from, n, h, false, false)                                                         \
	MOVE(name##Async##v##_ptsz, (to_type dst, from_type src, size_t n, struct cu_stream * h), \
	        to, from, n, h, true, false)

COPIES(cuMemcpy, , cu_ptr, cu_ptr, pointer(dst), pointer(src))
COPIES(cuMemcpyHtoD, _v2, cu_ptr, const void *, pointer(dst), src)
COPIES(cuMemcpyDtoH, _v2, void *, cu_ptr, dst, pointer(src))
COPIES(cuMemcpyDtoD, _v2, cu_ptr, cu_ptr, pointer(dst), pointer(src))

/* -- fills -- */

static enum cu_result fill(const char *function, cu_ptr at, const void *value, unsigned width,
        uint64_t n, struct cu_stream *stream, bool per_thread, bool wait)
{
	struct work work = {.kind = WORK_COPY, .bytes = n * width};
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code || !n)
		return code;
	if (!at || at % width)
		return CU_ERROR_INVALID_VALUE;
	if (width == 1)
		memset(pointer(at), *(const unsigned char *)value, n);
	else
		for (uint64_t i = 0; i < n; i++)
			memcpy((char *)pointer(at) + i * width, value, width);
	return stream_do(ctx, stream, per_thread, &work, wait);
}

#define FILL(symbol, params, at, value, n, stream, per_thread, wait)                           \
	enum cu_result symbol params                                                           \
	{                                                                                      \
		return fill(__func__, at, &value, sizeof(value), n, stream, per_thread, wait); \
	}

#define FILLS(name, type)                                                                          \
	FILL(name##_v2, (cu_ptr at, type value, size_t n), at, value, n, NULL, false, true)        \
	FILL(name##_v2_ptds, (cu_ptr at, type value, size_t n), at, value, n, NULL, true, true)    \
	FILL(name##Async, (cu_ptr at, type value, size_t n, struct cu_stream * h), at, value, n,   \
	        h, false, false)                                                                   \
	FILL(name##Async_ptsz, (cu_ptr at, type value, size_t n, struct cu_stream * h), at, value, \
	        n, h, true, false)

FILLS(cuMemsetD8, unsigned char)
FILLS(cuMemsetD32, unsigned)

/* -- what is known of an address -- */

enum cu_result cuMemGetAddressRange_v2(cu_ptr *pbase, size_t *psize, cu_ptr dptr)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(dptr);
	if (!b || b->kind == BLOCK_HOST || b->kind == BLOCK_REGISTERED) {
		code = CU_ERROR_NOT_FOUND;
	} else {
		if (pbase)
			*pbase = b->at;
		if (psize)
			*psize = b->bytes;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum {
	POINTER_CONTEXT = 1,
	POINTER_MEMORY_TYPE = 2,
	POINTER_DEVICE = 3,
	POINTER_HOST = 4,
	POINTER_IS_MANAGED = 8,
	POINTER_ORDINAL = 9,
	POINTER_RANGE_START = 11,
	POINTER_RANGE_SIZE = 12,
	POINTER_MAPPED = 13,
};

static enum cu_result put_attribute(const struct block *b, int attribute, cu_ptr at, void *data)
{
	bool host = b->kind == BLOCK_HOST || b->kind == BLOCK_REGISTERED;

	switch (attribute) {
	case POINTER_CONTEXT:
		if (!b->ctx)
			return CU_ERROR_INVALID_VALUE;
		*(struct cu_ctx **)data = b->ctx;
		break;
	case POINTER_MEMORY_TYPE:
		*(unsigned *)data = host ? 1 : 2;
		break;
	case POINTER_DEVICE:
		*(cu_ptr *)data = at;
		break;
	case POINTER_HOST:
		if (!host)
			return CU_ERROR_INVALID_VALUE;
		*(cu_ptr *)data = at;
		break;
	case POINTER_IS_MANAGED:
		*(unsigned *)data = b->kind == BLOCK_MANAGED;
		break;
	case POINTER_ORDINAL:
		*(int *)data = card_ordinal(b->card);
		break;
	case POINTER_RANGE_START:
		*(cu_ptr *)data = b->at;
		break;
	case POINTER_RANGE_SIZE:
		*(size_t *)data = b->bytes;
		break;
	case POINTER_MAPPED:
		*(unsigned *)data = 1;
		break;
	default:
		return CU_ERROR_NOT_SUPPORTED;
	}
	return CU_SUCCESS;
}

enum cu_result cuPointerGetAttribute(void *data, int attribute, cu_ptr ptr)
{
	enum cu_result code = call_ready(__func__);
	struct block *b;

	if (code)
		return code;
	if (!data)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	b = block_at(ptr);
	code = b ? put_attribute(b, attribute, ptr, data) : CU_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* What cannot be answered stays as it is, as with the real one. */
enum cu_result cuPointerGetAttributes(
        unsigned num_attributes, int *attributes, void **data, cu_ptr ptr)
{
	enum cu_result code = call_ready(__func__);
	struct block *b;

	if (code)
		return code;
	if (!attributes || !data)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	b = block_at(ptr);
	for (unsigned i = 0; b && i < num_attributes; i++)
		put_attribute(b, attributes[i], ptr, data[i]);
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}
