#include "plat/net_http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "base/mem.h"
#include "plat/net_ws.h"

/* Beside the strings of the head: what a handler hangs on a request comes from the same block. */
#define POOL_BYTES 1024
/* Beside the time that every body has: so fast at least. */
#define BODY_BYTES_PER_S 1024

static enum net_method method_of(const http_parser *p)
{
	switch (p->method) {
	case HTTP_GET:
		return NET_GET;
	case HTTP_HEAD:
		return NET_HEAD;
	case HTTP_POST:
		return NET_POST;
	case HTTP_PUT:
		return NET_PUT;
	case HTTP_PATCH:
		return NET_PATCH;
	case HTTP_DELETE:
		return NET_DELETE;
	default:
		return NET_OTHER;
	}
}

static void refuse_as(
        struct http *h, int status, enum err_kind kind, const char *text, const char *hint)
{
	http_refuse(h,
	        &(struct head_fault){.status = status, .kind = kind, .text = text, .hint = hint});
}

void http_request_free(struct net_request *r)
{
	if (r->on_close)
		r->on_close(r->on_close_data, r);
	buf_done(&r->body);
	buf_done(&r->fields);
	talloc_free(r);
}

static void tell_end(struct http *h)
{
	struct net_request *r = h->r;

	if (!r->has_body_arrived || r->is_end_told || h->c->is_paused || h->c->is_closing)
		return;
	if (r->mode == BODY_UNCHOSEN && !r->is_ended)
		return;
	r->is_end_told = true;
	if (r->is_ended)
		return;
	if (r->mode == BODY_STREAM) {
		r->on_data(r->on_body_data, r, "", 0);
	} else if (r->mode == BODY_WHOLE) {
		const void *body = r->piece ? r->piece : r->body.data;

		r->on_body(r->on_body_data, r, body ? body : "", (size_t)r->n_body);
	}
}

static int expectation(struct net_request *r, struct head_fault *fault)
{
	const char *expect = head_find(&r->head, "expect");

	if (!expect || r->head.minor == 0)
		return 0;
	if (strcasecmp(expect, "100-continue") != 0) {
		*fault = (struct head_fault){.status = 417,
		        .kind = ERR_UNSUPPORTED,
		        .text = "the only expectation here is 100-continue"};
		return -(int)fault->kind;
	}
	r->wants_continue = !r->has_body_arrived;
	return 0;
}

static void begin_request(struct http *h, const uint8_t *bytes, size_t len)
{
	struct net_request *r = talloc_pooled_object(NULL, struct net_request, 8, len + POOL_BYTES);
	struct net_server *s = h->c->server;
	struct head_fault fault;

	BUG_IF(!r);
	memset(r, 0, offsetof(struct net_request, head));
	r->c = h->c;
	r->http = h;
	r->body = BUF_INIT(s->limits.body_bytes);
	r->fields = BUF_INIT(64 * KIB);
	if (head_parse_request(r, &h->parser, bytes, len, &r->head, &fault) < 0) {
		http_request_free(r);
		http_refuse(h, &fault);
		return;
	}
	h->parser.data = h;
	h->chunks = (struct chunk_check){0};
	h->is_framing_bad = false;
	r->method = method_of(&h->parser);
	r->keeps_alive = http_should_keep_alive(&h->parser);
	r->has_body_arrived = !r->head.is_chunked && r->head.length == 0;
	if (r->has_body_arrived)
		server_set_wait(h->c, CONN_BUSY);
	h->body_since_ms = hub_now_ms(h->c->hub);
	h->r = r;
	if (expectation(r, &fault) < 0) {
		http_refuse(h, &fault);
		return;
	}
	s->handlers.on_request(s->data, r);
	tell_end(h);
}

/* The head is not whole; up to `seen` it was looked at before. */
static bool is_first_line_bad(struct http *h, const uint8_t *bytes, size_t len, size_t seen)
{
	struct head_fault fault;

	if (h->is_first_checked || !memchr(bytes + seen, '\n', len - seen))
		return false;
	h->is_first_checked = true;
	if (head_check_first(bytes, len, &fault) == 0)
		return false;
	http_refuse(h, &fault);
	return true;
}

static size_t take_head(struct http *h, const uint8_t *bytes, size_t len)
{
	struct conn *c = h->c;
	size_t seen = h->scanned;
	size_t max = c->server->limits.head_bytes;
	size_t n = 0;

	if (c->is_plain_refused) {
		refuse_as(h, 400, ERR_INVALID, "plain HTTP was sent to a port that speaks HTTPS",
		        "use https://");
		return len;
	}
	if (c->wait == CONN_IDLE) {
		server_set_wait(c, CONN_FRESH);
		h->active_ms = hub_now_ms(c->hub);
	}
	/* An empty line before a request was usual once and is still allowed. */
	if (bytes[0] == '\r' && (len == 1 || bytes[1] == '\n'))
		return len == 1 ? 0 : 2;
	if (!isupper(bytes[0])) {
		refuse_as(h, 400, ERR_INVALID, "this is not HTTP", NULL);
		return len;
	}
	switch (head_scan(bytes, len, &h->scanned, &n)) {
	case HEAD_BAD:
		refuse_as(h, 400, ERR_INVALID, "a line of the head does not end in CR LF", NULL);
		return len;
	case HEAD_MORE:
		if (len <= max)
			return is_first_line_bad(h, bytes, len, seen) ? len : 0;
		n = len;
		break;
	case HEAD_WHOLE:
		break;
	}
	h->scanned = 0;
	h->is_first_checked = false;
	if (n <= max)
		begin_request(h, bytes, n);
	else if (memchr(bytes, '\n', max))
		refuse_as(h, 431, ERR_TOO_LARGE, "the head is too large", NULL);
	else
		refuse_as(h, 414, ERR_TOO_LARGE, "the address is too long", NULL);
	return n;
}

static int on_piece(http_parser *p, const char *at, size_t len)
{
	struct http *h = p->data;
	struct net_request *r = h->r;
	const uint8_t *bytes = (const uint8_t *)at;

	if (r->head.is_chunked) {
		if (!chunk_check_framing(&h->chunks, h->mark, (size_t)(bytes - h->mark)) ||
		        !chunk_check_data(&h->chunks)) {
			h->is_framing_bad = true;
			return 1;
		}
		h->mark = bytes + len;
	}
	r->n_body += len;
	if (r->is_ended)
		return 0;
	if (r->mode == BODY_STREAM) {
		r->on_data(r->on_body_data, r, bytes, len);
	} else if (r->mode == BODY_WHOLE) {
		if (r->n_body > r->body_max)
			refuse_as(h, 413, ERR_TOO_LARGE, "the body is too large", NULL);
		else if (r->head.has_length && r->head.length == len)
			r->piece = bytes;
		else
			buf_add(&r->body, bytes, len);
	}
	if (h->c->is_paused || h->c->is_closing || h->c->is_ending)
		http_parser_pause(p, 1);
	return 0;
}

static int on_body_end(http_parser *p)
{
	struct http *h = p->data;

	h->r->has_body_arrived = true;
	server_set_wait(h->c, CONN_BUSY);
	http_parser_pause(p, 1);
	return 0;
}

static size_t take_body(struct http *h, const uint8_t *bytes, size_t len)
{
	static const http_parser_settings settings = {
	        .on_body = on_piece, .on_message_complete = on_body_end};
	struct net_request *r = h->r;
	size_t n;

	h->mark = bytes;
	n = http_parser_execute(&h->parser, &settings, (const char *)bytes, len);
	if (h->c->is_ending || h->c->is_closing)
		return len;
	if (HTTP_PARSER_ERRNO(&h->parser) == HPE_PAUSED)
		http_parser_pause(&h->parser, 0);
	if (r->head.is_chunked && !h->is_framing_bad)
		h->is_framing_bad =
		        !chunk_check_framing(&h->chunks, h->mark, (size_t)(bytes + n - h->mark));
	if (HTTP_PARSER_ERRNO(&h->parser) != HPE_OK || h->is_framing_bad) {
		refuse_as(h, 400, ERR_INVALID, "the chunks of the body are not well-formed", NULL);
		return len;
	}
	h->active_ms = hub_now_ms(h->c->hub);
	tell_end(h);
	if (r->piece && !r->is_end_told)
		buf_add(&r->body, r->piece, (size_t)r->n_body);
	r->piece = NULL;
	return n;
}

static size_t on_bytes(struct conn *c, const uint8_t *bytes, size_t len)
{
	struct http *h = c->up;

	if (h->ws)
		return 0;
	if (!h->r)
		return take_head(h, bytes, len);
	if (h->r->has_body_arrived || (h->r->mode == BODY_UNCHOSEN && !h->r->is_ended))
		return 0;
	return take_body(h, bytes, len);
}

static void finish(struct http *h)
{
	struct net_request *r = h->r;
	bool keeps_alive = r->keeps_alive;

	h->r = NULL;
	if (keeps_alive) {
		server_set_wait(h->c, CONN_IDLE);
		h->active_ms = hub_now_ms(h->c->hub);
	} else {
		conn_end(h->c, !r->has_body_arrived || h->c->held.len > 0);
	}
	http_request_free(r);
}

static void hand_over(struct http *h)
{
	struct net_request *r = h->r;

	ws_open(h->ws);
	r->on_close = NULL;
	http_request_free(r);
	free(h);
}

static bool on_settle(struct conn *c)
{
	struct http *h = c->up;
	struct net_request *r = h->r;

	if (!r)
		return false;
	if (c->is_ending) {
		h->r = NULL;
		http_request_free(r);
		return false;
	}
	if (h->ws) {
		hand_over(h);
		return true;
	}
	tell_end(h);
	if (!r->is_ended)
		return false;
	if (!r->has_body_arrived) {
		if (r->keeps_alive && !r->wants_continue && r->n_body <= HTTP_DISCARD_MAX_BYTES)
			return false;
		r->keeps_alive = false;
	} else if (r->keeps_alive && conn_unsent(c) > c->server->limits.send_bytes) {
		server_set_wait(c, CONN_LEAVING); /* it waits for its peer to take the answer */
		return false;
	}
	finish(h);
	return !c->is_ending;
}

static void on_eof(struct conn *c)
{
	struct http *h = c->up;
	struct err why;

	if (h->r && !h->r->is_ended) {
		(void)!err_set(&why, ERR_UNAVAILABLE, "the peer has gone");
		conn_lose(c, &why);
		return;
	}
	conn_end(c, false);
}

static bool waits_for_body(const struct http *h)
{
	return !h->r->has_body_arrived && !h->c->is_paused &&
	       (h->r->mode != BODY_UNCHOSEN || h->r->is_ended);
}

/* A stream may come as it pleases, as long as something comes. */
static uint64_t body_deadline_ms(const struct http *h)
{
	const struct net_limits *limits = &h->c->server->limits;
	uint64_t stall_ms = h->active_ms + limits->stall_ms;

	return h->r->mode == BODY_STREAM
	               ? stall_ms
	               : MIN(stall_ms, h->body_since_ms + limits->body_ms +
	                                       h->r->n_body * 1000 / BODY_BYTES_PER_S);
}

static void update_deadline(struct http *h)
{
	struct conn *c = h->c;
	const struct net_limits *limits = &c->server->limits;

	if (!h->r)
		c->deadline_ms =
		        h->active_ms + (c->wait == CONN_IDLE ? limits->idle_ms : limits->head_ms);
	else if (conn_unsent(c))
		c->deadline_ms = c->sent_ms + c->stall_ms;
	else
		c->deadline_ms = waits_for_body(h) ? body_deadline_ms(h) : 0;
	conn_set_deadline(c, c->deadline_ms);
}

static void on_flushed(struct conn *c)
{
	struct http *h = c->up;
	struct net_request *r = h->r;

	if (r && r->wants_drain && !r->is_ended &&
	        conn_unsent(c) <= c->server->limits.send_bytes / 2) {
		r->wants_drain = false;
		if (r->on_drain)
			r->on_drain(r->on_drain_data, r);
	}
	if (!c->is_closing)
		update_deadline(h);
}

static void on_deadline(struct conn *c)
{
	struct http *h = c->up;
	uint64_t now_ms = hub_now_ms(c->hub);
	struct err why;

	if (h->r && conn_unsent(c)) {
		if (!conn_is_sending(c)) {
			(void)!err_set(&why, ERR_TIMEOUT, "the peer takes no bytes");
			conn_lose(c, &why);
			return;
		}
	} else if (c->server->is_paused) {
		h->active_ms = h->body_since_ms = now_ms; /* it is we who do not read */
	} else if (!h->r && (c->wait == CONN_IDLE || c->held.len == 0)) {
		conn_lose(c, NULL);
		return;
	} else if (!h->r || (waits_for_body(h) && now_ms >= body_deadline_ms(h))) {
		refuse_as(h, 408, ERR_TIMEOUT, "the request did not arrive in time", NULL);
		return;
	}
	update_deadline(h);
}

static void on_gone(struct conn *c, const struct err *why)
{
	struct http *h = c->up;

	if (h->ws) {
		h->r->on_close = NULL;
		ws_gone(h->ws, why);
	}
	if (h->r)
		http_request_free(h->r);
	free(h);
}

const struct conn_ops http_ops = {
        .on_bytes = on_bytes,
        .on_settle = on_settle,
        .on_eof = on_eof,
        .on_flushed = on_flushed,
        .on_deadline = on_deadline,
        .on_gone = on_gone,
};

void *http_new(struct conn *c)
{
	struct http *h = mem_zalloc(sizeof(*h));

	h->c = c;
	h->active_ms = hub_now_ms(c->hub);
	c->stall_ms = c->server->limits.stall_ms;
	c->held_max = c->server->limits.head_bytes +
	              1; /* one more than may be: else it is never seen to be too much */
	return h;
}
