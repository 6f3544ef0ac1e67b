#include "shim/contexts.h"
#include "shim/captures.h"
#include "shim/memory.h"
#include "shim/pools.h"

/*
 * DESIGN. What is allocated belongs to a context, and goes with it. Handles say badly which: the driver uses them again, and a primary
 * context has the same one in each of its lives. So an owner is a number: of a context that was made, one that no other has had;
 * of a primary one, its generation, which grows before each call that may end it: what other threads allocate from then on
 * is of the next life. The primary context of a device is made and let go of by one thread at a time, as in the driver: else
 * one that is made anew while another thread sees the old one go would be charged to nobody.
 */

#define PRIMARY     (UINT64_C(1) << 63)
#define GENERATIONS 48 /* bits */

static uint64_t last_owner;

static struct primary {
	pthread_mutex_t mutex; /* held while the driver makes it or lets go of it */
	uint64_t bytes;        /* charged, + 1; 0: nobody has noticed it */
	uint64_t generation;
} primaries[SHIM_DEVICES];

void contexts_forked(void)
{
	for (int i = 0; i < SHIM_DEVICES; i++)
		primaries[i] = (struct primary){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

static uint64_t primary_owner(int device, uint64_t generation)
{
	return PRIMARY | (uint64_t)device << GENERATIONS | generation;
}

uint64_t contexts_owner(int device, struct cu_ctx *ctx)
{
	struct table_entry entry;
	return table_find(&have.contexts, (uintptr_t)ctx, &entry)
	               ? entry.extra
	               : primary_owner(device,
	                         __atomic_load_n(&primaries[device].generation, __ATOMIC_ACQUIRE));
}

static uint64_t context_bytes(int device)
{
	struct ledger *ledger;
	return charge_ledger(device, &ledger) == CU_SUCCESS ? ledger->grant.context_bytes : 0;
}

/* When the driver does not say, not even when asked again, it is as it was. */
static bool primary_is_active(int device, bool was_active)
{
	unsigned flags = 0;
	int active = 0;
	for (int i = 0; i < 2 && real.cuDevicePrimaryCtxGetState != NULL; i++)
		if (real.cuDevicePrimaryCtxGetState(device, &flags, &active) == CU_SUCCESS)
			return active;
	return was_active;
}

static bool is_noticed(int device)
{
	return __atomic_load_n(&primaries[device].bytes, __ATOMIC_ACQUIRE) != 0;
}

/* A primary context in hand. A thread that was cancelled meanwhile would keep it for ever. */
struct hold {
	int device, cancel;
	struct charge charge; /* of one that is new */
	bool is_new;
};

static void take_hold(struct hold *h, int device)
{
	*h = (struct hold){.device = device};
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &h->cancel);
	pthread_mutex_lock(&primaries[device].mutex);
}

static void let_go(const struct hold *h)
{
	pthread_mutex_unlock(&primaries[h->device].mutex);
	pthread_setcancelstate(h->cancel, NULL);
}

/* Before a call that may make it: room for it, unless it has that. On success `made` must follow. */
static enum cu_result make(struct hold *h, int device)
{
	struct ledger *ledger;
	enum cu_result rc = charge_ledger(device, &ledger);
	if (rc != CU_SUCCESS)
		return rc;
	take_hold(h, device);
	h->is_new = !is_noticed(device);
	if (h->is_new)
		rc = charge_begin(&h->charge, device, context_bytes(device));
	if (rc != CU_SUCCESS)
		let_go(h);
	return rc;
}

static enum cu_result made(struct hold *h, enum cu_result rc)
{
	if (h->is_new) {
		uint64_t bytes = rc == CU_SUCCESS ? h->charge.reserved_bytes : 0;
		charge_end(&h->charge, SLICE_CONTEXT, bytes);
		if (rc == CU_SUCCESS)
			__atomic_store_n(&primaries[h->device].bytes, bytes + 1, __ATOMIC_RELEASE);
	}
	let_go(h);
	return rc;
}

enum cu_result contexts_notice(int device)
{
	struct hold h;
	struct ledger *ledger;
	enum cu_result rc = charge_ledger(device, &ledger);
	if (rc != CU_SUCCESS || is_noticed(device) || !primary_is_active(device, false))
		return rc;
	rc = make(&h, device);
	/* Another thread may have let go of it meanwhile. */
	if (rc == CU_SUCCESS)
		made(&h, primary_is_active(device, true) ? CU_SUCCESS : CU_ERROR_INVALID_CONTEXT);
	return rc;
}

enum cu_result cuDevicePrimaryCtxRetain(struct cu_ctx **pctx, int dev)
{
	ENTER(cuDevicePrimaryCtxRetain);
	struct hold h;
	enum cu_result rc = make(&h, dev);
	return rc == CU_SUCCESS ? made(&h, real.cuDevicePrimaryCtxRetain(pctx, dev)) : rc;
}

static void owners_gone(uint64_t first, uint64_t last)
{
	memory_owners_gone(first, last);
	captures_owners_gone(first, last);
	pools_settle();
}

/* Around a call that may end it. */
static uint64_t end(struct hold *h, int device)
{
	take_hold(h, device);
	return __atomic_fetch_add(&primaries[device].generation, 1, __ATOMIC_ACQ_REL);
}

/* One that is gone has taken everything along that was in it up to that generation. */
static enum cu_result ended(struct hold *h, enum cu_result rc, uint64_t generation)
{
	if (rc == CU_SUCCESS && !primary_is_active(h->device, true)) {
		uint64_t bytes =
		        __atomic_exchange_n(&primaries[h->device].bytes, 0, __ATOMIC_ACQ_REL);
		owners_gone(primary_owner(h->device, 0), primary_owner(h->device, generation));
		charge_return(h->device, SLICE_CONTEXT, bytes > 0 ? bytes - 1 : 0);
	}
	let_go(h);
	return rc;
}

static enum cu_result release(int device, enum cu_result (*call)(int device))
{
	struct hold h;
	if (device < 0 || device >= SHIM_DEVICES)
		return call(device);
	uint64_t generation = end(&h, device);
	return ended(&h, call(device), generation);
}

enum cu_result cuDevicePrimaryCtxRelease(int dev)
{
	ENTER(cuDevicePrimaryCtxRelease);
	return release(dev, real.cuDevicePrimaryCtxRelease);
}

enum cu_result cuDevicePrimaryCtxRelease_v2(int dev)
{
	ENTER(cuDevicePrimaryCtxRelease_v2);
	return release(dev, real.cuDevicePrimaryCtxRelease_v2);
}

enum cu_result cuDevicePrimaryCtxReset(int dev)
{
	ENTER(cuDevicePrimaryCtxReset);
	return release(dev, real.cuDevicePrimaryCtxReset);
}

enum cu_result cuDevicePrimaryCtxReset_v2(int dev)
{
	ENTER(cuDevicePrimaryCtxReset_v2);
	return release(dev, real.cuDevicePrimaryCtxReset_v2);
}

static enum cu_result created(enum cu_result rc, struct charge *charge, struct cu_ctx *ctx)
{
	struct table_entry entry = {.key = (uintptr_t)ctx,
	        .size = 1,
	        .bytes = charge->reserved_bytes,
	        .extra = __atomic_add_fetch(&last_owner, 1, __ATOMIC_RELAXED),
	        .device = charge->device,
	        .kind = SLICE_CONTEXT};
	if (rc == CU_SUCCESS && table_put(&have.contexts, &entry) != 0) {
		if (real.cuCtxDestroy_v2 != NULL)
			real.cuCtxDestroy_v2(ctx);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	charge_end(charge, SLICE_CONTEXT, rc == CU_SUCCESS ? entry.bytes : 0);
	return rc;
}

/* Each way to make a context, with the driver's call in its middle. */
#define CREATE(symbol, call)                                                                    \
	ENTER(symbol);                                                                          \
	struct charge charge;                                                                   \
	enum cu_result rc = charge_begin(&charge, dev, context_bytes(dev));                     \
	if (rc != CU_SUCCESS)                                                                   \
		return rc;                                                                      \
	rc = call;                                                                              \
	return created(pctx == NULL && rc == CU_SUCCESS ? CU_ERROR_INVALID_VALUE : rc, &charge, \
	        pctx != NULL ? *pctx : NULL)

enum cu_result cuCtxCreate(struct cu_ctx **pctx, unsigned flags, int dev)
{
	CREATE(cuCtxCreate, real.cuCtxCreate(pctx, flags, dev));
}

enum cu_result cuCtxCreate_v2(struct cu_ctx **pctx, unsigned flags, int dev)
{
	CREATE(cuCtxCreate_v2, real.cuCtxCreate_v2(pctx, flags, dev));
}

enum cu_result cuCtxCreate_v3(struct cu_ctx **pctx, struct cu_affinity *params_array,
        int num_params, unsigned flags, int dev)
{
	CREATE(cuCtxCreate_v3, real.cuCtxCreate_v3(pctx, params_array, num_params, flags, dev));
}

enum cu_result cuCtxCreate_v4(
        struct cu_ctx **pctx, struct cu_ctx_params *ctx_create_params, unsigned flags, int dev)
{
	CREATE(cuCtxCreate_v4, real.cuCtxCreate_v4(pctx, ctx_create_params, flags, dev));
}

static enum cu_result destroy(struct cu_ctx *ctx, enum cu_result (*call)(struct cu_ctx *ctx))
{
	struct table_entry entry;
	bool is_ours = table_take(&have.contexts, (uintptr_t)ctx, &entry);
	enum cu_result rc = call(ctx);
	if (!is_ours)
		return rc;
	if (rc != CU_SUCCESS) {
		table_put(&have.contexts, &entry);
		return rc;
	}
	owners_gone(entry.extra, entry.extra);
	charge_return(entry.device, SLICE_CONTEXT, entry.bytes);
	return rc;
}

enum cu_result cuCtxDestroy(struct cu_ctx *ctx)
{
	ENTER(cuCtxDestroy);
	return destroy(ctx, real.cuCtxDestroy);
}

enum cu_result cuCtxDestroy_v2(struct cu_ctx *ctx)
{
	ENTER(cuCtxDestroy_v2);
	return destroy(ctx, real.cuCtxDestroy_v2);
}

/* Green contexts are parts of the primary one: they keep it there, and have no memory of their own. */
enum cu_result cuGreenCtxCreate(
        struct cu_green_ctx **ph_ctx, struct cu_resource *desc, int dev, unsigned flags)
{
	ENTER(cuGreenCtxCreate);
	struct hold h;
	enum cu_result rc = make(&h, dev);
	if (rc != CU_SUCCESS)
		return rc;
	rc = made(&h, real.cuGreenCtxCreate(ph_ctx, desc, dev, flags));
	if (rc != CU_SUCCESS || ph_ctx == NULL)
		return rc;
	struct table_entry entry = {.key = (uintptr_t)*ph_ctx, .size = 1, .device = dev};
	if (table_put(&have.greens, &entry) == 0)
		return CU_SUCCESS;
	if (real.cuGreenCtxDestroy != NULL)
		real.cuGreenCtxDestroy(*ph_ctx);
	return CU_ERROR_OUT_OF_MEMORY;
}

enum cu_result cuGreenCtxDestroy(struct cu_green_ctx *h_ctx)
{
	ENTER(cuGreenCtxDestroy);
	struct table_entry entry;
	struct hold h;
	if (!table_take(&have.greens, (uintptr_t)h_ctx, &entry))
		return real.cuGreenCtxDestroy(h_ctx);
	uint64_t generation = end(&h, entry.device);
	enum cu_result rc = ended(&h, real.cuGreenCtxDestroy(h_ctx), generation);
	if (rc != CU_SUCCESS)
		table_put(&have.greens, &entry);
	return rc;
}

enum cu_result cuCtxFromGreenCtx(struct cu_ctx **p_context, struct cu_green_ctx *h_ctx)
{
	ENTER(cuCtxFromGreenCtx);
	return real.cuCtxFromGreenCtx(p_context, h_ctx);
}

/* Stacks and heaps grow inside of the context: the agent sees them, and counts them as overhead. */
enum cu_result cuCtxSetLimit(int limit, size_t value)
{
	ENTER(cuCtxSetLimit);
	return real.cuCtxSetLimit(limit, value);
}
