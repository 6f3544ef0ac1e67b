#include "kit.h"

#include <stdlib.h>
#include <string.h>

#include "cli/follow.h"

#define HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define END  "0\r\n\r\n"

struct seen {
	char out[64], err[64];
};

static int on_output(
        void *data, enum console_frame stream, const void *bytes, size_t len, struct err *err)
{
	struct seen *s = data;
	char *to = stream == CONSOLE_STDERR ? s->err : s->out;

	assert_true(strlen(to) + len < sizeof(s->out));
	strncat(to, bytes, len);
	return 0;
}

static int run(
        struct kit_step *steps, size_t n, struct follow *f, struct seen *seen, struct err *err)
{
	struct kit k;
	struct client *c;

	*seen = (struct seen){0};
	kit_begin(&k);
	kit_serve(&k, steps, n);
	assert_int_equal(client_open(&k.cli, &c, err), 0);
	client_be_patient(c);
	f->client = c;
	f->id = "7";
	f->on_output = on_output;
	f->data = seen;
	int rc = follow_run(f, err);
	client_close(c);
	kit_end(&k);
	return rc;
}

#define STEP(request, bytes, ...)                                                        \
	{                                                                                \
		.expect = (request), .answer = (bytes), .answer_len = sizeof(bytes) - 1, \
		__VA_ARGS__                                                              \
	}

static void test_both_streams(void **state)
{
	static const char reply[] = HEAD "8\r\n\x01\0\0\0\x03"
	                                 "abc\r\n7\r\n\x02\0\0\0\x02"
	                                 "!!\r\n9\r\n\x05\0\0\0\x04\0\0\0\x02\r\n" END;
	struct kit_step steps[] = {
	        STEP("GET /v1/jobs/7/logs?framed=1&follow=1&from=1 ", reply, .slowly = true)};
	struct follow f = {.first = 1};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), 0);
	assert_string_equal(seen.out, "abc");
	assert_string_equal(seen.err, "!!");
	assert_int_equal(f.received, 5);
}

/*
 * The connection breaks in attempt 1; when it is back, attempt 1 has ended (5 bytes) and attempt 2 too (3 bytes):
 * the stream is taken up at byte 3 of attempt 1.
 */
static void test_taken_up_in_an_ended_attempt(void **state)
{
	static const char broken[] = HEAD "8\r\n\x01\0\0\0\x03"
	                                  "abc\r\n6\r\n\x01\0\0\0\x02"
	                                  "d";
	static const char rest[] = HEAD "7\r\n\x01\0\0\0\x02"
	                                "de\r\n8\r\n\x01\0\0\0\x03"
	                                "xyz\r\n9\r\n\x05\0\0\0\x04\0\0\0\0\r\n" END;
	char *job = kit_reply(200, "{\"id\":\"7\",\"attempts\":["
	                           "{\"attempt\":1,\"output_bytes\":5,\"dropped_bytes\":0},"
	                           "{\"attempt\":2,\"output_bytes\":3,\"dropped_bytes\":0}]}");
	struct kit_step steps[] = {
	        STEP("from=1 ", broken, .drop = true),
	        {.expect = "GET /v1/jobs/7 ", .answer = job},
	        STEP("from=1&offset=3 ", rest),
	};
	struct follow f = {.first = 1};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), 0);
	assert_string_equal(seen.out, "abcdexyz");
	free(job);
}

/* It breaks in attempt 2, after all of attempt 1. */
static void test_taken_up_in_a_later_attempt(void **state)
{
	static const char broken[] = HEAD "a\r\n\x01\0\0\0\x05"
	                                  "abcde\r\n6\r\n\x01\0\0\0\x01"
	                                  "x\r\n";
	static const char rest[] = HEAD "7\r\n\x01\0\0\0\x02"
	                                "yz\r\n9\r\n\x05\0\0\0\x04\0\0\0\0\r\n" END;
	char *job = kit_reply(200, "{\"id\":\"7\",\"attempts\":["
	                           "{\"attempt\":1,\"output_bytes\":9,\"dropped_bytes\":4},"
	                           "{\"attempt\":2,\"output_bytes\":0,\"dropped_bytes\":0}]}");
	struct kit_step steps[] = {
	        STEP("from=1 ", broken, .drop = true),
	        {.expect = "GET /v1/jobs/7 ", .answer = job},
	        STEP("from=2&offset=1 ", rest),
	};
	struct follow f = {.first = 1};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), 0);
	assert_string_equal(seen.out, "abcdexyz");
	free(job);
}

static void test_one_attempt_only(void **state)
{
	static const char broken[] = HEAD "8\r\n\x01\0\0\0\x03"
	                                  "abc\r\n";
	static const char rest[] = HEAD "7\r\n\x01\0\0\0\x02"
	                                "de\r\n" END;
	struct kit_step steps[] = {
	        STEP("attempt=3 ", broken, .drop = true),
	        STEP("attempt=3&offset=3 ", rest),
	};
	struct follow f = {.attempt = 3};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), 0);
	assert_string_equal(seen.out, "abcde");
}

/* Not followed: the same bytes of one attempt and one stream, once. */
static void test_as_it_is(void **state)
{
	static const char broken[] = HEAD "8\r\n\x01\0\0\0\x03"
	                                  "abc\r\n";
	static const char rest[] = HEAD "7\r\n\x01\0\0\0\x02"
	                                "de\r\n" END;
	struct kit_step steps[] = {
	        STEP("follow=0&attempt=2&stream=stdout ", broken, .drop = true),
	        STEP("follow=0&attempt=2&stream=stdout&offset=3 ", rest),
	};
	struct kit_step lost[] = {STEP("follow=0&attempt=2&tail=9 ", broken, .drop = true)};
	struct follow f = {.attempt = 2, .as_it_is = true, .stream = "stdout"};
	struct follow tail = {.attempt = 2, .as_it_is = true, .tail_lines = 9};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), 0);
	assert_string_equal(seen.out, "abcde");
	assert_int_equal(run(lost, ARRAY_LEN(lost), &tail, &seen, &err), -ERR_UNAVAILABLE);
	assert_string_equal(seen.out, "abc");
}

static void test_refused(void **state)
{
	char *reply =
	        kit_reply(404, "{\"error\":{\"code\":\"not_found\",\"message\":\"no job 7\"}}");
	struct kit_step steps[] = {{.expect = "logs", .answer = reply}};
	static const char lies[] = HEAD "5\r\n\x01\x7f\xff\xff\xff\r\n";
	struct kit_step bad[] = {STEP("logs", lies)};
	struct follow f = {.first = 1};
	struct seen seen;
	struct err err;

	assert_int_equal(run(steps, ARRAY_LEN(steps), &f, &seen, &err), -ERR_NOT_FOUND);
	assert_int_equal(run(bad, ARRAY_LEN(bad), &f, &seen, &err), -ERR_CORRUPT);
	free(reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_both_streams),
	        cmocka_unit_test(test_taken_up_in_an_ended_attempt),
	        cmocka_unit_test(test_taken_up_in_a_later_attempt),
	        cmocka_unit_test(test_one_attempt_only),
	        cmocka_unit_test(test_as_it_is),
	        cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
