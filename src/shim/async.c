/*
 * Memory in the order of a stream: out of a pool, or by itself where a slice has room for the piece and not for what the pool
 * would grow by.
 */
#include "shim/graphs.h"
#include "shim/memory.h"
#include "shim/pools.h"

#define BY_ITSELF 1 /* `extra` of a pointer that was asked of a pool */

/* The four ways to allocate from a pool; `call` is the driver's function with its pool, or without where that is NULL. */
struct request {
	struct cu_pool *handle;
	size_t size;
	struct cu_stream *stream;
	bool is_per_thread;
	enum cu_result (*call)(cu_ptr *dptr, size_t size, struct cu_stream *stream);
	enum cu_result (*call_from)(
	        cu_ptr *dptr, size_t size, struct cu_pool *pool, struct cu_stream *stream);
};

static enum cu_result call(const struct request *request, cu_ptr *dptr)
{
	return request->call_from != NULL
	               ? request->call_from(dptr, request->size, request->handle, request->stream)
	               : request->call(dptr, request->size, request->stream);
}

static bool is_capturing(const struct request *request)
{
	enum cu_result (*ask_driver)(struct cu_stream *, int *) =
	        request->is_per_thread ? real.cuStreamIsCapturing_ptsz : real.cuStreamIsCapturing;
	int status = CU_CAPTURE_NONE;
	return ask_driver != NULL && ask_driver(request->stream, &status) == CU_SUCCESS &&
	       status != CU_CAPTURE_NONE;
}

/* It grew by too much, or cannot be noted: the pool has to be smaller again before anybody is told. */
static void undo(const struct request *request, cu_ptr pointer, int device)
{
	if (request->is_per_thread && real.cuMemFreeAsync_ptsz != NULL)
		real.cuMemFreeAsync_ptsz(pointer, request->stream);
	else if (real.cuMemFreeAsync != NULL)
		real.cuMemFreeAsync(pointer, request->stream);
	if (request->is_per_thread && real.cuStreamSynchronize_ptsz != NULL)
		real.cuStreamSynchronize_ptsz(request->stream);
	else if (real.cuStreamSynchronize != NULL)
		real.cuStreamSynchronize(request->stream);
	pools_trim(device);
}

static enum cu_result allocate_alone(
        const struct request *request, const struct place *place, cu_ptr *dptr)
{
	struct charge charge;
	enum cu_result rc = memory_begin(&charge, place->device, request->size);
	if (rc != CU_SUCCESS)
		return rc;
	cu_ptr pointer = 0;
	rc = real.cuMemAlloc_v2 != NULL ? real.cuMemAlloc_v2(&pointer, request->size)
	                                : CU_ERROR_OUT_OF_MEMORY;
	if (rc != CU_SUCCESS) {
		charge_end(&charge, SLICE_MEMORY, 0);
		return rc;
	}
	rc = memory_take_as(&charge, place, SLICE_MEMORY, pointer, request->size, BY_ITSELF);
	if (rc == CU_SUCCESS)
		*dptr = pointer;
	else
		real.cuMemFree_v2(pointer);
	return rc;
}

static enum cu_result allocate_from(struct pool *pool, const struct request *request, cu_ptr *dptr)
{
	struct charge charge;
	enum cu_result rc = pools_begin(pool, &charge, request->size);
	if (rc != CU_SUCCESS)
		return rc;
	struct table_entry entry = {.size = request->size};
	uint64_t before_bytes = pools_bytes(pool);
	cu_ptr pointer = 0;
	rc = call(request, &pointer);
	if (rc != CU_SUCCESS) {
		pools_end(pool, &charge);
		return rc;
	}
	rc = pools_given(pool, &charge, before_bytes, &entry);
	entry.key = pointer;
	if (rc == CU_SUCCESS && table_put(&have.pointers, &entry) == 0) {
		*dptr = pointer;
		return CU_SUCCESS;
	}
	undo(request, pointer, entry.device);
	pools_freed(&entry);
	return CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result allocate(struct request *request, cu_ptr *dptr)
{
	if (dptr == NULL || request->size == 0)
		return call(request, dptr);
	/* While a stream records, this is a node of a graph, and memory is taken when that runs. */
	if (is_capturing(request)) {
		enum cu_result rc = call(request, dptr);
		if (rc == CU_SUCCESS)
			graphs_have_memory();
		return rc;
	}
	struct place place;
	enum cu_result rc = charge_place(&place);
	struct cu_pool *handle = request->handle;
	if (rc == CU_SUCCESS && request->call_from == NULL)
		rc = real.cuDeviceGetMemPool != NULL
		             ? real.cuDeviceGetMemPool(&handle, place.device)
		             : CU_ERROR_NOT_SUPPORTED;
	if (rc != CU_SUCCESS)
		return rc;
	if (handle == NULL)
		return call(request, dptr);
	struct pool *pool = pools_of(handle, place.device);
	if (pool == NULL)
		return CU_ERROR_OUT_OF_MEMORY;
	if (pools_are_free(pool))
		return call(request, dptr);
	rc = allocate_from(pool, request, dptr);
	if (rc == CU_ERROR_OUT_OF_MEMORY && pools_device(pool) == place.device)
		rc = allocate_alone(request, &place, dptr);
	return rc;
}

/* What was allocated by itself is no pool's: it goes back when the stream has come so far. */
static enum cu_result free_alone(const struct request *request, const struct table_entry *entry)
{
	/* It cannot become a node of a graph, and to wait would spoil that. */
	if (is_capturing(request))
		return CU_ERROR_NOT_SUPPORTED;
	enum cu_result (*wait)(struct cu_stream *) =
	        request->is_per_thread ? real.cuStreamSynchronize_ptsz : real.cuStreamSynchronize;
	enum cu_result rc = wait != NULL ? wait(request->stream) : CU_ERROR_NOT_SUPPORTED;
	return rc == CU_SUCCESS ? real.cuMemFree_v2(entry->key) : rc;
}

#define ALLOCATE(symbol, per_thread)                                                     \
	enum cu_result symbol(cu_ptr *dptr, size_t bytesize, struct cu_stream *h_stream) \
	{                                                                                \
		ENTER(symbol);                                                           \
		return allocate(&(struct request){.size = bytesize,                      \
		                        .stream = h_stream,                              \
		                        .is_per_thread = per_thread,                     \
		                        .call = real.symbol},                            \
		        dptr);                                                           \
	}
ALLOCATE(cuMemAllocAsync, false)
ALLOCATE(cuMemAllocAsync_ptsz, true)

#define ALLOCATE_FROM(symbol, per_thread)                                                        \
	enum cu_result symbol(                                                                   \
	        cu_ptr *dptr, size_t bytesize, struct cu_pool *pool, struct cu_stream *h_stream) \
	{                                                                                        \
		ENTER(symbol);                                                                   \
		return allocate(&(struct request){.handle = pool,                                \
		                        .size = bytesize,                                        \
		                        .stream = h_stream,                                      \
		                        .is_per_thread = per_thread,                             \
		                        .call_from = real.symbol},                               \
		        dptr);                                                                   \
	}
ALLOCATE_FROM(cuMemAllocFromPoolAsync, false)
ALLOCATE_FROM(cuMemAllocFromPoolAsync_ptsz, true)

#define FREE(symbol, per_thread)                                                            \
	enum cu_result symbol(cu_ptr dptr, struct cu_stream *h_stream)                      \
	{                                                                                   \
		ENTER(symbol);                                                              \
		struct table_entry entry;                                                   \
		struct request request = {.stream = h_stream, .is_per_thread = per_thread}; \
		bool is_ours = table_take(&have.pointers, dptr, &entry);                    \
		enum cu_result rc =                                                         \
		        is_ours && entry.kind == SLICE_MEMORY && entry.extra == BY_ITSELF   \
		                ? free_alone(&request, &entry)                              \
		                : real.symbol(dptr, h_stream);                              \
		if (is_ours)                                                                \
			memory_freed(rc, &entry);                                           \
		return rc;                                                                  \
	}
FREE(cuMemFreeAsync, false)
FREE(cuMemFreeAsync_ptsz, true)
