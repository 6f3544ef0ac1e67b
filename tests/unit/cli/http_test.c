#include "kit.h"

#include <stdlib.h>
#include <string.h>

static struct http *connect_to(struct kit *k)
{
	struct channel *channel;
	struct err err;

	assert_int_equal(channel_open_unix(k->socket, &channel, &err), 0);
	return http_new(channel, NULL, NULL, "secret");
}

static int finish(struct http *h, struct err *err)
{
	while (!http_ended(h)) {
		int rc = http_step(h, 10000, err);
		if (rc < 0)
			return rc;
		assert_int_equal(rc, 1);
	}
	return 0;
}

static void test_whole_and_chunked(void **state)
{
	static const struct kit_step steps[] = {
	        {.expect = "GET /a HTTP/1.1\r\nHost: berth\r\nAuthorization: Bearer secret\r\n",
	                .answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
	        {.expect = "POST /b",
	                .answer =
	                        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\n"
	                        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	                .slowly = true},
	        {.expect = "DELETE /c HTTP/1.1\r\n", .answer = "HTTP/1.1 204 No\r\n\r\n"},
	};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, steps, ARRAY_LEN(steps));
	struct http *h = connect_to(&k);
	http_send(h, &(struct http_request){.method = "GET", .path = "/a"});
	assert_int_equal(finish(h, &err), 0);
	assert_int_equal(http_status(h), 200);
	assert_string_equal(buf_str(http_body(h)), "hello");
	assert_true(http_reusable(h));
	http_send(h,
	        &(struct http_request){
	                .method = "POST", .path = "/b", .type = "text/x", .body = "B", .len = 1});
	assert_int_equal(finish(h, &err), 0);
	assert_int_equal(http_status(h), 201);
	assert_string_equal(buf_str(http_body(h)), "abcde");
	http_send(h, &(struct http_request){.method = "DELETE", .path = "/c"});
	assert_int_equal(finish(h, &err), 0);
	assert_int_equal(http_status(h), 204);
	assert_int_equal(http_body(h)->len, 0);
	http_free(h);
	kit_end(&k);
}

static void test_upload_in_chunks(void **state)
{
	static const struct kit_step step = {
	        .expect = "Transfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n0\r\n\r\n",
	        .answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, &step, 1);
	struct http *h = connect_to(&k);
	http_send(h, &(struct http_request){
	                     .method = "POST", .path = "/b", .type = "text/x", .chunked = true});
	http_put_chunk(h, "line\n", 5);
	http_put_chunk(h, "", 0); /* is not the end */
	http_put_end(h);
	assert_int_equal(finish(h, &err), 0);
	assert_int_equal(http_status(h), 200);
	assert_int_equal(http_unsent(h), 0);
	http_free(h);
	kit_end(&k);
}

static void test_upgrade_keeps_what_follows(void **state)
{
	static const struct kit_step steps[] = {
	        {.expect = "GET /ws",
	                .answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
	                          "Upgrade: websocket\r\n\r\n\x82\x03xyz"},
	};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, steps, ARRAY_LEN(steps));
	struct http *h = connect_to(&k);
	http_send(h, &(struct http_request){.method = "GET", .path = "/ws"});
	assert_int_equal(finish(h, &err), 0);
	assert_int_equal(http_status(h), 101);
	assert_false(http_reusable(h));
	assert_int_equal(http_body(h)->len, 5);
	assert_memory_equal(http_body(h)->data, "\x82\x03xyz", 5);
	http_free(h);
	kit_end(&k);
}

/* A body that is cut off is never taken for a whole one. */
static void test_broken_answers(void **state)
{
	static const struct {
		const char *answer;
		enum err_kind kind;
	} cases[] = {
	        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", ERR_UNAVAILABLE},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	                ERR_UNAVAILABLE},
	        {"HTTP/1.1 200 O", ERR_UNAVAILABLE},
	        {"", ERR_UNAVAILABLE},
	        {"SSH-2.0-OpenSSH_9.2\r\n", ERR_CORRUPT},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct kit_step step = {.expect = "GET", .answer = cases[i].answer, .drop = true};
		struct kit k;
		struct err err;
		kit_begin(&k);
		kit_serve(&k, &step, 1);
		struct http *h = connect_to(&k);
		http_send(h, &(struct http_request){.method = "GET", .path = "/"});
		assert_int_equal(finish(h, &err), -(int)cases[i].kind);
		http_free(h);
		kit_end(&k);
	}
}

static void test_close_ends_a_body_without_length(void **state)
{
	static const struct kit_step step = {
	        .expect = "GET", .answer = "HTTP/1.0 200 OK\r\n\r\nall of it", .drop = true};
	struct kit k;
	struct err err;

	kit_begin(&k);
	kit_serve(&k, &step, 1);
	struct http *h = connect_to(&k);
	http_send(h, &(struct http_request){.method = "GET", .path = "/"});
	assert_int_equal(finish(h, &err), 0);
	assert_string_equal(buf_str(http_body(h)), "all of it");
	assert_false(http_reusable(h));
	http_free(h);
	kit_end(&k);
}

/* A directory that is deeper than an address is long. */
static void test_long_path(void **state)
{
	static const struct kit_step step = {
	        .expect = "GET", .answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	char path[600];
	struct kit k;
	struct err err;
	struct channel *channel;

	kit_begin(&k);
	kit_serve(&k, &step, 1);
	snprintf(path, sizeof(path), "%s/", k.dir);
	while (strlen(path) < 300)
		strcat(path, "././././");
	strcat(path, "berth.sock");
	assert_int_equal(channel_open_unix(path, &channel, &err), 0);
	struct http *h = http_new(channel, NULL, NULL, NULL);
	http_send(h, &(struct http_request){.method = "GET", .path = "/"});
	assert_int_equal(finish(h, &err), 0);
	http_free(h);
	kit_end(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_whole_and_chunked),
	        cmocka_unit_test(test_upload_in_chunks),
	        cmocka_unit_test(test_upgrade_keeps_what_follows),
	        cmocka_unit_test(test_broken_answers),
	        cmocka_unit_test(test_close_ends_a_body_without_length),
	        cmocka_unit_test(test_long_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
