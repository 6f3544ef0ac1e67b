#include "cli/http.h"

#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/interrupt.h"

#define READ_SIZE (64 * KIB)

struct http {
	struct channel *channel;
	char *host, *prefix, *bearer;
	http_parser parser;
	struct buf out;
	struct buf body;
	int status;
	bool ended;
	bool keep; /* the peer keeps the connection */
	bool upgraded;
};

static int on_headers_complete(http_parser *p)
{
	struct http *h = p->data;

	if (p->status_code >= 100 && p->status_code < 200 && p->status_code != 101)
		return 0; /* the real head follows */
	h->status = (int)p->status_code;
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t len)
{
	struct http *h = p->data;

	buf_add(&h->body, at, len);
	return h->body.overflow;
}

static int on_message_complete(http_parser *p)
{
	struct http *h = p->data;

	if (!h->status)
		return 0;
	h->ended = true;
	h->keep = http_should_keep_alive(p);
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
        .on_headers_complete = on_headers_complete,
        .on_body = on_body,
        .on_message_complete = on_message_complete,
};

struct http *http_new(
        struct channel *take_channel, const char *host, const char *prefix, const char *bearer)
{
	struct http *h = mem_zalloc(sizeof(*h));

	h->channel = take_channel;
	h->host = mem_strdup(host ? host : "berth");
	h->prefix = mem_strdup(prefix ? prefix : "");
	h->bearer = mem_strdup(bearer);
	h->out = BUF_INIT(HTTP_BODY_MAX);
	h->body = BUF_INIT(HTTP_BODY_MAX);
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	channel_close(h->channel);
	buf_done(&h->out);
	buf_done(&h->body);
	free(h->host);
	free(h->prefix);
	free(h->bearer);
	free(h);
}

void http_send(struct http *h, const struct http_request *r)
{
	http_parser_init(&h->parser, HTTP_RESPONSE);
	h->parser.data = h;
	h->status = 0;
	h->ended = h->keep = h->upgraded = false;
	buf_reset(&h->body);
	buf_addf(&h->out, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", r->method, h->prefix, r->path,
	        h->host);
	if (h->bearer)
		buf_addf(&h->out, "Authorization: Bearer %s\r\n", h->bearer);
	if (r->headers)
		buf_add_str(&h->out, r->headers);
	if (r->type)
		buf_addf(&h->out, "Content-Type: %s\r\n", r->type);
	if (r->chunked)
		buf_add_str(&h->out, "Transfer-Encoding: chunked\r\n");
	else if (r->type || r->len)
		buf_addf(&h->out, "Content-Length: %zu\r\n", r->len);
	else if (strcmp(r->method, "GET") != 0)
		buf_add_str(&h->out, "Content-Length: 0\r\n");
	buf_add_str(&h->out, "\r\n");
	if (!r->chunked)
		buf_add(&h->out, r->body, r->len);
}

void http_put_chunk(struct http *h, const void *data, size_t len)
{
	if (len == 0)
		return; /* an empty chunk would be the end */
	buf_addf(&h->out, "%zx\r\n", len);
	buf_add(&h->out, data, len);
	buf_add_str(&h->out, "\r\n");
}

void http_put_end(struct http *h)
{
	buf_add_str(&h->out, "0\r\n\r\n");
}

static int feed(struct http *h, const char *data, size_t len, struct err *err)
{
	size_t used;

	if (h->upgraded) {
		buf_add(&h->body, data, len);
		return 0;
	}
	used = http_parser_execute(&h->parser, &settings, data, len);
	if (h->parser.upgrade && h->status == 101) {
		h->upgraded = h->ended = true;
		buf_add(&h->body, data + used, len - used);
		return 0;
	}
	if (h->body.overflow)
		return err_set(err, ERR_TOO_LARGE, "the server's answer is larger than 1 GiB");
	/* What stands behind an answer was not asked for, and must not pass for the answer to the next request. */
	if (h->ended && used < len)
		h->keep = false;
	enum http_errno bad = HTTP_PARSER_ERRNO(&h->parser);
	if (bad != HPE_OK && bad != HPE_PAUSED)
		return err_set(err, ERR_CORRUPT, "the server's answer is not HTTP: %s",
		        http_errno_description(bad));
	return 0;
}

/* 1 when bytes came, 0 when there are none now. */
static int receive(struct http *h, struct err *err)
{
	char data[READ_SIZE];
	long n = channel_recv(h->channel, data, sizeof(data), err);
	int rc;

	if (n < 0)
		return (int)n;
	if (n > 0) {
		rc = feed(h, data, (size_t)n, err);
		return rc ? rc : 1;
	}
	if (!channel_ended(h->channel))
		return 0;
	if (h->status && !h->upgraded)
		http_parser_execute(&h->parser, &settings, data, 0);
	return h->ended ? 1 : err_set(err, ERR_UNAVAILABLE, "the server closed the connection");
}

static int transmit(struct http *h, struct err *err)
{
	long n;

	if (h->out.len == 0)
		return 0;
	n = channel_send(h->channel, h->out.data, h->out.len, err);
	if (n <= 0)
		return (int)n;
	if ((size_t)n == h->out.len)
		buf_reset(&h->out);
	else
		buf_consume(&h->out, (size_t)n);
	return 1;
}

/* 1 when something moved, 0 when nothing can now. */
static int move(struct http *h, struct err *err)
{
	struct err send_err;
	int sent = transmit(h, &send_err);
	int got = h->ended ? 0 : receive(h, err);

	/* An answer may come although the peer takes no more: it says why. */
	if (got)
		return got;
	if (sent < 0)
		*err = send_err;
	return sent;
}

int http_step(struct http *h, int timeout_ms, struct err *err)
{
	struct pollfd fd = {.fd = channel_fd(h->channel), .events = POLLIN};
	int rc = move(h, err);

	if (rc || timeout_ms == 0)
		return rc;
	if (h->out.len)
		fd.events |= POLLOUT;
	if (interrupt_poll(&fd, 1, timeout_ms) == 0)
		return 0;
	return move(h, err);
}

int http_status(const struct http *h)
{
	return h->status;
}

bool http_ended(const struct http *h)
{
	return h->ended;
}

struct buf *http_body(struct http *h)
{
	return &h->body;
}

size_t http_unsent(const struct http *h)
{
	return h->out.len;
}

bool http_reusable(const struct http *h)
{
	return h->ended && h->keep && !h->upgraded && h->out.len == 0;
}

struct channel *http_channel(struct http *h)
{
	return h->channel;
}
