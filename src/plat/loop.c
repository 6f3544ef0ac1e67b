#include "plat/loop_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/*
 * DESIGN. A turn of libuv is: timers, pending, prepare, sleep and descriptors, check, closing. The end hook stands in prepare: every
 * callback of the descriptors before it and of the timers of this round has then run, and the sleep comes next. Only the last turn
 * before a stop never reaches a prepare, so loop_run calls the hooks once more.
 */

#define HOOKS_MAX 8

struct hook {
	loop_fn *fn; /* NULL: free */
	void *data;
};

struct loop {
	uv_loop_t uv;
	uv_prepare_t turn_end;
	uv_async_t wake;
	struct hook hooks[HOOKS_MAX];
	bool is_ending; /* in the hooks of the last turn: a stop has nothing left to stop */
};

struct loop_timer {
	uv_timer_t uv;
	loop_fn *fn;
	void *data;
};

struct loop_signal {
	uv_signal_t uv;
	loop_signal_fn *fn;
	void *data;
};

struct loop_poll {
	uv_poll_t uv;
	loop_poll_fn *fn;
	void *data;
};

int loop_uv_err(struct err *err, int uv_code, const char *fmt, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	/* On Linux libuv's codes are negated errno values, except for its own, below -3000. */
	if (uv_code > -3000)
		return err_sys(err, -uv_code, "%s", what);
	return err_set(err, ERR_IO, "%s: %s", what, uv_strerror(uv_code));
}

uv_loop_t *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

static void free_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void run_hooks(struct loop *loop)
{
	for (size_t i = 0; i < HOOKS_MAX; i++)
		if (loop->hooks[i].fn)
			loop->hooks[i].fn(loop->hooks[i].data);
}

static void on_prepare(uv_prepare_t *prepare)
{
	run_hooks(CONTAINER_OF(prepare, struct loop, turn_end));
}

static void on_wake(uv_async_t *async)
{
}

int loop_new(struct loop **ret_loop, struct err *err)
{
	struct loop *loop = mem_zalloc(sizeof(*loop));
	int rc;

	rc = uv_loop_init(&loop->uv);
	if (rc < 0) {
		free(loop);
		return loop_uv_err(err, rc, "making an event loop");
	}
	rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
	if (rc < 0) {
		BUG_IF(uv_loop_close(&loop->uv) != 0);
		free(loop);
		return loop_uv_err(err, rc, "making an event loop");
	}
	uv_unref((uv_handle_t *)&loop->wake);
	uv_prepare_init(&loop->uv, &loop->turn_end);
	uv_prepare_start(&loop->turn_end, on_prepare);
	uv_unref((uv_handle_t *)&loop->turn_end);
	*ret_loop = loop;
	return 0;
}

static void assert_closing(uv_handle_t *handle, void *data)
{
	/* Somebody made an object on this loop and did not free it before the loop. */
	BUG_IF(!uv_is_closing(handle));
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	uv_prepare_stop(&loop->turn_end);
	uv_close((uv_handle_t *)&loop->turn_end, NULL);
	uv_close((uv_handle_t *)&loop->wake, NULL);
	uv_walk(&loop->uv, assert_closing, NULL);
	while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
		;
	BUG_IF(uv_loop_close(&loop->uv) != 0);
	free(loop);
}

void loop_run(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	loop->is_ending = true;
	run_hooks(loop);
	loop->is_ending = false;
}

void loop_stop(struct loop *loop)
{
	if (!loop->is_ending)
		uv_stop(&loop->uv);
}

void loop_wake(struct loop *loop)
{
	uv_async_send(&loop->wake);
}

void loop_on_turn_end(struct loop *loop, loop_fn *fn, void *data)
{
	for (size_t i = 0; i < HOOKS_MAX; i++) {
		if (!loop->hooks[i].fn) {
			loop->hooks[i] = (struct hook){.fn = fn, .data = data};
			return;
		}
	}
	BUG_IF(true);
}

void loop_off_turn_end(struct loop *loop, loop_fn *fn, void *data)
{
	for (size_t i = 0; i < HOOKS_MAX; i++) {
		if (loop->hooks[i].fn == fn && loop->hooks[i].data == data) {
			/* Not moved together: the hooks may be running. */
			loop->hooks[i].fn = NULL;
			return;
		}
	}
}

uint64_t loop_mono_ms(const struct loop *loop)
{
	return uv_now(&loop->uv);
}

static void on_timer(uv_timer_t *timer)
{
	struct loop_timer *t = timer->data;

	t->fn(t->data);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *data)
{
	struct loop_timer *t = mem_zalloc(sizeof(*t));

	t->fn = fn;
	t->data = data;
	uv_timer_init(&loop->uv, &t->uv);
	t->uv.data = t;
	return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t in_ms, uint64_t repeat_ms)
{
	/* libuv counts from the start of the turn; a long turn would make the timer early. */
	uv_update_time(t->uv.loop);
	uv_timer_start(&t->uv, on_timer, in_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
	uv_timer_stop(&t->uv);
}

bool loop_timer_is_running(const struct loop_timer *t)
{
	return uv_is_active((const uv_handle_t *)&t->uv);
}

void loop_timer_free(struct loop_timer *t)
{
	if (t)
		uv_close((uv_handle_t *)&t->uv, free_closed);
}

static void on_signal(uv_signal_t *sig, int signo)
{
	struct loop_signal *s = sig->data;

	s->fn(s->data, signo);
}

int loop_signal_new(struct loop *loop, int signo, loop_signal_fn *fn, void *data,
        struct loop_signal **ret_signal, struct err *err)
{
	struct loop_signal *s = mem_zalloc(sizeof(*s));
	int rc;

	s->fn = fn;
	s->data = data;
	s->uv.data = s;
	rc = uv_signal_init(&loop->uv, &s->uv);
	if (rc < 0) {
		free(s);
		return loop_uv_err(err, rc, "watching signal %d", signo);
	}
	rc = uv_signal_start(&s->uv, on_signal, signo);
	if (rc < 0) {
		uv_close((uv_handle_t *)&s->uv, free_closed);
		return loop_uv_err(err, rc, "watching signal %d", signo);
	}
	uv_unref((uv_handle_t *)&s->uv);
	*ret_signal = s;
	return 0;
}

void loop_signal_free(struct loop_signal *s)
{
	if (s)
		uv_close((uv_handle_t *)&s->uv, free_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct loop_poll *p = poll->data;
	int got = 0;

	if (status < 0) {
		got = LOOP_READ | LOOP_WRITE | LOOP_ERROR;
		uv_poll_stop(&p->uv);
	}
	if (events & (UV_READABLE | UV_DISCONNECT))
		got |= LOOP_READ;
	if (events & UV_WRITABLE)
		got |= LOOP_WRITE;
	p->fn(p->data, got);
}

int loop_poll_new(struct loop *loop, int fd, int events, loop_poll_fn *fn, void *data,
        struct loop_poll **ret_poll, struct err *err)
{
	struct loop_poll *p = mem_zalloc(sizeof(*p));
	int rc;

	p->fn = fn;
	p->data = data;
	p->uv.data = p;
	rc = uv_poll_init(&loop->uv, &p->uv, fd);
	if (rc < 0) {
		free(p);
		return loop_uv_err(err, rc, "watching descriptor %d", fd);
	}
	loop_poll_set(p, events);
	*ret_poll = p;
	return 0;
}

void loop_poll_set(struct loop_poll *p, int events)
{
	int want = ((events & LOOP_READ) ? UV_READABLE : 0) |
	           ((events & LOOP_WRITE) ? UV_WRITABLE : 0);

	if (want)
		BUG_IF(uv_poll_start(&p->uv, want, on_poll) < 0);
	else
		uv_poll_stop(&p->uv);
}

void loop_poll_free(struct loop_poll *p)
{
	if (p)
		uv_close((uv_handle_t *)&p->uv, free_closed);
}
