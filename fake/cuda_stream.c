/*
 * Streams and events: the calls. Each that takes a stream has a second form, for which NULL is the calling thread's own
 * default stream.
 */
#include "cuda.h"

/* A stream of the current context, or one that a handle names. */
static enum cu_result begin(const char *function, struct cu_stream *handle, bool per_thread,
        struct cu_stream **ret_stream)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	return code ? code : stream_find(ctx, handle, per_thread, ret_stream);
}

/* -- streams -- */

static enum cu_result create(
        const char *function, struct cu_stream **ph_stream, unsigned flags, int priority)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!ph_stream || flags > 1)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	*ph_stream = stream_new(ctx, flags, STREAM_MADE);
	if (*ph_stream)
		(*ph_stream)->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
	pthread_mutex_unlock(&driver.lock);
	return *ph_stream ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

enum cu_result cuStreamCreate(struct cu_stream **ph_stream, unsigned flags)
{
	return create(__func__, ph_stream, flags, 0);
}

enum cu_result cuStreamCreateWithPriority(
        struct cu_stream **ph_stream, unsigned flags, int priority)
{
	return create(__func__, ph_stream, flags, priority);
}

/* What it has to do is still done. */
static enum cu_result destroy(const char *function, struct cu_stream *h_stream)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(h_stream, KIND_STREAM) || h_stream->kind != STREAM_MADE)
		code = CU_ERROR_INVALID_HANDLE;
	else
		stream_end(h_stream);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuStreamDestroy(struct cu_stream *h_stream)
{
	return destroy(__func__, h_stream);
}

enum cu_result cuStreamDestroy_v2(struct cu_stream *h_stream)
{
	return destroy(__func__, h_stream);
}

/* Both forms of a call that asks one thing of a stream. */
#define BOTH(name, ptsz, params, ...)                                       \
	enum cu_result name params                                          \
	{                                                                   \
		struct cu_stream *s;                                        \
		enum cu_result code = begin(__func__, h_stream, false, &s); \
                                                                            \
		return code ? code : (__VA_ARGS__);                         \
	}                                                                   \
	enum cu_result ptsz params                                          \
	{                                                                   \
		struct cu_stream *s;                                        \
		enum cu_result code = begin(__func__, h_stream, true, &s);  \
                                                                            \
		return code ? code : (__VA_ARGS__);                         \
	}
#define PUT(out, value) ((out) ? (*(out) = (value), CU_SUCCESS) : CU_ERROR_INVALID_VALUE)

BOTH(cuStreamSynchronize, cuStreamSynchronize_ptsz, (struct cu_stream * h_stream), stream_wait(s))
BOTH(cuStreamQuery, cuStreamQuery_ptsz, (struct cu_stream * h_stream),
        s->capture          ? capture_forbids(s)
        : stream_is_done(s) ? CU_SUCCESS
                            : CU_ERROR_NOT_READY)
BOTH(cuStreamGetPriority, cuStreamGetPriority_ptsz, (struct cu_stream * h_stream, int *priority),
        PUT(priority, s->priority))
BOTH(cuStreamGetFlags, cuStreamGetFlags_ptsz, (struct cu_stream * h_stream, unsigned *flags),
        PUT(flags, s->flags))
BOTH(cuStreamGetDevice, cuStreamGetDevice_ptsz, (struct cu_stream * h_stream, int *device),
        PUT(device, s->ctx->dev))
BOTH(cuStreamGetCtx, cuStreamGetCtx_ptsz, (struct cu_stream * h_stream, struct cu_ctx **pctx),
        PUT(pctx, s->ctx))

static enum cu_result put_ctx(
        struct cu_stream *s, struct cu_ctx **pctx, struct cu_green_ctx **p_green_ctx)
{
	if (!pctx)
		return CU_ERROR_INVALID_VALUE;
	*pctx = s->ctx;
	if (p_green_ctx)
		*p_green_ctx = NULL;
	return CU_SUCCESS;
}

BOTH(cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz,
        (struct cu_stream * h_stream, struct cu_ctx **pctx, struct cu_green_ctx **p_green_ctx),
        put_ctx(s, pctx, p_green_ctx))

enum cu_result cuCtxSynchronize(void)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	return code ? code : ctx_wait(ctx);
}

enum cu_result cuCtxSynchronize_v2(struct cu_ctx *ctx)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	return object_is(ctx, KIND_CTX) ? ctx_wait(ctx) : CU_ERROR_INVALID_CONTEXT;
}

/* -- events -- */

enum cu_result cuEventCreate(struct cu_event **ph_event, unsigned flags)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct cu_event *e;

	if (code)
		return code;
	if (!ph_event || flags > (CU_EVENT_BLOCKING | CU_EVENT_NO_TIMING | CU_EVENT_IPC))
		return CU_ERROR_INVALID_VALUE;
	e = event_new(ctx, flags);
	*ph_event = e;
	return e ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

static enum cu_result event_destroy(const char *function, struct cu_event *h_event)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (!object_is(h_event, KIND_EVENT))
		return CU_ERROR_INVALID_HANDLE;
	event_end(h_event);
	return CU_SUCCESS;
}

enum cu_result cuEventDestroy(struct cu_event *h_event)
{
	return event_destroy(__func__, h_event);
}

enum cu_result cuEventDestroy_v2(struct cu_event *h_event)
{
	return event_destroy(__func__, h_event);
}

static enum cu_result record(struct cu_stream *s, struct cu_event *e)
{
	struct work work = {.kind = WORK_EVENT, .event = e};

	if (!object_is(e, KIND_EVENT) || e->ctx != s->ctx)
		return CU_ERROR_INVALID_HANDLE;
	return stream_put(s, &work, NULL);
}

BOTH(cuEventRecord, cuEventRecord_ptsz, (struct cu_event * h_event, struct cu_stream *h_stream),
        record(s, h_event))
BOTH(cuEventRecordWithFlags, cuEventRecordWithFlags_ptsz,
        (struct cu_event * h_event, struct cu_stream *h_stream, unsigned flags), record(s, h_event))

static enum cu_result wait_event(struct cu_stream *s, struct cu_event *e)
{
	struct work work = {.kind = WORK_WAIT, .event = e};

	if (!object_is(e, KIND_EVENT))
		return CU_ERROR_INVALID_HANDLE;
	capture_join(s, e);
	if (s->capture || e->n_records == e->first)
		return CU_SUCCESS;
	return stream_put(s, &work, NULL);
}

BOTH(cuStreamWaitEvent, cuStreamWaitEvent_ptsz,
        (struct cu_stream * h_stream, struct cu_event *h_event, unsigned flags),
        wait_event(s, h_event))

static enum cu_result check(const char *function, const struct cu_event *e)
{
	enum cu_result code = call_ready(function);

	return code ? code : object_is(e, KIND_EVENT) ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

enum cu_result cuEventQuery(struct cu_event *h_event)
{
	enum cu_result code = check(__func__, h_event);
	uint64_t at;

	if (!code)
		code = h_event->capture ? CU_ERROR_STREAM_CAPTURE_UNSUPPORTED : capture_unsafe();
	return code ? code : event_is_done(h_event, &at) ? CU_SUCCESS : CU_ERROR_NOT_READY;
}

enum cu_result cuEventSynchronize(struct cu_event *h_event)
{
	enum cu_result code = check(__func__, h_event);

	if (!code)
		code = capture_unsafe();
	return code ? code : event_wait(h_event);
}

static enum cu_result elapsed(
        const char *function, float *ms, struct cu_event *start, struct cu_event *end)
{
	enum cu_result code = check(function, start);
	uint64_t from, to;

	if (!code)
		code = check(function, end);
	if (code)
		return code;
	if (!ms)
		return CU_ERROR_INVALID_VALUE;
	if (start->n_records == start->first || end->n_records == end->first ||
	        (start->flags | end->flags) & CU_EVENT_NO_TIMING)
		return CU_ERROR_INVALID_HANDLE;
	if (!event_is_done(start, &from) || !event_is_done(end, &to))
		return CU_ERROR_NOT_READY;
	*ms = (float)((double)((int64_t)(to - from)) / 1e6);
	return CU_SUCCESS;
}

enum cu_result cuEventElapsedTime(
        float *p_milliseconds, struct cu_event *h_start, struct cu_event *h_end)
{
	return elapsed(__func__, p_milliseconds, h_start, h_end);
}

enum cu_result cuEventElapsedTime_v2(
        float *p_milliseconds, struct cu_event *h_start, struct cu_event *h_end)
{
	return elapsed(__func__, p_milliseconds, h_start, h_end);
}
