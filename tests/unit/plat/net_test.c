#include "net_kit.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "plat/net_priv.h"

#define HOST  "Host: berth\r\n"
#define OK    "HTTP/1.1 200 OK\r\n"
#define HELLO "GET /x HTTP/1.1\r\n" HOST "\r\n"

static struct kit k;

static void test_socket_file(void **state)
{
	struct net_server *other;
	struct stat st;
	struct peer p;
	struct err err;
	char path[128];

	kit_init(&k, NULL);
	assert_int_equal(stat(k.path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A live one is left alone. */
	assert_int_equal(
	        net_server_new(k.loop, NULL, &(struct net_handlers){NULL}, NULL, &other, &err), 0);
	assert_int_equal(
	        net_server_listen_unix(other, k.path, 0600, UINT32_MAX, &err), -ERR_CONFLICT);
	assert_non_null(strstr(err.text, k.path));
	/* So is what is no socket, and what cannot be reached. */
	snprintf(path, sizeof(path), "%s/file", k.dir);
	fclose(fopen(path, "w"));
	assert_int_equal(
	        net_server_listen_unix(other, path, 0600, UINT32_MAX, &err), -ERR_CONFLICT);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/none/s", k.dir);
	assert_int_equal(
	        net_server_listen_unix(other, path, 0600, UINT32_MAX, &err), -ERR_NOT_FOUND);
	net_server_close(other);
	peer_open(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_close(&p);
	/* Ours goes with us. */
	net_server_close(k.server);
	k.server = NULL;
	assert_int_equal(stat(k.path, &st), -1);
	kit_done(&k);
}

static void test_stale_socket(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct net_server *other;
	struct stat st;
	struct err err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	kit_init(&k, NULL);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/stale", k.dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(
	        net_server_new(k.loop, NULL, &(struct net_handlers){NULL}, NULL, &other, &err), 0);
	assert_int_equal(net_server_listen_unix(other, sun.sun_path, 0660, getegid(), &err), 0);
	assert_int_equal(stat(sun.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, getegid());
	/* Somebody else's, by the time we close, stays. */
	assert_int_equal(unlink(sun.sun_path), 0);
	fclose(fopen(sun.sun_path, "w"));
	net_server_close(other);
	assert_int_equal(unlink(sun.sun_path), 0);
	kit_done(&k);
}

static void test_long_path(void **state)
{
	struct net_server *other;
	struct err err;
	char dir[256];
	char path[300];
	struct stat st;

	kit_init(&k, NULL);
	snprintf(dir, sizeof(dir), "%s/%0150d", k.dir, 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/berth.sock", dir);
	assert_int_equal(
	        net_server_new(k.loop, NULL, &(struct net_handlers){NULL}, NULL, &other, &err), 0);
	assert_int_equal(net_server_listen_unix(other, path, 0600, UINT32_MAX, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(
	        net_server_listen_unix(other, path, 0600, UINT32_MAX, &err), -ERR_CONFLICT);
	net_server_close(other);
	assert_int_equal(rmdir(dir), 0);
	kit_done(&k);
}

static void test_tcp(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "0.0.0.0", "localhost"};
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		kit_init(&k, NULL);
		assert_int_equal(net_server_port(k.server), 0);
		kit_listen_tcp(&k, &(struct net_tcp_options){.host = hosts[i]});
		peer_open_tcp(&p, &k);
		peer_ask(&p, HELLO, OK);
		assert_false(k.peer.is_unix || k.peer.is_tls);
		assert_string_equal(k.peer.addr, "127.0.0.1");
		peer_close(&p);
		kit_done(&k);
	}
}

static void test_tcp_refused(void **state)
{
	struct err err;

	kit_init(&k, NULL);
	kit_listen_tcp(&k, &(struct net_tcp_options){.host = "127.0.0.1"});
	assert_int_equal(
	        net_server_listen_tcp(k.server,
	                &(struct net_tcp_options){.host = "127.0.0.1", .port = k.port}, &err),
	        -ERR_CONFLICT);
	assert_int_equal(net_server_listen_tcp(
	                         k.server, &(struct net_tcp_options){.host = "192.0.2.1"}, &err),
	        -ERR_IO);
	assert_int_equal(
	        net_server_listen_tcp(k.server, &(struct net_tcp_options){.host = "no host"}, &err),
	        -ERR_NOT_FOUND);
	assert_int_equal(
	        net_server_listen_tcp(k.server,
	                &(struct net_tcp_options){.host = "127.0.0.1", .cert_path = "/nowhere.pem"},
	                &err),
	        -ERR_INVALID);
	kit_done(&k);
}

static void test_half_open(void **state)
{
	static struct peer half[400];
	struct peer p;
	unsigned n_gone = 0;

	kit_init(&k, &(struct net_limits){.connections = 256});
	for (int i = 0; i < 400; i++) {
		peer_open(&half[i], &k);
		peer_say(&half[i], "GET / HT");
		kit_turns(&k, 0);
	}
	peer_open(&p, &k);
	peer_ask(&p, HELLO, OK);
	kit_turns(&k, 0);
	/* The oldest have gone, in order. */
	for (int i = 0; i < 400; i++) {
		n_gone += half[i].is_eof;
		if (i)
			assert_true(half[i].is_eof <= half[i - 1].is_eof);
	}
	assert_int_equal(n_gone, 400 + 1 - 256);
	/* A kept-alive one that has asked before goes last. */
	for (int i = 0; i < 300; i++) {
		peer_close(&half[i]);
		peer_open(&half[i], &k);
		kit_turns(&k, 0);
	}
	peer_ask(&p, HELLO, OK);
	for (int i = 0; i < 400; i++)
		peer_close(&half[i]);
	peer_close(&p);
	kit_done(&k);
}

static void test_full_of_work(void **state)
{
	struct peer busy[4];
	struct peer p;

	kit_init(&k, &(struct net_limits){.connections = 4});
	for (unsigned i = 0; i < 4; i++) {
		peer_open(&busy[i], &k);
		peer_say(&busy[i], "GET /late HTTP/1.1\r\n" HOST "\r\n");
		kit_wait_count(&k, &k.n_requests, i + 1);
	}
	/* Nobody who waits for an answer is sent away for a newcomer. */
	peer_open(&p, &k);
	peer_expect_eof(&p);
	peer_close(&p);
	net_request_reply(k.late, 200, "text/plain", "now", 3);
	peer_expect(&busy[3], "now");
	peer_open(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_close(&p);
	for (int i = 0; i < 4; i++)
		peer_close(&busy[i]);
	kit_done(&k);
}

static void test_pause(void **state)
{
	struct peer before;
	struct peer after;

	kit_init(&k, &(struct net_limits){.head_ms = 30, .idle_ms = 30, .stall_ms = 30});
	peer_open(&before, &k);
	peer_say(&before, "GET /x HT");
	kit_turns(&k, 5);
	net_server_pause(k.server, true);
	net_server_pause(k.server, true);
	peer_open(&after, &k);
	peer_say(&before, "TP/1.1\r\n" HOST "\r\n");
	peer_say(&after, HELLO);
	/* Longer than anybody may take, but it is we who do not listen. */
	kit_turns(&k, 100);
	assert_int_equal(k.n_requests, 0);
	net_server_pause(k.server, false);
	peer_expect(&before, OK);
	peer_expect(&after, OK);
	peer_close(&before);
	peer_close(&after);
	kit_done(&k);
}

/* Not the peers were late but we: this process did not run, and what they sent meanwhile is waiting. */
static void test_stopped_ourselves(void **state)
{
	struct timespec stop = {.tv_sec = 1, .tv_nsec = 300000000};
	struct peer p;

	kit_init(&k, &(struct net_limits){.head_ms = 150});
	peer_open(&p, &k);
	peer_say(&p, "GET /x HT");
	kit_turns(&k, 5);
	nanosleep(&stop, NULL);
	peer_say(&p, "TP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, OK);
	peer_close(&p);
	kit_done(&k);
}

/* Whatever the connections are at, closing leaves nothing, and says so to everybody. */
static void test_close_with_everything_open(void **state)
{
	static char much[4 * MIB];
	struct peer p[7];

	kit_init(&k, NULL);
	for (int i = 0; i < 7; i++)
		peer_open(&p[i], &k);
	peer_say(&p[0], "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	peer_stop_reading(&p[0]);
	net_request_reply(k.late, 200, "text/plain", much, sizeof(much));
	peer_say(&p[1], "GET /late HTTP/1.1\r\n" HOST "\r\n");
	peer_say(&p[2], "POST /count HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhalf");
	peer_say(&p[3], "GET / HT");
	peer_say(&p[4], HELLO);
	peer_say(&p[5], "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 5);
	kit_turns(&k, 5);
	assert_int_equal(k.n_closed, 1);
	net_request_send(k.late, "last words", 10);
	net_server_close(k.server);
	kit_wait_count(&k, &k.n_closed, 5);
	peer_expect(&p[5], "last words");
	k.server = NULL;
	for (int i = 0; i < 7; i++) {
		if (i != 0)
			peer_expect_eof(&p[i]);
		peer_close(&p[i]);
	}
	kit_done(&k);
}

/* The loop need not run in between: freeing it finishes what closing has begun. */
static void test_close_and_free_the_loop(void **state)
{
	struct peer p;

	kit_init(&k, NULL);
	peer_open(&p, &k);
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	peer_close(&p);
	net_server_close(k.server);
	loop_free(k.loop);
	assert_int_equal(k.n_closed, 1);
	assert_int_equal(rmdir(k.dir), 0);
}

static void on_request_close(void *data, struct net_request *r)
{
	struct kit *kit = data;

	net_request_reply(r, 202, "text/plain", "bye", 3);
	net_server_close(kit->server);
	kit->server = NULL;
}

static void test_close_from_a_handler(void **state)
{
	static const struct net_handlers handlers = {.on_request = on_request_close};
	struct peer p;
	struct err err;

	kit_init(&k, NULL);
	net_server_close(k.server);
	assert_int_equal(net_server_new(k.loop, NULL, &handlers, &k, &k.server, &err), 0);
	assert_int_equal(net_server_listen_unix(k.server, k.path, 0600, UINT32_MAX, &err), 0);
	peer_open(&p, &k);
	peer_say(&p, HELLO HELLO);
	peer_expect(&p, "HTTP/1.1 202 Accepted\r\n");
	peer_expect(&p, "bye");
	peer_expect_eof(&p);
	peer_close(&p);
	kit_done(&k);
}

static void on_ws_message(
        void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	net_ws_send(ws, bytes, len, is_text);
}

static uint64_t seed;

static size_t pick(size_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

#define WS_FIELDS                                                                    \
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
	"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: berth-test\r\n"

/* Four words that mostly make a beginning, then anything. */
static size_t make_noise(char *text, size_t size)
{
	static const char *const starts[4][6] = {
	        {"GET ", "POST ", "HEAD ", "GET ", "POST ", "get "},
	        {"/echo", "/count", "/ws", "/stream", "/lines", "/%2e%2e"},
	        {" HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.0\r\n",
	                " HTTP/1.1\r\n", "\n"},
	        {HOST, HOST, HOST, HOST, HOST WS_FIELDS, "\r\n"}};
	static const char *const words[] = {"Content-Length: 5\r\n",
	        "Transfer-Encoding: chunked\r\n", "\r\n", "\r\n", "\r\n", "5\r\n", "hello", "hello",
	        "0\r\n\r\n", "Connection: close\r\n", "Expect: 100-continue\r\n", WS_FIELDS,
	        "\x82\x85zzzzhello", "\x81\xfe", "\x88\x82zzzz\x03\xe8", "\n"};
	size_t len = 0;

	for (size_t i = 0; len < size - 256; i++) {
		const char *word =
		        i % 12 < 4 ? starts[i % 12][pick(6)] : words[pick(ARRAY_LEN(words))];

		memcpy(text + len, word, strlen(word));
		len += strlen(word);
	}
	return len;
}

/* Bytes that nobody would send, cut anywhere: no crash, no leak, every exchange is closed. */
static void test_noise(void **state)
{
	static const struct net_ws_handlers handlers = {.on_message = on_ws_message};
	char text[1024];

	kit_init(&k, NULL);
	k.ws_handlers = &handlers;
	seed = 20261122;
	for (int round = 0; round < 10000; round++) {
		struct conn *c = server_conn_new_socketless(k.server);
		size_t len = make_noise(text, sizeof(text));
		size_t at = 0;

		while (at < len && !c->is_closing) {
			size_t n = MIN(len - at, 1 + pick(200));

			conn_feed(c, (const uint8_t *)text + at, n);
			at += n;
			if (pick(2))
				conn_settle(c);
		}
		conn_lose(c, NULL);
		if (round % 50 == 0)
			kit_turns(&k, 0);
	}
	kit_turns(&k, 0);
	assert_true(k.n_requests > 1000);
	assert_true(k.n_accepted > 20);
	assert_int_equal(k.n_closed + k.n_accepted, k.n_requests);
	kit_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_socket_file),
	        cmocka_unit_test(test_stale_socket),
	        cmocka_unit_test(test_long_path),
	        cmocka_unit_test(test_tcp),
	        cmocka_unit_test(test_tcp_refused),
	        cmocka_unit_test(test_half_open),
	        cmocka_unit_test(test_full_of_work),
	        cmocka_unit_test(test_pause),
	        cmocka_unit_test(test_stopped_ourselves),
	        cmocka_unit_test(test_close_with_everything_open),
	        cmocka_unit_test(test_close_and_free_the_loop),
	        cmocka_unit_test(test_close_from_a_handler),
	        cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
