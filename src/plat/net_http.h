/*
 * One HTTP connection of a server and its exchange in progress. For net_http.c, net_answer.c and net_ws.c only.
 * The connection owns its struct http, that its request; both end where net_priv.h says.
 * Loop thread only. Nothing here fails: what is wrong with a request becomes its answer.
 */
#pragma once

#include "plat/net_head.h"
#include "plat/net_priv.h"

/* Of a body that nobody wants: so much is read, for the sake of the connection; beyond it the connection goes. */
#define HTTP_DISCARD_MAX_BYTES (256 * KIB)

enum body_mode { BODY_UNCHOSEN, BODY_DISCARD, BODY_WHOLE, BODY_STREAM };

struct net_request {
	struct conn *c;
	struct http *http;
	enum net_method method;
	enum body_mode mode;
	bool has_body_arrived;
	bool is_end_told;    /* the handler knows that the body has ended */
	bool wants_continue; /* the peer sends its body only after 100 Continue */
	bool is_begun;       /* the answer's head is written */
	bool is_chunked;     /* the answer */
	bool is_bodyless;    /* the answer must not have a body */
	bool is_ended;       /* nothing more of the answer will come */
	bool keeps_alive;
	bool wants_drain;
	uint64_t n_body; /* bytes of the body so far */
	size_t body_max;
	struct buf body;
	const uint8_t *piece; /* the body, when it lies whole in what is being read */
	struct buf fields;    /* headers of the answer */
	void *data;
	void (*on_close)(void *data, struct net_request *r);
	void *on_close_data;
	void (*on_body)(void *data, struct net_request *r, const void *body, size_t len);
	void (*on_data)(void *data, struct net_request *r, const void *bytes, size_t len);
	void *on_body_data;
	void (*on_drain)(void *data, struct net_request *r);
	void *on_drain_data;
	struct head head;
};

struct http {
	struct conn *c;
	struct net_request *r; /* NULL: waiting for a head */
	struct net_ws *ws;     /* takes over at the end of this turn */
	http_parser parser;
	struct chunk_check chunks;
	const uint8_t *mark; /* what is being read: up to here it was looked at */
	bool is_framing_bad;
	size_t scanned;
	bool is_first_checked;  /* the first line of the head is whole, and well */
	uint64_t body_since_ms; /* when we began to wait for the body */
	uint64_t
	        active_ms; /* when the head began, or bytes of the body came, or the last exchange ended */
};

/* Answers for net itself, and closes. Safe while there is a request (which then counts as answered) and while there is none. */
void http_refuse(struct http *h, const struct head_fault *fault);
void http_request_free(struct net_request *r); /* on_close first */
