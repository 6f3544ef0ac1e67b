#include "net_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GUARD_MS 10000

static void on_closed(void *data, struct net_request *r)
{
	struct kit *k = data;

	k->n_closed++;
	if (k->late == r)
		k->late = NULL;
}

static void on_echo(void *data, struct net_request *r, const void *body, size_t len)
{
	net_request_reply(r, 200, "text/plain", body, len);
}

static void on_count(void *data, struct net_request *r, const void *bytes, size_t len)
{
	struct kit *k = data;
	char text[64];

	k->n_bytes += len;
	if (k->pauses && len)
		net_request_pause(r, true);
	if (len)
		return;
	k->is_ended = true;
	net_request_reply(r, 200, "text/plain", text,
	        (size_t)snprintf(text, sizeof(text), "%zu bytes\n", k->n_bytes));
}

static void on_line(void *data, struct net_request *r, const void *bytes, size_t len)
{
	if (len)
		net_request_send(r, bytes, len);
	else
		net_request_end(r);
}

static void on_drain(void *data, struct net_request *r)
{
	struct kit *k = data;

	k->n_drains++;
}

static void show(struct kit *k, struct net_request *r)
{
	const char *a = net_request_query(r, "a");
	const char *a1 = net_request_query_nth(r, "a", 1);
	const char *x = net_request_header_in(r, "x-test");

	snprintf(k->saw, sizeof(k->saw), "%d %s a=%s a1=%s x=%s", net_request_method(r),
	        net_request_path(r), a ? a : "-", a1 ? a1 : "-", x ? x : "-");
	net_request_header(r, "X-Saw", k->saw);
	net_request_reply(r, 200, "text/plain", "shown\n", 6);
}

static void accept_ws(struct kit *k, struct net_request *r)
{
	struct err err;

	if (net_request_accept_ws(r, "berth-test", k->ws_handlers, k->ws_data, &k->ws, &err) < 0)
		net_request_fail(r, &err);
	else
		k->n_accepted++;
}

static void on_request(void *data, struct net_request *r)
{
	struct kit *k = data;
	const char *path = net_request_path(r);
	struct err err;

	k->n_requests++;
	snprintf(k->authorization, sizeof(k->authorization), "%s",
	        net_request_header_in(r, "authorization")
	                ? net_request_header_in(r, "authorization")
	                : "");
	k->peer = *net_request_peer(r);
	net_request_on_close(r, on_closed, k);
	if (strcmp(path, "/echo") == 0) {
		net_request_read_all(r, 0, on_echo, k);
	} else if (strcmp(path, "/small") == 0) {
		net_request_read_all(r, 10, on_echo, k);
	} else if (strcmp(path, "/count") == 0) {
		k->late = r;
		net_request_read_stream(r, on_count, k);
	} else if (strcmp(path, "/lines") == 0) {
		net_request_begin(r, 200, "application/x-ndjson");
		net_request_read_stream(r, on_line, k);
	} else if (strcmp(path, "/late") == 0) {
		k->late = r;
	} else if (strcmp(path, "/stream") == 0) {
		k->late = r;
		net_request_on_drain(r, on_drain, k);
		net_request_begin(r, 200, "text/plain");
	} else if (strcmp(path, "/ws") == 0) {
		accept_ws(k, r);
	} else if (strcmp(path, "/chunks") == 0) {
		net_request_begin(r, 200, "text/plain");
		net_request_send(r, "one ", 4);
		net_request_send(r, "", 0);
		net_request_send(r, "two", 3);
		net_request_end(r);
	} else if (strcmp(path, "/nothing") == 0) {
		net_request_reply(r, 204, NULL, NULL, 0);
	} else if (strcmp(path, "/fail") == 0) {
		(void)!err_set(&err, ERR_NOT_FOUND, "job \"17\"\n does not exist");
		(void)!err_hint(&err, "berth ps");
		net_request_fail(r, &err);
	} else {
		show(k, r);
	}
}

void kit_init(struct kit *k, const struct net_limits *limits)
{
	static const struct net_handlers handlers = {.on_request = on_request};
	struct err err;

	memset(k, 0, sizeof(*k));
	strcpy(k->dir, "/tmp/berth-net-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	snprintf(k->path, sizeof(k->path), "%s/s", k->dir);
	assert_int_equal(loop_new(&k->loop, &err), 0);
	assert_int_equal(net_server_new(k->loop, limits, &handlers, k, &k->server, &err), 0);
	assert_int_equal(net_server_listen_unix(k->server, k->path, 0600, UINT32_MAX, &err), 0);
}

void kit_listen_tcp(struct kit *k, const struct net_tcp_options *o)
{
	struct err err = {.kind = ERR_NONE};

	if (net_server_listen_tcp(k->server, o, &err) < 0)
		fail_msg("%s", err.text);
	k->port = net_server_port(k->server);
	assert_int_not_equal(k->port, 0);
}

void kit_done(struct kit *k)
{
	if (k->server)
		net_server_close(k->server);
	/* Returns only when nothing is left; loop_free ends the process otherwise. */
	loop_run(k->loop);
	loop_free(k->loop);
	unlink(k->path);
	assert_int_equal(rmdir(k->dir), 0);
}

static void on_guard(void *data)
{
	struct kit *k = data;

	k->is_late = true;
	loop_stop(k->loop);
}

static void on_turn_end(void *data)
{
	struct kit *k = data;

	if (k->is_done(k->is_done_data))
		loop_stop(k->loop);
}

static bool run(struct kit *k, bool (*is_done)(void *data), void *data, unsigned ms)
{
	k->is_done = is_done;
	k->is_done_data = data;
	k->is_late = false;
	k->guard = loop_timer_new(k->loop, on_guard, k);
	loop_timer_start(k->guard, ms, 0);
	loop_on_turn_end(k->loop, on_turn_end, k);
	loop_wake(k->loop);
	while (!is_done(data) && !k->is_late)
		loop_run(k->loop);
	loop_off_turn_end(k->loop, on_turn_end, k);
	loop_timer_free(k->guard);
	return !k->is_late;
}

void kit_wait(struct kit *k, bool (*is_done)(void *data), void *data)
{
	assert_true(run(k, is_done, data, GUARD_MS));
}

static bool never(void *data)
{
	return false;
}

/* Three looks: whatever a loop does before and after it polls was done in between. */
static bool has_turned(void *data)
{
	struct kit *k = data;

	loop_wake(k->loop);
	return ++k->n_looks > 3;
}

void kit_turns(struct kit *k, unsigned ms)
{
	if (ms)
		run(k, never, NULL, ms);
	k->n_looks = 0;
	kit_wait(k, has_turned, k);
}

struct count_wait {
	const unsigned *counter;
	unsigned n;
};

static bool is_counted(void *data)
{
	struct count_wait *w = data;

	return *w->counter >= w->n;
}

void kit_wait_count(struct kit *k, const unsigned *counter, unsigned n)
{
	kit_wait(k, is_counted, &(struct count_wait){counter, n});
}

static bool is_true(void *data)
{
	return *(const bool *)data;
}

void kit_wait_true(struct kit *k, const bool *flag)
{
	kit_wait(k, is_true, (void *)flag);
}

static void on_readable(void *data, int events)
{
	struct peer *p = data;
	uint8_t *room = buf_reserve(&p->in, 65536);
	ssize_t n;

	assert_non_null(room);
	n = read(p->fd, room, 65536);
	if (n > 0) {
		buf_commit(&p->in, (size_t)n);
	} else if (n == 0 || errno != EAGAIN) {
		p->is_eof = true;
		loop_poll_set(p->poll, 0);
	}
}

static void peer_start(struct peer *p, struct kit *k, int fd)
{
	struct err err;

	p->kit = k;
	p->fd = fd;
	p->is_eof = false;
	p->in = BUF_INIT(256 * MIB);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	assert_int_equal(loop_poll_new(k->loop, fd, LOOP_READ, on_readable, p, &p->poll, &err), 0);
}

void peer_open(struct peer *p, struct kit *k)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, k->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	peer_start(p, k, fd);
}

void peer_open_tcp(struct peer *p, struct kit *k)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(k->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	peer_start(p, k, fd);
}

void peer_close(struct peer *p)
{
	loop_poll_free(p->poll);
	close(p->fd);
	buf_done(&p->in);
	p->poll = NULL;
}

void peer_stop_reading(struct peer *p)
{
	loop_poll_set(p->poll, 0);
}

void peer_read_again(struct peer *p)
{
	loop_poll_set(p->poll, LOOP_READ);
}

struct saying {
	struct peer *p;
	const uint8_t *bytes;
	size_t len;
	bool is_refused;
};

static bool say_on(void *data)
{
	struct saying *s = data;

	while (s->len) {
		ssize_t n = send(s->p->fd, s->bytes, s->len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			loop_wake(s->p->kit->loop);
			return false;
		}
		if (n < 0)
			return true; /* the server has closed: what it said is what counts */
		s->bytes += n;
		s->len -= (size_t)n;
	}
	return true;
}

void peer_say_bytes(struct peer *p, const void *bytes, size_t len)
{
	struct saying s = {.p = p, .bytes = bytes, .len = len};

	if (!say_on(&s))
		kit_wait(p->kit, say_on, &s);
}

void peer_say(struct peer *p, const char *text)
{
	peer_say_bytes(p, text, strlen(text));
}

struct expecting {
	struct peer *p;
	const char *text;
};

static bool has_come(void *data)
{
	struct expecting *e = data;
	struct buf *in = &e->p->in;

	return e->p->is_eof || (in->len && memmem(in->data, in->len, e->text, strlen(e->text)));
}

void peer_expect(struct peer *p, const char *text)
{
	struct expecting e = {p, text};
	uint8_t *at;

	if (!run(p->kit, has_come, &e, GUARD_MS))
		fail_msg("'%s' has not come; there is '%s'", text, buf_str(&p->in));
	at = p->in.len ? memmem(p->in.data, p->in.len, text, strlen(text)) : NULL;
	if (!at)
		fail_msg("'%s' has not come before the end; there is '%s'", text, buf_str(&p->in));
	buf_consume(&p->in, (size_t)(at - p->in.data) + strlen(text));
}

void peer_expect_eof(struct peer *p)
{
	kit_wait_true(p->kit, &p->is_eof);
}

void peer_ask(struct peer *p, const char *request, const char *status)
{
	peer_say(p, request);
	peer_expect(p, status);
	peer_expect(p, "\r\n\r\n");
}
