#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "base/buf.h"
#include "plat/net_head.h"

#define HOST "Host: berth\r\n"

static struct head head;
static struct head_fault fault;

static int parse(void *ctx, const char *text)
{
	http_parser p;

	return head_parse_request(ctx, &p, (const uint8_t *)text, strlen(text), &head, &fault);
}

static void test_scan(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\nbody";
	const size_t end = strlen(text) - 4;

	/* However it arrives: the end is found as soon as it is there, and where it is. */
	for (size_t step = 1; step < sizeof(text); step++) {
		size_t scanned = 0;
		size_t len = 0;
		size_t n = 0;
		enum head_state s = HEAD_MORE;

		while (s == HEAD_MORE && len < strlen(text)) {
			len = MIN(len + step, strlen(text));
			s = head_scan((const uint8_t *)text, len, &scanned, &n);
		}
		assert_int_equal(s, HEAD_WHOLE);
		assert_int_equal(n, end);
		assert_true(len >= end && len < end + step);
	}
}

static void test_scan_bare_lf(void **state)
{
	static const char *const texts[] = {"GET / HTTP/1.1\nHost: a\n\n",
	        "GET / HTTP/1.1\r\nHost: a\n", "\nGET", "GET / HTTP/1.1\r\nHost: a\r\n\n"};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		size_t scanned = 0;
		size_t n;

		assert_int_equal(
		        head_scan((const uint8_t *)texts[i], strlen(texts[i]), &scanned, &n),
		        HEAD_BAD);
	}
}

static void test_fields(void **state)
{
	void *ctx = talloc_new(NULL);

	assert_int_equal(
	        parse(ctx, "GET /p HTTP/1.1\r\n" HOST "Empty:\r\nA:1\r\na: \t two words \t\r\n"
	                   "Connection: keep-alive, Upgrade\r\n\r\n"),
	        0);
	assert_int_equal(head.n_fields, 5);
	assert_int_equal(head.minor, 1);
	assert_string_equal(head_find(&head, "HOST"), "berth");
	assert_string_equal(head_find(&head, "empty"), "");
	assert_string_equal(head_find(&head, "a"), "1");
	assert_string_equal(head.fields[3].value, "two words");
	assert_null(head_find(&head, "b"));
	assert_true(head_has_word(&head, "connection", "upgrade"));
	assert_true(head_has_word(&head, "connection", "keep-alive"));
	assert_false(head_has_word(&head, "connection", "keep"));
	assert_false(head.has_length || head.is_chunked);
	assert_int_equal(parse(ctx, "POST / HTTP/1.0\r\nContent-Length: 17\r\n\r\n"), 0);
	assert_int_equal(head.minor, 0);
	assert_true(head.has_length);
	assert_int_equal(head.length, 17);
	assert_int_equal(
	        parse(ctx, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"), 0);
	assert_true(head.is_chunked);
	talloc_free(ctx);
}

static void test_targets(void **state)
{
	static const struct {
		const char *target;
		const char *path;
	} rows[] = {{"/", "/"}, {"/a", "/a"}, {"/a/", "/a/"}, {"//a///b", "/a/b"},
	        {"/./a/./b/.", "/a/b/"}, {"/.", "/"}, {"/a%20b", "/a b"}, {"/%61", "/a"},
	        {"/...", "/..."}, {"/..a", "/..a"}, {"/caf%C3%a9", "/caf\xc3\xa9"},
	        {"/a%2Fb", "/a/b"}, {"http://berth/x?y=z", "/x"}, {"HTTPS://Berth/x", "/x"},
	        {"/?a=b", "/"}, {"/a+b", "/a+b"}};
	void *ctx = talloc_new(NULL);
	char text[256];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", rows[i].target);
		assert_int_equal(parse(ctx, text), 0);
		assert_string_equal(head.path, rows[i].path);
	}
	talloc_free(ctx);
}

static void test_query(void **state)
{
	void *ctx = talloc_new(NULL);

	assert_int_equal(
	        parse(ctx, "GET /p?a=1+2&b&a=%2b&&c=&d=%3d=&a HTTP/1.1\r\n" HOST "\r\n"), 0);
	assert_string_equal(head_query(&head, "a", 0), "1 2");
	assert_string_equal(head_query(&head, "a", 1), "+");
	assert_string_equal(head_query(&head, "a", 2), "");
	assert_null(head_query(&head, "a", 3));
	assert_string_equal(head_query(&head, "b", 0), "");
	assert_string_equal(head_query(&head, "c", 0), "");
	assert_string_equal(head_query(&head, "d", 0), "==");
	assert_null(head_query(&head, "", 0));
	talloc_free(ctx);
}

/* What one reader takes for one request and another for two, and what nobody should send. */
static const struct {
	const char *text;
	int status;
} faults[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : berth\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "\tc\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST ": c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A b: c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Nocolon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: b\rc: d\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
        {"GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /\r\n" HOST "\r\n", 400},
        {"GET HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
        {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
        {"GET / HTTP/0.9\r\n" HOST "\r\n", 505},
        {"GET / HTTQ/1.1\r\n" HOST "\r\n", 400},
        {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"GET * HTTP/1.1\r\n" HOST "\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400},
        {"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://berth HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://other/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://berth.other/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://x@berth/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://berth:80/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http://berth/ HTTP/1.0\r\n\r\n", 400},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"GET /#a HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /.. HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a/../b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a/%2e%2E/b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a%2f..%2fb HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%00 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%0a HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%1b[2J HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /% HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%4 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%ff HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /?a=%ff HTTP/1.1\r\n" HOST "\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                501},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
};

static void test_faults(void **state)
{
	void *ctx = talloc_new(NULL);

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		fault.status = 0;
		if (parse(ctx, faults[i].text) == 0 || fault.status != faults[i].status)
			fail_msg("%d and not %d for: %s", fault.status, faults[i].status,
			        faults[i].text);
		assert_non_null(fault.text);
	}
	talloc_free(ctx);
}

static void test_first_line(void **state)
{
	static const struct {
		const char *text;
		int status; /* 0: nothing wrong so far */
	} rows[] = {{"GET / HT", 0}, {"GET /\r\n", 400}, {"GET / HTTP/1.1\r\nA", 0},
	        {"PRI * HTTP/2.0\r\n", 505}, {"GET / HTTP/0.9\r\n", 505}, {"\r\n", 400}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		fault.status = 0;
		assert_int_equal(head_check_first((const uint8_t *)rows[i].text,
		                         strlen(rows[i].text), &fault) < 0,
		        rows[i].status != 0);
		assert_int_equal(fault.status, rows[i].status);
	}
}

static void test_too_many(void **state)
{
	struct buf text = BUF_INIT(MIB);
	void *ctx = talloc_new(NULL);

	buf_add_str(&text, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < HEAD_FIELDS_MAX - 1; i++)
		buf_addf(&text, "A%d: b\r\n", i);
	buf_add_str(&text, "\r\n");
	assert_int_equal(parse(ctx, buf_str(&text)), 0);
	assert_int_equal(head.n_fields, HEAD_FIELDS_MAX);
	text.len -= 2;
	buf_add_str(&text, "One: more\r\n\r\n");
	assert_true(parse(ctx, buf_str(&text)) < 0);
	assert_int_equal(fault.status, 431);
	buf_reset(&text);
	buf_add_str(&text, "GET /?");
	for (int i = 0; i < HEAD_QUERY_MAX; i++)
		buf_add_str(&text, "a&");
	buf_add_str(&text, " HTTP/1.1\r\n" HOST "\r\n");
	assert_true(parse(ctx, buf_str(&text)) < 0);
	assert_int_equal(fault.status, 414);
	talloc_free(ctx);
	buf_done(&text);
}

static void test_answer(void **state)
{
	static const char good[] =
	        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
	static const char folded[] = "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n";
	static const char noise[] = "SSH-2.0-x\r\n\r\n";
	static const char two_digits[] = "HTTP/1.1 20 OK\r\n\r\n";
	void *ctx = talloc_new(NULL);
	http_parser p;

	assert_int_equal(
	        head_parse_answer(ctx, &p, (const uint8_t *)good, strlen(good), &head, &fault), 0);
	assert_int_equal(p.status_code, 101);
	assert_true(head_has_word(&head, "upgrade", "WebSocket"));
	assert_true(head_parse_answer(
	                    ctx, &p, (const uint8_t *)folded, strlen(folded), &head, &fault) < 0);
	assert_true(head_parse_answer(
	                    ctx, &p, (const uint8_t *)noise, strlen(noise), &head, &fault) < 0);
	assert_true(head_parse_answer(ctx, &p, (const uint8_t *)two_digits, strlen(two_digits),
	                    &head, &fault) < 0);
	talloc_free(ctx);
}

/* '|' stands where data lies. */
static bool framing_is_good(const char *text)
{
	struct chunk_check k = {0};

	for (; *text; text++) {
		if (*text == '|' ? !chunk_check_data(&k) : !chunk_check_framing(&k, text, 1))
			return false;
	}
	return true;
}

static void test_chunks(void **state)
{
	assert_true(framing_is_good("5\r\n|\r\n0\r\n\r\n"));
	assert_true(framing_is_good("a\r\n|\r\n00\r\n\r\n"));
	assert_false(framing_is_good("a;name=value\r\n|"));
	assert_false(framing_is_good("0;x\r\n"));
	assert_true(framing_is_good("5\r\n||\r\nFFF\r\n|\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"));
	assert_false(framing_is_good("5\n|"));
	assert_false(framing_is_good("5\r|"));
	assert_false(framing_is_good("\r\n"));
	assert_false(framing_is_good("5 \r\n|"));
	assert_false(framing_is_good(" 5\r\n|"));
	assert_false(framing_is_good("0x5\r\n|"));
	assert_false(framing_is_good("-5\r\n|"));
	assert_false(framing_is_good("5;a\nb\r\n|"));
	assert_false(framing_is_good("5;a\x01\r\n|"));
	assert_false(framing_is_good("5\r\n|XX"));
	assert_false(framing_is_good("5\r\n|\n"));
	assert_false(framing_is_good("0\r\n|"));
	assert_false(framing_is_good("0\r\nA: b\n"));
	assert_false(framing_is_good("0\r\n A: b\r\n"));
	assert_false(framing_is_good("0\r\n\r\n0"));
	assert_false(framing_is_good("1000000000000000\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scan),
	        cmocka_unit_test(test_scan_bare_lf),
	        cmocka_unit_test(test_fields),
	        cmocka_unit_test(test_targets),
	        cmocka_unit_test(test_query),
	        cmocka_unit_test(test_faults),
	        cmocka_unit_test(test_first_line),
	        cmocka_unit_test(test_too_many),
	        cmocka_unit_test(test_answer),
	        cmocka_unit_test(test_chunks),
	};

	return cmocka_run_group_tests_name("net_head", tests, NULL, NULL);
}
