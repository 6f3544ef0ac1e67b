#include "net_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define HOST    "Host: berth\r\n"
#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static struct kit k;
static struct peer p;

static void begin(const struct net_limits *limits)
{
	kit_init(&k, limits);
	peer_open(&p, &k);
}

static void end(void)
{
	peer_close(&p);
	kit_done(&k);
}

static void expect_refusal(const char *request, const char *status)
{
	begin(NULL);
	peer_ask(&p, request, status);
	peer_expect(&p, "{\"error\":{\"code\":\"");
	peer_expect_eof(&p);
	assert_int_equal(k.n_requests, k.n_closed);
	end();
}

static void test_what_was_asked(void **state)
{
	begin(NULL);
	peer_ask(&p, "GET /a%20b/./c//d?a=1+2&a=%33 HTTP/1.1\r\n" HOST "X-Test:  v \r\n\r\n", OK);
	peer_expect(&p, "shown\n");
	assert_string_equal(k.saw, "0 /a b/c/d a=1 2 a1=3 x=v");
	assert_true(k.peer.is_unix);
	assert_int_equal(k.peer.uid, geteuid());
	assert_int_equal(k.peer.gid, getegid());
	assert_int_equal(k.peer.pid, getpid());
	assert_string_equal(k.peer.addr, "unix");
	assert_false(k.peer.is_tls);
	end();
}

static void test_methods(void **state)
{
	static const char *const names[] = {
	        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
	char text[128];

	begin(NULL);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(text, sizeof(text), "%s /x HTTP/1.1\r\n" HOST "\r\n", names[i]);
		peer_ask(&p, text, OK);
		assert_int_equal(k.saw[0] - '0', i);
	}
	end();
}

static void test_keep_alive(void **state)
{
	begin(NULL);
	for (unsigned i = 1; i <= 5; i++) {
		peer_ask(&p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", OK);
		peer_expect(&p, "hello");
		kit_wait_count(&k, &k.n_closed, i);
	}
	peer_say(&p, "GET /x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	peer_expect(&p, "Connection: close\r\n");
	peer_expect(&p, "shown\n");
	peer_expect_eof(&p);
	end();
}

static void test_pipelining(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n"
	             "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nsecon"
	             "\r\n" /* an empty line before a request is let pass */
	             "POST /echo HTTP/1.1\r\n" HOST CHUNKED "5\r\nthird\r\n0\r\n\r\n"
	             "GET /chunks HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	kit_turns(&k, 20);
	assert_int_equal(k.n_requests, 1); /* one at a time */
	net_request_reply(k.late, 200, "text/plain", "first", 5);
	peer_expect(&p, "first");
	peer_expect(&p, "secon");
	peer_expect(&p, "third");
	peer_expect(&p, "two\r\n0\r\n\r\n");
	kit_wait_count(&k, &k.n_closed, 4);
	end();
}

static void test_many_pipelined(void **state)
{
	struct buf text = BUF_INIT(MIB);

	begin(NULL);
	for (int i = 0; i < 1000; i++)
		buf_add_str(&text, "GET /nothing HTTP/1.1\r\n" HOST "\r\n");
	peer_say_bytes(&p, text.data, text.len);
	kit_wait_count(&k, &k.n_closed, 1000);
	for (int i = 0; i < 1000; i++)
		peer_expect(&p, "HTTP/1.1 204 No Content\r\n");
	buf_done(&text);
	end();
}

static void test_byte_by_byte(void **state)
{
	static const char text[] = "POST /echo HTTP/1.1\r\n" HOST CHUNKED
	                           "5\r\nhello\r\n6\r\n again\r\n0\r\nT: x\r\n\r\n"
	                           "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nend";

	begin(NULL);
	for (size_t i = 0; i < strlen(text); i++) {
		peer_say_bytes(&p, text + i, 1);
		kit_turns(&k, 0);
	}
	peer_expect(&p, "hello again");
	peer_expect(&p, "end");
	end();
}

static void test_answer_in_pieces(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /chunks HTTP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, "Transfer-Encoding: chunked\r\n");
	peer_expect(&p, "\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n");
	end();
}

static void test_both_ways_at_once(void **state)
{
	begin(NULL);
	peer_ask(&p, "POST /lines HTTP/1.1\r\n" HOST CHUNKED, OK);
	peer_say(&p, "4\r\none\n\r\n");
	peer_expect(&p, "4\r\none\n\r\n");
	peer_say(&p, "4\r\ntwo\n\r\n");
	peer_expect(&p, "4\r\ntwo\n\r\n");
	peer_say(&p, "0\r\n\r\n");
	peer_expect(&p, "0\r\n\r\n");
	peer_ask(&p, "GET /x HTTP/1.1\r\n" HOST "\r\n", OK);
	end();
}

static void test_http_1_0(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	peer_expect(&p, "Connection: keep-alive\r\n");
	peer_expect(&p, "shown\n");
	peer_say(&p, "GET /chunks HTTP/1.0\r\n\r\n");
	peer_expect(&p, "Connection: close\r\n");
	peer_expect(&p, "\r\none two");
	peer_expect_eof(&p);
	assert_int_equal(p.in.len, 0);
	end();
}

static void test_head(void **state)
{
	begin(NULL);
	peer_say(&p, "HEAD /x HTTP/1.1\r\n" HOST "\r\nHEAD /chunks HTTP/1.1\r\n" HOST
	             "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, "Content-Length: 6\r\n");
	peer_expect(&p, "\r\n\r\nHTTP/1.1 200 OK\r\n");
	peer_expect(&p, "\r\n\r\nHTTP/1.1 200 OK\r\n");
	peer_expect(&p, "\r\n\r\nshown\n");
	end();
}

static void test_headers_cannot_be_injected(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /x?a=%0d%0aEvil:%20yes%0d%0a%0d%0a HTTP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, "X-Saw: 0 /x a=??Evil: yes???? a1=- x=-\r\n");
	end();
}

static void test_continue(void **state)
{
	begin(NULL);
	peer_say(&p,
	        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
	peer_expect(&p, "HTTP/1.1 100 Continue\r\n\r\n");
	peer_say(&p, "hello");
	peer_expect(&p, OK);
	peer_expect(&p, "hello");
	/* A refusal instead of 100: the body will not come, so the connection ends. */
	peer_say(&p,
	        "POST /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	peer_expect(&p, OK);
	peer_expect(&p, "Connection: close\r\n");
	peer_expect_eof(&p);
	end();
	expect_refusal("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: tea\r\n\r\n",
	        "HTTP/1.1 417 ");
}

static void test_unread_body(void **state)
{
	char *body = mem_zalloc(MIB);

	begin(NULL);
	peer_say(&p, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
	peer_expect(&p, "shown\n");
	peer_say_bytes(&p, body, 100000);
	peer_ask(&p, "GET /x HTTP/1.1\r\n" HOST "\r\n", OK);
	peer_expect(&p, "shown\n");
	/* Too much to read for nothing. */
	peer_say(&p, "POST /x HTTP/1.1\r\n" HOST "Content-Length: 1048576\r\n\r\n");
	peer_say_bytes(&p, body, MIB);
	peer_expect(&p, OK);
	peer_expect(&p, "Connection: close\r\n");
	peer_expect(&p, "shown\n");
	peer_expect_eof(&p);
	free(body);
	end();
}

static void test_body_too_large(void **state)
{
	expect_refusal(
	        "POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n", "HTTP/1.1 413 ");
	expect_refusal("POST /small HTTP/1.1\r\n" HOST
	               "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n",
	        "HTTP/1.1 413 ");
	expect_refusal("POST /small HTTP/1.1\r\n" HOST CHUNKED
	               "6\r\n123456\r\n5\r\n78901\r\n0\r\n\r\n",
	        "HTTP/1.1 413 ");
	begin(&(struct net_limits){.body_bytes = 4});
	peer_ask(&p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nfour", OK);
	peer_ask(&p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nfive5",
	        "HTTP/1.1 413 ");
	peer_expect_eof(&p);
	end();
}

static void test_head_too_large(void **state)
{
	struct buf text = BUF_INIT(MIB);

	buf_add_str(&text, "GET /x HTTP/1.1\r\n" HOST "Long: ");
	for (int i = 0; i < 900; i++)
		buf_add_byte(&text, 'x');
	buf_add_str(&text, "\r\n\r\n");
	begin(&(struct net_limits){.head_bytes = 1000});
	peer_ask(&p, buf_str(&text), OK);
	text.len -= 4;
	for (int i = 0; i < 100; i++)
		buf_add_byte(&text, 'x');
	peer_ask(&p, buf_str(&text), "HTTP/1.1 431 "); /* before its end has come */
	peer_expect_eof(&p);
	end();
	buf_add_str(&text, "\r\n\r\n");
	begin(&(struct net_limits){.head_bytes = 1000});
	peer_ask(&p, buf_str(&text), "HTTP/1.1 431 ");
	peer_expect_eof(&p);
	end();
	buf_done(&text);
}

static void test_address_too_long(void **state)
{
	struct buf text = BUF_INIT(MIB);

	buf_add_str(&text, "GET /");
	for (int i = 0; i < 1000; i++)
		buf_add_byte(&text, 'x');
	begin(&(struct net_limits){.head_bytes = 1000});
	peer_ask(&p, buf_str(&text), "HTTP/1.1 414 ");
	peer_expect_eof(&p);
	end();
	/* Also when it comes so that just as much as may be is there before there is more. */
	begin(&(struct net_limits){.head_bytes = 1000});
	peer_say_bytes(&p, text.data, 1000);
	kit_turns(&k, 5);
	assert_int_equal(p.in.len, 0);
	peer_ask(&p, "x", "HTTP/1.1 414 ");
	peer_expect_eof(&p);
	end();
	buf_add_str(&text, " HTTP/1.1\r\n" HOST "\r\n");
	begin(&(struct net_limits){.head_bytes = 1000});
	peer_ask(&p, buf_str(&text), "HTTP/1.1 414 ");
	peer_expect_eof(&p);
	end();
	buf_done(&text);
}

static void test_not_http(void **state)
{
	expect_refusal("GET /\r\n", "HTTP/1.1 400 "); /* who speaks 0.9 waits for an answer now */
	expect_refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 ");
	expect_refusal("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
	expect_refusal("GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 ");
	expect_refusal("hello", "HTTP/1.1 400 ");
	expect_refusal("\x16\x03\x01", "HTTP/1.1 400 ");
	expect_refusal("GET /../etc HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 400 ");
	expect_refusal("GET / HTTP/3.0\r\n" HOST "\r\n", "HTTP/1.1 505 ");
	expect_refusal(
	        "POST /echo HTTP/1.1\r\n" HOST CHUNKED "5\r\nhelloXX0\r\n\r\n", "HTTP/1.1 400 ");
	expect_refusal(
	        "POST /echo HTTP/1.1\r\n" HOST CHUNKED "5;a\nhello\r\n0\r\n\r\n", "HTTP/1.1 400 ");
	expect_refusal(
	        "POST /echo HTTP/1.1\r\n" HOST CHUNKED "fffffffffffffffff\r\n", "HTTP/1.1 400 ");
	expect_refusal("POST /count HTTP/1.1\r\n" HOST CHUNKED
	               "5\r\nhello\r\n0\r\nA\x01: b\r\n\r\n",
	        "HTTP/1.1 400 ");
}

/* What comes behind a faulty request is never taken for another one. */
static void test_nothing_behind_a_fault(void **state)
{
	begin(NULL);
	peer_say(&p, "POST /echo HTTP/1.1\r\n" HOST
	             "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	             "GET /x HTTP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, "HTTP/1.1 400 ");
	peer_expect_eof(&p);
	assert_int_equal(k.n_requests, 0);
	end();
}

static void test_fail(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /fail HTTP/1.1\r\n" HOST "\r\n");
	peer_expect(&p, "HTTP/1.1 404 Not Found\r\n");
	peer_expect(&p, "Content-Type: application/json\r\n");
	peer_expect(&p,
	        "{\"error\":{\"code\":\"not_found\",\"message\":\"job \\\"17\\\"\\u000a does not exist\",\"hint\":\"berth ps\"}}\n");
	end();
}

static void test_fail_in_the_middle(void **state)
{
	struct err err;

	begin(NULL);
	peer_ask(&p, "GET /stream HTTP/1.1\r\n" HOST "\r\n", OK);
	net_request_send(k.late, "half", 4);
	(void)!err_set(&err, ERR_IO, "the disk has gone");
	net_request_fail(k.late, &err);
	peer_expect(&p, "4\r\nhalf\r\n");
	peer_expect_eof(&p);
	assert_int_equal(p.in.len, 0); /* no last chunk: the peer knows that something is missing */
	assert_int_equal(k.n_closed, 1);
	end();
}

static void test_slow_head(void **state)
{
	begin(&(struct net_limits){.head_ms = 40});
	peer_say(&p, "GET / HT");
	peer_expect(&p, "HTTP/1.1 408 ");
	peer_expect_eof(&p);
	end();
	/* One that says nothing gets nothing. */
	begin(&(struct net_limits){.head_ms = 40});
	peer_expect_eof(&p);
	assert_int_equal(p.in.len, 0);
	end();
	/* A byte now and then does not help. */
	begin(&(struct net_limits){.head_ms = 60});
	for (int i = 0; i < 20 && !p.is_eof && !p.in.len; i++) {
		peer_say(&p, "G");
		kit_turns(&k, 10);
	}
	peer_expect(&p, "HTTP/1.1 408 ");
	end();
}

static void test_idle(void **state)
{
	begin(&(struct net_limits){.idle_ms = 40});
	peer_ask(&p, "GET /x HTTP/1.1\r\n" HOST "\r\n", OK);
	peer_expect(&p, "shown\n");
	peer_expect_eof(&p);
	assert_int_equal(p.in.len, 0);
	end();
}

static void test_slow_body(void **state)
{
	begin(&(struct net_limits){.stall_ms = 40});
	peer_say(&p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel");
	peer_expect(&p, "HTTP/1.1 408 ");
	peer_expect_eof(&p);
	kit_wait_count(&k, &k.n_closed, 1);
	end();
	/* Nobody is late while it is we who make him wait: the handler pauses, or has not answered. */
	begin(&(struct net_limits){.stall_ms = 30, .idle_ms = 30, .head_ms = 30});
	k.pauses = true;
	peer_say(&p, "POST /count HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel");
	kit_turns(&k, 100);
	assert_int_equal(k.n_bytes, 3);
	net_request_pause(k.late, false);
	k.pauses = false;
	peer_say(&p, "lo");
	peer_expect(&p, "5 bytes\n");
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_turns(&k, 100);
	net_request_reply(k.late, 200, "text/plain", "now", 3);
	peer_expect(&p, "now");
	end();
}

static void test_pause(void **state)
{
	const size_t total = 8 * MIB;
	struct buf text = BUF_INIT(16 * MIB);
	size_t before;

	begin(NULL);
	k.pauses = true;
	buf_addf(&text, "POST /count HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", total);
	memset(buf_reserve(&text, total), 'x', total);
	buf_commit(&text, total);
	assert_true(send(p.fd, text.data, 100000, MSG_NOSIGNAL) == 100000);
	kit_wait_count(&k, &k.n_requests, 1);
	kit_turns(&k, 20);
	before = k.n_bytes;
	assert_true(before > 0 && before <= 65536);
	/* Each piece is followed by a pause, in which not a byte comes. */
	net_request_pause(k.late, false);
	kit_turns(&k, 20);
	assert_true(k.n_bytes > before && k.n_bytes <= before + 65536);
	k.pauses = false;
	net_request_pause(k.late, false);
	peer_say_bytes(&p, text.data + 100000, text.len - 100000);
	peer_expect(&p, "8388608 bytes\n");
	assert_int_equal(k.n_bytes, total);
	buf_done(&text);
	end();
}

static void test_peer_goes(void **state)
{
	begin(NULL);
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	peer_close(&p);
	kit_wait_count(&k, &k.n_closed, 1);
	/* In the middle of an answer, and of a body. */
	peer_open(&p, &k);
	peer_ask(&p, "GET /stream HTTP/1.1\r\n" HOST "\r\n", OK);
	net_request_send(k.late, "half", 4);
	peer_close(&p);
	kit_wait_count(&k, &k.n_closed, 2);
	peer_open(&p, &k);
	peer_say(&p, "POST /count HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel");
	kit_wait_count(&k, &k.n_requests, 3);
	peer_close(&p);
	kit_wait_count(&k, &k.n_closed, 3);
	assert_false(k.is_ended);
	peer_open(&p, &k);
	peer_say(&p, "GET / HT");
	peer_close(&p);
	kit_done(&k);
}

static void test_slow_reader(void **state)
{
	static char piece[10000];
	size_t n_sent = 0;
	unsigned drains = 0;

	begin(&(struct net_limits){.send_bytes = 50000});
	peer_ask(&p, "GET /stream HTTP/1.1\r\n" HOST "\r\n", OK);
	peer_stop_reading(&p);
	/* What it does not take is never more than it may owe and one piece. */
	for (int i = 0; i < 1000; i++) {
		n_sent += sizeof(piece);
		if (net_request_send(k.late, piece, sizeof(piece)))
			continue;
		drains = k.n_drains;
		kit_turns(&k, 5);
		if (k.n_drains == drains)
			break;
	}
	assert_true(n_sent < MIB);
	assert_false(net_request_send(k.late, "x", 1));
	peer_read_again(&p);
	kit_wait_count(&k, &k.n_drains, drains + 1);
	net_request_end(k.late);
	peer_expect(&p, "0\r\n\r\n");
	kit_wait_count(&k, &k.n_closed, 1);
	end();
}

static void test_stalled_reader(void **state)
{
	static char much[4 * MIB];

	begin(&(struct net_limits){.stall_ms = 40});
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	peer_stop_reading(&p);
	net_request_reply(k.late, 200, "text/plain", much, sizeof(much));
	/* Dropped, although the answer is complete on our side. */
	kit_wait_count(&k, &k.n_closed, 1);
	peer_read_again(&p);
	peer_expect_eof(&p);
	assert_true(p.in.len < sizeof(much));
	end();
}

static void test_big_answer(void **state)
{
	static char much[8 * MIB];

	begin(NULL);
	peer_say(&p, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	kit_wait_count(&k, &k.n_requests, 1);
	memset(much, 'x', sizeof(much));
	memcpy(much + sizeof(much) - 3, "end", 3);
	net_request_reply(k.late, 200, "text/plain", much, sizeof(much));
	peer_expect(&p, "\r\n\r\n");
	peer_expect(&p, "xend");
	peer_ask(&p, "GET /x HTTP/1.1\r\n" HOST "\r\n", OK);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_what_was_asked),
	        cmocka_unit_test(test_methods),
	        cmocka_unit_test(test_keep_alive),
	        cmocka_unit_test(test_pipelining),
	        cmocka_unit_test(test_many_pipelined),
	        cmocka_unit_test(test_byte_by_byte),
	        cmocka_unit_test(test_answer_in_pieces),
	        cmocka_unit_test(test_both_ways_at_once),
	        cmocka_unit_test(test_http_1_0),
	        cmocka_unit_test(test_head),
	        cmocka_unit_test(test_headers_cannot_be_injected),
	        cmocka_unit_test(test_continue),
	        cmocka_unit_test(test_unread_body),
	        cmocka_unit_test(test_body_too_large),
	        cmocka_unit_test(test_head_too_large),
	        cmocka_unit_test(test_address_too_long),
	        cmocka_unit_test(test_not_http),
	        cmocka_unit_test(test_nothing_behind_a_fault),
	        cmocka_unit_test(test_fail),
	        cmocka_unit_test(test_fail_in_the_middle),
	        cmocka_unit_test(test_slow_head),
	        cmocka_unit_test(test_idle),
	        cmocka_unit_test(test_slow_body),
	        cmocka_unit_test(test_pause),
	        cmocka_unit_test(test_peer_goes),
	        cmocka_unit_test(test_slow_reader),
	        cmocka_unit_test(test_stalled_reader),
	        cmocka_unit_test(test_big_answer),
	};

	return cmocka_run_group_tests_name("net_http", tests, NULL, NULL);
}
