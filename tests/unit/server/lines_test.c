/* Jobs one per line: one durable answer for each, in their order. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#define NDJSON "Content-Type: application/x-ndjson\r\n"
#define LINE   "{\"command\":[\"true\"],\"hold\":true}\n"

static void post(struct rig *g, struct ask *a, const char *lines)
{
	ask_begin(g, a, "POST", "/v1/jobs", NDJSON, lines, strlen(lines));
	ask_wait(a);
	assert_int_equal(a->status, 200);
	assert_true(a->is_whole);
}

static void test_errors_in_between(void **state)
{
	struct rig g = {0};
	struct ask a;
	const char *text;

	rig_begin(&g);
	post(&g, &a,
	        LINE "{\"command\":[]}\nnonsense\n\n" LINE "{\"command\":[\"x\"],\"hold\":true}");
	text = buf_str(&a.body);
	assert_ptr_equal(strstr(text, "{\"id\":\"1\"}\n{\"error\":{\"code\":\"invalid\""), text);
	assert_non_null(strstr(
	        text, "\"line\":2}\n{\"error\":{\"code\":\"invalid\",\"message\":\"line 3 "));
	assert_non_null(strstr(text, "\"line\":3}\n{\"id\":\"2\"}\n{\"id\":\"3\"}\n"));
	ask_end(&a);
	rig_end(&g);
}

static void test_nothing(void **state)
{
	struct rig g = {0};
	struct ask a;

	rig_begin(&g);
	post(&g, &a, "");
	assert_int_equal(a.body.len, 0);
	ask_end(&a);
	post(&g, &a, "\n \n");
	assert_int_equal(a.body.len, 0);
	ask_end(&a);
	rig_end(&g);
}

/* Many at once, so that pieces wait at the barrier and the reading pauses. */
static void test_many(void **state)
{
	enum { N = 3000 };
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct ask a;
	const char *p;

	rig_begin(&g);
	for (int i = 0; i < N; i++)
		buf_add_str(&b, LINE);
	post(&g, &a, buf_str(&b));
	p = buf_str(&a.body);
	for (int i = 1; i <= N; i++) {
		char want[40];
		snprintf(want, sizeof(want), "{\"id\":\"%d\"}\n", i);
		assert_memory_equal(p, want, strlen(want));
		p += strlen(want);
	}
	assert_int_equal(*p, '\0');
	assert_true(g.s->seq < N);
	ask_end(&a);
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(g.s->world->n_living, N);
	rig_end(&g);
}

static void test_repeat_and_dry_run(void **state)
{
	struct rig g = {0};
	struct ask a;

	rig_begin(&g);
	post(&g, &a,
	        "{\"command\":[\"x\"],\"idempotency_key\":\"k\"}\n"
	        "{\"command\":[\"x\"],\"idempotency_key\":\"k\"}\n"
	        "{\"command\":[\"x\"],\"dry_run\":true}\n" LINE);
	assert_non_null(strstr(buf_str(&a.body), "{\"id\":\"1\"}\n{\"id\":\"1\"}\n{"));
	assert_non_null(strstr(buf_str(&a.body), "\"starts\""));
	assert_non_null(strstr(buf_str(&a.body), "{\"id\":\"2\"}\n"));
	ask_end(&a);
	rig_end(&g);
}

/* A line that depends on a job that has left memory waits for it, and those behind it wait too. */
static void test_dependency_on_evicted(void **state)
{
	struct rig g = {0};
	struct ask a;

	rig_set("SERVER_KEEP_ENDED", "1");
	rig_begin(&g);
	agent_link(&g);
	for (int i = 0; i < 4; i++)
		rig_run(&g, "{\"command\":[\"x\"]}", 0);
	assert_null(world_find_job(g.s->world, (struct job_id){1, TASK_NONE}));
	post(&g, &a,
	        "{\"command\":[\"x\"],\"after_ok\":[\"1\",\"2\"]}\n"
	        "{\"command\":[\"x\"],\"after\":[\"99\"]}\n" LINE);
	assert_ptr_equal(
	        strstr(buf_str(&a.body), "{\"id\":\"5\"}\n{\"error\":{\"code\":\"not_found\""),
	        buf_str(&a.body));
	assert_non_null(strstr(buf_str(&a.body), "\"line\":2}\n{\"id\":\"6\"}\n"));
	ask_end(&a);
	rig_end(&g);
}

/* What lies behind the end of a line that was too large is not looked at. */
static void test_line_too_large(void **state)
{
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct ask a;

	rig_set("SERVER_MAX_BODY", "4K");
	rig_begin(&g);
	buf_add_str(&b, LINE "{\"command\":[\"");
	while (b.len < 300 * KIB)
		buf_add_str(&b, "xxxxxxxxxxxxxxxx");
	buf_add_str(&b, "\"]}\n" LINE LINE);
	ask_begin(&g, &a, "POST", "/v1/jobs", NDJSON, b.data, b.len);
	ask_wait(&a);
	assert_non_null(
	        strstr(buf_str(&a.body), "{\"id\":\"1\"}\n{\"error\":{\"code\":\"too_large\""));
	assert_null(strstr(buf_str(&a.body), "\"2\""));
	rig_until(&g, is_idle, NULL);
	assert_int_equal(g.s->world->n_living, 1);
	ask_end(&a);
	rig_end(&g);
}

/* Who does not read the answers is not read from. */
static void test_answers_unread(void **state)
{
	enum { N = 100000 };
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(4 * MIB);
	struct ask a;
	unsigned lines = 0;

	rig_begin(&g);
	for (int i = 0; i < N; i++)
		buf_add_str(&b, "this is no JSON at all\n");
	ask_begin(&g, &a, "POST", "/v1/jobs", NDJSON, b.data, b.len);
	loop_poll_set(a.poll, LOOP_WRITE);
	for (int i = 0; i < 300; i++)
		rig_do(&g, "GET", "/healthz", NULL);
	assert_true(a.n_sent < b.len / 2);
	loop_poll_set(a.poll, LOOP_READ | LOOP_WRITE);
	ask_wait(&a);
	assert_true(a.is_whole);
	for (size_t i = 0; i < a.body.len; i++)
		lines += a.body.data[i] == '\n';
	assert_int_equal(lines, N);
	ask_end(&a);
	rig_end(&g);
}

static void test_peer_gone(void **state)
{
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct ask a;

	rig_begin(&g);
	for (int i = 0; i < 200; i++)
		buf_add_str(&b, LINE);
	ask_begin(&g, &a, "POST", "/v1/jobs", NDJSON, b.data, b.len);
	ask_end(&a);
	ask_begin(&g, &a, "POST", "/v1/jobs", NDJSON, b.data, b.len);
	rig_do(&g, "GET", "/healthz", NULL);
	ask_end(&a);
	rig_until(&g, is_idle, NULL);
	/* Whatever was taken is whole, and the server goes on. */
	assert_true(rig_submit(&g, "{\"command\":[\"x\"]}") <= 201);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_errors_in_between),
	        cmocka_unit_test(test_nothing),
	        cmocka_unit_test(test_many),
	        cmocka_unit_test(test_repeat_and_dry_run),
	        cmocka_unit_test(test_dependency_on_evicted),
	        cmocka_unit_test(test_line_too_large),
	        cmocka_unit_test(test_answers_unread),
	        cmocka_unit_test(test_peer_gone),
	};

	return cmocka_run_group_tests_name("server_lines", tests, NULL, NULL);
}
