/*
 * DESIGN. A mark is an event in each of its streams, kept for as long as the process lasts, since marks come round. An event is
 * of one context: it is made anew when its place comes to a stream of another one. The device's clock is read by the time
 * between the events of two marks that follow each other, so that a float need only bear the time of one piece of work.
 */
#include "shim/pacing.h"

#include <string.h>

#define CHAIN_NS UINT64_C(1000000000)

struct mark {
	unsigned n;
	struct cu_event *events[PACE_STREAMS];
	struct cu_ctx *contexts[PACE_STREAMS];
	bool is_there[PACE_STREAMS];
};

struct marks {
	struct cu_ctx *context; /* of the default streams */
	struct mark marks[PACE_MARKS];
	/* The last one that was passed. */
	struct cu_event *last;
	struct cu_ctx *last_context;
	uint64_t stamp_ns;
};

static struct marks all[SLICE_MAX];

struct marks *marks_of(unsigned slice)
{
	return &all[slice];
}

void marks_forget(struct marks *m)
{
	memset(m, 0, sizeof *m);
}

void marks_context(struct marks *m, struct cu_ctx *ctx)
{
	__atomic_store_n(&m->context, ctx, __ATOMIC_RELAXED);
}

struct cu_ctx *marks_last_context(const struct marks *m)
{
	return __atomic_load_n(&m->context, __ATOMIC_RELAXED);
}

static bool is_default(void *stream)
{
	return stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

static struct cu_ctx *context_of(const struct marks *m, void *stream)
{
	struct cu_ctx *ctx = marks_last_context(m);
	if (!is_default(stream) && real.cuStreamGetCtx != NULL)
		real.cuStreamGetCtx(stream, &ctx);
	return ctx;
}

static bool record(struct mark *mark, unsigned i, void *stream)
{
	for (int n = 0; n < 2; n++) {
		if (mark->events[i] == NULL &&
		        real.cuEventCreate(&mark->events[i], 0) != CU_SUCCESS)
			break;
		if (real.cuEventRecord(mark->events[i], stream) == CU_SUCCESS)
			return true;
		mark->events[i] = NULL; /* its context went, and it with that */
	}
	mark->events[i] = NULL;
	return false;
}

/* What cannot be recorded counts as passed: better than a job that stands still. */
void marks_record(struct marks *m, unsigned n_mark, void *const *streams, unsigned n)
{
	struct mark *mark = &m->marks[n_mark];
	mark->n = n;
	for (unsigned i = 0; i < n; i++) {
		struct cu_ctx *ctx = context_of(m, streams[i]), *current = NULL;
		bool is_away = real.cuCtxGetCurrent(&current) == CU_SUCCESS && current != ctx &&
		               real.cuCtxPushCurrent_v2 != NULL &&
		               real.cuCtxPushCurrent_v2(ctx) == CU_SUCCESS;
		if (mark->contexts[i] != ctx)
			mark->events[i] = NULL;
		mark->contexts[i] = ctx;
		mark->is_there[i] = record(mark, i, streams[i]);
		if (is_away)
			real.cuCtxPopCurrent_v2(&current);
	}
}

/* How long after the last mark this one was passed; 0: not known. */
static uint64_t since_last(const struct marks *m, const struct mark *mark, unsigned i)
{
	float ms = 0;
	if (m->last == NULL || m->last_context != mark->contexts[i] || m->last == mark->events[i] ||
	        real.cuEventElapsedTime == NULL ||
	        real.cuEventElapsedTime(&ms, m->last, mark->events[i]) != CU_SUCCESS || ms > 1e6f)
		return 0;
	return ms > 0 ? (uint64_t)((double)ms * 1e6) + 1 : 1;
}

bool marks_query(struct marks *m, unsigned n_mark, uint64_t *ret_ns)
{
	struct mark *mark = &m->marks[n_mark];
	uint64_t longest = 0;
	for (unsigned i = 0; i < mark->n; i++)
		if (mark->is_there[i] && real.cuEventQuery(mark->events[i]) == CU_ERROR_NOT_READY)
			return false;
	for (unsigned i = 0; i < mark->n; i++) {
		uint64_t ns = mark->is_there[i] ? since_last(m, mark, i) : 0;
		longest = ns > longest ? ns : longest;
	}
	bool goes_on = longest > 0 && m->stamp_ns > 0;
	m->stamp_ns = goes_on ? m->stamp_ns + longest : CHAIN_NS;
	*ret_ns = goes_on ? m->stamp_ns : PACE_STAMP_RESTARTS;
	m->last = mark->n > 0 && mark->is_there[mark->n - 1] ? mark->events[mark->n - 1] : NULL;
	m->last_context = mark->n > 0 ? mark->contexts[mark->n - 1] : NULL;
	return true;
}
