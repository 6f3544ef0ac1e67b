/*
 * HTTP/1.1 as a client, one exchange at a time over a channel that is kept; and the step up to a WebSocket.
 * The maker owns a struct http; it owns its channel. One thread. The caller drives it: http_step() waits until bytes
 * can move and moves them; what has arrived is looked at between two steps. A failure means that the connection is
 * of no further use.
 */
#pragma once

#include "base/buf.h"
#include "cli/channel.h"

#define HTTP_BODY_MAX (1 * GIB)

struct http;

struct http_request {
	const char *method;
	const char *path; /* encoded, with the query */
	const char *type; /* of the body; NULL: none */
	const void *body;
	size_t len;
	bool chunked;        /* the body follows by http_put_chunk and http_put_end */
	const char *headers; /* further lines, each with its CR LF; or NULL */
};

/* host: for the Host header; prefix: before every path; bearer: a token; each may be NULL. Copies them. */
struct http *http_new(
        struct channel *take_channel, const char *host, const char *prefix, const char *bearer);
void http_free(struct http *h); /* NULL is fine */

/* Commands */
void http_send(struct http *h,
        const struct http_request *r); /* only queues it; forgets the answer before it */
void http_put_chunk(struct http *h, const void *data, size_t len);
void http_put_end(struct http *h);
/* 1: something has moved; 0: time is over or a signal came; negative. timeout_ms < 0: for ever. */
MUST_CHECK int http_step(struct http *h, int timeout_ms, struct err *err);

/* Queries */
int http_status(const struct http *h); /* 0 until the head has arrived */
bool http_ended(const struct http *h); /* the whole answer has arrived */
struct buf *http_body(struct http *h); /* what has arrived of it and was not consumed yet */
size_t http_unsent(const struct http *h);
bool http_reusable(const struct http *h); /* ended, and the peer keeps the connection */
/* After a 101: the connection itself; bytes that came behind the head are in http_body(). http must outlive its use. */
struct channel *http_channel(struct http *h);
