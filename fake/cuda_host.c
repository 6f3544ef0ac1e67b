/*
 * Functions of the host that streams call when their turn comes: by one thread of the driver's, one after the other.
 */
#include "cuda.h"

#include "clock.h"

#include <stdlib.h>

#define AGAIN_NS 20000 /* a value in memory that is waited for is looked at so often */

struct call {
	struct call *next;
	unsigned card;
	uint32_t line;
	uint64_t number;
	bool (*ready)(void *data); /* NULL: it is */
	cu_host_fn fn;
	void *data;
};

static struct call *calls; /* in order, under the driver's lock */

/* The first call whose turn has come and that is ready; whether there is one that is not. */
static struct call *take(bool *ret_again)
{
	struct call **at = &calls, *found = NULL;
	struct tl *t;

	*ret_again = false;
	pthread_mutex_lock(&driver.lock);
	share_lock();
	t = timeline_of();
	for (; *at && !found; at = found ? at : &(*at)->next) {
		struct call *c = *at;
		struct tl_stream *line = &t->cards[c->card].streams[c->line];

		if (line->head > c->number) { /* dropped with its context */
			*at = c->next;
			free(c);
			break;
		}
		if (line->head < c->number || !line->started)
			continue;
		if (c->ready && !c->ready(c->data)) {
			*ret_again = true;
			continue;
		}
		found = c;
		*at = c->next;
		t->host_ready[driver.place]--;
	}
	share_unlock();
	pthread_mutex_unlock(&driver.lock);
	return found;
}

static void *serve(void *seated)
{
	if (driver.sim->pace.is_virtual)
		clock_enter(seated);
	else
		sem_post(seated);
	for (;;) {
		struct call *c;
		bool again;

		clock_wait_host();
		c = take(&again);
		if (c) {
			c->fn(c->data);
			tl_host_done(timeline_begin(), c->card, c->line, c->number);
			timeline_end();
			free(c);
		} else {
			clock_sleep(AGAIN_NS);
		}
	}
	return NULL;
}

/* Under the driver's lock. The thread has its seat when this returns, so that it is not late. */
static bool start(void)
{
	static bool started;
	pthread_attr_t attr;
	pthread_t thread;
	sem_t seated;

	if (started)
		return true;
	sem_init(&seated, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	started = pthread_create(&thread, &attr, serve, &seated) == 0;
	pthread_attr_destroy(&attr);
	while (started && sem_wait(&seated) < 0)
		;
	sem_destroy(&seated);
	return started;
}

enum cu_result host_put(struct cu_stream *s, bool (*ready)(void *data), cu_host_fn fn, void *data)
{
	struct work work = {.kind = WORK_HOST};
	struct call *c = calloc(1, sizeof(*c)), **end = &calls;
	bool ok;

	if (c && s->capture) {
		free(c);
		return ready ? CU_ERROR_STREAM_CAPTURE_UNSUPPORTED : capture_host(s, fn, data);
	}
	if (!c)
		return CU_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&driver.lock);
	ok = start();
	pthread_mutex_unlock(&driver.lock);
	if (!ok) {
		free(c);
		return CU_ERROR_OPERATING_SYSTEM;
	}
	*c = (struct call){.card = s->ctx->card,
	        .line = s->line,
	        .number = UINT64_MAX,
	        .ready = ready,
	        .fn = fn,
	        .data = data};
	pthread_mutex_lock(&driver.lock);
	while (*end)
		end = &(*end)->next;
	*end = c;
	pthread_mutex_unlock(&driver.lock);
	return stream_put(s, &work, &c->number);
}

/* -- the calls -- */

static enum cu_result launch(
        const char *function, struct cu_stream *handle, bool per_thread, cu_host_fn fn, void *data)
{
	struct cu_stream *s;
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!fn)
		return CU_ERROR_INVALID_VALUE;
	code = stream_find(ctx, handle, per_thread, &s);
	return code ? code : host_put(s, NULL, fn, data);
}

enum cu_result cuLaunchHostFunc(struct cu_stream *h_stream, cu_host_fn fn, void *user_data)
{
	return launch(__func__, h_stream, false, fn, user_data);
}

enum cu_result cuLaunchHostFunc_ptsz(struct cu_stream *h_stream, cu_host_fn fn, void *user_data)
{
	return launch(__func__, h_stream, true, fn, user_data);
}

/* -- values in memory -- */

struct value {
	uint32_t *at;
	uint32_t value;
	unsigned how; /* as CUDA numbers them: at least, equal, and, nor */
};

static bool is_reached(void *data)
{
	const struct value *v = data;
	uint32_t now = __atomic_load_n(v->at, __ATOMIC_ACQUIRE);

	switch (v->how & 3) {
	case 0:
		return (int32_t)(now - v->value) >= 0;
	case 1:
		return now == v->value;
	case 2:
		return now & v->value;
	default:
		return ~(now | v->value);
	}
}

static void write_value(void *data)
{
	const struct value *v = data;

	__atomic_store_n(v->at, v->value, __ATOMIC_RELEASE);
	free(data);
}

static enum cu_result put_value(const char *function, struct cu_stream *handle, bool per_thread,
        cu_ptr at, uint32_t value, unsigned how, bool wait)
{
	struct cu_stream *s;
	struct cu_ctx *ctx;
	struct value *v;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!at || at % sizeof(uint32_t))
		return CU_ERROR_INVALID_VALUE;
	code = stream_find(ctx, handle, per_thread, &s);
	if (code)
		return code;
	v = malloc(sizeof(*v));
	if (!v)
		return CU_ERROR_OUT_OF_MEMORY;
	*v = (struct value){(uint32_t *)(uintptr_t)at, value, how};
	return host_put(s, wait ? is_reached : NULL, wait ? free : write_value, v);
}

#define VALUES(name, per_thread, wait)                                                             \
	enum cu_result name(struct cu_stream *stream, cu_ptr addr, uint32_t value, unsigned flags) \
	{                                                                                          \
		return put_value(__func__, stream, per_thread, addr, value, flags, wait);          \
	}

VALUES(cuStreamWriteValue32, false, false)
VALUES(cuStreamWriteValue32_v2, false, false)
VALUES(cuStreamWriteValue32_ptsz, true, false)
VALUES(cuStreamWriteValue32_v2_ptsz, true, false)
VALUES(cuStreamWaitValue32, false, true)
VALUES(cuStreamWaitValue32_v2, false, true)
VALUES(cuStreamWaitValue32_ptsz, true, true)
VALUES(cuStreamWaitValue32_v2_ptsz, true, true)
