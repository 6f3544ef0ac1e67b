#include "plat/net_http.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "plat/net_tls.h"
#include "plat/net_ws.h"

enum net_method net_request_method(const struct net_request *r)
{
	return r->method;
}

const char *net_request_path(const struct net_request *r)
{
	return r->head.path;
}

const char *net_request_query(const struct net_request *r, const char *key)
{
	return head_query(&r->head, key, 0);
}

const char *net_request_query_nth(const struct net_request *r, const char *key, unsigned nth)
{
	return head_query(&r->head, key, nth);
}

const char *net_request_query_key(const struct net_request *r, unsigned nth)
{
	return nth < r->head.n_query ? r->head.query[nth].name : NULL;
}

const char *net_request_header_in(const struct net_request *r, const char *name)
{
	return head_find(&r->head, name);
}

const struct net_peer *net_request_peer(const struct net_request *r)
{
	return &r->c->peer;
}

void net_request_set_data(struct net_request *r, void *data)
{
	r->data = data;
}

void *net_request_data(const struct net_request *r)
{
	return r->data;
}

void *net_request_ctx(struct net_request *r)
{
	return r;
}

void net_request_on_close(
        struct net_request *r, void (*fn)(void *data, struct net_request *r), void *data)
{
	r->on_close = fn;
	r->on_close_data = data;
}

static bool choose(struct net_request *r, enum body_mode mode, void *data)
{
	if (r->is_ended)
		return false;
	BUG_IF(r->mode != BODY_UNCHOSEN);
	r->mode = mode;
	r->on_body_data = data;
	r->http->active_ms = r->http->body_since_ms = hub_now_ms(r->c->hub);
	if (!r->has_body_arrived)
		server_set_wait(r->c, CONN_BODY);
	conn_touch(r->c);
	return true;
}

static void send_continue(struct net_request *r)
{
	if (r->wants_continue && !r->is_begun)
		buf_add_str(conn_out(r->c), "HTTP/1.1 100 Continue\r\n\r\n");
	r->wants_continue = false;
}

void net_request_read_all(struct net_request *r, size_t max,
        void (*on_body)(void *data, struct net_request *r, const void *body, size_t len),
        void *data)
{
	if (!choose(r, BODY_WHOLE, data))
		return;
	r->on_body = on_body;
	r->body_max = max ? max : r->c->server->limits.body_bytes;
	r->body.max = r->body_max;
	if (r->head.has_length && r->head.length > r->body_max)
		http_refuse(r->http, &(struct head_fault){.status = 413,
		                             .kind = ERR_TOO_LARGE,
		                             .text = "the body is too large"});
	else
		send_continue(r);
}

void net_request_read_stream(struct net_request *r,
        void (*on_data)(void *data, struct net_request *r, const void *bytes, size_t len),
        void *data)
{
	if (!choose(r, BODY_STREAM, data))
		return;
	r->on_data = on_data;
	send_continue(r);
}

void net_request_pause(struct net_request *r, bool paused)
{
	if (r->is_ended)
		return;
	r->http->active_ms = hub_now_ms(r->c->hub);
	conn_pause(r->c, paused);
}

/* The answer */

/* Whoever hands over a name or a value from outside must not be able to write a header of his own. */
static void add_clean(struct buf *b, const char *text)
{
	for (; *text; text++)
		buf_add_byte(b, (uint8_t)*text < 0x20 || *text == 0x7f ? '?' : (uint8_t)*text);
}

void net_request_header(struct net_request *r, const char *name, const char *value)
{
	BUG_IF(r->is_begun && !r->is_ended);
	add_clean(&r->fields, name);
	buf_add_str(&r->fields, ": ");
	add_clean(&r->fields, value);
	buf_add_str(&r->fields, "\r\n");
}

/* Will the connection serve another request? Not, when too much of this one would have to be read for nothing. */
static bool can_keep_alive(const struct net_request *r)
{
	if (!r->keeps_alive || r->has_body_arrived || r->mode == BODY_STREAM ||
	        r->mode == BODY_WHOLE)
		return r->keeps_alive;
	return !r->wants_continue && !r->head.is_chunked && r->head.length < HTTP_DISCARD_MAX_BYTES;
}

/* len is that of the body, or SIZE_MAX: not known yet. */
static void put_head(struct net_request *r, int status, const char *type, size_t len)
{
	struct buf *b = conn_out(r->c);
	char number[64];

	r->is_begun = true;
	r->is_bodyless = r->method == NET_HEAD || status == 204 || status == 304;
	if (len == SIZE_MAX)
		r->keeps_alive = r->keeps_alive && r->head.minor > 0;
	else
		r->keeps_alive = can_keep_alive(r);
	snprintf(number, sizeof(number), "HTTP/1.1 %d ", status);
	buf_add_str(b, number);
	buf_add_str(b, http_status_str((enum http_status)status));
	buf_add_str(b, "\r\nDate: ");
	buf_add_str(b, hub_date(r->c->hub));
	if (type) {
		buf_add_str(b, "\r\nContent-Type: ");
		add_clean(b, type);
	}
	if (len != SIZE_MAX && status != 204 && status != 304) {
		snprintf(number, sizeof(number), "\r\nContent-Length: %zu", len);
		buf_add_str(b, number);
	} else if (len == SIZE_MAX && r->head.minor > 0) {
		r->is_chunked = !r->is_bodyless;
		if (status != 204 && status != 304)
			buf_add_str(b, "\r\nTransfer-Encoding: chunked");
	}
	if (!r->keeps_alive)
		buf_add_str(b, "\r\nConnection: close");
	else if (r->head.minor == 0)
		buf_add_str(b, "\r\nConnection: keep-alive");
	buf_add_str(b, "\r\n");
	buf_add(b, r->fields.data, r->fields.len);
	buf_add_str(b, "\r\n");
	buf_done(&r->fields);
}

static bool is_over(const struct net_request *r)
{
	return r->is_ended || r->c->is_closing;
}

static void set_ended(struct net_request *r)
{
	r->is_ended = true;
	conn_pause(r->c, false);
}

void net_request_reply(
        struct net_request *r, int status, const char *type, const void *body, size_t len)
{
	if (is_over(r))
		return;
	BUG_IF(r->is_begun);
	put_head(r, status, type, len);
	if (!r->is_bodyless)
		buf_add(conn_out(r->c), body, len);
	server_bound_unsent(r->c->server, len);
	set_ended(r);
}

void net_request_begin(struct net_request *r, int status, const char *type)
{
	if (is_over(r))
		return;
	BUG_IF(r->is_begun);
	put_head(r, status, type, SIZE_MAX);
}

bool net_request_send(struct net_request *r, const void *data, size_t len)
{
	struct buf *b;
	char size[24];

	if (is_over(r) || r->is_bodyless || len == 0)
		return true;
	BUG_IF(!r->is_begun);
	b = conn_out(r->c);
	if (r->is_chunked) {
		buf_add(b, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", len));
		buf_add(b, data, len);
		buf_add(b, "\r\n", 2);
	} else {
		buf_add(b, data, len);
	}
	/* Once told to wait, it waits until on_drain. */
	r->wants_drain |= conn_unsent(r->c) > r->c->server->limits.send_bytes;
	return !r->wants_drain;
}

void net_request_on_drain(
        struct net_request *r, void (*fn)(void *data, struct net_request *r), void *data)
{
	r->on_drain = fn;
	r->on_drain_data = data;
}

void net_request_end(struct net_request *r)
{
	if (is_over(r))
		return;
	BUG_IF(!r->is_begun);
	if (r->is_chunked)
		buf_add_str(conn_out(r->c), "0\r\n\r\n");
	set_ended(r);
}

static void add_json_string(struct buf *b, const char *text)
{
	size_t len = strlen(text);

	buf_add_byte(b, '"');
	while (len) {
		size_t n = text_utf8_len(text, len), step = n ? n : 1;
		uint8_t c = (uint8_t)text[step - 1]; /* of U+0080 to U+009F it is the number */

		if (n == 0 || text_has_control(text, n))
			buf_addf(b, "\\u%04x", n ? c : 0xfffd);
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else
			buf_add(b, text, n);
		text += step;
		len -= step;
	}
	buf_add_byte(b, '"');
}

static void add_error_json(struct buf *b, enum err_kind kind, const char *text, const char *hint)
{
	buf_addf(b, "{\"error\":{\"code\":\"%s\",\"message\":", err_code(kind));
	add_json_string(b, text);
	if (hint && *hint) {
		buf_add_str(b, ",\"hint\":");
		add_json_string(b, hint);
	}
	buf_add_str(b, "}}\n");
}

void net_request_fail(struct net_request *r, const struct err *err)
{
	CLEANUP_BUF struct buf body = BUF_INIT(8 * KIB);

	if (is_over(r))
		return;
	if (r->is_begun) {
		/* Too late for a status. A body without its end says that it is not whole. */
		conn_lose(r->c, err);
		return;
	}
	add_error_json(&body, err->kind, err->text, err->hint);
	net_request_reply(r, err_http_status(err->kind), "application/json", body.data, body.len);
}

void http_refuse(struct http *h, const struct head_fault *fault)
{
	CLEANUP_BUF struct buf body = BUF_INIT(8 * KIB);
	struct net_request *r = h->r;

	if (r && r->is_ended) {
		conn_end(h->c, true);
		return;
	}
	if (r && r->is_begun) {
		struct err why;

		(void)!err_set(&why, fault->kind, "%s", fault->text);
		conn_lose(h->c, &why);
		return;
	}
	if (r)
		r->is_begun = r->is_ended = true;
	add_error_json(&body, fault->kind, fault->text, fault->hint);
	buf_addf(conn_out(h->c),
	        "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
	        "Connection: close\r\n\r\n",
	        fault->status, http_status_str((enum http_status)fault->status),
	        hub_date(h->c->hub), body.len);
	buf_add(&h->c->out, body.data, body.len);
	conn_end(h->c, true);
}

/* The switch to a WebSocket */

bool net_request_wants_ws(const struct net_request *r)
{
	const struct head *h = &r->head;
	const char *version = head_find(h, "sec-websocket-version");
	const char *key = head_find(h, "sec-websocket-key");

	return r->method == NET_GET && h->minor == 1 && head_has_word(h, "upgrade", "websocket") &&
	       head_has_word(h, "connection", "upgrade") && version && strcmp(version, "13") == 0 &&
	       key && strlen(key) == 24 && !h->is_chunked && h->length == 0;
}

int net_request_accept_ws(struct net_request *r, const char *protocol,
        const struct net_ws_handlers *h, void *data, struct net_ws **ret_ws, struct err *err)
{
	const struct net_limits *limits = &r->c->server->limits;
	struct ws_options o = {.message_bytes = limits->ws_message_bytes,
	        .send_bytes = limits->send_bytes,
	        .ping_ms = limits->ws_ping_ms};
	char accept[29];
	struct buf *b;

	BUG_IF(r->is_begun);
	if (!net_request_wants_ws(r))
		return err_set(err, ERR_INVALID, "%s is spoken over a WebSocket", r->head.path);
	if (protocol && !head_has_word(&r->head, "sec-websocket-protocol", protocol))
		return err_set(err, ERR_INVALID, "the WebSocket protocol here is %s", protocol);
	tls_ws_accept(head_find(&r->head, "sec-websocket-key"), accept);
	b = conn_out(r->c);
	buf_addf(b,
	        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	        "Sec-WebSocket-Accept: %s\r\n",
	        accept);
	if (protocol)
		buf_addf(b, "Sec-WebSocket-Protocol: %s\r\n", protocol);
	buf_add(b, r->fields.data, r->fields.len);
	buf_add_str(b, "\r\n");
	r->is_begun = r->is_ended = true;
	conn_pause(r->c, false);
	r->http->ws = ws_new(r->c, &o, h, data);
	*ret_ws = r->http->ws;
	return 0;
}
