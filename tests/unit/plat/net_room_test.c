#include "net_kit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST  "Host: berth\r\n"
#define OK    "HTTP/1.1 200 OK\r\n"
#define HELLO "GET /x HTTP/1.1\r\n" HOST "\r\n"
#define LATE  "GET /late HTTP/1.1\r\n" HOST "\r\n"
#define BODY  "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n"

static struct kit k;

static void begin(const struct net_limits *limits)
{
	kit_init(&k, limits);
	kit_listen_tcp(&k, &(struct net_tcp_options){.host = "127.0.0.1"});
}

static void open_busy(struct peer *p, void (*open)(struct peer *p, struct kit *k))
{
	unsigned n = k.n_requests;

	open(p, &k);
	peer_say(p, LATE);
	kit_wait_count(&k, &k.n_requests, n + 1);
}

static void close_all(struct peer *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		peer_close(&p[i]);
}

static void test_groups(void **state)
{
	static const struct {
		struct net_peer peer;
		const char *group;
	} rows[] = {{{.is_unix = true, .uid = 17, .addr = "unix"}, "uid 17"},
	        {{.addr = "10.1.2.3"}, "10.1.2.3"},
	        {{.addr = "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"},
	        {{.addr = "2001:db8:1:2:ffff::"}, "2001:db8:1:2::/64"}, {{.addr = "::1"}, "::/64"},
	        {{.addr = "?"}, "?"}};
	char group[64];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		net_peer_group(&rows[i].peer, group);
		assert_string_equal(group, rows[i].group);
	}
}

static void test_one_peer(void **state)
{
	struct peer busy[4];
	struct peer p;

	begin(&(struct net_limits){.connections_per_peer = 4});
	for (unsigned i = 0; i < 4; i++)
		open_busy(&busy[i], peer_open_tcp);
	/* One more of the same address is not let in while the others wait for their answers; */
	peer_open_tcp(&p, &k);
	peer_expect_eof(&p);
	peer_close(&p);
	/* who comes from elsewhere is. */
	peer_open(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_close(&p);
	/* One that is only kept alive makes room, */
	net_request_reply(k.late, 200, "text/plain", "now", 3);
	peer_expect(&busy[3], "now");
	peer_open_tcp(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_expect_eof(&busy[3]);
	peer_close(&busy[3]);
	/* and one without a whole request, too. */
	peer_close(&p);
	kit_turns(&k, 0);
	peer_open_tcp(&busy[3], &k);
	peer_say(&busy[3], "GET / HT");
	kit_turns(&k, 0);
	peer_open_tcp(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_expect_eof(&busy[3]);
	peer_close(&p);
	close_all(busy, 4);
	kit_done(&k);
}

static void test_counts_come_down(void **state)
{
	struct peer p;

	begin(&(struct net_limits){.connections_per_peer = 1});
	for (int i = 0; i < 20; i++) {
		open_busy(&p, peer_open_tcp);
		peer_close(&p);
		kit_wait_count(&k, &k.n_closed, (unsigned)i + 1);
	}
	kit_done(&k);
}

static void test_reserve(void **state)
{
	struct peer busy[4];
	struct peer p[3];

	begin(&(struct net_limits){.connections = 4, .connections_per_peer = 4, .reserve = 2});
	for (unsigned i = 0; i < 4; i++)
		open_busy(&busy[i], peer_open_tcp);
	/* Our own account on the socket gets in where nobody else does, so often. */
	open_busy(&p[0], peer_open);
	open_busy(&p[1], peer_open);
	peer_open(&p[2], &k);
	peer_expect(&p[2], "HTTP/1.1 429 Too Many Requests\r\n");
	peer_expect(&p[2], "{\"error\":{\"code\":\"limit\"");
	peer_expect_eof(&p[2]);
	close_all(p, 3);
	peer_open_tcp(&p[0], &k);
	peer_expect_eof(&p[0]);
	peer_close(&p[0]);
	close_all(busy, 4);
	kit_done(&k);
}

/* Who sends a body that is wanted is not sent away for a flood of half requests. */
static void test_honest_body(void **state)
{
	static struct peer half[60];
	struct peer p;
	unsigned n_gone = 0;

	begin(&(struct net_limits){.connections = 32});
	peer_open_tcp(&p, &k);
	peer_say(&p, BODY);
	kit_wait_count(&k, &k.n_requests, 1);
	for (int i = 0; i < 60; i++) {
		peer_open(&half[i], &k);
		peer_say(&half[i], i % 2 ? "GET / HT" : "\r\n");
		kit_turns(&k, 0);
	}
	for (int i = 0; i < 100; i++)
		peer_say(&p, "0123456789");
	peer_expect(&p, OK);
	for (int i = 0; i < 60; i++)
		n_gone += half[i].is_eof;
	assert_true(n_gone >= 28);
	close_all(half, 60);
	peer_close(&p);
	kit_done(&k);
}

/* However many come at once: who has said what he wants is heard before he could be one of too many. */
static void test_heard_first(void **state)
{
	static struct peer crowd[300];
	struct peer p;

	begin(&(struct net_limits){.connections = 20});
	peer_open_tcp(&p, &k);
	peer_say(&p, HELLO);
	for (int i = 0; i < 300; i++)
		(i % 2 ? peer_open : peer_open_tcp)(&crowd[i], &k);
	peer_expect(&p, OK);
	peer_expect(&p, "shown\n");
	close_all(crowd, 300);
	peer_close(&p);
	kit_done(&k);
}

/* Who does not take his answers makes room, too. */
static void test_answers_not_taken(void **state)
{
	struct buf many = BUF_INIT(16 * MIB);
	struct peer deaf;
	struct peer p;

	for (int i = 0; i < 20000; i++)
		buf_add_str(&many, HELLO);
	begin(&(struct net_limits){.connections = 1, .send_bytes = 20000});
	peer_open_tcp(&deaf, &k);
	peer_stop_reading(&deaf);
	/* It stops being read, too, so not all of this can be said. */
	assert_true(send(deaf.fd, many.data, many.len, MSG_NOSIGNAL | MSG_DONTWAIT) > 0);
	kit_turns(&k, 50);
	assert_in_range(k.n_requests, 1, 19999);
	peer_open_tcp(&p, &k);
	peer_ask(&p, HELLO, OK);
	peer_close(&p);
	peer_close(&deaf);
	buf_done(&many);
	kit_done(&k);
}

/* Big answers that nobody takes are not kept without end: the slowest go, and who reads gets all of his. */
static void test_big_answers_not_taken(void **state)
{
	static char big[5 * MIB];
	struct peer deaf[2];
	struct peer p;

	begin(&(struct net_limits){.unsent_bytes = 8 * MIB});
	for (int i = 0; i < 2; i++) {
		open_busy(&deaf[i], peer_open);
		peer_stop_reading(&deaf[i]);
		net_request_reply(k.late, 200, "text/plain", big, sizeof(big));
		kit_turns(&k, 5);
	}
	assert_int_equal(k.n_closed, 1); /* the first */
	open_busy(&p, peer_open);
	net_request_reply(k.late, 200, "text/plain", big, sizeof(big));
	peer_expect(&p, "Content-Length: 5242880\r\n\r\n");
	kit_wait_count(&k, &k.n_closed, 3);
	while (p.in.len < sizeof(big))
		kit_turns(&k, 1);
	assert_false(p.is_eof);
	for (int i = 0; i < 2; i++) {
		peer_read_again(&deaf[i]);
		peer_expect_eof(&deaf[i]);
		assert_true(deaf[i].in.len < sizeof(big));
	}
	close_all(deaf, 2);
	peer_close(&p);
	kit_done(&k);
}

/* A byte now and then is not enough: neither for a body that is wanted nor for one that is thrown away. */
static void test_dripping_body(void **state)
{
	static const char *const requests[] = {
	        BODY, "GET /x HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n"};
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		begin(&(struct net_limits){.body_ms = 60, .stall_ms = 5000});
		peer_open(&p, &k);
		peer_say(&p, requests[i]);
		for (int n = 0; n < 500 && !p.is_eof; n++) {
			peer_say(&p, "b");
			kit_turns(&k, 10);
		}
		assert_true(p.is_eof);
		assert_int_equal(k.n_closed, 1);
		if (i == 0)
			peer_expect(&p, "HTTP/1.1 408 ");
		peer_close(&p);
		kit_done(&k);
	}
	/* A stream may come slowly. */
	begin(&(struct net_limits){.body_ms = 20, .stall_ms = 5000});
	peer_open(&p, &k);
	peer_say(&p, "POST /count HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
	for (int n = 0; n < 5; n++) {
		kit_turns(&k, 20);
		peer_say(&p, "b");
	}
	peer_expect(&p, "5 bytes\n");
	peer_close(&p);
	kit_done(&k);
}

/* More connections than files would mean that nobody gets in. */
static void test_files(void **state)
{
	static struct peer p[200];
	struct rlimit before, few;
	unsigned n_open = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){300, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	begin(NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 200; i++) {
		peer_open(&p[i], &k);
		peer_say(&p[i], HELLO);
		kit_turns(&k, 0);
	}
	for (int i = 0; i < 200; i++)
		n_open += !p[i].is_eof;
	assert_int_equal(n_open, 300 - 128);
	close_all(p, 200);
	kit_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_groups),
	        cmocka_unit_test(test_one_peer),
	        cmocka_unit_test(test_counts_come_down),
	        cmocka_unit_test(test_reserve),
	        cmocka_unit_test(test_honest_body),
	        cmocka_unit_test(test_heard_first),
	        cmocka_unit_test(test_answers_not_taken),
	        cmocka_unit_test(test_big_answers_not_taken),
	        cmocka_unit_test(test_dripping_body),
	        cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests_name("net_room", tests, NULL, NULL);
}
