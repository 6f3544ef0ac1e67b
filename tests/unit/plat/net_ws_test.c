#include "net_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

struct end {
	struct kit *kit;
	struct net_ws *ws;
	bool is_open;
	bool is_closed;
	bool echoes;
	bool pauses;
	unsigned n_messages;
	unsigned n_drains;
	size_t n_bytes;
	char last[256];
	size_t last_len;
	bool last_is_text;
	struct err why;
};

static void on_open(void *data, struct net_ws *ws)
{
	struct end *e = data;

	e->is_open = true;
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct end *e = data;

	e->n_messages++;
	e->n_bytes += len;
	e->last_len = len;
	e->last_is_text = is_text;
	memcpy(e->last, bytes, len < sizeof(e->last) ? len : sizeof(e->last));
	if (e->pauses)
		net_ws_pause(ws, true);
	if (e->echoes)
		net_ws_send(ws, bytes, len, is_text);
}

static void on_drain(void *data, struct net_ws *ws)
{
	struct end *e = data;

	e->n_drains++;
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct end *e = data;

	assert_false(e->is_closed);
	e->is_closed = true;
	e->why = *why;
	e->ws = NULL;
}

static const struct net_ws_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

static struct kit k;
static struct end server;
static struct end client;
static char url[128];

static void start(const struct net_limits *limits)
{
	kit_init(&k, limits);
	server = (struct end){.kit = &k, .echoes = true};
	k.ws_handlers = &handlers;
	k.ws_data = &server;
	snprintf(url, sizeof(url), "unix:%s:/ws", k.path);
}

static void join(const struct net_ws_options *o)
{
	struct err err;

	client = (struct end){.kit = &k};
	if (net_ws_connect(k.loop, o, &handlers, &client, &client.ws, &err) < 0)
		fail_msg("%s", err.text);
}

static void echo_over_url(void)
{
	join(&(struct net_ws_options){.url = url, .protocol = "berth-test"});
	kit_wait_true(&k, &client.is_open);
	assert_true(net_ws_send(client.ws, "hello", 5, true));
	assert_true(net_ws_send(client.ws, "\0\1\2", 3, false));
	assert_true(net_ws_send(client.ws, "", 0, false));
	kit_wait_count(&k, &client.n_messages, 3);
	assert_int_equal(client.n_bytes, 8);
	assert_int_equal(server.n_messages, 3);
	net_ws_close(client.ws, 1000, "done");
	kit_wait_true(&k, &client.is_closed);
	kit_wait_true(&k, &server.is_closed);
	assert_int_equal(client.why.kind, ERR_NONE);
	assert_int_equal(server.why.kind, ERR_NONE);
}

static void join_now(void)
{
	join(&(struct net_ws_options){.url = url, .protocol = "berth-test"});
	kit_wait_true(&k, &client.is_open);
	server.ws = k.ws;
}

/* A peer whose frames the test writes itself. */
static void upgrade(struct peer *p, const char *with)
{
	struct buf text = BUF_INIT(KIB);

	buf_add_str(&text,
	        "GET /ws HTTP/1.1\r\nHost: berth\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
	        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	        "Sec-WebSocket-Protocol: other, berth-test\r\n\r\n");
	buf_add_str(&text, with);
	peer_open(p, &k);
	peer_say_bytes(p, text.data, text.len);
	peer_expect(p, "HTTP/1.1 101 Switching Protocols\r\n");
	peer_expect(p, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_expect(p, "Sec-WebSocket-Protocol: berth-test\r\n\r\n");
	server.ws = k.ws;
	buf_done(&text);
}

#define SAY(literal) peer_say_bytes(&p, literal, sizeof(literal) - 1)

static void test_echo(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost"};

	start(NULL);
	echo_over_url();
	kit_listen_tcp(&k, &(struct net_tcp_options){.host = "127.0.0.1"});
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		server = (struct end){.kit = &k, .echoes = true};
		snprintf(url, sizeof(url), "http://%s:%u/ws?x=y", hosts[i], k.port);
		echo_over_url();
	}
	assert_int_equal(k.n_closed, 0); /* the request was taken over */
	kit_done(&k);
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 125, 126, 4000, 4096, 65535, 65536, MIB};
	char *bytes = mem_zalloc(MIB);
	size_t n = 0;

	start(&(struct net_limits){.ws_message_bytes = MIB});
	join_now();
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		memset(bytes, 'a' + (int)i, sizes[i]);
		net_ws_send(client.ws, bytes, sizes[i], true);
		kit_wait_count(&k, &client.n_messages, (unsigned)i + 1);
		assert_int_equal(server.last_len, sizes[i]);
		assert_int_equal(client.last_len, sizes[i]);
		assert_memory_equal(client.last, bytes,
		        sizes[i] < sizeof(client.last) ? sizes[i] : sizeof(client.last));
		assert_true(client.last_is_text && server.last_is_text);
		n += sizes[i];
	}
	assert_int_equal(client.n_bytes, n);
	/* One byte more than the server takes. */
	free(bytes);
	bytes = mem_zalloc(MIB + 1);
	net_ws_send(client.ws, bytes, MIB + 1, false);
	kit_wait_true(&k, &server.is_closed);
	kit_wait_true(&k, &client.is_closed);
	assert_int_equal(server.why.kind, ERR_TOO_LARGE);
	assert_int_equal(client.why.kind, ERR_TOO_LARGE);
	assert_int_equal(server.n_messages, ARRAY_LEN(sizes));
	free(bytes);
	kit_done(&k);
}

static void test_many_in_one_turn(void **state)
{
	start(NULL);
	join_now();
	for (unsigned i = 0; i < 10000; i++)
		net_ws_send(client.ws, &i, sizeof(i), false);
	kit_wait_count(&k, &client.n_messages, 10000);
	assert_int_equal(server.n_messages, 10000);
	assert_int_equal(client.n_bytes, 40000);
	kit_done(&k);
}

/* Frames as others write them. The mask is zeros, so the bytes stay readable. */
static void test_frames(void **state)
{
	struct peer p;

	start(NULL);
	upgrade(&p, "\x81\x85zzzz\x12\x1f\x16\x16\x15"); /* right behind the head */
	peer_expect(&p, "\x81\x05hello");
	SAY("\x01\x82\0\0\0\0he\x89\x83\0\0\0\0hey\x00\x80\0\0\0\0\x80\x83\0\0\0\0llo");
	peer_expect(&p, "\x8a\x03hey"); /* a ping between two fragments */
	peer_expect(&p, "\x81\x05hello");
	assert_int_equal(server.n_messages, 2);
	SAY("\x8a\x80\0\0\0\0\x82\x80\0\0\0\0"); /* an unasked pong, an empty message */
	peer_expect(&p, "\x82");
	SAY("\x88\x82\0\0\0\0\x03\xe8");
	peer_expect(&p, "\x88\x02\x03\xe8");
	peer_expect_eof(&p);
	assert_true(server.is_closed);
	assert_int_equal(server.why.kind, ERR_NONE);
	peer_close(&p);
	kit_done(&k);
}

static void expect_fault(const void *frame, size_t len, const char *code, enum err_kind kind)
{
	struct peer p;

	start(&(struct net_limits){.ws_message_bytes = 1000});
	upgrade(&p, "");
	peer_say_bytes(&p, frame, len);
	peer_expect(&p, code);
	peer_expect_eof(&p);
	peer_close(&p); /* as peers do; the server would wait a second for it */
	kit_wait_true(&k, &server.is_closed);
	assert_int_equal(server.why.kind, kind);
	assert_int_equal(server.n_messages, 0);
	kit_done(&k);
}

#define EXPECT_FAULT(frame, code, kind) expect_fault(frame, sizeof(frame) - 1, code, kind)

static void test_faulty_frames(void **state)
{
	EXPECT_FAULT("\x81\x05hello", "\x03\xea", ERR_INVALID); /* not masked */
	EXPECT_FAULT("\x91\x85zzzzhello", "\x03\xea", ERR_INVALID);
	EXPECT_FAULT("\x83\x85zzzzhello", "\x03\xea", ERR_INVALID);
	EXPECT_FAULT(
	        "\x80\x85zzzzhello", "\x03\xea", ERR_INVALID); /* goes on with what never began */
	EXPECT_FAULT("\x81\x81\0\0\0\0\xff", "\x03\xef", ERR_INVALID); /* no UTF-8 */
	EXPECT_FAULT("\x82\xff\x00\x00\x00\x10\x00\x00\x00\x00zzzzx", "\x03\xf1", ERR_TOO_LARGE);
	EXPECT_FAULT("\x89\xfe\x00\x7ezzzz", "\x88", ERR_INVALID); /* a ping of 126 bytes */
}

/* Many small fragments come to too much, too. */
static void test_fragments_too_large(void **state)
{
	struct peer p;
	char frame[256] = "\x02\xe4";

	start(&(struct net_limits){.ws_message_bytes = 1000});
	upgrade(&p, "");
	for (int i = 0; i < 11; i++) {
		peer_say_bytes(&p, frame, 6 + 100);
		frame[0] = 0;
	}
	peer_expect(&p, "\x88");
	peer_expect(&p, "\x03\xf1");
	SAY("\x88\x82\0\0\0\0\x03\xf1");
	kit_wait_true(&k, &server.is_closed);
	assert_int_equal(server.why.kind, ERR_TOO_LARGE);
	assert_int_equal(server.n_messages, 0);
	peer_close(&p);
	kit_done(&k);
}

static void expect_not_taken(const char *request, const char *status)
{
	struct peer p;

	start(NULL);
	peer_open(&p, &k);
	peer_ask(&p, request, status);
	peer_expect(&p, "{\"error\":");
	assert_int_equal(k.n_accepted, 0);
	peer_close(&p);
	kit_done(&k);
}

static void test_not_taken(void **state)
{
#define WS     "GET /ws HTTP/1.1\r\nHost: berth\r\n"
#define UP     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define PROTO  "Sec-WebSocket-Protocol: berth-test\r\n"
#define STATUS "HTTP/1.1 400 "
	expect_not_taken(WS "\r\n", STATUS);
	expect_not_taken(WS UP KEY PROTO "\r\n", STATUS);
	expect_not_taken(WS UP KEY PROTO "Sec-WebSocket-Version: 12\r\n\r\n", STATUS);
	expect_not_taken(WS UP PROTO "Sec-WebSocket-Version: 13\r\n\r\n", STATUS);
	expect_not_taken(WS UP PROTO
	        "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
	        STATUS);
	expect_not_taken(WS UP KEY "Sec-WebSocket-Version: 13\r\n\r\n", STATUS);
	expect_not_taken(WS UP KEY
	        "Sec-WebSocket-Protocol: berth\r\nSec-WebSocket-Version: 13\r\n\r\n",
	        STATUS);
	expect_not_taken(WS "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY PROTO
	                    "Sec-WebSocket-Version: 13\r\n\r\n",
	        STATUS);
	expect_not_taken("POST /ws HTTP/1.1\r\nHost: berth\r\n" UP KEY PROTO
	                 "Sec-WebSocket-Version: 13\r\n\r\n",
	        STATUS);
}

/* An Upgrade that nobody follows leaves an ordinary connection. */
static void test_upgrade_ignored(void **state)
{
	struct peer p;

	start(NULL);
	peer_open(&p, &k);
	for (int i = 0; i < 2; i++) {
		peer_ask(&p,
		        "GET /x HTTP/1.1\r\nHost: berth\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		        "HTTP/1.1 200 OK\r\n");
		peer_ask(&p,
		        "POST /echo HTTP/1.1\r\nHost: berth\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
		        "Content-Length: 4\r\n\r\nbody",
		        "HTTP/1.1 200 OK\r\n");
		peer_expect(&p, "body");
	}
	peer_close(&p);
	kit_done(&k);
}

static void test_silence(void **state)
{
	struct peer p;

	start(&(struct net_limits){.ws_ping_ms = 30});
	upgrade(&p, "");
	peer_expect(&p, "\x89");
	peer_expect_eof(&p);
	kit_wait_true(&k, &server.is_closed);
	assert_int_equal(server.why.kind, ERR_TIMEOUT);
	peer_close(&p);
	/* Two ends of ours answer each other's pings for ever. */
	server = (struct end){.kit = &k, .echoes = true};
	join(&(struct net_ws_options){.url = url, .protocol = "berth-test", .ping_ms = 150});
	kit_wait_true(&k, &client.is_open);
	kit_turns(&k, 30);
	assert_false(client.is_closed || server.is_closed);
	/* Nobody is silent to one who does not listen. */
	net_ws_pause(k.ws, true);
	kit_turns(&k, 10);
	assert_false(server.is_closed);
	kit_done(&k);
}

static void test_close_codes(void **state)
{
	static const struct {
		uint16_t code;
		enum err_kind mine;
		enum err_kind theirs;
	} rows[] = {{1000, ERR_NONE, ERR_NONE}, {1001, ERR_NONE, ERR_NONE},
	        {1008, ERR_UNAVAILABLE, ERR_FORBIDDEN}, {1011, ERR_UNAVAILABLE, ERR_UNAVAILABLE},
	        {4000, ERR_UNAVAILABLE, ERR_UNAVAILABLE}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		start(NULL);
		join_now();
		net_ws_close(server.ws, rows[i].code, "because");
		net_ws_close(server.ws, 1000, NULL);
		assert_true(net_ws_send(server.ws, "late", 4, true)); /* goes nowhere */
		kit_wait_true(&k, &server.is_closed);
		kit_wait_true(&k, &client.is_closed);
		assert_int_equal(server.why.kind, rows[i].mine);
		assert_int_equal(client.why.kind, rows[i].theirs);
		if (rows[i].theirs)
			assert_non_null(strstr(client.why.text, "because"));
		assert_int_equal(client.n_messages, 0);
		kit_done(&k);
	}
}

static void test_peer_goes(void **state)
{
	struct peer p;

	start(NULL);
	upgrade(&p, "\x81\x85zzzz");
	peer_close(&p);
	kit_wait_true(&k, &server.is_closed);
	assert_int_equal(server.why.kind, ERR_UNAVAILABLE);
	assert_int_equal(server.n_messages, 0);
	/* It never answers our closing. */
	server = (struct end){.kit = &k};
	upgrade(&p, "");
	net_ws_close(server.ws, 1000, NULL);
	peer_expect(&p, "\x88\x02\x03\xe8");
	peer_expect_eof(&p);
	kit_wait_true(&k, &server.is_closed);
	peer_close(&p);
	kit_done(&k);
}

static void test_server_closes(void **state)
{
	start(NULL);
	join_now();
	net_ws_send(server.ws, "last", 4, true);
	net_server_close(k.server);
	k.server = NULL;
	kit_wait_true(&k, &client.is_closed);
	assert_true(server.is_closed);
	assert_int_equal(server.why.kind, ERR_UNAVAILABLE);
	assert_int_equal(client.n_messages, 1);
	assert_int_equal(client.why.kind, ERR_NONE);
	kit_done(&k);
}

static void test_slow_reader(void **state)
{
	static char piece[10000];
	size_t n_sent = 0;
	unsigned drains;
	struct peer p;

	start(&(struct net_limits){.send_bytes = 50000});
	upgrade(&p, "");
	peer_stop_reading(&p);
	do {
		while (net_ws_send(server.ws, piece, sizeof(piece), false))
			n_sent += sizeof(piece);
		n_sent += sizeof(piece);
		drains = server.n_drains;
		kit_turns(&k, 5);
	} while (server.n_drains > drains);
	assert_true(n_sent < MIB);
	assert_true(net_ws_unsent(server.ws) > 25000 && net_ws_unsent(server.ws) < 70000);
	peer_read_again(&p);
	kit_wait_count(&k, &server.n_drains, drains + 1);
	kit_turns(&k, 5);
	assert_int_equal(net_ws_unsent(server.ws), 0);
	peer_close(&p);
	kit_done(&k);
}

/* Who asks whether we live and does not read the answers is not answered without end. */
static void test_pings_unread(void **state)
{
	struct buf pings = BUF_INIT(MIB);
	struct peer p;

	for (int i = 0; i < 500; i++)
		buf_add(&pings,
		        "\x89\xfd\0\0\0\0" /* 125 bytes */
		        "0123456789012345678901234567890123456789012345678901234567890123456789"
		        "0123456789012345678901234567890123456789012345678901234",
		        131);
	start(&(struct net_limits){.send_bytes = 10000});
	upgrade(&p, "");
	peer_stop_reading(&p);
	for (int i = 0; i < 200 && !server.is_closed; i++) {
		(void)!send(p.fd, pings.data, pings.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		kit_turns(&k, 1);
		if (!server.is_closed)
			assert_in_range(net_ws_unsent(server.ws), 0, 200000);
	}
	assert_true(server.is_closed);
	assert_int_equal(server.why.kind, ERR_TIMEOUT);
	peer_close(&p);
	buf_done(&pings);
	kit_done(&k);
}

static void test_pause(void **state)
{
	static char piece[1000];
	unsigned before;

	start(NULL);
	join_now();
	server.echoes = false;
	net_ws_pause(server.ws, true);
	for (int i = 0; i < 1000; i++)
		net_ws_send(client.ws, piece, sizeof(piece), false);
	kit_turns(&k, 20);
	assert_int_equal(server.n_messages, 0);
	server.pauses = true;
	net_ws_pause(server.ws, false);
	kit_turns(&k, 20);
	/* What wslay had in its hands already, 4 KiB, still comes. */
	assert_true(server.n_messages >= 1 && server.n_messages <= 6);
	before = server.n_messages;
	kit_turns(&k, 20);
	assert_int_equal(server.n_messages, before);
	server.pauses = false;
	net_ws_pause(server.ws, false);
	kit_wait_count(&k, &server.n_messages, 1000);
	kit_done(&k);
}

static enum err_kind try_connect(const char *where, const char *protocol)
{
	struct err err;

	client = (struct end){.kit = &k};
	if (net_ws_connect(k.loop,
	            &(struct net_ws_options){.url = where, .protocol = protocol, .connect_ms = 60},
	            &handlers, &client, &client.ws, &err) < 0)
		return err.kind;
	kit_wait_true(&k, &client.is_closed);
	assert_false(client.is_open);
	return client.why.kind;
}

static void test_cannot_connect(void **state)
{
	static const char *const bad[] = {"", "berth", "ftp://a/b", "unix:", "unix:/tmp/x",
	        "unix::/v1", "http://", "http:///x", "http://a:99999/", "http://user@host/",
	        "http://a b/", "https://a/\r\nX: y"};

	start(NULL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(try_connect(bad[i], "berth-test"), ERR_INVALID);
	assert_int_equal(try_connect("unix:/nowhere/berth.sock:/ws", NULL), ERR_NOT_FOUND);
	assert_int_equal(try_connect("http://127.0.0.1:1/ws", NULL), ERR_UNAVAILABLE);
	assert_int_equal(try_connect("http://[::1]:1/ws", NULL), ERR_UNAVAILABLE);
	assert_int_equal(try_connect("http://localhost:1/ws", NULL), ERR_UNAVAILABLE);
	assert_int_equal(try_connect(url, "another"), ERR_INVALID);
	assert_int_equal(try_connect(url, NULL), ERR_INVALID);
	snprintf(url, sizeof(url), "unix:%s:/fail", k.path);
	assert_int_equal(try_connect(url, "berth-test"), ERR_NOT_FOUND);
	snprintf(url, sizeof(url), "unix:%s:/x", k.path); /* 200 */
	assert_int_equal(try_connect(url, "berth-test"), ERR_UNAVAILABLE);
	snprintf(url, sizeof(url), "unix:%s:/late", k.path);
	assert_int_equal(try_connect(url, "berth-test"), ERR_TIMEOUT);
	kit_done(&k);
}

/* Closed by its owner before it was open, and with its name still being looked up. */
static void test_given_up(void **state)
{
	static const char *const wheres[] = {"http://127.0.0.1:1/ws", "http://localhost:1/ws"};

	start(NULL);
	for (size_t i = 0; i < 3; i++) {
		join(&(struct net_ws_options){
		        .url = i < 2 ? wheres[i] : url, .protocol = "berth-test"});
		net_ws_close(client.ws, 1000, NULL);
		kit_wait_true(&k, &client.is_closed);
		assert_int_equal(client.why.kind, ERR_NONE);
		assert_false(client.is_open);
	}
	kit_done(&k);
}

static void test_bearer(void **state)
{
	struct err err;

	start(NULL);
	client = (struct end){.kit = &k};
	assert_int_equal(
	        net_ws_connect(k.loop, &(struct net_ws_options){.url = url, .bearer = "a\r\nb: c"},
	                &handlers, &client, &client.ws, &err),
	        -ERR_INVALID);
	snprintf(url, sizeof(url), "unix:%s:/x", k.path);
	join(&(struct net_ws_options){.url = url, .bearer = "brth_0123+/="});
	kit_wait_true(&k, &client.is_closed);
	assert_string_equal(k.authorization, "Bearer brth_0123+/=");
	kit_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_echo),
	        cmocka_unit_test(test_sizes),
	        cmocka_unit_test(test_many_in_one_turn),
	        cmocka_unit_test(test_frames),
	        cmocka_unit_test(test_faulty_frames),
	        cmocka_unit_test(test_fragments_too_large),
	        cmocka_unit_test(test_not_taken),
	        cmocka_unit_test(test_upgrade_ignored),
	        cmocka_unit_test(test_silence),
	        cmocka_unit_test(test_close_codes),
	        cmocka_unit_test(test_peer_goes),
	        cmocka_unit_test(test_server_closes),
	        cmocka_unit_test(test_slow_reader),
	        cmocka_unit_test(test_pings_unread),
	        cmocka_unit_test(test_pause),
	        cmocka_unit_test(test_cannot_connect),
	        cmocka_unit_test(test_given_up),
	        cmocka_unit_test(test_bearer),
	};

	return cmocka_run_group_tests_name("net_ws", tests, NULL, NULL);
}
