#include "plat/net_priv.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "plat/loop_priv.h"
#include "plat/net_tls.h"

#define SPARE_BYTES     65536
#define HELD_KEEP_BYTES 4096
#define LINGER_MS       1000
#define SETTLE_STEPS    16 /* exchanges of one connection in one turn */
/* What an answer read from memory may come to; beyond it the handler forgot to wait for on_drain. */
#define OUT_MAX_BYTES GIB

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct conn *c = handle->data;

	*buf = uv_buf_init((char *)c->hub->read_bytes, NET_READ_BYTES);
}

struct conn *conn_new(struct net_hub *hub, bool is_pipe, const struct conn_ops *ops, void *up)
{
	struct conn *c = mem_zalloc(sizeof(*c));

	c->hub = hub;
	hub->n_users++;
	hub->n_refs++;
	if (is_pipe)
		uv_pipe_init(hub->uv, &c->uv.pipe, 0);
	else
		uv_tcp_init(hub->uv, &c->uv.tcp);
	c->uv.handle.data = c;
	c->ops = ops;
	c->up = up;
	c->held_max = 32 * KIB;
	c->stall_ms = 30000;
	c->held = BUF_INIT(16 * MIB);
	c->out = BUF_INIT(OUT_MAX_BYTES);
	TAILQ_INSERT_TAIL(&hub->conns, c, link);
	return c;
}

void conn_speak(struct conn *c, const struct conn_ops *ops, void *up)
{
	c->ops = ops;
	c->up = up;
	conn_touch(c);
}

void conn_touch(struct conn *c)
{
	if (!c->is_dirty && !c->is_closing)
		hub_touch(c->hub, c);
}

struct buf *conn_out(struct conn *c)
{
	conn_touch(c);
	/* The one spare buffer of the hub serves whoever writes first in a turn. */
	if (!c->out.data && c->hub->spare.data) {
		c->out.data = STEAL(c->hub->spare.data);
		c->out.cap = c->hub->spare.cap;
		c->hub->spare.cap = 0;
	}
	return &c->out;
}

static void give_spare(struct conn *c, struct buf *b)
{
	if (b->data && !c->hub->spare.data && b->cap <= SPARE_BYTES) {
		c->hub->spare.data = STEAL(b->data);
		c->hub->spare.cap = b->cap;
	}
	buf_done(b);
}

size_t conn_unsent(const struct conn *c)
{
	size_t n = c->out.len + uv_stream_get_write_queue_size(&c->uv.stream);

	return c->tls ? n + c->tls->wire.len : n;
}

void conn_set_deadline(struct conn *c, uint64_t at_ms)
{
	c->deadline_ms = at_ms;
	if (at_ms)
		hub_arm(c->hub, at_ms);
}

void conn_pause(struct conn *c, bool paused)
{
	c->is_paused = paused;
	conn_touch(c);
}

static bool can_take(const struct conn *c)
{
	return !c->is_paused && !c->is_ending && !c->is_closing && !c->is_undecided &&
	       !(c->server && c->server->is_paused);
}

/* Offers what is held. */
static void pump(struct conn *c)
{
	while (c->held_at < c->held.len && can_take(c)) {
		size_t n = c->ops->on_bytes(c, c->held.data + c->held_at, c->held.len - c->held_at);

		if (n == 0)
			break;
		c->held_at += n;
	}
	buf_consume(&c->held, c->is_ending ? c->held.len : c->held_at);
	c->held_at = 0;
	if (c->held.len == 0 && c->held.cap > HELD_KEEP_BYTES)
		buf_done(&c->held);
}

void conn_feed(struct conn *c, const uint8_t *bytes, size_t len)
{
	conn_touch(c);
	if (c->held.len == 0) {
		while (len && can_take(c)) {
			size_t n = c->ops->on_bytes(c, bytes, len);

			if (n == 0)
				break;
			bytes += n;
			len -= n;
		}
	}
	if (len == 0 || c->is_ending || c->is_closing)
		return;
	buf_add(&c->held, bytes, len);
	if (c->held.overflow) {
		struct err err;

		(void)!err_set(&err, ERR_TOO_LARGE, "more was sent than may be held back");
		conn_lose(c, &err);
		return;
	}
	pump(c);
}

static void on_plain(void *data, const uint8_t *plain, size_t len)
{
	conn_feed(data, plain, len);
}

/* The first byte of a TLS handshake is 0x16, which no method begins with. */
static void decide(struct conn *c, uint8_t first)
{
	struct err err;

	c->is_undecided = false;
	if (first == 0x16) {
		c->peer.is_tls = true;
		if (tls_new(c->tls_ctx, NULL, &c->tls, &err) < 0)
			conn_lose(c, &err);
	} else if (!c->is_plain_allowed) {
		c->is_plain_refused = true;
	}
	c->tls_ctx = NULL;
}

static void take_raw(struct conn *c, const uint8_t *bytes, size_t len)
{
	struct err err;
	int rc;

	conn_touch(c);
	if (c->is_undecided)
		decide(c, bytes[0]);
	if (c->is_closing)
		return;
	if (!c->tls) {
		conn_feed(c, bytes, len);
		return;
	}
	rc = tls_take(c->tls, bytes, len, on_plain, c, &err);
	if (rc < 0)
		conn_lose(c, &err);
	else if (rc > 0)
		c->is_eof = true;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;
	struct err err;

	if (n > 0) {
		take_raw(c, (const uint8_t *)buf->base, (size_t)n);
	} else if (n == UV_EOF) {
		c->is_eof = true;
		conn_touch(c);
	} else if (n < 0) {
		(void)!loop_uv_err(&err, (int)n, "reading from %s", c->peer.addr);
		conn_lose(c, &err);
	}
}

static void update_reading(struct conn *c)
{
	bool want = !c->is_eof && !c->is_connecting && !c->is_socketless;

	if (c->is_ending)
		want = want && c->wants_linger;
	else
		want = want && !c->is_paused && !(c->server && c->server->is_paused) &&
		       c->held.len < c->held_max;
	if (want == c->is_reading)
		return;
	c->is_reading = want;
	if (want)
		uv_read_start(&c->uv.stream, on_alloc, on_read);
	else
		uv_read_stop(&c->uv.stream);
}

static void on_written(uv_write_t *write, int status)
{
	struct conn *c = write->data;
	struct err err;

	c->is_writing = false;
	give_spare(c, &c->flying);
	if (c->is_closing)
		return;
	if (status < 0) {
		(void)!loop_uv_err(&err, status, "sending to %s", c->peer.addr);
		conn_lose(c, &err);
		return;
	}
	c->sent_ms = hub_now_ms(c->hub);
	conn_touch(c);
}

/* Hands to the kernel what it takes, and to libuv's queue what is left. */
static int write_out(struct conn *c, struct buf *b)
{
	uv_buf_t part = uv_buf_init((char *)b->data, (unsigned)b->len);
	int n = uv_try_write(&c->uv.stream, &part, 1);

	if (n == UV_EAGAIN)
		n = 0;
	if (n < 0)
		return n;
	if ((size_t)n == b->len) {
		buf_reset(b);
		give_spare(c, b);
		return 0;
	}
	c->flying = *b;
	b->data = NULL;
	b->len = b->cap = 0;
	part = uv_buf_init((char *)c->flying.data + n, (unsigned)(c->flying.len - (size_t)n));
	c->is_writing = true;
	c->write.data = c;
	c->sent_ms = hub_now_ms(c->hub);
	n = uv_write(&c->write, &c->uv.stream, &part, 1, on_written);
	c->queue_seen = uv_stream_get_write_queue_size(&c->uv.stream);
	if (n < 0)
		c->is_writing = false;
	return n;
}

static int encrypt(struct conn *c, struct err *err)
{
	int rc;

	if (!c->tls || !c->out.len)
		return 0;
	rc = tls_put(c->tls, &c->out, err);
	if (c->out.len == 0)
		give_spare(c, &c->out);
	return rc;
}

static void flush(struct conn *c)
{
	struct buf *b;
	struct err err;
	int rc;

	if (c->is_writing || c->is_connecting)
		return;
	if (c->out.overflow) {
		(void)!err_set(
		        &err, ERR_TOO_LARGE, "more than 1 GiB to be sent to %s", c->peer.addr);
		conn_lose(c, &err);
		return;
	}
	if (encrypt(c, &err) < 0) {
		conn_lose(c, &err);
		return;
	}
	b = c->tls ? &c->tls->wire : &c->out;
	if (b->len == 0)
		return;
	if (c->is_socketless) {
		buf_reset(b);
		return;
	}
	rc = write_out(c, b);
	if (rc < 0) {
		(void)!loop_uv_err(&err, rc, "sending to %s", c->peer.addr);
		conn_lose(c, &err);
	}
}

static void end_step(struct conn *c)
{
	int fd;

	if (c->is_lingering) {
		if (c->is_eof)
			conn_lose(c, NULL);
		return;
	}
	if (c->tls && !c->is_tls_ended && !c->out.len) {
		c->is_tls_ended = true;
		tls_end(c->tls);
		flush(c);
	}
	if (c->is_closing || conn_unsent(c) || c->is_writing)
		return;
	if (!c->wants_linger || c->is_eof || uv_fileno(&c->uv.handle, &fd) < 0 ||
	        shutdown(fd, SHUT_WR) < 0) {
		conn_lose(c, NULL);
		return;
	}
	c->is_lingering = true;
	conn_set_deadline(c, hub_now_ms(c->hub) + LINGER_MS);
}

void conn_settle(struct conn *c)
{
	unsigned steps = 0;
	bool more = true;

	while (more && !c->is_closing) {
		pump(c);
		more = !c->is_closing && c->ops->on_settle(c) && !c->is_ending;
		if (more && ++steps == SETTLE_STEPS) {
			conn_touch(c);
			break;
		}
	}
	if (c->is_eof && !c->is_eof_told && !c->is_ending && !c->is_closing && !more &&
	        can_take(c)) {
		c->is_eof_told = true;
		c->ops->on_eof(c);
	}
	if (!c->is_closing)
		flush(c);
	if (!c->is_closing && c->is_ending)
		end_step(c);
	else if (!c->is_closing)
		c->ops->on_flushed(c);
	if (!c->is_closing)
		update_reading(c);
}

bool conn_is_sending(struct conn *c)
{
	size_t queue = uv_stream_get_write_queue_size(&c->uv.stream);

	if (queue < c->queue_seen)
		c->sent_ms = hub_now_ms(c->hub);
	c->queue_seen = queue;
	return c->sent_ms + c->stall_ms > hub_now_ms(c->hub);
}

void conn_on_deadline(struct conn *c)
{
	c->deadline_ms = 0;
	if (c->is_closing)
		return;
	if (!c->is_ending)
		c->ops->on_deadline(c);
	else if (!c->is_lingering && conn_is_sending(c))
		conn_set_deadline(c, c->sent_ms + c->stall_ms);
	else
		conn_lose(c, NULL);
}

void conn_end(struct conn *c, bool linger)
{
	if (c->is_ending || c->is_closing)
		return;
	c->is_ending = true;
	if (c->server)
		server_set_wait(c, CONN_LEAVING);
	c->wants_linger = linger;
	c->sent_ms = hub_now_ms(c->hub);
	conn_set_deadline(c, c->sent_ms + c->stall_ms);
	conn_touch(c);
}

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct net_hub *hub = c->hub;

	c->ops->on_gone(c, c->why);
	if (c->is_dirty)
		TAILQ_REMOVE(&hub->dirty, c, dirty_link);
	TAILQ_REMOVE(&hub->conns, c, link);
	if (c->server)
		server_conn_gone(c);
	tls_free(c->tls);
	buf_done(&c->held);
	buf_done(&c->out);
	buf_done(&c->flying);
	free(c->why);
	free(c);
	hub_unref(hub);
}

void conn_lose(struct conn *c, const struct err *why)
{
	struct err ignored;

	if (c->is_closing)
		return;
	if (why)
		c->why = mem_dup(why, sizeof(*why));
	/* An answer that is ready, or an alert, may still get through. */
	if (!c->is_writing && !c->is_connecting && !c->is_socketless && !c->is_closing) {
		struct buf *b = c->tls ? &c->tls->wire : &c->out;

		if (encrypt(c, &ignored) == 0 && b->len) {
			uv_buf_t part = uv_buf_init((char *)b->data, (unsigned)b->len);

			uv_try_write(&c->uv.stream, &part, 1);
		}
	}
	c->is_closing = true;
	c->deadline_ms = 0;
	if (c->server)
		server_conn_lost(c);
	hub_leave(c->hub);
	/* Who takes nothing is not waited for by the kernel either, which has megabytes for him. */
	if (!why || why->kind != ERR_TIMEOUT || c->uv.handle.type != UV_TCP ||
	        uv_tcp_close_reset(&c->uv.tcp, on_closed) < 0)
		uv_close(&c->uv.handle, on_closed);
}
