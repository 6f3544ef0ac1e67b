#include "plat/net_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/loop_priv.h"
#include "plat/net_addr.h"
#include "plat/net_tls.h"
#include "plat/net_ws.h"

#define BACKLOG 511
/* Of one listener: what is there already has its turn, too. */
#define ACCEPTS_PER_TURN 16

struct listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_pipe_t pipe;
		uv_tcp_t tcp;
	} uv;
	struct net_server *server;
	struct listener *next;
	struct tls_ctx *tls_ctx;
	bool is_pipe;
	bool is_plain;
	bool has_waiting; /* a connection that libuv has taken and we have not */
	unsigned n_taken; /* in this turn */
	uint16_t port;
	char *path; /* of the socket, and what the file there was when we made it */
	dev_t dev;
	ino_t ino;
};

static void fill(unsigned *value, unsigned otherwise)
{
	if (*value == 0)
		*value = otherwise;
}

static void fill_size(size_t *value, size_t otherwise)
{
	if (*value == 0)
		*value = otherwise;
}

int net_server_new(struct loop *loop, const struct net_limits *limits,
        const struct net_handlers *handlers, void *data, struct net_server **ret_server,
        struct err *err)
{
	struct net_server *s = mem_zalloc(sizeof(*s));

	s->hub = hub_use(loop);
	if (limits)
		s->limits = *limits;
	fill_size(&s->limits.head_bytes, 32 * KIB);
	fill_size(&s->limits.body_bytes, 8 * MIB);
	fill_size(&s->limits.send_bytes, 256 * KIB);
	fill_size(&s->limits.ws_message_bytes, 16 * MIB);
	fill_size(&s->limits.unsent_bytes, 256 * MIB);
	fill(&s->limits.connections, 1024);
	fill(&s->limits.head_ms, 10000);
	fill(&s->limits.body_ms, 30000);
	fill(&s->limits.idle_ms, 75000);
	fill(&s->limits.stall_ms, 30000);
	fill(&s->limits.ws_ping_ms, 15000);
	/* http-parser has a ceiling of its own, 80 KiB. */
	s->limits.head_bytes = MIN(s->limits.head_bytes, 64 * KIB);
	s->handlers = *handlers;
	s->data = data;
	LIST_INSERT_HEAD(&s->hub->servers, s, link);
	s->limits.connections = server_max_connections(&s->limits);
	for (int i = 0; i < CONN_N_WAITS; i++)
		TAILQ_INIT(&s->waits[i]);
	*ret_server = s;
	return 0;
}

static void free_when_unused(struct net_server *s)
{
	if (!s->is_closing || s->n_users)
		return;
	hub_unref(s->hub);
	free(s);
}

void server_conn_gone(struct conn *c)
{
	c->server->n_users--;
	free_when_unused(c->server);
}

static struct conn *new_conn(struct net_server *s, bool is_pipe)
{
	struct conn *c = conn_new(s->hub, is_pipe, &http_ops, NULL);

	c->server = s;
	c->since_turn = s->turn;
	s->n_users++;
	s->n_conns++;
	c->up = http_new(c);
	server_set_wait(c, CONN_FRESH);
	return c;
}

/* On a socket the peer is told; elsewhere it might speak TLS, which is not worth beginning. */
static void turn_away(struct conn *c, const char *text)
{
	if (c->peer.is_unix)
		http_refuse(c->up, &(struct head_fault){.status = 429,
		                           .kind = ERR_LIMIT,
		                           .text = text,
		                           .hint = "close some, or try again in a moment"});
	conn_lose(c, NULL);
}

static void take_connection(struct listener *l)
{
	struct conn *c = new_conn(l->server, l->is_pipe);
	const char *text;
	int fd;

	l->n_taken++;
	if (uv_accept(&l->uv.stream, &c->uv.stream) < 0 || uv_fileno(&c->uv.handle, &fd) < 0) {
		conn_lose(c, NULL);
		return;
	}
	addr_peer(fd, &c->peer);
	if (!server_admit(c, &text)) {
		turn_away(c, text);
		return;
	}
	if (!l->is_pipe)
		uv_tcp_nodelay(&c->uv.tcp, 1);
	if (l->tls_ctx) {
		c->tls_ctx = l->tls_ctx;
		c->is_undecided = true;
		c->is_plain_allowed = l->is_plain;
	}
	conn_touch(c);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct listener *l = stream->data;

	if (status < 0)
		return;
	l->has_waiting = l->server->is_paused || l->n_taken >= ACCEPTS_PER_TURN;
	if (!l->has_waiting)
		take_connection(l);
}

static void take_waiting(struct net_server *s)
{
	for (struct listener *l = s->listeners; l; l = l->next) {
		if (l->has_waiting) {
			l->has_waiting = false;
			take_connection(l);
		}
	}
}

void server_turn(struct net_server *s)
{
	s->turn++;
	for (struct listener *l = s->listeners; l; l = l->next)
		l->n_taken = 0;
	if (!s->is_paused)
		take_waiting(s);
}

static struct listener *listener_new(struct net_server *s, bool is_pipe)
{
	struct listener *l = mem_zalloc(sizeof(*l));

	l->server = s;
	l->is_pipe = is_pipe;
	if (is_pipe)
		uv_pipe_init(s->hub->uv, &l->uv.pipe, 0);
	else
		uv_tcp_init(s->hub->uv, &l->uv.tcp);
	l->uv.handle.data = l;
	s->n_users++;
	return l;
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	tls_ctx_free(l->tls_ctx);
	l->server->n_users--;
	free_when_unused(l->server);
	free(l->path);
	free(l);
}

static void listener_close(struct listener *l)
{
	struct stat st;

	/* Somebody else may serve there by now. */
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	uv_close(&l->uv.handle, on_listener_closed);
}

static int listener_start(struct listener *l, const char *what, struct err *err)
{
	struct listener **end = &l->server->listeners;
	int rc = uv_listen(&l->uv.stream, BACKLOG, on_connection);

	if (rc == UV_EADDRINUSE) {
		rc = err_set(err, ERR_CONFLICT, "listening on %s: somebody else does", what);
	} else if (rc < 0) {
		rc = loop_uv_err(err, rc, "listening on %s", what);
	}
	if (rc < 0) {
		listener_close(l);
		return rc;
	}
	while (*end)
		end = &(*end)->next;
	*end = l;
	return 0;
}

int net_server_listen_unix(
        struct net_server *s, const char *path, uint32_t mode, uint32_t gid, struct err *err)
{
	struct listener *l;
	struct stat st;
	int fd;
	int rc;

	rc = addr_bind_unix(path, mode, gid, &fd, err);
	if (rc < 0)
		return rc;
	l = listener_new(s, true);
	if (lstat(path, &st) == 0) {
		l->path = mem_strdup(path);
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	rc = uv_pipe_open(&l->uv.pipe, fd);
	if (rc < 0) {
		close(fd);
		listener_close(l);
		return loop_uv_err(err, rc, "listening on '%s'", path);
	}
	return listener_start(l, path, err);
}

static void note_port(struct listener *l)
{
	struct sockaddr_storage sa;
	int len = sizeof(sa);

	if (uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&sa, &len) == 0)
		l->port = addr_port(&sa);
}

int net_server_listen_tcp(struct net_server *s, const struct net_tcp_options *o, struct err *err)
{
	struct listener *l;
	struct addr addr;
	char what[300];
	int rc;

	rc = addr_resolve(o->host, o->port, &addr, err);
	if (rc < 0)
		return rc;
	l = listener_new(s, false);
	l->is_plain = o->plain || !o->cert_path;
	snprintf(what, sizeof(what), "%.200s port %u", o->host, o->port);
	if (o->cert_path) {
		rc = tls_ctx_new_server(
		        &(struct tls_server_options){o->cert_path, o->key_path, o->needs_tls_1_3},
		        &l->tls_ctx, err);
		if (rc < 0) {
			listener_close(l);
			return rc;
		}
	}
	rc = uv_tcp_bind(&l->uv.tcp, (struct sockaddr *)&addr.sa, 0);
	if (rc < 0) {
		listener_close(l);
		return loop_uv_err(err, rc, "listening on %s", what);
	}
	rc = listener_start(l, what, err);
	if (rc == 0)
		note_port(l);
	return rc;
}

uint16_t net_server_port(const struct net_server *s)
{
	for (const struct listener *l = s->listeners; l; l = l->next)
		if (!l->is_pipe)
			return l->port;
	return 0;
}

void net_server_pause(struct net_server *s, bool paused)
{
	struct conn *c;

	if (s->is_paused == paused)
		return;
	s->is_paused = paused;
	TAILQ_FOREACH (c, &s->hub->conns, link)
		if (c->server == s)
			conn_touch(c);
	if (!paused)
		take_waiting(s);
}

void net_server_close(struct net_server *s)
{
	struct listener *l;
	struct conn *c;
	struct err why;

	if (s->is_closing)
		return;
	s->is_closing = true;
	LIST_REMOVE(s, link);
	while ((l = s->listeners)) {
		s->listeners = l->next;
		listener_close(l);
	}
	(void)!err_set(&why, ERR_UNAVAILABLE, "the server stops");
	TAILQ_FOREACH (c, &s->hub->conns, link) {
		if (c->server == s && c->ops == &ws_ops)
			ws_stop(c->up, &why);
		else if (c->server == s)
			conn_lose(c, &why);
	}
	hub_leave(s->hub);
	free_when_unused(s);
}

struct conn *server_conn_new_socketless(struct net_server *s)
{
	struct conn *c = new_conn(s, true);

	c->is_socketless = true;
	conn_touch(c);
	return c;
}
