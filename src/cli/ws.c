#include "cli/ws.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <wslay/wslay.h>

#include "base/mem.h"
#include "cli/interrupt.h"

/* Opened when the first terminal is: no other verb pays for it. */
static struct {
	void *library;
	__typeof__(&wslay_event_context_client_init) client_init;
	__typeof__(&wslay_event_context_free) context_free;
	__typeof__(&wslay_event_config_set_max_recv_msg_length) set_longest;
	__typeof__(&wslay_event_set_error) set_error;
	__typeof__(&wslay_event_queue_msg) queue_msg;
	__typeof__(&wslay_event_queue_close) queue_close;
	__typeof__(&wslay_event_recv) recv;
	__typeof__(&wslay_event_send) send;
	__typeof__(&wslay_event_want_read) want_read;
	__typeof__(&wslay_event_want_write) want_write;
	__typeof__(&wslay_event_get_queued_msg_length) queued_length;
} wslay;

/* POSIX lets a data pointer of dlsym become a function; C alone does not. */
#define FIND(member, name)                                                      \
	(*(void **)(void *)&wslay.member = dlsym(library, "wslay_event_" name), \
	        wslay.member != NULL)

static int load_wslay(struct err *err)
{
	if (wslay.library)
		return 0;
	void *library = dlopen("libwslay.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library || !FIND(client_init, "context_client_init") ||
	        !FIND(context_free, "context_free") ||
	        !FIND(set_longest, "config_set_max_recv_msg_length") ||
	        !FIND(set_error, "set_error") || !FIND(queue_msg, "queue_msg") ||
	        !FIND(queue_close, "queue_close") || !FIND(recv, "recv") || !FIND(send, "send") ||
	        !FIND(want_read, "want_read") || !FIND(want_write, "want_write") ||
	        !FIND(queued_length, "get_queued_msg_length"))
		return err_set(err, ERR_UNSUPPORTED, "terminals need libwslay: %s", dlerror())
		               ? err_hint(err, "install the package libwslay1")
		               : 0;
	wslay.library = library;
	return 0;
}

struct ws {
	struct http *http;
	struct channel *channel;
	wslay_event_context_ptr ctx;
	struct buf early; /* what came behind the head of the answer */
	size_t early_used;
	bool moved;
	bool broken;
	struct err err; /* why, when broken */
	void (*on_frame)(void *data, enum console_frame type, const uint8_t *payload, size_t len);
	void *on_frame_data;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *data)
{
	struct ws *w = data;
	size_t early = w->early.len - w->early_used;

	if (early) {
		size_t n = MIN(early, len);
		memcpy(buf, w->early.data + w->early_used, n);
		w->early_used += n;
		w->moved = true;
		return (ssize_t)n;
	}
	long n = channel_recv(w->channel, buf, len, &w->err);
	if (n > 0) {
		w->moved = true;
		return n;
	}
	if (n == 0 && !channel_ended(w->channel)) {
		wslay.set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	w->broken = true;
	if (n == 0 && err_set(&w->err, ERR_UNAVAILABLE, "the server closed the connection"))
		n = -1;
	wslay.set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static ssize_t on_send(
        wslay_event_context_ptr ctx, const uint8_t *bytes, size_t len, int flags, void *data)
{
	struct ws *w = data;
	long n = channel_send(w->channel, bytes, len, &w->err);

	if (n > 0) {
		w->moved = true;
		return n;
	}
	w->broken = n < 0;
	wslay.set_error(ctx, n < 0 ? WSLAY_ERR_CALLBACK_FAILURE : WSLAY_ERR_WOULDBLOCK);
	return -1;
}

static int on_genmask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *data)
{
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -1;
}

static void on_msg(
        wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *data)
{
	struct ws *w = data;

	if (m->opcode != WSLAY_BINARY_FRAME || m->msg_length == 0)
		return;
	w->on_frame(w->on_frame_data, (enum console_frame)m->msg[0], m->msg + 1, m->msg_length - 1);
}

static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .genmask_callback = on_genmask,
        .on_msg_recv_callback = on_msg,
};

/* 16 random bytes in base64; what they are does not matter, only that they differ. */
static void make_key(char out[25])
{
	static const char digits[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t raw[22] = {0};

	BUG_IF(getrandom(raw, sizeof(raw), 0) < 0);
	for (size_t i = 0; i < sizeof(raw); i++)
		out[i] = digits[raw[i] % 64];
	out[21] = "AQgw"[raw[21] % 4]; /* the last digit carries two bits */
	memcpy(out + 22, "==", 3);
}

static int shake_hands(struct http *h, const char *path, const char *protocol, struct err *err)
{
	CLEANUP_BUF struct buf headers = BUF_INIT(4096);
	struct http_request r = {.method = "GET", .path = path};
	char key[25];
	int rc;

	make_key(key);
	buf_addf(&headers,
	        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n",
	        key, protocol);
	r.headers = buf_str(&headers);
	http_send(h, &r);
	while (!http_ended(h)) {
		rc = http_step(h, -1, err);
		if (rc < 0)
			return rc;
		if (interrupt_count() > 1)
			return err_set(err, ERR_UNAVAILABLE, "interrupted");
	}
	if (http_status(h) == 101)
		return 0;
	return http_status(h) >= 300 ? client_refusal(h, err)
	                             : err_set(err, ERR_CORRUPT, "the server opened no WebSocket");
}

int ws_open(struct client *c, const char *path, const char *protocol, struct ws **ret_ws,
        struct err *err)
{
	struct client_wait wait = {0};
	struct http *h;
	int rc = load_wslay(err);

	if (rc)
		return rc;
	for (;;) {
		bool refused = false;
		rc = client_connect_now(c, &h, err);
		if (rc == 0) {
			rc = shake_hands(h, path, protocol, err);
			if (rc == 0)
				break;
			refused = http_status(h) >= 300;
			http_free(h);
			if (!refused)
				return rc; /* what it began may run */
		}
		if (err->kind != ERR_UNAVAILABLE ||
		        !client_wait(c, &wait, refused ? err->text : NULL))
			return rc;
	}
	struct ws *w = mem_zalloc(sizeof(*w));
	w->http = h;
	w->channel = http_channel(h);
	w->early = BUF_INIT(HTTP_BODY_MAX);
	buf_add(&w->early, http_body(h)->data, http_body(h)->len);
	BUG_IF(wslay.client_init(&w->ctx, &callbacks, w));
	wslay.set_longest(w->ctx, CONSOLE_FRAME_MAX + 1);
	*ret_ws = w;
	return 0;
}

void ws_free(struct ws *w)
{
	if (!w)
		return;
	if (!w->broken) {
		wslay.queue_close(w->ctx, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
		wslay.send(w->ctx);
	}
	wslay.context_free(w->ctx);
	http_free(w->http);
	buf_done(&w->early);
	free(w);
}

int ws_send(struct ws *w, enum console_frame type, const void *data, size_t len, struct err *err)
{
	uint8_t *bytes = mem_zalloc(len + 1);
	struct wslay_event_msg m = {WSLAY_BINARY_FRAME, bytes, len + 1};

	bytes[0] = (uint8_t)type;
	if (len)
		memcpy(bytes + 1, data, len);
	int rc = wslay.queue_msg(w->ctx, &m);
	free(bytes);
	return rc ? err_set(err, ERR_UNAVAILABLE, "the connection is closing") : 0;
}

static int why_over(const struct ws *w, struct err *err)
{
	if (w->broken) {
		*err = w->err;
		return -(int)err->kind;
	}
	return err_set(err, ERR_UNAVAILABLE, "the server closed the connection");
}

int ws_move(struct ws *w,
        void (*on_frame)(void *data, enum console_frame type, const uint8_t *payload, size_t len),
        void *data, struct err *err)
{
	w->on_frame = on_frame;
	w->on_frame_data = data;
	w->moved = false;
	int rc = wslay.recv(w->ctx);
	if (rc == 0)
		rc = wslay.send(w->ctx);
	if (rc || w->broken || !wslay.want_read(w->ctx))
		return why_over(w, err);
	return w->moved;
}

int ws_fd(const struct ws *w)
{
	return channel_fd(w->channel);
}

short ws_events(const struct ws *w)
{
	return (short)(POLLIN | (wslay.want_write(w->ctx) ? POLLOUT : 0));
}

size_t ws_unsent(const struct ws *w)
{
	return wslay.queued_length(w->ctx);
}
