/*
 * Contexts: made, primary, current in a thread. Each takes memory of its card as long as it lives.
 */
#include "cuda.h"

#include "clock.h"

#include <string.h>

static _Thread_local struct cu_ctx *stack[CTXS_DEPTH];
static _Thread_local unsigned depth;

static const size_t usual_limits[3] = {
        [CU_LIMIT_STACK] = 1024, [CU_LIMIT_PRINTF] = 1 << 20, [CU_LIMIT_HEAP] = 8 << 20};

struct cu_ctx *ctx_current(void)
{
	return depth && object_is(stack[depth - 1], KIND_CTX) ? stack[depth - 1] : NULL;
}

void ctx_push(struct cu_ctx *ctx)
{
	if (depth == CTXS_DEPTH) {
		memmove(stack, stack + 1, sizeof(stack) - sizeof(stack[0]));
		depth--;
	}
	stack[depth++] = ctx;
}

int card_ordinal(unsigned card)
{
	for (unsigned i = 0; i < driver.n_devs; i++)
		if (driver.cards[i] == card)
			return (int)i;
	return -1;
}

/* Under the driver's lock. */
static enum cu_result ctx_new(unsigned card, unsigned flags, unsigned api, struct cu_ctx **ret_ctx)
{
	uint64_t bytes = granules(driver.sim->cards[card].context_bytes);
	enum cu_result code = physical_take(card, bytes);
	struct cu_ctx *ctx;
	uint32_t line;

	if (code)
		return code;
	ctx = object_new(KIND_CTX, sizeof(*ctx));
	share_lock();
	line = ctx ? tl_ctx_new(timeline_of(), card, driver.place) : TL_NONE;
	share_unlock();
	if (line == TL_NONE) {
		if (ctx)
			object_end(ctx);
		physical_give(card, bytes);
		return CU_ERROR_OUT_OF_MEMORY;
	}
	ctx->card = card;
	ctx->dev = card_ordinal(card);
	ctx->flags = flags;
	ctx->api = api;
	ctx->id = ++driver.ctx_seq;
	ctx->bytes = bytes;
	ctx->line = line;
	memcpy(ctx->limits, usual_limits, sizeof(ctx->limits));
	ctx->next = driver.ctxs;
	driver.ctxs = ctx;
	*ret_ctx = ctx;
	return CU_SUCCESS;
}

static void ctx_end(struct cu_ctx *ctx)
{
	struct cu_ctx **at = &driver.ctxs;

	streams_end_of(ctx);
	while (*at && *at != ctx)
		at = &(*at)->next;
	if (*at)
		*at = ctx->next;
	share_lock();
	tl_ctx_end(timeline_of(), ctx->card, ctx->line);
	share_unlock();
	modules_end_of(ctx);
	arrays_end_of(ctx);
	blocks_end_of(ctx);
	physical_give(ctx->card, ctx->bytes);
	object_end(ctx);
}

/* -- made by the program -- */

static enum cu_result create(
        const char *function, struct cu_ctx **pctx, unsigned flags, int dev, unsigned api)
{
	enum cu_result code = call_device(function, dev);

	if (code)
		return code;
	if (!pctx)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = ctx_new(driver.cards[dev], flags, api, pctx);
	if (!code)
		ctx_push(*pctx);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuCtxCreate(struct cu_ctx **pctx, unsigned flags, int dev)
{
	return create(__func__, pctx, flags, dev, 2000);
}

enum cu_result cuCtxCreate_v2(struct cu_ctx **pctx, unsigned flags, int dev)
{
	return create(__func__, pctx, flags, dev, 3020);
}

/* An affinity is for MPS alone, which is not simulated. */
enum cu_result cuCtxCreate_v3(struct cu_ctx **pctx, struct cu_affinity *params_array,
        int num_params, unsigned flags, int dev)
{
	if (params_array || num_params)
		return CU_ERROR_NOT_SUPPORTED;
	return create(__func__, pctx, flags, dev, 3020);
}

enum cu_result cuCtxCreate_v4(
        struct cu_ctx **pctx, struct cu_ctx_params *ctx_create_params, unsigned flags, int dev)
{
	return create(__func__, pctx, flags, dev, 3020);
}

static enum cu_result destroy(const char *function, struct cu_ctx *ctx)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(ctx, KIND_CTX) || ctx->primary) {
		code = CU_ERROR_INVALID_CONTEXT;
	} else {
		if (depth && stack[depth - 1] == ctx)
			depth--;
		ctx_end(ctx);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuCtxDestroy(struct cu_ctx *ctx)
{
	return destroy(__func__, ctx);
}

enum cu_result cuCtxDestroy_v2(struct cu_ctx *ctx)
{
	return destroy(__func__, ctx);
}

/* -- primary -- */

enum cu_result cuDevicePrimaryCtxRetain(struct cu_ctx **pctx, int dev)
{
	enum cu_result code = call_device(__func__, dev);
	struct cu_ctx **primary;
	unsigned card;

	if (code)
		return code;
	if (!pctx)
		return CU_ERROR_INVALID_VALUE;
	card = driver.cards[dev];
	primary = &driver.primary[card];
	pthread_mutex_lock(&driver.lock);
	if (!*primary)
		code = ctx_new(card, driver.primary_flags[card], 3020, primary);
	if (!code) {
		(*primary)->primary = true;
		(*primary)->n_held++;
		*pctx = *primary;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* all: as many times as it is held. */
static enum cu_result let_go(const char *function, int dev, bool all)
{
	enum cu_result code = call_device(function, dev);
	struct cu_ctx **primary;

	if (code)
		return code;
	primary = &driver.primary[driver.cards[dev]];
	pthread_mutex_lock(&driver.lock);
	if (!*primary && !all) {
		code = CU_ERROR_INVALID_CONTEXT;
	} else if (*primary && (all || --(*primary)->n_held == 0)) {
		ctx_end(*primary);
		*primary = NULL;
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuDevicePrimaryCtxRelease(int dev)
{
	return let_go(__func__, dev, false);
}

enum cu_result cuDevicePrimaryCtxRelease_v2(int dev)
{
	return let_go(__func__, dev, false);
}

enum cu_result cuDevicePrimaryCtxReset(int dev)
{
	return let_go(__func__, dev, true);
}

enum cu_result cuDevicePrimaryCtxReset_v2(int dev)
{
	return let_go(__func__, dev, true);
}

enum cu_result cuDevicePrimaryCtxGetState(int dev, unsigned *flags, int *active)
{
	enum cu_result code = call_device(__func__, dev);

	if (code)
		return code;
	if (!flags || !active)
		return CU_ERROR_INVALID_VALUE;
	*flags = driver.primary_flags[driver.cards[dev]];
	*active = driver.primary[driver.cards[dev]] != NULL;
	return CU_SUCCESS;
}

static enum cu_result set_primary_flags(const char *function, int dev, unsigned flags)
{
	enum cu_result code = call_device(function, dev);

	if (!code)
		driver.primary_flags[driver.cards[dev]] = flags;
	return code;
}

enum cu_result cuDevicePrimaryCtxSetFlags(int dev, unsigned flags)
{
	return set_primary_flags(__func__, dev, flags);
}

enum cu_result cuDevicePrimaryCtxSetFlags_v2(int dev, unsigned flags)
{
	return set_primary_flags(__func__, dev, flags);
}

/* -- green: they keep the primary one, and it is what is made current for them; multiprocessors are not simulated -- */

struct cu_green_ctx {
	struct object o;
	int dev;
};

enum cu_result cuGreenCtxCreate(
        struct cu_green_ctx **ph_ctx, struct cu_resource *desc, int dev, unsigned flags)
{
	struct cu_green_ctx *green;
	struct cu_ctx *ctx;
	enum cu_result code = call_device(__func__, dev);

	if (code)
		return code;
	if (!ph_ctx || !desc || flags != 1)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	green = object_new(KIND_GREEN, sizeof(*green));
	pthread_mutex_unlock(&driver.lock);
	if (!green)
		return CU_ERROR_OUT_OF_MEMORY;
	code = cuDevicePrimaryCtxRetain(&ctx, dev);
	if (code) {
		pthread_mutex_lock(&driver.lock);
		object_end(green);
		pthread_mutex_unlock(&driver.lock);
		return code;
	}
	green->dev = dev;
	*ph_ctx = green;
	return CU_SUCCESS;
}

enum cu_result cuGreenCtxDestroy(struct cu_green_ctx *h_ctx)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(h_ctx, KIND_GREEN))
		return CU_ERROR_INVALID_CONTEXT;
	code = cuDevicePrimaryCtxRelease_v2(h_ctx->dev);
	pthread_mutex_lock(&driver.lock);
	if (!code)
		object_end(h_ctx);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuCtxFromGreenCtx(struct cu_ctx **p_context, struct cu_green_ctx *h_ctx)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!p_context)
		return CU_ERROR_INVALID_VALUE;
	if (!object_is(h_ctx, KIND_GREEN))
		return CU_ERROR_INVALID_CONTEXT;
	*p_context = driver.primary[driver.cards[h_ctx->dev]];
	return CU_SUCCESS;
}

/* -- current in a thread -- */

enum cu_result cuCtxGetCurrent(struct cu_ctx **pctx)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!pctx)
		return CU_ERROR_INVALID_VALUE;
	*pctx = ctx_current();
	return CU_SUCCESS;
}

enum cu_result cuCtxSetCurrent(struct cu_ctx *ctx)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (ctx && !object_is(ctx, KIND_CTX))
		return CU_ERROR_INVALID_CONTEXT;
	if (depth)
		depth--;
	if (ctx)
		ctx_push(ctx);
	return CU_SUCCESS;
}

static enum cu_result push(const char *function, struct cu_ctx *ctx)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (!object_is(ctx, KIND_CTX))
		return CU_ERROR_INVALID_CONTEXT;
	ctx_push(ctx);
	return CU_SUCCESS;
}

enum cu_result cuCtxPushCurrent(struct cu_ctx *ctx)
{
	return push(__func__, ctx);
}

enum cu_result cuCtxPushCurrent_v2(struct cu_ctx *ctx)
{
	return push(__func__, ctx);
}

static enum cu_result pop(const char *function, struct cu_ctx **pctx)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (!depth)
		return CU_ERROR_INVALID_CONTEXT;
	depth--;
	if (pctx)
		*pctx = stack[depth];
	return CU_SUCCESS;
}

enum cu_result cuCtxPopCurrent(struct cu_ctx **pctx)
{
	return pop(__func__, pctx);
}

enum cu_result cuCtxPopCurrent_v2(struct cu_ctx **pctx)
{
	return pop(__func__, pctx);
}

/* -- what a context is -- */

/* The context named, or the current one. */
static enum cu_result named(const char *function, struct cu_ctx *ctx, struct cu_ctx **ret_ctx)
{
	if (!ctx)
		return call_context(function, ret_ctx);
	*ret_ctx = ctx;
	if (!object_is(ctx, KIND_CTX))
		return CU_ERROR_INVALID_CONTEXT;
	return call_ready(function);
}

static enum cu_result device_of(const char *function, int *device, struct cu_ctx *ctx)
{
	enum cu_result code = named(function, ctx, &ctx);

	if (code)
		return code;
	if (!device)
		return CU_ERROR_INVALID_VALUE;
	*device = ctx->dev;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetDevice(int *device)
{
	return device_of(__func__, device, NULL);
}

enum cu_result cuCtxGetDevice_v2(int *device, struct cu_ctx *ctx)
{
	return device_of(__func__, device, ctx);
}

enum cu_result cuCtxGetApiVersion(struct cu_ctx *ctx, unsigned *version)
{
	enum cu_result code = named(__func__, ctx, &ctx);

	if (code)
		return code;
	if (!version)
		return CU_ERROR_INVALID_VALUE;
	*version = ctx->api;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetFlags(unsigned *flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	if (!flags)
		return CU_ERROR_INVALID_VALUE;
	*flags = ctx->flags;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetId(struct cu_ctx *ctx, unsigned long long *ctx_id)
{
	enum cu_result code = named(__func__, ctx, &ctx);

	if (code)
		return code;
	if (!ctx_id)
		return CU_ERROR_INVALID_VALUE;
	*ctx_id = ctx->id;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetStreamPriorityRange(int *least_priority, int *greatest_priority)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	if (least_priority)
		*least_priority = 0;
	if (greatest_priority)
		*greatest_priority = -5;
	return CU_SUCCESS;
}

enum cu_result cuCtxGetLimit(size_t *pvalue, int limit)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	if (!pvalue)
		return CU_ERROR_INVALID_VALUE;
	if (limit < CU_LIMIT_STACK || limit > CU_LIMIT_HEAP)
		return CU_ERROR_UNSUPPORTED_LIMIT;
	*pvalue = ctx->limits[limit];
	return CU_SUCCESS;
}

/* What a context needs beyond the usual limits; its stacks are part of what any context takes. */
static uint64_t extra_of(const size_t limits[3])
{
	uint64_t extra = 0;

	for (int i = CU_LIMIT_PRINTF; i <= CU_LIMIT_HEAP; i++)
		if (limits[i] > usual_limits[i])
			extra += granules(limits[i] - usual_limits[i]);
	return extra;
}

enum cu_result cuCtxSetLimit(int limit, size_t value)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	size_t limits[3];
	uint64_t before, after;

	if (code)
		return code;
	if (limit < CU_LIMIT_STACK || limit > CU_LIMIT_HEAP)
		return CU_ERROR_UNSUPPORTED_LIMIT;
	if (value > driver.sim->cards[ctx->card].mem_bytes)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	memcpy(limits, ctx->limits, sizeof(limits));
	before = extra_of(limits);
	limits[limit] = value;
	after = extra_of(limits);
	if (after > before)
		code = physical_take(ctx->card, after - before);
	else
		physical_give(ctx->card, before - after);
	if (!code) {
		ctx->bytes += after - before;
		memcpy(ctx->limits, limits, sizeof(limits));
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}
