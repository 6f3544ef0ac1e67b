#include "shim/pools.h"

#include <string.h>

/*
 * DESIGN. A pool grows by more than it is asked for, by a unit of the driver's that is learnt here. That unit is reserved before a
 * call that makes the pool grow. Where a slice has room for the piece but not for the unit, the piece is allocated by itself:
 * on a card of that size the driver would do no worse.
 * The driver is asked without the mutex, since it may be slow, or wait for a thread that needs it. So answers may come in another
 * order than they were asked for: each question has a number, and who has an answer older than one that was acted upon asks
 * again. What he knows of his own call is in any question that was begun after it.
 */

#define POOLS_MAX 256
#define UNIT      (UINT64_C(32) << 20) /* until one was seen */

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
	/* Of all pools that this record was for, one after the other. */
	uint64_t asked; /* questions begun */
	uint64_t heard; /* the last one whose answer was acted upon */
};

static struct pool pools[POOLS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards them */
static int n_pools;                                       /* how many were ever used */

/* Read while the driver is asked about some pool, or told something; who destroys one waits for those. */
static pthread_rwlock_t in_use = PTHREAD_RWLOCK_INITIALIZER;

void pools_forked(void)
{
	pthread_mutex_init(&mutex, NULL);
	pthread_rwlock_init(&in_use, NULL);
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
		        .is_free = is_free,
		        .asked = pools[i].asked,
		        .heard = pools[i].heard};
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

struct pool *pools_of(struct cu_pool *handle, int device)
{
	pthread_mutex_lock(&mutex);
	struct pool *pool = find(handle, device);
	pthread_mutex_unlock(&mutex);
	return pool != NULL ? pool
	                    : find_or_add(handle, device_of(handle, device), SLICE_POOL, false);
}

int pools_device(const struct pool *pool)
{
	return pool->device;
}

bool pools_are_free(const struct pool *pool)
{
	return pool->is_free;
}

/* -- without the mutex -- */

/* The pool as it is, which the driver may be asked about until `leave`; a thread that was cancelled meanwhile would stay in it. */
static struct pool enter(const struct pool *pool, int *ret_cancel)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, ret_cancel);
	pthread_rwlock_rdlock(&in_use);
	pthread_mutex_lock(&mutex);
	struct pool copy = *pool;
	pthread_mutex_unlock(&mutex);
	return copy;
}

static void leave(int cancel)
{
	pthread_rwlock_unlock(&in_use);
	pthread_setcancelstate(cancel, NULL);
}

static bool is_known(const struct pool *copy)
{
	return copy->is_used && !copy->is_free && !copy->is_gone;
}

/* What it has from the device, and of that what nobody uses. */
static bool ask(const struct pool *pool, uint64_t *ret_reserved_bytes, uint64_t *ret_idle_bytes)
{
	uint64_t reserved_bytes = 0, used_bytes = 0;
	enum cu_result rc = CU_ERROR_NOT_SUPPORTED;
	int cancel;
	struct pool copy = enter(pool, &cancel);
	if (!is_known(&copy)) {
		rc = CU_ERROR_INVALID_VALUE;
	} else if (copy.handle == NULL && real.cuDeviceGetGraphMemAttribute != NULL) {
		rc = real.cuDeviceGetGraphMemAttribute(
		        copy.device, CU_GRAPH_RESERVED, &reserved_bytes);
		if (rc == CU_SUCCESS)
			rc = real.cuDeviceGetGraphMemAttribute(
			        copy.device, CU_GRAPH_USED, &used_bytes);
	} else if (copy.handle != NULL && real.cuMemPoolGetAttribute != NULL) {
		rc = real.cuMemPoolGetAttribute(copy.handle, CU_POOL_RESERVED, &reserved_bytes);
		if (rc == CU_SUCCESS)
			rc = real.cuMemPoolGetAttribute(copy.handle, CU_POOL_USED, &used_bytes);
	}
	leave(cancel);
	*ret_reserved_bytes = reserved_bytes;
	*ret_idle_bytes = reserved_bytes > used_bytes ? reserved_bytes - used_bytes : 0;
	return rc == CU_SUCCESS;
}

static void trim(const struct pool *pool)
{
	int cancel;
	struct pool copy = enter(pool, &cancel);
	if (is_known(&copy) && copy.handle != NULL && real.cuMemPoolTrimTo != NULL)
		real.cuMemPoolTrimTo(copy.handle, 0);
	else if (is_known(&copy) && copy.handle == NULL && real.cuDeviceGraphMemTrim != NULL)
		real.cuDeviceGraphMemTrim(copy.device);
	leave(cancel);
}

uint64_t pools_bytes(const struct pool *pool)
{
	pthread_mutex_lock(&mutex);
	uint64_t bytes = pool->bytes;
	pthread_mutex_unlock(&mutex);
	return bytes;
}

/* Under the mutex. What grew is paid from the charge, as far as it is not paid from that of another call. */
static enum cu_result pay(struct pool *pool, struct charge *charge, uint64_t reserved_bytes)
{
	uint64_t own_bytes = charge != NULL ? charge->reserved_bytes : 0;
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

/* Under the mutex. It may have grown by all that was reserved for it; the next answer says by how much. */
static void pay_all(struct pool *pool, struct charge *charge)
{
	uint64_t own_bytes = charge->reserved_bytes;
	charge_end(charge, pool->kind, own_bytes);
	pool->bytes += own_bytes;
}

/* After a call that may have changed the pool; `charge`, which pools_begin made pending, or NULL. */
static enum cu_result settle(struct pool *pool, struct charge *charge)
{
	uint64_t reserved_bytes, idle_bytes, question;
	enum cu_result rc = CU_SUCCESS;
	bool is_answered;
	for (;;) {
		question = __atomic_add_fetch(&pool->asked, 1, __ATOMIC_ACQ_REL);
		is_answered = ask(pool, &reserved_bytes, &idle_bytes);
		pthread_mutex_lock(&mutex);
		if (!is_answered || question > pool->heard)
			break;
		pthread_mutex_unlock(&mutex);
	}
	if (charge != NULL)
		pool->pending -= charge->reserved_bytes;
	if (is_known(pool) && is_answered) {
		pool->heard = question;
		rc = pay(pool, charge, reserved_bytes);
	} else if (is_known(pool) && charge != NULL) {
		pay_all(pool, charge);
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

static uint64_t idle_of(const struct pool *pool)
{
	uint64_t reserved_bytes, idle_bytes;
	return ask(pool, &reserved_bytes, &idle_bytes) ? idle_bytes : 0;
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
	enum cu_result rc = settle(pool, charge);
	charge_end(charge, pool->kind, 0);
	return rc;
}

enum cu_result pools_given(struct pool *pool, struct charge *charge, uint64_t before_bytes,
        struct table_entry *pointer)
{
	enum cu_result rc = pools_end(pool, charge);
	pthread_mutex_lock(&mutex);
	if (rc == CU_SUCCESS && pool->bytes > before_bytes)
		learn_unit(pool, charge->ledger, pointer->size, pool->bytes - before_bytes);
	pool->pointers++;
	pthread_mutex_unlock(&mutex);
	pointer->extra = (uint64_t)(pool - pools);
	pointer->device = pool->device;
	pointer->kind = SLICE_POOL;
	return rc;
}

void pools_settle(void)
{
	int n = __atomic_load_n(&n_pools, __ATOMIC_ACQUIRE);
	for (int i = 0; i < n; i++)
		if (pools_bytes(&pools[i]) > 0)
			settle(&pools[i], NULL);
}

bool pools_trim(int device)
{
	bool is_more = false;
	int n = __atomic_load_n(&n_pools, __ATOMIC_ACQUIRE);
	for (int i = 0; i < n; i++) {
		struct pool *pool = &pools[i];
		uint64_t before_bytes = pools_bytes(pool);
		if (pool->device != device || before_bytes == 0)
			continue;
		trim(pool);
		settle(pool, NULL);
		is_more = is_more || pools_bytes(pool) < before_bytes;
	}
	return is_more;
}

/* Under the mutex. */
static void bury(struct pool *pool)
{
	charge_return(pool->device, pool->kind, pool->bytes);
	*pool = (struct pool){.asked = pool->asked, .heard = pool->heard};
}

void pools_freed(const struct table_entry *entry)
{
	struct pool *pool = &pools[entry->extra];
	pthread_mutex_lock(&mutex);
	pool->pointers -= pool->pointers > 0;
	bool is_over = pool->is_gone && pool->pointers == 0;
	if (is_over)
		bury(pool);
	pthread_mutex_unlock(&mutex);
	if (!is_over)
		settle(pool, NULL);
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
	pthread_mutex_unlock(&mutex);
	if (known == NULL)
		return real.cuMemPoolDestroy(pool);
	settle(known, NULL);
	pthread_mutex_lock(&mutex);
	known->is_gone = true; /* nobody asks the driver about it any more, */
	pthread_mutex_unlock(&mutex);
	pthread_rwlock_wrlock(&in_use); /* and who did has his answer */
	pthread_rwlock_unlock(&in_use);
	enum cu_result rc = real.cuMemPoolDestroy(pool);
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
