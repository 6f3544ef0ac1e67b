/*
 * What streams are to do, and when it is done.
 */
#include "cuda.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COPY_BYTES_PER_US 20000 /* some 20 GB a second, as over PCIe */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

/* -- streams, under the driver's lock -- */

struct cu_stream *stream_new(struct cu_ctx *ctx, unsigned flags)
{
	struct cu_stream *s = object_new(KIND_STREAM, sizeof(*s));

	if (!s)
		return NULL;
	s->ctx = ctx;
	s->flags = flags;
	s->next = ctx->streams;
	ctx->streams = s;
	return s;
}

void stream_end(struct cu_stream *s)
{
	struct cu_stream **at = &s->ctx->streams;

	while (*at && *at != s)
		at = &(*at)->next;
	if (*at)
		*at = s->next;
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
	s = stream_new(ctx, 0);
	if (s) {
		s->kind = own ? STREAM_OWN : STREAM_LEGACY;
		s->owner = self;
	}
	return s;
}

enum cu_result stream_find(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        struct cu_stream **ret_stream)
{
	if (!handle)
		handle = per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
	if (handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
		*ret_stream = default_of(ctx, handle == CU_STREAM_PER_THREAD);
		return *ret_stream ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
	}
	*ret_stream = handle;
	return object_is(handle, KIND_STREAM) ? CU_SUCCESS : CU_ERROR_INVALID_HANDLE;
}

enum cu_result stream_put(struct cu_stream *s, const struct work *work)
{
	uint64_t now = now_ns(), ns = work->ns;

	pthread_mutex_lock(&driver.lock);
	if (work->kind == WORK_COPY)
		ns = work->bytes * 1000 / COPY_BYTES_PER_US;
	s->busy_until_ns = (now > s->busy_until_ns ? now : s->busy_until_ns) + ns;
	if (work->kind == WORK_EVENT) {
		work->event->recorded = true;
		work->event->at_ns = s->busy_until_ns;
	}
	pthread_mutex_unlock(&driver.lock);
	return CU_SUCCESS;
}

enum cu_result stream_wait(struct cu_stream *s)
{
	sleep_until(s->busy_until_ns);
	return CU_SUCCESS;
}

bool stream_is_done(struct cu_stream *s)
{
	return s->busy_until_ns <= now_ns();
}

enum cu_result ctx_wait(struct cu_ctx *ctx)
{
	uint64_t until = 0;

	pthread_mutex_lock(&driver.lock);
	for (struct cu_stream *s = ctx->streams; s; s = s->next)
		if (s->busy_until_ns > until)
			until = s->busy_until_ns;
	pthread_mutex_unlock(&driver.lock);
	sleep_until(until);
	return CU_SUCCESS;
}

enum cu_result event_wait(struct cu_event *e)
{
	if (e->recorded)
		sleep_until(e->at_ns);
	return CU_SUCCESS;
}

bool event_is_done(struct cu_event *e, uint64_t *ret_at_ns)
{
	*ret_at_ns = e->at_ns;
	return e->at_ns <= now_ns();
}

enum cu_result stream_do(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        const struct work *work, bool wait)
{
	struct cu_stream *s;
	enum cu_result code;

	pthread_mutex_lock(&driver.lock);
	code = stream_find(ctx, handle, per_thread, &s);
	pthread_mutex_unlock(&driver.lock);
	if (!code)
		code = stream_put(s, work);
	return !code && wait ? stream_wait(s) : code;
}

/* -- the clock -- */

static void clock_wait(uint32_t *word, uint32_t value, uint64_t until_ns)
{
	uint64_t now = now_ns();
	struct timespec left = {0};

	if (until_ns <= now)
		return;
	left.tv_sec = (time_t)((until_ns - now) / 1000000000);
	left.tv_nsec = (long)((until_ns - now) % 1000000000);
	syscall(SYS_futex, word, FUTEX_WAIT, value, until_ns == UINT64_MAX ? NULL : &left, NULL, 0);
}

static void clock_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static const struct fake_clock the_clock = {
        .now_ns = now_ns, .wait = clock_wait, .wake = clock_wake};

__attribute__((visibility("default"))) const struct fake_clock *berthFakeClock(void)
{
	return &the_clock;
}
