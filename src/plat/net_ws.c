#include "plat/net_ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <wslay/wslay.h>

#include "base/mem.h"
#include "base/text.h"

/*
 * DESIGN. wslay does the frames. It reads from the bytes that are being taken and writes into the output of the connection, which takes
 * everything, so nothing waits inside it. Messages are not gathered by wslay: a message that lies whole in its buffer, as most do,
 * is handed on from there.
 */

#define CLOSE_MS     2000 /* for the peer's half of the closing */
#define HELD_BYTES   65536
#define MASK_BYTES   256
#define REASON_BYTES 123
#define PONGS_MAX    64 /* for a peer that asks and does not read */
#define BROKEN       "the peer broke the WebSocket protocol"

struct net_ws {
	struct conn *c;
	wslay_event_context_ptr ctx;
	struct net_ws_handlers handlers;
	void *data;
	struct ws_options o;
	const uint8_t *in; /* being taken */
	size_t in_len;
	struct buf message;   /* gathered so far */
	const uint8_t *whole; /* the message, when it came in one piece */
	size_t frame_len;
	bool is_control; /* the frame */
	bool is_fin;
	bool is_text;
	bool is_open;
	bool is_closed; /* no message is sent or handed on any more */
	bool wants_drain;
	bool has_why;
	unsigned n_unread_pongs; /* since our output last went out */
	uint64_t heard_ms;
	uint64_t pinged_ms;
	struct err why;
	uint8_t mask[MASK_BYTES];
	size_t mask_at;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
	struct net_ws *ws = user;

	if (ws->in_len == 0 || ws->c->is_paused || ws->c->is_closing) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	len = MIN(len, ws->in_len);
	memcpy(buf, ws->in, len);
	ws->in += len;
	ws->in_len -= len;
	return (ssize_t)len;
}

static ssize_t on_send(
        wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user)
{
	struct net_ws *ws = user;

	buf_add(conn_out(ws->c), data, len);
	return (ssize_t)len;
}

static int on_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *user)
{
	struct net_ws *ws = user;

	if (ws->mask_at + len > MASK_BYTES) {
		if (getrandom(ws->mask, MASK_BYTES, 0) != MASK_BYTES)
			return -1;
		ws->mask_at = 0;
	}
	memcpy(buf, ws->mask + ws->mask_at, len);
	ws->mask_at += len;
	return 0;
}

static void set_why(struct net_ws *ws, enum err_kind kind, const char *text)
{
	if (ws->has_why)
		return;
	ws->has_why = true;
	if (kind == ERR_NONE)
		memset(&ws->why, 0, sizeof(ws->why));
	else
		(void)!err_set(&ws->why, kind, "%s", text);
}

static void on_frame_start(wslay_event_context_ptr ctx,
        const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
	struct net_ws *ws = user;

	ws->is_control = wslay_is_ctrl_frame(arg->opcode);
	if (ws->is_control)
		return;
	ws->is_fin = arg->fin;
	ws->frame_len = (size_t)arg->payload_length;
	if (arg->opcode != WSLAY_CONTINUATION_FRAME) {
		ws->is_text = arg->opcode == WSLAY_TEXT_FRAME;
		buf_reset(&ws->message);
		ws->whole = NULL;
	}
}

static void on_frame_piece(wslay_event_context_ptr ctx,
        const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
	struct net_ws *ws = user;

	if (ws->is_control || ws->is_closed)
		return;
	if (ws->is_fin && ws->message.len == 0 && arg->data_length == ws->frame_len) {
		ws->whole = arg->data;
		return;
	}
	buf_add(&ws->message, arg->data, arg->data_length);
	if (ws->message.overflow) {
		set_why(ws, ERR_TOO_LARGE, "a message is too large");
		net_ws_close(ws, WSLAY_CODE_MESSAGE_TOO_BIG, "a message is too large");
	}
}

static void on_peer_close(struct net_ws *ws, const struct wslay_event_on_msg_recv_arg *arg)
{
	char text[REASON_BYTES + 64];
	size_t len = arg->msg_length > 2 ? arg->msg_length - 2 : 0;
	enum err_kind kind = ERR_UNAVAILABLE;

	ws->is_closed = true;
	switch (arg->status_code) {
	case 0:
	case WSLAY_CODE_NORMAL_CLOSURE:
	case WSLAY_CODE_GOING_AWAY:
		set_why(ws, ERR_NONE, NULL);
		return;
	case WSLAY_CODE_PROTOCOL_ERROR:
	case WSLAY_CODE_UNSUPPORTED_DATA:
	case WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA:
		kind = ERR_INVALID;
		break;
	case WSLAY_CODE_POLICY_VIOLATION:
		kind = ERR_FORBIDDEN;
		break;
	case WSLAY_CODE_MESSAGE_TOO_BIG:
		kind = ERR_TOO_LARGE;
		break;
	}
	snprintf(text, sizeof(text), "the peer closed with %u%s%.*s", arg->status_code,
	        len ? ": " : "", (int)len, len ? (const char *)arg->msg + 2 : "");
	set_why(ws, kind, text);
}

static void on_message(
        wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
	struct net_ws *ws = user;
	const uint8_t *bytes = ws->whole;
	size_t len = ws->frame_len;

	if (arg->opcode == WSLAY_CONNECTION_CLOSE)
		on_peer_close(ws, arg);
	if (arg->opcode == WSLAY_PING && conn_unsent(ws->c) > ws->o.send_bytes &&
	        ++ws->n_unread_pongs > PONGS_MAX) {
		set_why(ws, ERR_TIMEOUT, "the peer takes no bytes");
		conn_lose(ws->c, NULL);
	}
	if (wslay_is_ctrl_frame(arg->opcode) || ws->is_closed)
		return;
	if (!bytes) {
		bytes = ws->message.data ? ws->message.data : (const uint8_t *)"";
		len = ws->message.len;
	}
	ws->handlers.on_message(ws->data, ws, bytes, len, ws->is_text);
	ws->whole = NULL;
	if (ws->message.cap > HELD_BYTES)
		buf_done(&ws->message);
	buf_reset(&ws->message);
}

struct net_ws *ws_new(
        struct conn *c, const struct ws_options *o, const struct net_ws_handlers *h, void *data)
{
	static const struct wslay_event_callbacks callbacks = {
	        .recv_callback = on_recv,
	        .send_callback = on_send,
	        .genmask_callback = on_mask,
	        .on_frame_recv_start_callback = on_frame_start,
	        .on_frame_recv_chunk_callback = on_frame_piece,
	        .on_msg_recv_callback = on_message,
	};
	struct net_ws *ws = mem_zalloc(sizeof(*ws));
	int rc;

	ws->c = c;
	ws->o = *o;
	ws->handlers = *h;
	ws->data = data;
	ws->message = BUF_INIT(o->message_bytes);
	ws->mask_at = MASK_BYTES;
	rc = (o->is_client ? wslay_event_context_client_init : wslay_event_context_server_init)(
	        &ws->ctx, &callbacks, ws);
	BUG_IF(rc != 0);
	wslay_event_config_set_no_buffering(ws->ctx, 1);
	wslay_event_config_set_max_recv_msg_length(ws->ctx, o->message_bytes);
	return ws;
}

void ws_open(struct net_ws *ws)
{
	ws->is_open = true;
	ws->heard_ms = ws->pinged_ms = hub_now_ms(ws->c->hub);
	ws->c->held_max = HELD_BYTES;
	conn_speak(ws->c, &ws_ops, ws);
	/* Closed before it was open: the time for the peer's half runs already. */
	if (!ws->is_closed)
		conn_set_deadline(ws->c, ws->heard_ms + ws->o.ping_ms);
	else
		conn_set_deadline(ws->c, ws->heard_ms + CLOSE_MS);
}

void ws_opened(struct net_ws *ws)
{
	if (ws->handlers.on_open)
		ws->handlers.on_open(ws->data, ws);
}

void ws_gone(struct net_ws *ws, const struct err *why)
{
	static const struct err none = {.kind = ERR_NONE};

	if (ws->has_why)
		why = &ws->why;
	ws->is_closed = true;
	if (ws->handlers.on_close)
		ws->handlers.on_close(ws->data, ws, why ? why : &none);
	wslay_event_context_free(ws->ctx);
	buf_done(&ws->message);
	free(ws);
}

/* What wslay has queued goes out; when both halves of the closing are through, so does the connection. */
static void push(struct net_ws *ws)
{
	if (wslay_event_send(ws->ctx) < 0) {
		set_why(ws, ERR_INTERNAL, "a frame could not be written");
		conn_lose(ws->c, NULL);
		return;
	}
	if (!wslay_event_get_close_sent(ws->ctx))
		return;
	ws->is_closed = true;
	if (wslay_event_get_close_received(ws->ctx)) {
		conn_end(ws->c, false);
	} else if (!wslay_event_get_read_enabled(ws->ctx)) {
		/* wslay found fault with what came. */
		if (wslay_event_get_status_code_sent(ws->ctx) == WSLAY_CODE_MESSAGE_TOO_BIG)
			set_why(ws, ERR_TOO_LARGE, "a message is too large");
		else
			set_why(ws, ERR_INVALID, BROKEN);
		conn_end(ws->c, true);
	}
}

static size_t on_bytes(struct conn *c, const uint8_t *bytes, size_t len)
{
	struct net_ws *ws = c->up;
	bool is_broken;

	ws->heard_ms = hub_now_ms(c->hub);
	ws->in = bytes;
	ws->in_len = len;
	/* Our callbacks never fail, so it is the peer's frame that did. */
	is_broken = wslay_event_recv(ws->ctx) < 0;
	if (is_broken)
		set_why(ws, ERR_INVALID, BROKEN);
	if (!c->is_closing)
		push(ws);
	if (is_broken)
		conn_end(c, true);
	len -= c->is_paused ? ws->in_len : 0;
	ws->in_len = 0;
	return len;
}

static bool on_settle(struct conn *c)
{
	return false;
}

static void on_flushed(struct conn *c)
{
	struct net_ws *ws = c->up;

	if (conn_unsent(c) <= ws->o.send_bytes)
		ws->n_unread_pongs = 0;
	if (!ws->wants_drain || ws->is_closed || conn_unsent(c) > ws->o.send_bytes / 2)
		return;
	ws->wants_drain = false;
	if (ws->handlers.on_drain)
		ws->handlers.on_drain(ws->data, ws);
}

static void on_eof(struct conn *c)
{
	struct net_ws *ws = c->up;

	if (!ws->is_closed)
		set_why(ws, ERR_UNAVAILABLE, "the connection ended");
	conn_lose(c, NULL);
}

static void on_deadline(struct conn *c)
{
	struct net_ws *ws = c->up;
	uint64_t now_ms = hub_now_ms(c->hub);
	uint64_t last_ms;

	if (ws->is_closed) {
		conn_lose(c, NULL);
		return;
	}
	/* While it is we who do not read, silence means nothing. */
	if (c->is_paused || (c->server && c->server->is_paused))
		ws->heard_ms = now_ms;
	if (now_ms >= ws->heard_ms + 3ull * ws->o.ping_ms) {
		set_why(ws, ERR_TIMEOUT, "the peer is silent");
		conn_lose(c, NULL);
		return;
	}
	last_ms = MAX(ws->heard_ms, ws->pinged_ms);
	if (now_ms >= last_ms + ws->o.ping_ms) {
		struct wslay_event_msg ping = {.opcode = WSLAY_PING};

		if (wslay_event_queue_msg(ws->ctx, &ping) == 0)
			push(ws);
		ws->pinged_ms = last_ms = now_ms;
	}
	conn_set_deadline(c, MIN(last_ms + ws->o.ping_ms, ws->heard_ms + 3ull * ws->o.ping_ms));
}

static void on_gone(struct conn *c, const struct err *why)
{
	ws_gone(c->up, why);
}

const struct conn_ops ws_ops = {
        .on_bytes = on_bytes,
        .on_settle = on_settle,
        .on_eof = on_eof,
        .on_flushed = on_flushed,
        .on_deadline = on_deadline,
        .on_gone = on_gone,
};

bool net_ws_send(struct net_ws *ws, const void *data, size_t len, bool is_text)
{
	struct wslay_event_msg message = {.opcode = is_text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME,
	        .msg = data,
	        .msg_length = len};

	if (ws->is_closed || ws->c->is_closing)
		return true;
	BUG_IF(ws->o.is_client && !ws->is_open);
	BUG_IF(wslay_event_queue_msg(ws->ctx, &message) != 0);
	push(ws);
	ws->wants_drain |= conn_unsent(ws->c) > ws->o.send_bytes;
	return !ws->wants_drain;
}

size_t net_ws_unsent(const struct net_ws *ws)
{
	return conn_unsent(ws->c);
}

void net_ws_pause(struct net_ws *ws, bool paused)
{
	conn_pause(ws->c, paused);
}

/* The part of it that fits and is whole characters. */
static size_t reason_len(const char *reason)
{
	size_t len = 0;
	size_t n;

	while (reason && reason[len] && (n = text_utf8_len(reason + len, strlen(reason + len))) &&
	        len + n < REASON_BYTES)
		len += n;
	return len;
}

void net_ws_close(struct net_ws *ws, uint16_t code, const char *reason)
{
	if (ws->is_closed || ws->c->is_closing)
		return;
	ws->is_closed = true;
	if (code == WSLAY_CODE_NORMAL_CLOSURE || code == WSLAY_CODE_GOING_AWAY)
		set_why(ws, ERR_NONE, NULL);
	else
		set_why(ws, ERR_UNAVAILABLE, reason ? reason : "closed");
	conn_pause(ws->c, false);
	if (ws->o.is_client && !ws->is_open) {
		conn_lose(ws->c, NULL);
		return;
	}
	if (wslay_event_queue_close(ws->ctx, code, (const uint8_t *)reason, reason_len(reason)) ==
	        0)
		push(ws);
	if (ws->is_open)
		conn_set_deadline(ws->c, hub_now_ms(ws->c->hub) + CLOSE_MS);
}

void ws_stop(struct net_ws *ws, const struct err *why)
{
	if (!ws->has_why) {
		ws->has_why = true;
		ws->why = *why;
	}
	if (!ws->is_closed && wslay_event_queue_close(ws->ctx, WSLAY_CODE_GOING_AWAY, NULL, 0) == 0)
		push(ws);
	ws->is_closed = true;
	conn_lose(ws->c, NULL);
}

const struct net_peer *net_ws_peer(const struct net_ws *ws)
{
	return &ws->c->peer;
}
