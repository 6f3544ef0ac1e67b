#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"

#define GUARD_MS 20000 /* ten times that where BERTH_SLOW is set: under valgrind */
#define BODY_MAX (256 * MIB)

/* Life */

static void on_turn_end(void *data)
{
	struct rig *g = data;

	if (g->on_turn)
		g->on_turn(g);
	if (!g->is_there || !g->is_there(g, g->arg))
		return;
	g->has_come = true;
	g->is_there = NULL;
	loop_stop(g->s->loop);
}

void rig_open(struct rig *g)
{
	struct err err;

	if (server_open(g->dir, NULL, g->listens ? "127.0.0.1:0" : NULL, false, false, &g->s, &err))
		fail_msg("%s", err.text);
	loop_on_turn_end(g->s->loop, on_turn_end, g);
}

void rig_close(struct rig *g)
{
	if (g->ws)
		agent_drop(g);
	server_close(g->s);
	g->s = NULL;
}

void rig_begin(struct rig *g)
{
	bool listens = g->listens;

	if (sodium_init() < 0)
		fail();
	*g = (struct rig){.listens = listens, .dir = "/tmp/berth-server-XXXXXX"};
	g->one.fd = -1;
	g->log = g->data = BUF_INIT(BODY_MAX);
	assert_non_null(mkdtemp(g->dir));
	rig_open(g);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void rig_set(const char *key, const char *value)
{
	char name[80];

	snprintf(name, sizeof(name), "BERTH_CONF_%s", key);
	setenv(name, value, 1);
}

static void forget_settings(void)
{
	for (char **e = environ; *e;) {
		char name[100];
		if (strncmp(*e, "BERTH_CONF_", 11) != 0) {
			e++;
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
		unsetenv(name);
		e = environ;
	}
}

void rig_end(struct rig *g)
{
	ask_end(&g->one);
	if (g->s)
		rig_close(g);
	talloc_free(g->ctx);
	buf_done(&g->log);
	buf_done(&g->data);
	nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	forget_settings();
}

static void on_guard(void *data)
{
	struct rig *g = data;

	g->is_late = true;
	loop_stop(g->s->loop);
}

void rig_until_at(struct rig *g, bool (*is_there)(struct rig *g, void *arg), void *arg,
        const char *what, const char *file, int line)
{
	struct loop_timer *guard = loop_timer_new(g->s->loop, on_guard, g);

	g->is_there = is_there;
	g->arg = arg;
	g->has_come = g->is_late = false;
	loop_timer_start(guard, getenv("BERTH_SLOW") ? 10 * GUARD_MS : GUARD_MS, 0);
	while (!g->has_come && !g->is_late && !(g->s->stopped && is_there != is_stopped))
		loop_run(g->s->loop);
	loop_timer_free(guard);
	g->is_there = NULL;
	if (!g->has_come) {
		print_error("%s has not come; the agent got:\n%s\n", what, buf_str(&g->log));
		_fail(file, line);
	}
}

bool is_stopped(struct rig *g, void *unused)
{
	return g->s->stopped;
}

bool is_idle(struct rig *g, void *unused)
{
	return !g->s->in_flight && !g->s->world->n_dirty && !g->s->world->plan_wanted;
}

bool is_unlinked(struct rig *g, void *unused)
{
	return !g->ws;
}

bool is_over(struct rig *g, void *ask)
{
	return ((struct ask *)ask)->is_over;
}

/* HTTP */

static void take_chunks(struct ask *a, const uint8_t *p, const uint8_t *end)
{
	for (;;) {
		char *after;
		unsigned long n = p < end ? strtoul((const char *)p, &after, 16) : 0;
		if (p >= end || !(p = memchr(p, '\n', (size_t)(end - p))))
			return;
		p++;
		if (n == 0) {
			a->is_whole = true;
			return;
		}
		buf_add(&a->body, p, MIN(n, (size_t)(end - p)));
		p += MIN(n + 2, (size_t)(end - p));
	}
}

static void finish(struct ask *a)
{
	const char *text = buf_str(&a->in), *end = strstr(text, "\r\n\r\n"), *length;
	const uint8_t *p;
	json_error_t why;

	a->is_over = true;
	loop_poll_free(STEAL(a->poll));
	close(a->fd);
	a->fd = -1;
	a->body = BUF_INIT(BODY_MAX);
	if (!end)
		return;
	a->status = atoi(text + strlen("HTTP/1.1 "));
	p = (const uint8_t *)end + 4;
	length = strcasestr(text, "\r\nContent-Length:");
	if (strcasestr(text, "Transfer-Encoding: chunked") &&
	        strcasestr(text, "Transfer-Encoding: chunked") < end) {
		take_chunks(a, p, a->in.data + a->in.len);
	} else {
		buf_add(&a->body, p, (size_t)(a->in.data + a->in.len - p));
		a->is_whole =
		        !length || length > end || a->body.len == strtoul(length + 17, NULL, 10);
	}
	a->json = json_loads(buf_str(&a->body), JSON_DECODE_ANY, &why);
}

static void on_socket(void *data, int events)
{
	struct ask *a = data;
	uint8_t *room = buf_reserve(&a->in, 64 * KIB);
	ssize_t n;

	if (events & LOOP_WRITE && a->n_sent < a->out.len) {
		n = send(a->fd, a->out.data + a->n_sent, a->out.len - a->n_sent, MSG_NOSIGNAL);
		a->n_sent += (size_t)MAX(n, 0);
		if (a->n_sent == a->out.len || (n < 0 && errno != EAGAIN))
			loop_poll_set(a->poll, LOOP_READ);
	}
	if (!(events & LOOP_READ))
		return;
	n = recv(a->fd, room, 64 * KIB, 0);
	if (n > 0)
		buf_commit(&a->in, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		finish(a);
}

static void begin(struct rig *g, struct ask *a, const struct sockaddr *addr, socklen_t len)
{
	struct err err;

	*a = (struct ask){.rig = g, .in = BUF_INIT(BODY_MAX), .out = BUF_INIT(BODY_MAX)};
	a->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(a->fd >= 0);
	assert_int_equal(connect(a->fd, addr, len), 0);
	assert_int_equal(fcntl(a->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(loop_poll_new(g->s->loop, a->fd, LOOP_READ | LOOP_WRITE, on_socket, a,
	                         &a->poll, &err),
	        0);
}

void ask_begin(struct rig *g, struct ask *a, const char *method, const char *path,
        const char *headers, const void *body, size_t len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/berth.sock", g->dir);
	begin(g, a, (const struct sockaddr *)&addr, sizeof(addr));
	buf_addf(&a->out, "%s %s HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n%s", method, path,
	        headers ? headers : "");
	buf_addf(&a->out, "Content-Length: %zu\r\n\r\n", len);
	buf_add(&a->out, body, len);
}

void ask_begin_tcp(struct rig *g, struct ask *a, const char *method, const char *path,
        const char *token, const char *body)
{
	struct sockaddr_in addr = {
	        .sin_family = AF_INET, .sin_port = htons(net_server_port(g->s->net))};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	begin(g, a, (const struct sockaddr *)&addr, sizeof(addr));
	buf_addf(&a->out, "%s %s HTTP/1.1\r\nConnection: close\r\n%s", method, path,
	        g->tcp_head ? g->tcp_head : "Host: localhost\r\n");
	if (token)
		buf_addf(&a->out, "Authorization: Bearer %s\r\n", token);
	buf_addf(&a->out, "Content-Length: %zu\r\n\r\n%s", body ? strlen(body) : 0,
	        body ? body : "");
}

void ask_end(struct ask *a)
{
	if (a->fd >= 0 && a->rig) {
		loop_poll_free(STEAL(a->poll));
		close(a->fd);
	}
	a->fd = -1;
	json_decref(STEAL(a->json));
	buf_done(&a->in);
	buf_done(&a->out);
	buf_done(&a->body);
}

int rig_do(struct rig *g, const char *method, const char *path, const char *body)
{
	ask_end(&g->one);
	ask_begin(g, &g->one, method, path, "Content-Type: application/json\r\n", body,
	        body ? strlen(body) : 0);
	ask_wait(&g->one);
	return g->one.status;
}

int rig_do_tcp(
        struct rig *g, const char *method, const char *path, const char *token, const char *body)
{
	ask_end(&g->one);
	ask_begin_tcp(g, &g->one, method, path, token, body);
	ask_wait(&g->one);
	return g->one.status;
}

void rig_refused(struct rig *g, const char *method, const char *path, const char *body, int status,
        const char *code)
{
	if (rig_do(g, method, path, body) != status)
		fail_msg("%s %s: %d %s", method, path, g->one.status, buf_str(&g->one.body));
	if (code)
		assert_at(g, "error.code", code);
	assert_true(strlen(rig_at(g, "error.message")) > 5);
}

const char *json_at(const json_t *json, const char *path)
{
	static char texts[8][4096];
	static unsigned turn;
	char *out = texts[turn++ % 8], *dumped;

	while (*path && json) {
		char key[64];
		snprintf(key, sizeof(key), "%.*s", (int)strcspn(path, "."), path);
		path += strcspn(path, ".");
		path += *path == '.';
		json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key))
		                           : json_object_get(json, key);
	}
	if (!json)
		return "(absent)";
	if (json_is_string(json))
		return json_string_value(json);
	dumped = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	snprintf(out, sizeof(texts[0]), "%s", dumped);
	free(dumped);
	return out;
}

uint64_t rig_submit(struct rig *g, const char *job)
{
	if (rig_do(g, "POST", "/v1/jobs", job) != 201)
		fail_msg("%s: %d %s", job, g->one.status, buf_str(&g->one.body));
	return strtoull(rig_at(g, "id"), NULL, 10);
}

const char *rig_state(struct rig *g, const char *id)
{
	char path[80];

	snprintf(path, sizeof(path), "/v1/jobs/%s", id);
	assert_int_equal(rig_do(g, "GET", path, NULL), 200);
	return rig_at(g, "state");
}
