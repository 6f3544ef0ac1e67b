#include "net_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/net_tls.h"

#define HOST  "Host: berth\r\n"
#define OK    "HTTP/1.1 200 OK\r\n"
#define HELLO "GET /x HTTP/1.1\r\n" HOST "\r\n"

static struct kit k;
static char cert[96];
static char key[96];
static char pin[65];

static void begin(const struct net_limits *limits, bool plain)
{
	static const char *const names[] = {"127.0.0.1", "berth.example"};
	struct err err;

	kit_init(&k, limits);
	snprintf(cert, sizeof(cert), "%s/cert.pem", k.dir);
	snprintf(key, sizeof(key), "%s/key.pem", k.dir);
	assert_int_equal(net_make_certificate(cert, key, names, ARRAY_LEN(names), &err), 0);
	assert_int_equal(net_certificate_pin(cert, pin, &err), 0);
	kit_listen_tcp(&k,
	        &(struct net_tcp_options){
	                .host = "127.0.0.1", .cert_path = cert, .key_path = key, .plain = plain});
}

static void end(void)
{
	assert_int_equal(unlink(cert), 0);
	assert_int_equal(unlink(key), 0);
	kit_done(&k);
}

/* A peer that speaks TLS; what it hears lies in plain. */
struct tls_peer {
	struct peer p;
	struct tls *t;
	struct buf plain;
	bool is_over; /* the server has said so */
	const char *text;
};

static void on_plain(void *data, const uint8_t *bytes, size_t len)
{
	buf_add(data, bytes, len);
}

static void tls_send(struct tls_peer *tp)
{
	peer_say_bytes(&tp->p, tp->t->wire.data, tp->t->wire.len);
	buf_reset(&tp->t->wire);
}

static bool tls_step(struct tls_peer *tp)
{
	struct err err;
	int rc = tls_take(tp->t, tp->p.in.data, tp->p.in.len, on_plain, &tp->plain, &err);

	buf_reset(&tp->p.in);
	tp->is_over |= rc > 0;
	if (rc < 0)
		fail_msg("%s", err.text);
	return tp->t->wire.len > 0;
}

static bool is_open(void *data)
{
	struct tls_peer *tp = data;

	return tls_step(tp) || tp->t->is_open;
}

static void tls_open(struct tls_peer *tp)
{
	struct tls_ctx *ctx;
	struct err err;

	tp->plain = BUF_INIT(64 * MIB);
	tp->is_over = false;
	assert_int_equal(tls_ctx_new_client(NULL, pin, &ctx, &err), 0);
	assert_int_equal(tls_new(ctx, "127.0.0.1", &tp->t, &err), 0);
	tls_ctx_free(ctx);
	peer_open_tcp(&tp->p, &k);
	while (!tp->t->is_open || tp->t->wire.len) {
		tls_send(tp);
		if (!tp->t->is_open)
			kit_wait(&k, is_open, tp);
	}
}

static void tls_close(struct tls_peer *tp)
{
	peer_close(&tp->p);
	tls_free(tp->t);
	buf_done(&tp->plain);
}

static void tls_say(struct tls_peer *tp, const void *bytes, size_t len)
{
	struct buf plain = BUF_INIT(64 * MIB);
	struct err err;

	buf_add(&plain, bytes, len);
	assert_int_equal(tls_put(tp->t, &plain, &err), 0);
	assert_int_equal(plain.len, 0);
	buf_done(&plain);
	tls_send(tp);
}

static void tls_say_text(struct tls_peer *tp, const char *text)
{
	tls_say(tp, text, strlen(text));
}

static bool has_text(void *data)
{
	struct tls_peer *tp = data;

	tls_step(tp);
	return tp->plain.len && memmem(tp->plain.data, tp->plain.len, tp->text, strlen(tp->text));
}

static void tls_expect(struct tls_peer *tp, const char *text)
{
	uint8_t *at;

	tp->text = text;
	kit_wait(&k, has_text, tp);
	at = memmem(tp->plain.data, tp->plain.len, text, strlen(text));
	buf_consume(&tp->plain, (size_t)(at - tp->plain.data) + strlen(text));
}

static int listen_with(const char *key_path, struct err *err)
{
	return net_server_listen_tcp(k.server,
	        &(struct net_tcp_options){
	                .host = "127.0.0.1", .cert_path = cert, .key_path = key_path},
	        err);
}

static void test_certificate(void **state)
{
	static const char *const bad[] = {"a,IP:1.2.3.4"};
	struct stat st;
	struct err err;
	char other[65];

	begin(NULL, false);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(cert, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(strspn(pin, "0123456789abcdef"), 64);
	assert_int_equal(net_make_certificate(cert, key, bad, 1, &err), -ERR_INVALID);
	assert_int_equal(net_make_certificate(cert, key, NULL, 0, &err), -ERR_INVALID);
	assert_int_equal(net_certificate_pin(key, other, &err), -ERR_INVALID);
	assert_int_equal(net_certificate_pin("/nowhere", other, &err), -ERR_NOT_FOUND);
	assert_int_equal(chmod(cert, 0600), 0);
	assert_int_equal(listen_with(cert, &err), -ERR_INVALID);
	end();
}

static void test_key_file(void **state)
{
	static const struct {
		mode_t mode;
		int rc; /* for root's files */
	} rows[] = {{0600, 0}, {0400, 0}, {0640, 0}, {0644, -ERR_FORBIDDEN}, {0660, -ERR_FORBIDDEN},
	        {0604, -ERR_FORBIDDEN}, {0602, -ERR_FORBIDDEN}};
	struct err err;

	begin(NULL, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(chmod(key, rows[i].mode), 0);
		if (geteuid() == 0 || rows[i].mode != 0640)
			assert_int_equal(listen_with(key, &err), rows[i].rc);
		else
			assert_int_equal(listen_with(key, &err), -ERR_FORBIDDEN);
		if (rows[i].rc)
			assert_non_null(strstr(err.hint, "chmod 600"));
	}
	assert_int_equal(listen_with(k.dir, &err), -ERR_INVALID);
	assert_int_equal(listen_with("/nowhere.pem", &err), -ERR_NOT_FOUND);
	assert_int_equal(chmod(key, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(key, 1, (gid_t)-1), 0);
		assert_int_equal(listen_with(key, &err), -ERR_FORBIDDEN);
	}
	end();
}

static void test_two_on_one_port(void **state)
{
	struct tls_peer tp;
	struct peer p;

	begin(NULL, true);
	peer_open_tcp(&p, &k);
	tls_open(&tp);
	for (int i = 0; i < 3; i++) {
		peer_ask(&p, HELLO, OK);
		assert_false(k.peer.is_tls);
		tls_say_text(&tp, HELLO);
		tls_expect(&tp, OK);
		tls_expect(&tp, "shown\n");
		assert_true(k.peer.is_tls);
		assert_string_equal(k.peer.addr, "127.0.0.1");
	}
	peer_close(&p);
	tls_close(&tp);
	end();
}

static void test_plain_refused(void **state)
{
	struct peer p;

	begin(NULL, false);
	peer_open_tcp(&p, &k);
	peer_say(&p, HELLO);
	peer_expect(&p, "HTTP/1.1 400 Bad Request\r\n");
	peer_expect(&p, "\"hint\":\"use https://\"");
	peer_expect_eof(&p);
	assert_int_equal(k.n_requests, 0);
	peer_close(&p);
	end();
}

static void test_big_both_ways(void **state)
{
	const size_t len = 3 * MIB;
	char *body = mem_zalloc(len);
	struct tls_peer tp;
	char head[128];

	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + i % 26);
	begin(NULL, false);
	tls_open(&tp);
	snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
	        len);
	tls_say_text(&tp, head);
	tls_say(&tp, body, len - 3);
	tls_say(&tp, "end", 3);
	tls_expect(&tp, "\r\n\r\n");
	tls_expect(&tp, "end");
	assert_int_equal(tp.plain.len, 0);
	tls_say_text(&tp, HELLO);
	tls_expect(&tp, OK);
	tls_close(&tp);
	free(body);
	end();
}

static void test_byte_by_byte(void **state)
{
	struct buf plain = BUF_INIT(KIB);
	struct tls_peer tp;
	struct err err;

	begin(NULL, false);
	tls_open(&tp);
	buf_add_str(&plain, HELLO);
	assert_int_equal(tls_put(tp.t, &plain, &err), 0);
	for (size_t i = 0; i < tp.t->wire.len; i++) {
		peer_say_bytes(&tp.p, tp.t->wire.data + i, 1);
		kit_turns(&k, 0);
	}
	buf_reset(&tp.t->wire);
	tls_expect(&tp, OK);
	buf_done(&plain);
	tls_close(&tp);
	end();
}

static void test_end_is_said(void **state)
{
	static const char bye[] = "GET /x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
	struct tls_peer tp;

	begin(NULL, false);
	tls_open(&tp);
	tls_say_text(&tp, bye);
	tls_expect(&tp, "shown\n");
	peer_expect_eof(&tp.p);
	tls_step(&tp);
	assert_true(tp.is_over);
	tls_close(&tp);
	/* And heard: the request that was waiting is closed. */
	tls_open(&tp);
	tls_say_text(&tp, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 2);
	tls_end(tp.t);
	tls_send(&tp);
	kit_wait_count(&k, &k.n_closed, 2);
	tls_close(&tp);
	end();
}

static void test_broken_handshake(void **state)
{
	static const char noise[] = "\x16\x03\x01\x00\x05hello and so on";
	struct peer p;

	begin(&(struct net_limits){.head_ms = 50}, true);
	peer_open_tcp(&p, &k);
	peer_say_bytes(&p, noise, sizeof(noise));
	peer_expect_eof(&p);
	peer_close(&p);
	/* One that never comes to an end. */
	peer_open_tcp(&p, &k);
	peer_say_bytes(&p, "\x16\x03\x01", 3);
	peer_expect_eof(&p);
	assert_int_equal(p.in.len, 0);
	assert_int_equal(k.n_requests, 0);
	peer_close(&p);
	end();
}

static void test_half_open(void **state)
{
	static struct peer half[200];
	struct tls_peer tp;

	begin(&(struct net_limits){.connections = 64}, false);
	for (int i = 0; i < 200; i++) {
		peer_open_tcp(&half[i], &k);
		peer_say_bytes(&half[i], "\x16\x03\x01", 3);
		kit_turns(&k, 0);
	}
	tls_open(&tp);
	tls_say_text(&tp, HELLO);
	tls_expect(&tp, OK);
	assert_true(half[0].is_eof && half[100].is_eof && !half[199].is_eof);
	tls_close(&tp);
	for (int i = 0; i < 200; i++)
		peer_close(&half[i]);
	end();
}

static void test_server_closes(void **state)
{
	struct tls_peer tp;

	begin(NULL, false);
	tls_open(&tp);
	tls_say_text(&tp, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	tls_expect(&tp, OK);
	net_request_send(k.late, "last words", 10);
	net_server_close(k.server);
	k.server = NULL;
	tls_expect(&tp, "last words");
	peer_expect_eof(&tp.p);
	tls_close(&tp);
	end();
}

/* WebSockets, for the client's side of trust */

struct link {
	struct net_ws *ws;
	bool is_open;
	bool is_closed;
	unsigned n_messages;
	struct err why;
};

static void on_open(void *data, struct net_ws *ws)
{
	struct link *l = data;

	l->is_open = true;
	net_ws_send(ws, "hello", 5, true);
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct link *l = data;

	l->n_messages++;
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct link *l = data;

	l->is_closed = true;
	l->why = *why;
}

static void on_echo(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	net_ws_send(ws, bytes, len, is_text);
}

static const struct net_ws_handlers client_handlers = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close};
static const struct net_ws_handlers server_handlers = {.on_message = on_echo};

/* ERR_NONE: a message has come back. */
static enum err_kind try_link(const char *host, const char *ca_path, const char *pin_hex)
{
	struct link l = {.ws = NULL};
	struct err err;
	char url[128];

	snprintf(url, sizeof(url), "https://%s:%u/ws", host, k.port);
	k.ws_handlers = &server_handlers;
	if (net_ws_connect(k.loop,
	            &(struct net_ws_options){.url = url,
	                    .protocol = "berth-test",
	                    .ca_path = ca_path,
	                    .pin_sha256_hex = pin_hex},
	            &client_handlers, &l, &l.ws, &err) < 0)
		return err.kind;
	while (!l.is_closed && !l.n_messages)
		kit_turns(&k, 1);
	if (!l.is_closed) {
		net_ws_close(l.ws, 1000, NULL);
		kit_wait_true(&k, &l.is_closed);
	}
	return l.why.kind;
}

static void test_trust(void **state)
{
	char wrong[65];

	begin(NULL, false);
	assert_int_equal(try_link("127.0.0.1", NULL, pin), ERR_NONE);
	assert_int_equal(
	        try_link("localhost", NULL, pin), ERR_NONE); /* the pin says who, not the name */
	assert_int_equal(try_link("127.0.0.1", cert, NULL), ERR_NONE);
	assert_int_equal(try_link("127.0.0.1", cert, pin), ERR_NONE);
	assert_int_equal(try_link("localhost", cert, NULL), ERR_UNAUTHENTICATED);
	assert_int_equal(try_link("localhost", cert, pin), ERR_UNAUTHENTICATED);
	assert_int_equal(try_link("127.0.0.1", NULL, NULL), ERR_UNAUTHENTICATED);
	memcpy(wrong, pin, sizeof(wrong));
	wrong[63] = wrong[63] == '0' ? '1' : '0';
	assert_int_equal(try_link("127.0.0.1", NULL, wrong), ERR_UNAUTHENTICATED);
	assert_int_equal(try_link("127.0.0.1", cert, wrong), ERR_UNAUTHENTICATED);
	assert_int_equal(try_link("127.0.0.1", NULL, "abc"), ERR_INVALID);
	assert_int_equal(try_link("127.0.0.1", "/nowhere", NULL), ERR_INVALID);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_certificate),
	        cmocka_unit_test(test_key_file),
	        cmocka_unit_test(test_two_on_one_port),
	        cmocka_unit_test(test_plain_refused),
	        cmocka_unit_test(test_big_both_ways),
	        cmocka_unit_test(test_byte_by_byte),
	        cmocka_unit_test(test_end_is_said),
	        cmocka_unit_test(test_broken_handshake),
	        cmocka_unit_test(test_half_open),
	        cmocka_unit_test(test_server_closes),
	        cmocka_unit_test(test_trust),
	};

	return cmocka_run_group_tests_name("net_tls", tests, NULL, NULL);
}
