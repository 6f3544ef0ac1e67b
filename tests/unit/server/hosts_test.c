#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/hosts.h"
#include "base/mem.h"

static void check(const char *listen, const char *const *good, const char *const *bad)
{
	char *v[] = {"*.Lab.example", "10.9.8.7", "fd00::17"};
	struct conf_list list = {.v = v, .n = ARRAY_LEN(v)};
	struct hosts *h = hosts_new(listen, &list);

	hosts_add(h, "named-by-certificate");
	for (; *good; good++)
		if (!hosts_has(h, *good))
			fail_msg("listening on %s: '%s' should be a name", listen, *good);
	for (; *bad; bad++)
		if (hosts_has(h, *bad))
			fail_msg("listening on %s: '%s' should be no name", listen, *bad);
	hosts_free(h);
}

static const char *const always[] = {"localhost", "LOCALHOST:7311", "localhost.", "s17.localhost:1",
        "127.0.0.1", "127.0.0.1:7311", "127.9.9.9", "[::1]", "[::1]:7311", "[0:0:0:0:0:0:0:1]:80",
        "[::ffff:127.0.0.1]", "a.lab.example", "B.LAB.EXAMPLE:443", "10.9.8.7:1", "[fd00:0::17]:1",
        "named-by-certificate", NULL};
static const char *const never[] = {"", ":7311", "evil.example", "localhost.evil.example",
        "127.0.0.1.evil.example", "notlocalhost", "lab.example", "localhost:80x", "localhost:-1",
        "[::1", "[::1]x", "[]", "[localhost.evil]", ".", "..", "127.0.0.1:80:80",
        "named-by-certificate.evil", NULL};

static void test_loopback(void **state)
{
	static const char *const bad[] = {
	        "192.0.2.1", "10.1.1.1:7311", "[2001:db8::1]", "0.0.0.0", "[::]", NULL};

	check("127.0.0.1", always, never);
	check("127.0.0.1", always, bad);
	check("localhost", always, bad);
	check("::1", always, bad);
}

static void test_one_address(void **state)
{
	static const char *const good[] = {"192.0.2.1", "192.0.2.1:7311", NULL};
	static const char *const bad[] = {"192.0.2.2", "[2001:db8::1]", "0.0.0.0", NULL};
	static const char *const six[] = {"[2001:db8::1]:80", "[2001:0db8:0::1]", NULL};
	static const char *const no_six[] = {"[2001:db8::2]", "192.0.2.1", NULL};

	check("192.0.2.1", always, never);
	check("192.0.2.1", good, bad);
	check("2001:db8::1", six, no_six);
}

static void test_name(void **state)
{
	static const char *const good[] = {"gpu1.example", "GPU1.example.:7311", NULL};
	static const char *const bad[] = {"gpu2.example", "192.0.2.1", NULL};

	check("gpu1.example", always, never);
	check("gpu1.example", good, bad);
}

/* Nobody can have an address lead elsewhere: of all of them, each is ours. Names are not. */
static void test_all_addresses(void **state)
{
	static const char *const good[] = {
	        "192.0.2.1:7311", "[2001:db8::1]", "0.0.0.0", "[::]:1", NULL};

	check("0.0.0.0", always, never);
	check("0.0.0.0", good, never);
	check("::", good, never);
}

static void test_any_name(void **state)
{
	char *v[] = {"*"};
	struct hosts *h = hosts_new("127.0.0.1", &(struct conf_list){.v = v, .n = 1});

	assert_true(hosts_has(h, "whatever.example:1"));
	assert_false(hosts_has(h, ""));
	hosts_free(h);
}

static void test_origin(void **state)
{
	assert_true(hosts_is_same("http://localhost:7311", "localhost:7311"));
	assert_true(hosts_is_same("https://Berth.example", "berth.example"));
	assert_false(hosts_is_same("https://berth.example:8443", "berth.example"));
	assert_false(hosts_is_same("https://evil.example", "berth.example"));
	assert_false(hosts_is_same("https://berth.example.evil", "berth.example"));
	assert_false(hosts_is_same("null", "null"));
	assert_false(hosts_is_same("", ""));
	assert_false(hosts_is_same("http://", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_loopback),
	        cmocka_unit_test(test_one_address),
	        cmocka_unit_test(test_name),
	        cmocka_unit_test(test_all_addresses),
	        cmocka_unit_test(test_any_name),
	        cmocka_unit_test(test_origin),
	};

	return cmocka_run_group_tests_name("server_hosts", tests, NULL, NULL);
}
