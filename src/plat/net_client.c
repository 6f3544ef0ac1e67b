#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/loop_priv.h"
#include "plat/net_addr.h"
#include "plat/net_head.h"
#include "plat/net_tls.h"
#include "plat/net_ws.h"

#define KEY_LEN        24 /* 16 bytes in base64 */
#define BEARER_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

struct client {
	struct conn *c; /* NULL: gone, but names are still being looked up */
	struct net_ws *ws;
	char *host;      /* as it stands in the URL, without brackets */
	char *authority; /* for the header Host */
	char *target;
	char *protocol;
	char *bearer;
	char *socket_path; /* a Unix socket; NULL: TCP */
	uint16_t port;
	struct tls_ctx *tls_ctx; /* NULL: plain */
	char key[KEY_LEN + 1];
	size_t scanned;
	uv_getaddrinfo_t lookup;
	bool is_looking_up;
	struct addrinfo *found;
	struct addrinfo *next; /* to be tried */
	int fd;                /* being connected; -1: none */
	struct loop_poll *poll;
	struct err last; /* why the address before failed */
};

static void client_free(struct client *k)
{
	if (k->found)
		uv_freeaddrinfo(k->found);
	tls_ctx_free(k->tls_ctx);
	free(k->host);
	free(k->authority);
	free(k->target);
	free(k->protocol);
	free(k->bearer);
	free(k->socket_path);
	free(k);
}

/* Base64 of 16 random bytes, made from the random letters themselves; the last one carries two bits. */
static int make_key(char key[KEY_LEN + 1], struct err *err)
{
	static const char letters[] =
	        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t random[KEY_LEN - 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_sys(err, errno, "asking for random bytes");
	for (size_t i = 0; i < sizeof(random); i++)
		key[i] = letters[i < KEY_LEN - 3 ? random[i] & 63 : random[i] & 48];
	memcpy(key + KEY_LEN - 2, "==", 3);
	return 0;
}

static void send_request(struct client *k)
{
	struct buf *b = conn_out(k->c);

	buf_addf(b,
	        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
	        k->target, k->authority, k->key);
	if (k->protocol)
		buf_addf(b, "Sec-WebSocket-Protocol: %s\r\n", k->protocol);
	if (k->bearer)
		buf_addf(b, "Authorization: Bearer %s\r\n", k->bearer);
	buf_add_str(b, "\r\n");
}

static void drop_attempt(struct client *k)
{
	loop_poll_free(STEAL(k->poll));
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

static void connected(struct client *k)
{
	struct conn *c = k->c;
	struct err err;
	int fd = k->fd;
	int rc;

	loop_poll_free(STEAL(k->poll));
	k->fd = -1;
	addr_peer(fd, &c->peer);
	rc = k->socket_path ? uv_pipe_open(&c->uv.pipe, fd) : uv_tcp_open(&c->uv.tcp, fd);
	if (rc < 0) {
		close(fd);
		(void)!loop_uv_err(&err, rc, "connecting to %s", k->authority);
		conn_lose(c, &err);
		return;
	}
	if (!k->socket_path)
		uv_tcp_nodelay(&c->uv.tcp, 1);
	c->is_connecting = false;
	c->peer.is_tls = k->tls_ctx != NULL;
	if (k->tls_ctx && tls_new(k->tls_ctx, k->host, &c->tls, &err) < 0) {
		conn_lose(c, &err);
		return;
	}
	send_request(k);
}

static void try_next(struct client *k);

static void on_attempt(void *data, int events)
{
	struct client *k = data;
	socklen_t len = sizeof(int);
	int sys = 0;

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
		sys = errno;
	if (sys == 0) {
		connected(k);
		return;
	}
	(void)!err_sys(&k->last, sys, "connecting to %s", k->authority);
	drop_attempt(k);
	try_next(k);
}

static bool try_address(struct client *k, const struct sockaddr *sa, socklen_t len)
{
	k->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->fd >= 0 && (connect(k->fd, sa, len) == 0 || errno == EINPROGRESS) &&
	        loop_poll_new(
	                k->c->hub->loop, k->fd, LOOP_WRITE, on_attempt, k, &k->poll, &k->last) == 0)
		return true;
	(void)!err_sys(&k->last, errno, "connecting to %s", k->authority);
	drop_attempt(k);
	return false;
}

static void try_next(struct client *k)
{
	while (k->next) {
		struct addrinfo *a = k->next;

		k->next = a->ai_next;
		if (try_address(k, a->ai_addr, a->ai_addrlen))
			return;
	}
	conn_lose(k->c, &k->last);
}

static void on_found(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
	struct client *k = CONTAINER_OF(lookup, struct client, lookup);

	k->is_looking_up = false;
	k->found = found;
	if (!k->c) {
		client_free(k);
		return;
	}
	if (status < 0) {
		(void)!err_set(&k->last, ERR_UNAVAILABLE, "looking up %s: %s", k->host,
		        uv_strerror(status));
		conn_lose(k->c, &k->last);
		return;
	}
	k->next = found;
	try_next(k);
}

static void start(struct client *k)
{
	struct addrinfo hints = {
	        .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
	struct addr addr;
	char service[8];
	int rc;

	if (k->socket_path) {
		if (addr_connect_unix(k->socket_path, &k->fd, &k->last) < 0)
			conn_lose(k->c, &k->last);
		else
			connected(k);
		return;
	}
	if (addr_parse(k->host, k->port, &addr)) {
		if (!try_address(k, (struct sockaddr *)&addr.sa, addr.len))
			conn_lose(k->c, &k->last);
		return;
	}
	snprintf(service, sizeof(service), "%u", k->port);
	rc = uv_getaddrinfo(k->c->hub->uv, &k->lookup, on_found, k->host, service, &hints);
	k->is_looking_up = rc == 0;
	if (rc < 0) {
		(void)!loop_uv_err(&k->last, rc, "looking up %s", k->host);
		conn_lose(k->c, &k->last);
	}
}

static enum err_kind kind_of_status(unsigned status)
{
	switch (status) {
	case 400:
	case 426:
		return ERR_INVALID;
	case 401:
		return ERR_UNAUTHENTICATED;
	case 403:
		return ERR_FORBIDDEN;
	case 404:
		return ERR_NOT_FOUND;
	case 409:
		return ERR_CONFLICT;
	case 429:
		return ERR_LIMIT;
	default:
		return ERR_UNAVAILABLE;
	}
}

static int check_answer(const struct client *k, const uint8_t *bytes, size_t len, struct err *err)
{
	struct head_fault fault;
	http_parser parser;
	char accept[29];
	const char *got;
	struct head *h = talloc(NULL, struct head);
	int rc = 0;

	BUG_IF(!h);
	if (head_parse_answer(h, &parser, bytes, len, h, &fault) < 0) {
		rc = err_set(err, ERR_INVALID, "the answer of %s: %s", k->authority, fault.text);
		goto out;
	}
	if (parser.status_code != 101) {
		rc = err_set(err, kind_of_status(parser.status_code), "%s answered %u %s",
		        k->authority, parser.status_code, http_status_str(parser.status_code));
		goto out;
	}
	tls_ws_accept(k->key, accept);
	got = head_find(h, "sec-websocket-accept");
	if (!got || strcmp(got, accept) != 0 || !head_has_word(h, "upgrade", "websocket") ||
	        !head_has_word(h, "connection", "upgrade"))
		rc = err_set(err, ERR_INVALID, "%s does not speak WebSocket", k->authority);
	got = head_find(h, "sec-websocket-protocol");
	if (rc == 0 && (got || k->protocol) &&
	        (!got || !k->protocol || strcmp(got, k->protocol) != 0))
		rc = err_set(
		        err, ERR_INVALID, "%s speaks another WebSocket protocol", k->authority);
out:
	talloc_free(h);
	return rc;
}

static size_t on_bytes(struct conn *c, const uint8_t *bytes, size_t len)
{
	struct client *k = c->up;
	struct net_ws *ws = k->ws;
	struct err err;
	size_t n = 0;

	switch (head_scan(bytes, len, &k->scanned, &n)) {
	case HEAD_MORE:
		if (len < c->held_max)
			return 0;
		/* fall through */
	case HEAD_BAD:
		(void)!err_set(&err, ERR_INVALID, "%s does not speak HTTP", k->authority);
		conn_lose(c, &err);
		return len;
	case HEAD_WHOLE:
		break;
	}
	if (check_answer(k, bytes, n, &err) < 0) {
		conn_lose(c, &err);
		return len;
	}
	client_free(k);
	ws_open(ws);
	ws_opened(ws);
	return n;
}

static bool on_settle(struct conn *c)
{
	return false;
}

static void on_flushed(struct conn *c)
{
}

static void on_eof(struct conn *c)
{
	struct client *k = c->up;
	struct err err;

	(void)!err_set(&err, ERR_UNAVAILABLE, "%s closed the connection", k->authority);
	conn_lose(c, &err);
}

static void on_deadline(struct conn *c)
{
	struct client *k = c->up;
	struct err err;

	(void)!err_set(&err, ERR_TIMEOUT, "%s does not answer", k->authority);
	conn_lose(c, &err);
}

static void on_gone(struct conn *c, const struct err *why)
{
	struct client *k = c->up;

	drop_attempt(k);
	ws_gone(k->ws, why);
	k->c = NULL;
	if (!k->is_looking_up)
		client_free(k);
}

static const struct conn_ops client_ops = {
        .on_bytes = on_bytes,
        .on_settle = on_settle,
        .on_eof = on_eof,
        .on_flushed = on_flushed,
        .on_deadline = on_deadline,
        .on_gone = on_gone,
};

static char *cut(const char *text, size_t len)
{
	char *s = mem_zalloc(len + 1);

	memcpy(s, text, len);
	return s;
}

static int bad_url(const char *url, struct err *err)
{
	(void)!err_set(err, ERR_INVALID, "the address '%s' is not one of a server", url);
	return err_hint(err, "http://HOST:PORT/PATH, https://HOST:PORT/PATH or unix:SOCKET:/PATH");
}

static int parse_url(struct client *k, const char *url, bool *ret_is_tls, struct err *err)
{
	struct http_parser_url u;
	const char *host;
	size_t host_len;

	*ret_is_tls = false;
	for (const char *s = url; *s; s++)
		if ((uint8_t)*s <= 0x20 || *s == 0x7f)
			return bad_url(url, err);
	if (strncmp(url, "unix:", 5) == 0) {
		const char *colon = NULL;

		for (const char *s = strstr(url + 5, ":/"); s; s = strstr(s + 1, ":/"))
			colon = s;
		if (!colon || colon == url + 5)
			return bad_url(url, err);
		k->socket_path = cut(url + 5, (size_t)(colon - url) - 5);
		k->target = mem_strdup(colon + 1);
		k->authority = mem_strdup("localhost");
		return 0;
	}
	http_parser_url_init(&u);
	*ret_is_tls = strncmp(url, "https://", 8) == 0;
	if ((!*ret_is_tls && strncmp(url, "http://", 7) != 0) ||
	        http_parser_parse_url(url, strlen(url), 0, &u) != 0 ||
	        !(u.field_set & 1 << UF_HOST) || (u.field_set & 1 << UF_USERINFO))
		return bad_url(url, err);
	k->port = u.field_set & 1 << UF_PORT ? u.port : *ret_is_tls ? 443 : 80;
	k->host = cut(url + u.field_data[UF_HOST].off, u.field_data[UF_HOST].len);
	host = strstr(url, "://") + 3;
	host_len = strcspn(host, "/?#");
	k->authority = cut(host, host_len);
	k->target = host[host_len] == '/' ? mem_strdup(host + host_len) : mem_strdup("/");
	return 0;
}

int net_ws_connect(struct loop *loop, const struct net_ws_options *o,
        const struct net_ws_handlers *h, void *data, struct net_ws **ret_ws, struct err *err)
{
	struct ws_options ws = {.message_bytes = o->message_bytes ? o->message_bytes : 16 * MIB,
	        .send_bytes = o->send_bytes ? o->send_bytes : 256 * KIB,
	        .ping_ms = o->ping_ms ? o->ping_ms : 15000,
	        .is_client = true};
	struct client *k = mem_zalloc(sizeof(*k));
	struct net_hub *hub;
	bool is_tls;
	int rc;

	k->fd = -1;
	rc = parse_url(k, o->url, &is_tls, err);
	if (rc == 0 && o->bearer &&
	        (!*o->bearer || strspn(o->bearer, BEARER_LETTERS) != strlen(o->bearer)))
		rc = err_set(err, ERR_INVALID, "the token has characters that no token has");
	if (rc == 0)
		rc = make_key(k->key, err);
	if (rc == 0 && is_tls)
		rc = tls_ctx_new_client(o->ca_path, o->pin_sha256_hex, &k->tls_ctx, err);
	if (rc < 0) {
		client_free(k);
		return rc;
	}
	k->protocol = mem_strdup(o->protocol);
	k->bearer = mem_strdup(o->bearer);
	hub = hub_use(loop);
	k->c = conn_new(hub, k->socket_path != NULL, &client_ops, k);
	hub_leave(hub);
	hub_unref(hub);
	k->c->is_connecting = true;
	k->ws = ws_new(k->c, &ws, h, data);
	conn_set_deadline(k->c, hub_now_ms(hub) + (o->connect_ms ? o->connect_ms : 10000));
	*ret_ws = k->ws;
	start(k);
	return 0;
}
