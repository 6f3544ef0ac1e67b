#include "kit.h"

#include <stdlib.h>
#include <string.h>

static struct client *open_client(struct kit *k)
{
	struct client *c;
	struct err err;

	assert_int_equal(client_open(&k->cli, &c, &err), 0);
	return c;
}

static void test_answers(void **state)
{
	char *good = kit_reply(200, "{\"id\":\"17\"}");
	struct kit_step steps[] = {
	        {.expect = "GET /v1/jobs/17 ", .answer = good},
	        {.expect = "{\"force\":true}", .answer = good},
	        {.expect = "DELETE /v1/tokens/x ", .answer = "HTTP/1.1 204 No\r\n\r\n"},
	};
	struct kit k;
	struct err err;
	json_t *answer, *body = json_pack("{s:b}", "force", 1);

	kit_begin(&k);
	kit_serve(&k, steps, ARRAY_LEN(steps));
	struct client *c = open_client(&k);
	assert_int_equal(client_get(c, "/v1/jobs/17", &answer, &err), 0);
	assert_string_equal(json_string_value(json_object_get(answer, "id")), "17");
	json_decref(answer);
	struct client_call post = {.method = "POST", .path = "/v1/jobs/17/cancel", .body = body};
	assert_int_equal(client_call(c, &post, NULL, &err), 0);
	struct client_call del = {.method = "DELETE", .path = "/v1/tokens/x"};
	assert_int_equal(client_call(c, &del, &answer, &err), 0);
	assert_null(answer);
	client_close(c);
	json_decref(body);
	kit_end(&k);
	free(good);
}

/* What the server says is what the user reads: kind, text, hint. */
static void test_refusals(void **state)
{
	static const struct {
		int status;
		const char *body;
		enum err_kind kind;
		const char *text, *hint;
	} cases[] = {
	        {404, "{\"error\":{\"code\":\"not_found\",\"message\":\"job 17 does not exist\",\"hint\":\"look\"}}",
	                ERR_NOT_FOUND, "job 17 does not exist", "look"},
	        {422, "{\"error\":{\"code\":\"impossible\",\"message\":\"too large\"}}",
	                ERR_IMPOSSIBLE, "too large", ""},
	        {409, "{\"error\":{\"code\":\"of_the_future\",\"message\":\"m\"}}", ERR_INVALID,
	                "m", ""},
	        {401, "gone", ERR_UNAUTHENTICATED, "status 401", "BERTH_TOKEN"},
	        {502, "<html>", ERR_INTERNAL, "status 502", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *reply = kit_reply(cases[i].status, cases[i].body);
		struct kit_step step = {.expect = "GET", .answer = reply};
		struct kit k;
		struct err err;
		kit_begin(&k);
		kit_serve(&k, &step, 1);
		struct client *c = open_client(&k);
		assert_int_equal(client_get(c, "/x", NULL, &err), -(int)cases[i].kind);
		assert_non_null(strstr(err.text, cases[i].text));
		assert_non_null(strstr(err.hint, cases[i].hint));
		client_close(c);
		kit_end(&k);
		free(reply);
	}
}

static void test_not_json(void **state)
{
	char *reply = kit_reply(200, "{\"id\":");
	struct kit_step step = {.expect = "GET", .answer = reply};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, &step, 1);
	struct client *c = open_client(&k);
	assert_int_equal(client_get(c, "/x", NULL, &err), -ERR_CORRUPT);
	client_close(c);
	kit_end(&k);
	free(reply);
}

static void test_nobody_there(void **state)
{
	struct kit k;
	struct err err;

	kit_begin(&k);
	struct client *c = open_client(&k);
	assert_int_equal(client_get(c, "/x", NULL, &err), -ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "no Berth is running in /tmp/berth-cli-test-"));
	assert_string_equal(err.hint, "start one with: berth up -d");
	client_close(c);
	kit_end(&k);
}

/* A patient client comes back when the connection was lost before or in the answer. */
static void test_comes_back(void **state)
{
	char *good = kit_reply(200, "{\"ok\":true}");
	struct kit_step steps[] = {
	        {.expect = NULL},
	        {.expect = "GET /x", .answer = "", .drop = true},
	        {.expect = "GET /x",
	                .answer = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\"",
	                .drop = true},
	        {.expect = "GET /x", .answer = good},
	};
	struct kit k;
	struct err err;
	json_t *answer;

	kit_begin(&k);
	kit_serve(&k, steps, ARRAY_LEN(steps));
	struct client *c = open_client(&k);
	client_be_patient(c);
	assert_int_equal(client_get(c, "/x", &answer, &err), 0);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	json_decref(answer);
	client_close(c);
	kit_end(&k);
	free(good);
}

/* Under a supervisor every client waits for what is away for a moment, and nowhere else. */
static void test_waits_for_a_restart(void **state)
{
	char *good = kit_reply(200, "{\"ok\":true}");
	char *away =
	        kit_reply(503, "{\"error\":{\"code\":\"unavailable\",\"message\":\"no node\"}}");
	struct kit_step steps[] = {
	        {.expect = "GET /x", .answer = away},
	        {.expect = "GET /x", .answer = away},
	        {.expect = "GET /x", .answer = good},
	};
	struct kit_step once[] = {{.expect = "POST /x", .answer = away}};
	struct client_call post = {.method = "POST", .path = "/x", .once = true};
	struct kit k;
	struct err err;

	kit_begin(&k);
	k.is_held = true;
	kit_serve(&k, steps, ARRAY_LEN(steps));
	struct client *c = open_client(&k);
	assert_int_equal(client_get(c, "/x", NULL, &err), 0);
	client_close(c);
	kit_end(&k);

	kit_begin(&k);
	k.is_held = true;
	kit_serve(&k, once, ARRAY_LEN(once));
	c = open_client(&k);
	assert_int_equal(client_call(c, &post, NULL, &err), -ERR_UNAVAILABLE);
	client_close(c);
	kit_end(&k);

	kit_begin(&k);
	kit_serve(&k, steps, 1);
	c = open_client(&k);
	assert_int_equal(client_get(c, "/x", NULL, &err), -ERR_UNAVAILABLE);
	assert_string_equal(err.text, "no node");
	client_close(c);
	kit_end(&k);
	free(good);
	free(away);
}

/* What must not happen twice is not sent twice, unless a key makes it one. */
static void test_once(void **state)
{
	char *good = kit_reply(201, "{\"id\":\"1\"}");
	struct kit_step once[] = {{.expect = "POST /retry", .answer = "", .drop = true}};
	struct kit_step keyed[] = {
	        {.expect = "Idempotency-Key: k1\r\n", .answer = "", .drop = true},
	        {.expect = "Idempotency-Key: k1\r\n", .answer = good},
	};
	struct client_call retry = {.method = "POST", .path = "/retry", .once = true};
	struct client_call submit = {
	        .method = "POST", .path = "/v1/jobs", .once = true, .idempotency_key = "k1"};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, once, ARRAY_LEN(once));
	struct client *c = open_client(&k);
	client_be_patient(c);
	assert_int_equal(client_call(c, &retry, NULL, &err), -ERR_UNAVAILABLE);
	client_close(c);
	kit_end(&k);

	kit_begin(&k);
	kit_serve(&k, keyed, ARRAY_LEN(keyed));
	c = open_client(&k);
	client_be_patient(c);
	assert_int_equal(client_call(c, &submit, NULL, &err), 0);
	client_close(c);
	kit_end(&k);
	free(good);
}

static void test_encoding(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(1000);

	client_add_encoded(&b, "a-Z_.~9/ ?&%\xc3\xa9");
	assert_string_equal(buf_str(&b), "a-Z_.~9%2F%20%3F%26%25%C3%A9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_answers),
	        cmocka_unit_test(test_refusals),
	        cmocka_unit_test(test_not_json),
	        cmocka_unit_test(test_nobody_there),
	        cmocka_unit_test(test_comes_back),
	        cmocka_unit_test(test_waits_for_a_restart),
	        cmocka_unit_test(test_once),
	        cmocka_unit_test(test_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
