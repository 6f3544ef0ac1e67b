/*
 * What streams are to do, and when it is done: between the calls and the card's timeline.
 */
#include "cuda.h"

#include "clock.h"

#define COPY_BYTES_PER_US 20000 /* some 20 GB a second, as over PCIe */
#define COPY_LEAST_NS     2000
#define QUEUE_STEP        64 /* who met a full queue goes on when so much of it is free */

/* -- streams, under the driver's lock -- */

struct cu_stream *stream_new(struct cu_ctx *ctx, unsigned flags, int kind)
{
	struct cu_stream *s = object_new(KIND_STREAM, sizeof(*s));

	if (!s)
		return NULL;
	share_lock();
	s->line = tl_stream_new(timeline_of(), ctx->card, ctx->line,
	        kind == STREAM_LEGACY ? TL_LEGACY
	        : flags               ? TL_NON_BLOCKING
	                              : TL_BLOCKING);
	share_unlock();
	if (s->line == TL_NONE) {
		object_end(s);
		return NULL;
	}
	s->ctx = ctx;
	s->flags = flags;
	s->kind = kind;
	s->owner = pthread_self();
	s->next = ctx->streams;
	ctx->streams = s;
	return s;
}

void stream_end(struct cu_stream *s)
{
	struct cu_stream **at = &s->ctx->streams;

	capture_drop(s);
	while (*at && *at != s)
		at = &(*at)->next;
	if (*at)
		*at = s->next;
	share_lock();
	tl_stream_end(timeline_of(), s->ctx->card, s->line);
	share_unlock();
	object_end(s);
}

void streams_end_of(struct cu_ctx *ctx)
{
	while (ctx->streams)
		stream_end(ctx->streams);
}

/* The context's default stream, or this thread's own one in it. */
static struct cu_stream *default_of(struct cu_ctx *ctx, bool own)
{
	pthread_t self = pthread_self();
	struct cu_stream *s;

	for (s = ctx->streams; s; s = s->next)
		if (own ? s->kind == STREAM_OWN && pthread_equal(s->owner, self)
		        : s->kind == STREAM_LEGACY)
			return s;
	return stream_new(ctx, 0, own ? STREAM_OWN : STREAM_LEGACY);
}

enum cu_result stream_find(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        struct cu_stream **ret_stream)
{
	if (!handle)
		handle = per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
	*ret_stream = handle;
	if (handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD)
		return object_is(handle, KIND_STREAM) ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&driver.lock);
	*ret_stream = default_of(ctx, handle == CU_STREAM_PER_THREAD);
	pthread_mutex_unlock(&driver.lock);
	return *ret_stream ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

/* -- work -- */

static uint64_t cost_of(const struct work *work)
{
	const struct sim_pace *pace = &driver.sim->pace;

	return work->kind == WORK_EVENT || work->kind == WORK_WAIT ? pace->record_ns
	                                                           : pace->launch_ns;
}

static struct tl_op op_of(const struct cu_stream *s, const struct work *work)
{
	struct tl_op op = {.ns = work->ns, .key = work->key};

	switch (work->kind) {
	case WORK_KERNEL:
		op.kind = work->key ? TL_COLLECTIVE : TL_KERNEL;
		break;
	case WORK_COPY:
		op.kind = TL_COPY;
		op.ns = COPY_LEAST_NS + work->bytes * 1000 / COPY_BYTES_PER_US;
		break;
	case WORK_EVENT:
		op.kind = TL_EVENT;
		op.event = work->event->mark;
		op.key = ++work->event->n_records;
		break;
	case WORK_WAIT: /* for nothing: for its turn in the context alone */
		op.kind = TL_WAIT;
		op.card = s->ctx->card;
		if (work->event) {
			op.event = work->event->mark;
			op.card = work->event->ctx->card;
			op.key = work->event->n_records;
		}
		break;
	case WORK_HOST:
		op.kind = TL_HOST;
		break;
	}
	return op;
}

enum cu_result stream_put(struct cu_stream *s, const struct work *work, uint64_t *ret_number)
{
	unsigned card = s->ctx->card;
	struct tl_stream *line;
	uint64_t number;
	struct tl *t;

	clock_spend(cost_of(work));
	if (s->capture)
		return capture_work(s, work);
	if (work->kind == WORK_EVENT)
		work->event->capture = NULL;
	for (;;) {
		t = timeline_begin();
		line = &t->cards[card].streams[s->line];
		if (line->tail - line->head < TL_QUEUE)
			break;
		number = line->tail - TL_QUEUE + QUEUE_STEP;
		timeline_end();
		clock_wait_stream(card, s->line, number);
	}
	number = tl_put(t, card, s->line, op_of(s, work));
	if (work->kind == WORK_EVENT) {
		work->event->line = s->line;
		work->event->number = number;
	}
	timeline_end();
	if (ret_number)
		*ret_number = number;
	return CU_SUCCESS;
}

/* The number of the newest operation, and whether it is done already. */
static uint64_t newest(struct cu_stream *s, bool *ret_done)
{
	struct tl_stream *line = &timeline_begin()->cards[s->ctx->card].streams[s->line];
	uint64_t number = line->tail - 1;

	*ret_done = line->head == line->tail;
	timeline_end();
	return number;
}

/* The legacy default stream is done when all that it waits for is. */
enum cu_result stream_wait(struct cu_stream *s)
{
	struct work nothing = {.kind = WORK_WAIT};
	enum cu_result code = capture_forbids(s);
	bool done = false;
	uint64_t number;

	if (code)
		return code;
	if (s->kind == STREAM_LEGACY)
		stream_put(s, &nothing, &number);
	else
		number = newest(s, &done);
	if (!done)
		clock_wait_stream(s->ctx->card, s->line, number);
	pools_settle();
	clock_spend(driver.sim->pace.sync_ns);
	return CU_SUCCESS;
}

bool stream_is_done(struct cu_stream *s)
{
	bool done = true, one;

	if (s->kind != STREAM_LEGACY) {
		newest(s, &done);
		return done;
	}
	pthread_mutex_lock(&driver.lock);
	for (struct cu_stream *o = s->ctx->streams; o; o = o->next) {
		struct tl_stream *line;

		if (o->flags)
			continue;
		share_lock();
		line = &timeline_of()->cards[o->ctx->card].streams[o->line];
		one = line->head == line->tail;
		share_unlock();
		done &= one;
	}
	pthread_mutex_unlock(&driver.lock);
	return done;
}

/* A stream that is not empty, and its newest number; false: there is none. */
static bool busy_stream(struct cu_ctx *ctx, uint32_t *ret_line, uint64_t *ret_number)
{
	bool found = false;
	struct tl *t = timeline_begin();
	struct tl_card *c = &t->cards[ctx->card];

	for (uint32_t i = c->ctxs[ctx->line].first; !found && i != TL_NONE;
	        i = c->streams[i].next) {
		if (c->streams[i].head == c->streams[i].tail)
			continue;
		*ret_line = i;
		*ret_number = c->streams[i].tail - 1;
		found = true;
	}
	timeline_end();
	return found;
}

enum cu_result ctx_wait(struct cu_ctx *ctx)
{
	uint64_t number;
	uint32_t line;

	for (struct cu_stream *s = ctx->streams; s; s = s->next)
		if (s->capture)
			return capture_forbids(s);
	while (busy_stream(ctx, &line, &number))
		clock_wait_stream(ctx->card, line, number);
	pools_settle();
	clock_spend(driver.sim->pace.sync_ns);
	return CU_SUCCESS;
}

/* -- events -- */

struct cu_event *event_new(struct cu_ctx *ctx, unsigned flags)
{
	struct cu_event *e;

	pthread_mutex_lock(&driver.lock);
	e = object_new(KIND_EVENT, sizeof(*e));
	if (e) {
		share_lock();
		e->mark = tl_event_new(timeline_of(), ctx->card, driver.place);
		if (e->mark != TL_NONE)
			e->n_records = timeline_of()->cards[ctx->card].events[e->mark].asked;
		share_unlock();
		e->first = e->n_records;
		e->ctx = ctx;
		e->flags = flags;
	}
	if (e && e->mark == TL_NONE) {
		object_end(e);
		e = NULL;
	}
	pthread_mutex_unlock(&driver.lock);
	return e;
}

void event_end(struct cu_event *e)
{
	pthread_mutex_lock(&driver.lock);
	share_lock();
	timeline_of()->cards[e->ctx->card].events[e->mark].asked = e->n_records;
	timeline_of()->cards[e->ctx->card].events[e->mark].done = e->n_records;
	tl_event_end(timeline_of(), e->ctx->card, e->mark);
	share_unlock();
	object_end(e);
	pthread_mutex_unlock(&driver.lock);
}

/* What was dropped with its context counts as done. */
bool event_is_done(struct cu_event *e, uint64_t *ret_at_ns)
{
	struct tl_card *c = &timeline_begin()->cards[e->ctx->card];
	bool done = e->n_records == e->first || c->events[e->mark].done >= e->n_records ||
	            c->streams[e->line].head > e->number;

	*ret_at_ns = c->events[e->mark].at_ns / 500 * 500; /* as exact as the real one's stamps */
	timeline_end();
	return done;
}

enum cu_result event_wait(struct cu_event *e)
{
	uint64_t at;

	if (e->capture)
		return CU_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if (!event_is_done(e, &at))
		clock_wait_stream(e->ctx->card, e->line, e->number);
	pools_settle();
	clock_spend(driver.sim->pace.sync_ns);
	return CU_SUCCESS;
}

enum cu_result stream_do(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        const struct work *work, bool wait)
{
	struct cu_stream *s;
	enum cu_result code = stream_find(ctx, handle, per_thread, &s);

	if (!code)
		code = stream_put(s, work, NULL);
	return !code && wait ? stream_wait(s) : code;
}
