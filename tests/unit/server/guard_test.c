/* What stands before every request over TCP, in a whole server: names, pages, how often, and until when. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLEEP "{\"command\":[\"sleep\",\"100\"],\"hold\":true}"

static void make_token(struct rig *g, const char *body, char out[80])
{
	assert_int_equal(rig_do(g, "POST", "/v1/tokens", body), 201);
	snprintf(out, 80, "%s", rig_at(g, "token"));
}

static int status_with(struct rig *g, const char *method, const char *path, const char *head)
{
	int status;

	g->tcp_head = head;
	status = rig_do_tcp(g, method, path, NULL, NULL);
	g->tcp_head = NULL;
	return status;
}

static int status_of_host(struct rig *g, const char *path, const char *host)
{
	char head[300];

	snprintf(head, sizeof(head), "Host: %s\r\n", host);
	return status_with(g, "GET", path, head);
}

static void test_host(void **state)
{
	static const char *const good[] = {"localhost", "127.0.0.1:1", "[::1]", "a.lab"};
	static const char *const bad[] = {
	        "evil.example", "evil.example:7311", "192.0.2.1", "a.b.c"};
	struct rig g = {.listens = true};

	rig_set("SERVER_HOSTS", "*.lab");
	rig_begin(&g);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(status_of_host(&g, "/healthz", good[i]), 200);
		assert_int_equal(status_of_host(&g, "/v1/jobs", good[i]), 401);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(status_of_host(&g, "/healthz", bad[i]), 403);
		assert_int_equal(status_of_host(&g, "/v1/jobs", bad[i]), 403);
		assert_int_equal(status_of_host(&g, "/nowhere", bad[i]), 403);
		assert_at(&g, "error.code", "forbidden");
		assert_non_null(strstr(rig_at(&g, "error.hint"), "server.hosts"));
	}
	/* On the socket there are no names: it says "berth". */
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	rig_end(&g);
}

#define HOST   "Host: localhost:7311\r\n"
#define COOKIE "Cookie: session=1\r\n"

static void test_origin(void **state)
{
	static const struct {
		const char *method, *head;
		int status; /* 401: it was let on, and nobody knows the cookie */
	} rows[] = {{"POST", HOST COOKIE "Origin: http://localhost:7311\r\n", 401},
	        {"POST", HOST COOKIE "Origin: http://localhost:7312\r\n", 403},
	        {"POST", HOST COOKIE "Origin: https://evil.example\r\n", 403},
	        {"POST", HOST COOKIE "Origin: null\r\n", 403}, {"POST", HOST COOKIE, 403},
	        {"POST", HOST COOKIE "Sec-Fetch-Site: same-origin\r\n", 401},
	        {"POST", HOST COOKIE "Sec-Fetch-Site: cross-site\r\n", 403},
	        {"POST", HOST COOKIE "Sec-Fetch-Site: same-site\r\n", 403},
	        {"POST", HOST "Origin: https://evil.example\r\n", 401},
	        {"POST", HOST COOKIE "Authorization: Bearer x\r\nOrigin: https://evil.example\r\n",
	                401},
	        {"GET", HOST COOKIE "Origin: https://evil.example\r\n", 401},
	        {"GET", HOST COOKIE "Upgrade: websocket\r\nOrigin: https://evil.example\r\n", 403}};
	struct rig g = {.listens = true};

	rig_begin(&g);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int status = status_with(&g, rows[i].method, "/v1/jobs", rows[i].head);
		if (status != rows[i].status)
			fail_msg("%s %s: %d", rows[i].method, rows[i].head, status);
	}
	rig_end(&g);
}

static const char *retry_after(struct rig *g)
{
	const char *at = strstr(buf_str(&g->one.in), "\r\nRetry-After: ");

	return at ? at + strlen("\r\nRetry-After: ") : "none";
}

/* Asks until it is refused with 429; how often it was not. However slow this machine is: more come by and by, but not so many. */
static int until_refused(
        struct rig *g, const char *method, const char *token, const char *body, int otherwise)
{
	int n = 0;

	while (rig_do_tcp(g, method, "/v1/jobs", token, body) == otherwise && n < 200)
		n++;
	assert_int_equal(g->one.status, 429);
	assert_at(g, "error.code", "limit");
	return n;
}

static void test_rate(void **state)
{
	struct rig g = {.listens = true};
	char one[80], other[80], total[12];
	int n;

	rig_set("SERVER_RATE", "1");
	rig_set("SERVER_RATE_BURST", "20");
	rig_begin(&g);
	make_token(&g, "{\"name\":\"one\"}", one);
	make_token(&g, "{\"name\":\"other\"}", other);
	assert_in_range(until_refused(&g, "GET", one, NULL, 200), 20, 199);
	n = until_refused(&g, "POST", one, SLEEP, 201);
	assert_non_null(strstr(rig_at(&g, "error.message"), "one"));
	assert_int_equal(atoi(retry_after(&g)), 1);
	/* Neither another token nor who owns the server is in its way. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", other, NULL), 200);
		assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	}
	for (int i = 0; i < 30; i++)
		assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	snprintf(total, sizeof(total), "%d", n);
	assert_at(&g, "total", total); /* what was refused was not done */
	/* The same token on the socket is the same token. */
	snprintf(other, sizeof(other), "Authorization: Bearer %.60s\r\n", one);
	for (n = 0; n < 200 && (n == 0 || g.one.status == 200); n++) {
		ask_end(&g.one);
		ask_begin(&g, &g.one, "GET", "/v1/jobs", other, "", 0);
		ask_wait(&g.one);
	}
	assert_int_equal(g.one.status, 429);
	rig_end(&g);
}

static void test_failures(void **state)
{
	struct rig g = {.listens = true};
	char token[80];

	rig_set("SERVER_AUTH_FAILURES", "30");
	rig_begin(&g);
	make_token(&g, "{}", token);
	assert_in_range(until_refused(&g, "GET", "wrong", NULL, 401), 30, 199);
	assert_in_range(atoi(retry_after(&g)), 1, 2);
	/* Who can say who he is may ask from the same address. */
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", token, NULL), 200);
	assert_int_equal(rig_do_tcp(&g, "GET", "/healthz", NULL, NULL), 200);
	rig_end(&g);
}

static bool has_begun(struct rig *g, void *ask)
{
	const struct buf *in = &((struct ask *)ask)->in;

	return in->len && memmem(in->data, in->len, "200 OK", 6);
}

/* What is open ends when the token does. */
static void test_expired(void **state)
{
	struct rig g = {.listens = true};
	char agent[80], user[80], other[80];
	struct ask follow, wait, stays;

	rig_begin(&g);
	make_token(&g, "{\"name\":\"n2\",\"role\":\"agent\",\"expires\":\"1s\"}", agent);
	make_token(&g, "{\"name\":\"u\",\"expires\":\"1s\"}", user);
	make_token(&g, "{\"name\":\"o\",\"expires\":\"1d\"}", other);
	assert_true(agent_join(&g, agent, "n2"));
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/jobs", user, SLEEP), 201);
	ask_begin_tcp(&g, &follow, "GET", "/v1/jobs/1/logs?follow=1", user, NULL);
	ask_begin_tcp(&g, &wait, "GET", "/v1/jobs/1/wait?timeout=60", user, NULL);
	ask_begin_tcp(&g, &stays, "GET", "/v1/jobs/1/logs?follow=1", other, NULL);
	rig_until(&g, has_begun, &follow);
	rig_until(&g, has_begun, &stays);
	ask_wait(&follow);
	assert_false(follow.is_whole);
	ask_wait(&wait);
	assert_int_equal(wait.status, 401);
	rig_until(&g, is_unlinked, NULL);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 401);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", other, NULL), 200);
	assert_false(stays.is_over);
	ask_end(&follow);
	ask_end(&wait);
	ask_end(&stays);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_host),
	        cmocka_unit_test(test_origin),
	        cmocka_unit_test(test_rate),
	        cmocka_unit_test(test_failures),
	        cmocka_unit_test(test_expired),
	};

	return cmocka_run_group_tests_name("server_guard", tests, NULL, NULL);
}
