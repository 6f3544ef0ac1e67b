/* Answers of a server that means ill, or is not one of ours: what verbs print is fit for a terminal, and nothing ends in a crash. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/http.h"

struct call {
	int (*verb)(struct cli *cli, int argc, char **argv);
	const char *words[6];
	const char *answers[2]; /* bodies of status 200 */
	int code;
	const char *out;
};

struct run {
	struct kit *kit;
	const struct call *call;
	int code;
};

static void run(const void *data)
{
	struct run *r = (struct run *)(uintptr_t)data;
	char *argv[8] = {0};
	int argc = 0;

	for (; r->call->words[argc]; argc++)
		argv[argc] = strdup(r->call->words[argc]);
	char *kept[8];
	memcpy(kept, argv, sizeof(kept));
	r->code = r->call->verb(&r->kit->cli, argc, argv);
	for (int i = 0; i < argc; i++)
		free(kept[i]);
}

static void check(const struct call *c)
{
	struct kit_step steps[2] = {0};
	char *replies[2] = {0};
	size_t n = 0;
	struct kit k;
	struct run r = {.kit = &k, .call = c};

	for (; n < 2 && c->answers[n]; n++) {
		replies[n] = kit_reply(200, c->answers[n]);
		steps[n] = (struct kit_step){.expect = "/v1/", .answer = replies[n]};
	}
	kit_begin(&k);
	kit_serve(&k, steps, n);
	assert_string_equal(kit_capture(run, &r), c->out);
	assert_int_equal(r.code, c->code);
	kit_end(&k);
	free(replies[0]);
	free(replies[1]);
}

static void test_nothing_acts_on_a_terminal(void **state)
{
	static const struct call calls[] = {
	        {verb_ps, {"ps", "-o", "csv"},
	                {"{\"jobs\":[{\"id\":\"1\",\"state\":\"RUNNING\",\"node\":\"n\\u001b[2J\"}]}"},
	                0,
	                "id,name,queue,user,state,gpu,priority,attempt,node,code,submitted,started,ended,detail\n"
	                "1,,,,RUNNING,,,,n?[2J,,,,,on n?[2J\n"},
	        {verb_show, {"show", "1"},
	                {"{\"id\":\"1\",\"array\":{\"states\":{\"X\\u001b\\u009b\":2}},\"request\":{\"k\\u0007\":\"v\"}}"},
	                0,
	                "id             1\n"
	                "name           -\nstate          -\nqueue          -\nuser           -\n"
	                "priority       -\nnode           -\nexit code      -\n"
	                "submitted      -\nstarted        -\nended          -\n"
	                "tasks          2 X??\n"
	                "k?             v\n"},
	        {verb_backup, {"backup", "/x"}, {"{\"bytes\":1,\"path\":\"/x\\u001b[2J\\n\"}"}, 0,
	                "/x?[2J?\n"},
	        {verb_token, {"token", "create"}, {"{\"token\":\"t\\u001b\"}"}, 0, "t?\n"},
	        {verb_submit, {"submit", "--dry-run", "--", "true"},
	                {"{\"starts\":\"now\",\"node\":\"n\\u001b\"}"}, 0,
	                "it would start now on n?\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		check(&calls[i]);
}

static void test_what_is_missing_is_said(void **state)
{
	static const struct call calls[] = {
	        {verb_backup, {"backup", "/x"}, {"{}"}, 0, "?\n"},
	        {verb_token, {"token", "create"}, {"{}"}, 1, ""},
	        {verb_submit, {"submit", "--", "true"}, {"{}"}, 1, ""},
	        {verb_submit, {"submit", "--", "true"}, {"{\"id\":\"1\\r\\nX\"}"}, 1, ""},
	        {verb_run, {"run", "--", "true"}, {"{}"}, CLI_EXIT_FAILED, ""},
	        {verb_wait, {"wait", "1"}, {"[]"}, CLI_EXIT_FAILED, ""},
	        {verb_ps, {"ps", "-o", "json"}, {""}, 0, "null\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		check(&calls[i]);
}

/* What stands behind an answer does not pass for the answer to the next request. */
static void test_answers_that_were_not_asked_for(void **state)
{
	struct kit_step steps[] = {
	        {.expect = "GET /a",
	                .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	                          "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"x\":1}",
	                .drop = true},
	        {.expect = "GET /b",
	                .answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"x\":2}"},
	};
	struct client *c;
	json_t *answer;
	struct err err;
	struct kit k;

	kit_begin(&k);
	kit_serve(&k, steps, ARRAY_LEN(steps));
	assert_int_equal(client_open(&k.cli, &c, &err), 0);
	assert_int_equal(client_get(c, "/a", NULL, &err), 0);
	assert_int_equal(client_get(c, "/b", &answer, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(answer, "x")), 2);
	json_decref(answer);
	client_close(c);
	kit_end(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_nothing_acts_on_a_terminal),
	        cmocka_unit_test(test_what_is_missing_is_said),
	        cmocka_unit_test(test_answers_that_were_not_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
