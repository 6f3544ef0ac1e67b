#include "shim/contexts.h"
#include "shim/memory.h"

#include <string.h>

static struct primary {
	uint64_t bytes;     /* charged, + 1; 0: nobody has noticed it */
	struct cu_ctx *ctx; /* its handle, which does not change; NULL: not seen yet */
} primaries[SHIM_DEVICES];

void contexts_forked(void)
{
	memset(primaries, 0, sizeof primaries);
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

/* Two threads may see it appear: one of them charges it. */
static void settle_primary(struct charge *charge, int device)
{
	uint64_t none = 0, bytes = charge->reserved_bytes;
	if (!__atomic_compare_exchange_n(&primaries[device].bytes, &none, bytes + 1, false,
	            __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		bytes = 0;
	charge_end(charge, SLICE_CONTEXT, bytes);
}

enum cu_result contexts_notice(int device, struct cu_ctx *ctx)
{
	struct ledger *ledger;
	struct table_entry entry;
	enum cu_result rc = charge_ledger(device, &ledger);
	if (rc != CU_SUCCESS || __atomic_load_n(&primaries[device].bytes, __ATOMIC_ACQUIRE) != 0 ||
	        !primary_is_active(device, false))
		return rc;
	struct charge charge;
	rc = charge_begin(&charge, device, context_bytes(device));
	if (rc != CU_SUCCESS)
		return rc;
	settle_primary(&charge, device);
	if (ctx != NULL && !table_find(&have.contexts, (uintptr_t)ctx, &entry))
		__atomic_store_n(&primaries[device].ctx, ctx, __ATOMIC_RELEASE);
	return CU_SUCCESS;
}

/* A primary context that is gone has taken everything in it along. */
static void forget_primary(int device)
{
	struct primary *primary = &primaries[device];
	uint64_t bytes = __atomic_exchange_n(&primary->bytes, 0, __ATOMIC_ACQ_REL);
	const struct cu_ctx *ctx = __atomic_load_n(&primary->ctx, __ATOMIC_ACQUIRE);
	if (bytes == 0)
		return;
	if (ctx != NULL)
		memory_context_gone(ctx);
	charge_return(device, SLICE_CONTEXT, bytes - 1);
}

enum cu_result cuDevicePrimaryCtxRetain(struct cu_ctx **pctx, int dev)
{
	ENTER(cuDevicePrimaryCtxRetain);
	struct charge charge = {.device = dev};
	enum cu_result rc = charge_ledger(dev, &charge.ledger);
	bool is_new =
	        rc == CU_SUCCESS && __atomic_load_n(&primaries[dev].bytes, __ATOMIC_ACQUIRE) == 0;
	if (is_new)
		rc = charge_begin(&charge, dev, context_bytes(dev));
	if (rc != CU_SUCCESS)
		return rc;
	rc = real.cuDevicePrimaryCtxRetain(pctx, dev);
	if (is_new && rc == CU_SUCCESS)
		settle_primary(&charge, dev);
	else if (is_new)
		charge_end(&charge, SLICE_CONTEXT, 0);
	if (rc == CU_SUCCESS && pctx != NULL)
		__atomic_store_n(&primaries[dev].ctx, *pctx, __ATOMIC_RELEASE);
	return rc;
}

static enum cu_result release(int device, enum cu_result (*call)(int device))
{
	enum cu_result rc = call(device);
	if (rc == CU_SUCCESS && device >= 0 && device < SHIM_DEVICES &&
	        !primary_is_active(device, true))
		forget_primary(device);
	return rc;
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
	memory_context_gone(ctx);
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

/* Green contexts are parts of the primary one, and have no memory of their own. */
enum cu_result cuGreenCtxCreate(
        struct cu_green_ctx **ph_ctx, struct cu_resource *desc, int dev, unsigned flags)
{
	ENTER(cuGreenCtxCreate);
	enum cu_result rc = contexts_notice(dev, NULL);
	return rc == CU_SUCCESS ? real.cuGreenCtxCreate(ph_ctx, desc, dev, flags) : rc;
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
