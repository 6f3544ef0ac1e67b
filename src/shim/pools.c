#include "shim/pools.h"
#include "shim/graphs.h"
#include "shim/memory.h"

#include <string.h>

/*
 * DESIGN. A pool grows by more than it is asked for, by a unit of the driver's that is learnt here. That unit is reserved before a
 * call that makes the pool grow. Where a slice has room for the piece but not for the unit, the piece is allocated by itself:
 * on a card of that size the driver would do no worse.
 */

#define POOLS_MAX 256
#define UNIT      (UINT64_C(32) << 20) /* until one was seen */
#define BY_ITSELF 1                    /* `extra` of a pointer that was asked of a pool */

struct pool {
	struct cu_pool *handle; /* NULL: memory of graphs */
	int device;
	enum slice_kind kind;
	bool is_used;
	bool is_free;      /* of charge: imported, or memory of the host */
	bool is_gone;      /* destroyed, with pointers outstanding */
	uint64_t bytes;    /* charged */
	uint64_t pending;  /* reserved for calls on their way */
	uint64_t pointers; /* outstanding */
	uint64_t unit;     /* by which it grows at least */
};

static struct pool pools[POOLS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards them */
static int n_pools;                                       /* how many were ever used */

void pools_forked(void)
{
	pthread_mutex_init(&mutex, NULL);
	memset(pools, 0, sizeof pools);
	n_pools = 0;
}

static struct pool *find(struct cu_pool *handle, int device)
{
	for (int i = 0; i < n_pools; i++) {
		struct pool *pool = &pools[i];
		if (pool->is_used && !pool->is_gone && pool->handle == handle &&
		        (handle != NULL || pool->device == device))
			return pool;
	}
	return NULL;
}

static struct pool *add(struct cu_pool *handle, int device, enum slice_kind kind, bool is_free)
{
	for (int i = 0; i < POOLS_MAX; i++) {
		if (pools[i].is_used)
			continue;
		pools[i] = (struct pool){.handle = handle,
		        .device = device,
		        .kind = kind,
		        .is_used = true,
		        .unit = handle != NULL ? UNIT : 0,
		        .is_free = is_free};
		if (i >= n_pools)
			__atomic_store_n(&n_pools, i + 1, __ATOMIC_RELEASE);
		return &pools[i];
	}
	return NULL;
}

static struct pool *find_or_add(
        struct cu_pool *handle, int device, enum slice_kind kind, bool is_free)
{
	pthread_mutex_lock(&mutex);
	struct pool *pool = find(handle, device);
	if (pool == NULL)
		pool = add(handle, device, kind, is_free);
	pthread_mutex_unlock(&mutex);
	return pool;
}

struct pool *pools_of_graphs(int device)
{
	return find_or_add(NULL, device, SLICE_GRAPH, false);
}

/* Under the mutex. What it has from the device, and of that what nobody uses. */
static bool ask(const struct pool *pool, uint64_t *ret_reserved_bytes, uint64_t *ret_idle_bytes)
{
	uint64_t reserved_bytes = 0, used_bytes = 0;
	enum cu_result rc = CU_ERROR_NOT_SUPPORTED;
	if (pool->handle == NULL && real.cuDeviceGetGraphMemAttribute != NULL) {
		rc = real.cuDeviceGetGraphMemAttribute(
		        pool->device, CU_GRAPH_RESERVED, &reserved_bytes);
		if (rc == CU_SUCCESS)
			rc = real.cuDeviceGetGraphMemAttribute(
			        pool->device, CU_GRAPH_USED, &used_bytes);
	} else if (pool->handle != NULL && real.cuMemPoolGetAttribute != NULL) {
		rc = real.cuMemPoolGetAttribute(pool->handle, CU_POOL_RESERVED, &reserved_bytes);
		if (rc == CU_SUCCESS)
			rc = real.cuMemPoolGetAttribute(pool->handle, CU_POOL_USED, &used_bytes);
	}
	*ret_reserved_bytes = reserved_bytes;
	*ret_idle_bytes = reserved_bytes > used_bytes ? reserved_bytes - used_bytes : 0;
	return rc == CU_SUCCESS;
}

/* Under the mutex; `charge` may be NULL. What grew is paid from the charge, as far as it is not paid from that of another call. */
static enum cu_result settle(struct pool *pool, struct charge *charge)
{
	uint64_t reserved_bytes, idle_bytes,
	        own_bytes = charge != NULL ? charge->reserved_bytes : 0;
	if (pool->is_free || pool->is_gone)
		return CU_SUCCESS;
	if (!ask(pool, &reserved_bytes, &idle_bytes)) {
		/* It may have grown by all that was reserved for it; the next answer says by how much. */
		if (charge != NULL)
			charge_end(charge, pool->kind, own_bytes);
		pool->bytes += own_bytes;
		return CU_SUCCESS;
	}
	if (reserved_bytes <= pool->bytes) {
		charge_return(pool->device, pool->kind, pool->bytes - reserved_bytes);
		pool->bytes = reserved_bytes;
		return CU_SUCCESS;
	}
	uint64_t more_bytes = reserved_bytes - pool->bytes;
	if (more_bytes > own_bytes && more_bytes - own_bytes > pool->pending) {
		/* Without charge_more: that would come back here to trim. */
		struct ledger *ledger;
		uint64_t lacking_bytes = more_bytes - own_bytes - pool->pending;
		if (charge_ledger(pool->device, &ledger) != CU_SUCCESS ||
		        ledger_reserve(ledger, lacking_bytes) != LEDGER_OK)
			return CU_ERROR_OUT_OF_MEMORY;
		ledger_settle(ledger, lacking_bytes, pool->kind, lacking_bytes);
		pool->bytes += lacking_bytes;
		more_bytes -= lacking_bytes;
	}
	if (more_bytes > own_bytes)
		more_bytes = own_bytes;
	if (charge != NULL)
		charge_end(charge, pool->kind, more_bytes);
	pool->bytes += more_bytes;
	return CU_SUCCESS;
}

static uint64_t idle_of(struct pool *pool)
{
	uint64_t reserved_bytes, idle_bytes;
	pthread_mutex_lock(&mutex);
	bool is_known = ask(pool, &reserved_bytes, &idle_bytes);
	pthread_mutex_unlock(&mutex);
	return is_known ? idle_bytes : 0;
}

static uint64_t growth(
        const struct pool *pool, const struct ledger *ledger, uint64_t bytes, uint64_t idle_bytes)
{
	if (idle_bytes >= bytes)
		return 0;
	if (pool->handle == NULL)
		return charge_round(ledger, bytes - idle_bytes);
	uint64_t rounded_bytes = charge_round(ledger, bytes),
	         unit = __atomic_load_n(&pool->unit, __ATOMIC_RELAXED);
	return rounded_bytes > unit ? rounded_bytes : unit;
}

enum cu_result pools_begin(struct pool *pool, struct charge *ret_charge, uint64_t bytes)
{
	struct ledger *ledger;
	enum cu_result rc = charge_ledger(pool->device, &ledger);
	if (rc == CU_SUCCESS)
		rc = charge_begin(
		        ret_charge, pool->device, growth(pool, ledger, bytes, idle_of(pool)));
	if (rc != CU_SUCCESS)
		return rc;
	pthread_mutex_lock(&mutex);
	pool->pending += ret_charge->reserved_bytes;
	pthread_mutex_unlock(&mutex);
	return CU_SUCCESS;
}

/* Under the mutex: what a pool grew by for a piece of that size. */
static void learn_unit(
        struct pool *pool, const struct ledger *ledger, uint64_t bytes, uint64_t grown_bytes)
{
	uint64_t rounded_bytes = charge_round(ledger, bytes);
	if (grown_bytes > rounded_bytes ||
	        (grown_bytes == rounded_bytes && grown_bytes < pool->unit))
		__atomic_store_n(&pool->unit, grown_bytes, __ATOMIC_RELAXED);
}

enum cu_result pools_end(struct pool *pool, struct charge *charge)
{
	pthread_mutex_lock(&mutex);
	pool->pending -= charge->reserved_bytes;
	enum cu_result rc = settle(pool, charge);
	pthread_mutex_unlock(&mutex);
	charge_end(charge, pool->kind, 0);
	return rc;
}

void pools_settle(void)
{
	if (__atomic_load_n(&n_pools, __ATOMIC_ACQUIRE) == 0)
		return;
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < n_pools; i++)
		if (pools[i].is_used && pools[i].bytes > 0)
			settle(&pools[i], NULL);
	pthread_mutex_unlock(&mutex);
}

bool pools_trim(int device)
{
	bool is_more = false;
	if (__atomic_load_n(&n_pools, __ATOMIC_ACQUIRE) == 0)
		return false;
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < n_pools; i++) {
		struct pool *pool = &pools[i];
		if (!pool->is_used || pool->is_gone || pool->device != device || pool->bytes == 0)
			continue;
		if (pool->handle != NULL && real.cuMemPoolTrimTo != NULL)
			real.cuMemPoolTrimTo(pool->handle, 0);
		else if (pool->handle == NULL && real.cuDeviceGraphMemTrim != NULL)
			real.cuDeviceGraphMemTrim(device);
		uint64_t before_bytes = pool->bytes;
		settle(pool, NULL);
		is_more = is_more || pool->bytes < before_bytes;
	}
	pthread_mutex_unlock(&mutex);
	return is_more;
}

/* Under the mutex. */
static void bury(struct pool *pool)
{
	charge_return(pool->device, pool->kind, pool->bytes);
	*pool = (struct pool){0};
}

void pools_freed(const struct table_entry *entry)
{
	struct pool *pool = &pools[entry->extra];
	pthread_mutex_lock(&mutex);
	pool->pointers -= pool->pointers > 0;
	if (pool->is_gone && pool->pointers == 0)
		bury(pool);
	else
		settle(pool, NULL);
	pthread_mutex_unlock(&mutex);
}

enum cu_result cuMemPoolCreate(struct cu_pool **pool, const struct cu_pool_props *pool_props)
{
	ENTER(cuMemPoolCreate);
	bool is_here = pool_props != NULL && pool_props->location.type == CU_LOCATION_DEVICE;
	struct ledger *ledger;
	enum cu_result rc = is_here ? charge_ledger(pool_props->location.id, &ledger) : CU_SUCCESS;
	if (rc == CU_SUCCESS)
		rc = real.cuMemPoolCreate(pool, pool_props);
	if (rc != CU_SUCCESS || pool == NULL || pool_props == NULL)
		return rc;
	if (find_or_add(*pool, pool_props->location.id, SLICE_POOL, !is_here) == NULL) {
		if (real.cuMemPoolDestroy != NULL)
			real.cuMemPoolDestroy(*pool);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	return rc;
}

/* Its bytes are the exporter's. */
enum cu_result cuMemPoolImportFromShareableHandle(
        struct cu_pool **pool_out, void *handle, int handle_type, unsigned long long flags)
{
	ENTER(cuMemPoolImportFromShareableHandle);
	enum cu_result rc =
	        real.cuMemPoolImportFromShareableHandle(pool_out, handle, handle_type, flags);
	if (rc == CU_SUCCESS && pool_out != NULL &&
	        find_or_add(*pool_out, 0, SLICE_POOL, true) == NULL) {
		if (real.cuMemPoolDestroy != NULL)
			real.cuMemPoolDestroy(*pool_out);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	return rc;
}

enum cu_result cuMemPoolImportPointer(
        cu_ptr *ptr_out, struct cu_pool *pool, struct cu_pool_pointer *share_data)
{
	ENTER(cuMemPoolImportPointer);
	return real.cuMemPoolImportPointer(ptr_out, pool, share_data);
}

enum cu_result cuMemPoolDestroy(struct cu_pool *pool)
{
	ENTER(cuMemPoolDestroy);
	pthread_mutex_lock(&mutex);
	struct pool *known = pool != NULL ? find(pool, 0) : NULL;
	if (known != NULL) {
		settle(known, NULL);
		known->is_gone = true; /* nobody asks the driver about it any more */
	}
	pthread_mutex_unlock(&mutex);
	enum cu_result rc = real.cuMemPoolDestroy(pool);
	if (known == NULL)
		return rc;
	pthread_mutex_lock(&mutex);
	if (rc != CU_SUCCESS)
		known->is_gone = false;
	else if (known->pointers == 0)
		bury(known);
	pthread_mutex_unlock(&mutex);
	return rc;
}

enum cu_result cuMemPoolTrimTo(struct cu_pool *pool, size_t min_bytes_to_keep)
{
	ENTER(cuMemPoolTrimTo);
	enum cu_result rc = real.cuMemPoolTrimTo(pool, min_bytes_to_keep);
	pools_settle();
	return rc;
}

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
	cu_ptr pointer = 0;
	uint64_t before_bytes = pool->bytes;
	rc = call(request, &pointer);
	enum cu_result end_rc = pools_end(pool, &charge);
	if (rc != CU_SUCCESS)
		return rc;
	pthread_mutex_lock(&mutex);
	if (end_rc == CU_SUCCESS && pool->bytes > before_bytes)
		learn_unit(pool, charge.ledger, request->size, pool->bytes - before_bytes);
	pool->pointers++;
	pthread_mutex_unlock(&mutex);
	struct table_entry entry = {.key = pointer,
	        .size = request->size,
	        .extra = (uint64_t)(pool - pools),
	        .device = pool->device,
	        .kind = SLICE_POOL};
	if (end_rc != CU_SUCCESS || table_put(&have.pointers, &entry) != 0) {
		undo(request, pointer, pool->device);
		pools_freed(&entry);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	*dptr = pointer;
	return CU_SUCCESS;
}

/* A pool that nobody made is the first one of some device. */
static int device_of(struct cu_pool *handle, int likely_device)
{
	struct cu_pool *first = NULL;
	struct ledger *ledger;
	for (int device = 0; device < SHIM_DEVICES && real.cuDeviceGetDefaultMemPool != NULL;
	        device++) {
		if (charge_ledger(device, &ledger) == CU_SUCCESS &&
		        real.cuDeviceGetDefaultMemPool(&first, device) == CU_SUCCESS &&
		        first == handle)
			return device;
	}
	return likely_device;
}

static struct pool *pool_of(struct cu_pool *handle, int device)
{
	pthread_mutex_lock(&mutex);
	struct pool *pool = find(handle, device);
	pthread_mutex_unlock(&mutex);
	return pool != NULL ? pool
	                    : find_or_add(handle, device_of(handle, device), SLICE_POOL, false);
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
	struct pool *pool = pool_of(handle, place.device);
	if (pool == NULL)
		return CU_ERROR_OUT_OF_MEMORY;
	if (pool->is_free)
		return call(request, dptr);
	rc = allocate_from(pool, request, dptr);
	if (rc == CU_ERROR_OUT_OF_MEMORY && pool->device == place.device)
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
