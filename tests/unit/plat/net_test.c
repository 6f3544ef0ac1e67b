#include "net_kit.h"

#include <string.h>

#define HOST "Host: berth\r\n"

static void test_hello(void **state)
{
	struct kit k;
	struct peer p;

	kit_init(&k, NULL);
	peer_open(&p, &k);
	peer_ask(&p, "GET /a%20b/./c//d?a=1+2&a=%33 HTTP/1.1\r\n" HOST "X-Test:  v \r\n\r\n",
	        "HTTP/1.1 200 OK\r\n");
	peer_expect(&p, "shown\n");
	assert_string_equal(k.saw, "0 /a b/c/d a=1 2 a1=3 x=v");
	peer_ask(&p, "GET /again HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n");
	peer_expect(&p, "shown\n");
	assert_int_equal(k.n_closed, 2);
	peer_close(&p);
	kit_done(&k);
}

static void test_echo(void **state)
{
	struct kit k;
	struct peer p;

	kit_init(&k, NULL);
	peer_open(&p, &k);
	peer_ask(&p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
	        "HTTP/1.1 200 OK\r\n");
	peer_expect(&p, "hello");
	peer_ask(&p,
	        "POST /echo HTTP/1.1\r\n" HOST
	        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n again\r\n0\r\n\r\n",
	        "HTTP/1.1 200 OK\r\n");
	peer_expect(&p, "hello again");
	peer_ask(&p, "GET /chunks HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 OK\r\n");
	peer_expect(&p, "4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n");
	peer_close(&p);
	kit_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_hello),
	        cmocka_unit_test(test_echo),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
