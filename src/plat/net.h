/*
 * HTTP/1.1 and WebSocket, both ends, over Unix sockets, TCP and TLS. The only header through which the rest of Berth
 * sees a network; the libraries behind it are named in doc/adr/0001.
 * Loop thread only; SIGPIPE is ignored from the first use on. A `struct net_request` is one exchange: it lives until its answer
 * is complete or its connection is lost, and is released by net itself after on_close; talloc memory hung on it dies with it.
 * Output gathers until the end of the turn and leaves in one write. No on_close comes from inside a call of this header.
 * Peers' mistakes are answered by net itself (400, 408, 413, 431, 505, ...) in the JSON form of the brief and never
 * reach a handler. Nothing here blocks; nothing is buffered beyond the limits below.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct loop;
struct net_server;
struct net_request;
struct net_ws;

enum net_method { NET_GET, NET_HEAD, NET_POST, NET_PUT, NET_PATCH, NET_DELETE, NET_OTHER };

/* Who is at the other end. */
struct net_peer {
	bool is_unix; /* uid, gid, pid are true then (SO_PEERCRED) */
	uint32_t uid;
	uint32_t gid;
	int32_t pid;
	bool is_tls;
	char addr[64]; /* "127.0.0.1", "::1", or "unix" */
};

/* What counts as one peer where peers are counted: an address (IPv6: its /64), or an account on the sockets. */
void net_peer_group(const struct net_peer *p, char out[64]);

/* 0 means the default in brackets. */
struct net_limits {
	size_t head_bytes; /* request line and headers [32 KiB] */
	size_t body_bytes; /* of a request read whole [8 MiB]; a streamed body has no limit */
	size_t send_bytes; /* unsent bytes of one connection above which net_request_send reports it [256 KiB] */
	/* Of answers that are given whole, on all connections together; beyond it the one goes that has stood still for longest. [256 MiB] */
	size_t unsent_bytes;
	/* All together; beyond it the oldest one without a whole request goes, unless it is quite new; then the oldest of what there is
	 * most of: new ones, kept alive ones, ones that have yet to take their answer; then one whose body, which is wanted, has not
	 * come yet; nobody who waits for an answer. A quarter of it may be without a whole request.
	 * As many as the process may have files open, at most. [1024] */
	unsigned connections;
	/* From one address (IPv6: from one /64), or of one account on the sockets: of these the same goes first, and if nothing can
	 * go, the newcomer. Not for root and our own account on a socket. [no ceiling of its own] */
	unsigned connections_per_peer;
	unsigned reserve; /* more, for root and our own account on a socket [0] */
	unsigned
	        head_ms; /* from the first byte, or from connecting on, to send a whole head [10 s] */
	/* To send a body that is read whole, or thrown away, and beside that a second for each KiB of it. [30 s] */
	unsigned body_ms;
	unsigned idle_ms; /* kept alive without a request [75 s] */
	/* A peer that takes no bytes of an answer, or sends none of a body. [30 s] */
	unsigned stall_ms;
	size_t ws_message_bytes; /* [16 MiB] */
	/* Of silence before a ping; three times as much ends the WebSocket. [15 s] */
	unsigned ws_ping_ms;
};

struct net_handlers {
	/* The head has arrived. Now or later: net_request_read_all or net_request_read_stream for a body, net_request_accept_ws for a
	 * WebSocket, or any answer (an unread body is drained or the connection closed). Until then nothing more is read. */
	void (*on_request)(void *data, struct net_request *r);
};

struct net_tcp_options {
	const char *host;      /* "127.0.0.1", "0.0.0.0", "::", a name */
	uint16_t port;         /* 0: any; ask net_server_port */
	const char *cert_path; /* PEM; NULL: no TLS here */
	const char *key_path;  /* its owner's alone, and he is we or root; else FORBIDDEN */
	bool needs_tls_1_3;    /* else 1.2 will do */
	/* Plain HTTP is served too: the first byte decides. Without it a plain request gets 400 with a hint. */
	bool plain;
};

/* Life */
MUST_CHECK int net_server_new(struct loop *loop, const struct net_limits *limits,
        const struct net_handlers *handlers, void *data, struct net_server **ret_server,
        struct err *err);
/* A stale socket file is replaced; a live one is CONFLICT. gid UINT32_MAX: unchanged. */
MUST_CHECK int net_server_listen_unix(
        struct net_server *s, const char *path, uint32_t mode, uint32_t gid, struct err *err);
MUST_CHECK int net_server_listen_tcp(
        struct net_server *s, const struct net_tcp_options *o, struct err *err);
uint16_t net_server_port(const struct net_server *s); /* of the first TCP listener, 0 when none */
/* Back-pressure from above: while paused no socket is read (and none accepted). */
void net_server_pause(struct net_server *s, bool paused);
/* Stops listening, closes every connection (what is ready to be sent gets one try, and on_close is called), frees itself when the
 * last one is gone: the loop runs once more for that, or is freed. */
void net_server_close(struct net_server *s);

/* What was asked. Pointers live as long as the request. */
enum net_method net_request_method(const struct net_request *r);
/* Decoded UTF-8 without control characters, normalised, begins with '/'; never "..": those got 400. */
const char *net_request_path(const struct net_request *r);
/* Decoded value of the first, or NULL. May hold control characters, but no NUL. */
const char *net_request_query(const struct net_request *r, const char *key);
/* The nth value of a key that may come several times, from 0; NULL when there are not so many. */
const char *net_request_query_nth(const struct net_request *r, const char *key, unsigned nth);
/* The nth key as it came, from 0, each as often as it came; NULL when there are not so many. */
const char *net_request_query_key(const struct net_request *r, unsigned nth);
/* The first of that name, in any case; NULL when absent. HTTP/1.1 has exactly one Host. */
const char *net_request_header_in(const struct net_request *r, const char *name);
const struct net_peer *net_request_peer(const struct net_request *r);
/* A well-formed wish for a WebSocket of version 13. A page of another origin may wish, too: who trusts cookies compares Origin. */
bool net_request_wants_ws(const struct net_request *r);

/* For the handler's own use; freed by the handler's on_close, or hung on net_request_ctx with talloc. */
void net_request_set_data(struct net_request *r, void *data);
void *net_request_data(const struct net_request *r);
void *net_request_ctx(struct net_request *r); /* talloc context of the exchange */

/* Called once, last: the exchange is over (the answer is on its way) or the peer has gone. After it r is dead. A peer that closes its
 * side while it waits for an answer has gone. Calls on r between the loss and on_close do nothing. */
void net_request_on_close(
        struct net_request *r, void (*on_close)(void *data, struct net_request *r), void *data);

/* The body whole, at most max bytes (0: the server's limit): on_body once; over it net answers 413. Where there is no body, len is 0.
 * The bytes are lent for the call. */
void net_request_read_all(struct net_request *r, size_t max,
        void (*on_body)(void *data, struct net_request *r, const void *body, size_t len),
        void *data);
/* The body as it comes; len 0 is its end. Pause to keep the peer waiting (nothing more is read from it). */
void net_request_read_stream(struct net_request *r,
        void (*on_data)(void *data, struct net_request *r, const void *bytes, size_t len),
        void *data);
void net_request_pause(struct net_request *r, bool paused);

/* The answer, now or later. Header first, then either one reply or begin, send..., end. Control characters in a header become '?'. */
void net_request_header(struct net_request *r, const char *name, const char *value);
void net_request_reply(
        struct net_request *r, int status, const char *type, const void *body, size_t len);
void net_request_begin(struct net_request *r, int status,
        const char *type); /* chunked, or until close for HTTP/1.0 */
/* False: more than send_bytes are unsent; the bytes are taken all the same, but wait for on_drain, which comes when half of
 * send_bytes is left, before the next. */
bool net_request_send(struct net_request *r, const void *data, size_t len);
void net_request_on_drain(
        struct net_request *r, void (*on_drain)(void *data, struct net_request *r), void *data);
void net_request_end(struct net_request *r);
/* {"error":{...}} with the status of the kind; the text of err and its hint. After begin: the connection breaks off, so that the
 * peer knows that the answer is not whole. */
void net_request_fail(struct net_request *r, const struct err *err);

/* WebSocket, either end. Binary messages unless text is asked for. Pings are answered, and sent after ping_ms of silence;
 * a peer silent for three times as long is closed, unless it is we who do not read. on_close comes exactly once, after it the ws is dead. */
struct net_ws_handlers {
	void (*on_open)(void *data, struct net_ws *ws); /* client only */
	void (*on_message)(
	        void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text);
	void (*on_drain)(void *data, struct net_ws *ws); /* below send_bytes again */
	/* why->kind ERR_NONE: closed in good order, by 1000 or 1001. The peer's reason is in its text otherwise. */
	void (*on_close)(void *data, struct net_ws *ws, const struct err *why);
};
/* Takes over the request (its on_close is not called any more, what hangs on its ctx dies at the end of this turn). protocol NULL: none
 * is spoken; else the peer must have offered it. Headers set before go along. On failure the request is still there to be answered. */
MUST_CHECK int net_request_accept_ws(struct net_request *r, const char *protocol,
        const struct net_ws_handlers *h, void *data, struct net_ws **ret_ws, struct err *err);
/* False: as net_request_send. Text is UTF-8. A client waits for on_open; after the closing messages go nowhere. */
bool net_ws_send(struct net_ws *ws, const void *data, size_t len, bool is_text);
size_t net_ws_unsent(const struct net_ws *ws);
/* Messages that lie in the same 4 KiB as the one being handed on still come. */
void net_ws_pause(struct net_ws *ws, bool paused);
/* code: 1000 to 1003, 1007 to 1011, or 3000 to 4999; of the reason at most 122 bytes go along. No message is handed on any more;
 * on_close comes when the peer has answered, at the latest after 2 s. */
void net_ws_close(struct net_ws *ws, uint16_t code, const char *reason);
const struct net_peer *net_ws_peer(const struct net_ws *ws);

/* A WebSocket as client. url: "unix:PATH:/v1/link", "http://host:port/path", "https://...". */
struct net_ws_options {
	const char *url;
	const char *protocol;
	const char *bearer;  /* token, or NULL */
	const char *ca_path; /* PEM to trust instead of the system's, or NULL */
	/* The peer's certificate must be this one (a certificate made at first start), or NULL. With ca_path both must hold; alone it
	 * stands for the name, too. */
	const char *pin_sha256_hex;
	size_t message_bytes; /* 0: as in net_limits, like the following */
	size_t send_bytes;
	unsigned ping_ms;
	unsigned connect_ms; /* from the call to on_open [10 s] */
};
/* Failing to connect arrives as on_close; a URL, a pin or a file that cannot be used, at once. */
MUST_CHECK int net_ws_connect(struct loop *loop, const struct net_ws_options *o,
        const struct net_ws_handlers *h, void *data, struct net_ws **ret_ws, struct err *err);

/* A self-signed certificate for these names and addresses, P-256, ten years; files made mode 0600 / 0644. */
MUST_CHECK int net_make_certificate(const char *cert_path, const char *key_path,
        const char *const *names, size_t n_names, struct err *err);
/* The names and addresses that it is for; borrowed for the call. */
MUST_CHECK int net_certificate_names(const char *cert_path,
        void (*fn)(void *data, const char *name), void *data, struct err *err);
/* SHA-256 of the DER form, lower-case hexadecimal: for pinning and for people to compare. */
MUST_CHECK int net_certificate_pin(const char *cert_path, char ret_hex[65], struct err *err);
