/* Output and terminals: followed through retries and breaks of the link, and bridged to WebSockets. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#define SLEEP             "{\"command\":[\"sleep\",\"1\"]}"
#define BEGIN(g, a, path) ask_begin((g), (a), "GET", (path), NULL, "", 0)

static bool has_body(struct rig *g, void *ask)
{
	struct ask *a = ask;

	return a->is_over || strstr(buf_str(&a->in), "tail-of-it") != NULL;
}

static void start(struct rig *g, const char *job)
{
	uint64_t id = rig_submit(g, job);
	char line[40];

	snprintf(line, sizeof(line), "START %d ", (int)id);
	agent_expect(g, line);
	agent_started(g, id, TASK_NONE, g->start.epoch);
}

static void test_whole(void **state)
{
	struct rig g = {0};
	struct ask a;

	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, SLEEP, 0);
	BEGIN(&g, &a, "/v1/jobs/1/logs?offset=5");
	agent_expect(&g, "OPEN log 1 e1 offset=5 ended");
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "one ", 4);
	agent_stream_data(&g, g.last_stream, CONSOLE_STDERR, "two", 3);
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	ask_wait(&a);
	assert_int_equal(a.status, 200);
	assert_true(a.is_whole);
	assert_string_equal(buf_str(&a.body), "one two");
	ask_end(&a);
	rig_refused(&g, "GET", "/v1/jobs/1/logs?attempt=2", NULL, 404, "not_found");
	rig_refused(&g, "GET", "/v1/jobs/1/logs?stream=both", NULL, 400, "invalid");
	rig_refused(&g, "GET", "/v1/jobs/1/logs?tail=x", NULL, 400, "invalid");
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-3\",\"hold\":true}");
	rig_refused(&g, "GET", "/v1/jobs/2/logs", NULL, 400, "invalid");
	/* Nothing of a node that is away looks like an empty output. */
	agent_drop(&g);
	rig_do(&g, "GET", "/healthz", NULL);
	rig_refused(&g, "GET", "/v1/jobs/1/logs", NULL, 503, "unavailable");
	rig_end(&g);
}

/* Begun while the job waits: its START is on the link before anybody asks for its output; then on through a retry. */
static void test_follow(void **state)
{
	struct rig g = {0};
	struct ask a;
	const uint8_t want[] = "\1\0\0\0\3one\1\0\0\0\3two\5\0\0\0\4\0\0\0\3";

	rig_set("JOB_RETRY_BACKOFF", "0");
	rig_begin(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"retry\":1}");
	BEGIN(&g, &a, "/v1/jobs/1/logs?follow=1&framed=1");
	rig_do(&g, "GET", "/healthz", NULL);
	agent_link(&g);
	agent_expect(&g, "START 1 e1");
	agent_expect(&g, "OPEN log 1 e1 offset=0 follow");
	agent_started(&g, 1, TASK_NONE, 1);
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "one", 3);
	agent_ended(&g, 1, TASK_NONE, 1, 2 << 8);
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	agent_expect(&g, "START 1 e2");
	agent_expect(&g, "OPEN log 1 e2 offset=0 follow");
	agent_started(&g, 1, TASK_NONE, 2);
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "two", 3);
	agent_ended(&g, 1, TASK_NONE, 2, 3 << 8);
	agent_expect(&g, "ACK e2");
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	ask_wait(&a);
	assert_true(a.is_whole);
	assert_int_equal(a.body.len, sizeof(want) - 1);
	assert_memory_equal(a.body.data, want, sizeof(want) - 1);
	ask_end(&a);
	rig_end(&g);
}

/* Asked for between the placement and its commit, and when the link is new: START goes first. */
static void test_start_goes_first(void **state)
{
	struct rig g = {0};
	struct ask a, b;

	rig_begin(&g);
	agent_link(&g);
	ask_begin(&g, &a, "POST", "/v1/jobs", NULL, SLEEP, strlen(SLEEP));
	BEGIN(&g, &b, "/v1/jobs/1/logs?follow=1");
	ask_wait(&a);
	ask_end(&a);
	if (b.is_over) { /* it came before the job */
		ask_end(&b);
		BEGIN(&g, &b, "/v1/jobs/1/logs?follow=1");
	}
	agent_expect(&g, "START 1 e1");
	agent_expect(&g, "OPEN log 1 e1");
	agent_drop(&g);
	agent_link(&g);
	agent_expect(&g, "START 1 e1");
	agent_expect(&g, "OPEN log 1 e1");
	ask_end(&b);
	agent_expect(&g, "CLOSE");
	rig_end(&g);
}

/* A job may leave memory while its output is on its way: how it ended is said all the same. */
static void test_evicted(void **state)
{
	struct rig g = {0};
	struct ask a, b;
	const uint8_t want[] = "\1\0\0\0\3one\5\0\0\0\4\0\0\0\3";

	rig_set("SERVER_KEEP_ENDED", "0");
	rig_begin(&g);
	agent_link(&g);
	start(&g, SLEEP);
	BEGIN(&g, &a, "/v1/jobs/1/logs?follow=1&framed=1");
	agent_expect(&g, "OPEN log 1 e1 offset=0 follow");
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "one", 3);
	agent_ended(&g, 1, TASK_NONE, 1, 3 << 8);
	agent_expect(&g, "ACK e1");
	rig_until(&g, is_idle, NULL);
	assert_null(world_find_job(g.s->world, (struct job_id){1, TASK_NONE}));
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	ask_wait(&a);
	assert_true(a.is_whole);
	assert_int_equal(a.body.len, sizeof(want) - 1);
	assert_memory_equal(a.body.data, want, sizeof(want) - 1);
	ask_end(&a);
	/* And when it is gone before anybody asks. */
	BEGIN(&g, &b, "/v1/jobs/1/logs?follow=1&framed=1&attempt=1");
	agent_expect(&g, "OPEN log 1 e1 offset=0 ended");
	rig_run(&g, SLEEP, 0);
	rig_until(&g, is_idle, NULL);
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	ask_wait(&b);
	assert_int_equal(b.body.len, 9);
	assert_memory_equal(b.body.data, want + 8, 9);
	ask_end(&b);
	rig_end(&g);
}

/* A task is there from the submit of its array on. */
static void test_unstarted_task(void **state)
{
	struct rig g = {0};
	struct ask wait, logs, shown;
	const uint8_t cancelled[] = "\5\0\0\0\4\0\0\0\x8f";

	rig_begin(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-9\",\"name\":\"n\",\"hold\":true}");
	assert_string_equal(rig_state(&g, "1_3"), "PENDING");
	assert_at(&g, "id", "1_3");
	assert_at(&g, "name", "n");
	assert_at(&g, "array", "null");
	assert_at(&g, "reasons.0.code", "held");
	assert_at(&g, "transitions.0.reason", "submitted");
	rig_refused(&g, "GET", "/v1/jobs/1_10", NULL, 404, "not_found");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1_3/wait?timeout=0", NULL), 200);
	assert_at(&g, "state", "PENDING");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1_3/logs", NULL), 200);
	assert_int_equal(g.one.body.len, 0);
	BEGIN(&g, &wait, "/v1/jobs/1_3/wait?timeout=60");
	BEGIN(&g, &logs, "/v1/jobs/1_4/logs?follow=1&framed=1");
	BEGIN(&g, &shown, "/v1/jobs/1_5/wait?timeout=60");
	rig_do(&g, "GET", "/healthz", NULL);
	assert_false(wait.is_over);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1_5/cancel", ""), 200);
	ask_wait(&shown);
	assert_string_equal(json_at(shown.json, "state"), "CANCELLED");
	assert_false(wait.is_over);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/cancel", ""), 200);
	ask_wait(&wait);
	assert_string_equal(json_at(wait.json, "id"), "1_3");
	assert_string_equal(json_at(wait.json, "state"), "CANCELLED");
	ask_wait(&logs);
	assert_int_equal(logs.body.len, 9);
	assert_memory_equal(logs.body.data, cancelled, 9);
	/* Its array may have left memory. */
	rig_close(&g);
	rig_set("SERVER_KEEP_ENDED", "0");
	rig_open(&g);
	assert_null(world_find_job(g.s->world, (struct job_id){1, TASK_NONE}));
	assert_string_equal(rig_state(&g, "1_3"), "CANCELLED");
	assert_at(&g, "reasons.0.code", "cancelled");
	ask_end(&wait);
	ask_end(&logs);
	ask_end(&shown);
	rig_end(&g);
}

static void test_link_lost(void **state)
{
	struct rig g = {0};
	struct ask a;
	struct link_attempt there = {
	        .id = {1, TASK_NONE}, .epoch = 1, .attempt = 1, .phase = LINK_LIVING};

	rig_begin(&g);
	agent_link(&g);
	start(&g, SLEEP);
	BEGIN(&g, &a, "/v1/jobs/1/logs?follow=1");
	agent_expect(&g, "OPEN log 1 e1 offset=0 follow");
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "head tail-of-it", 15);
	rig_until(&g, has_body, &a);
	agent_drop(&g);
	agent_link_with(&g, "boot-1", &there, 1);
	/* On, where it stopped. */
	agent_expect(&g, "OPEN log 1 e1 offset=15 follow");
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "!", 1);
	agent_ended(&g, 1, TASK_NONE, 1, 0);
	agent_expect(&g, "ACK e1");
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	ask_wait(&a);
	assert_true(a.is_whole);
	assert_string_equal(buf_str(&a.body), "head tail-of-it!");
	ask_end(&a);
	rig_end(&g);
}

static bool has_given(struct rig *g, void *bytes)
{
	return g->bytes_given >= *(uint64_t *)bytes;
}

/* The window is given back as the peer takes the bytes. */
static void test_window(void **state)
{
	static const char piece[CONSOLE_FRAME_MAX];
	struct rig g = {0};
	struct ask a;
	uint64_t want = LINK_WINDOW / 2;

	rig_begin(&g);
	agent_link(&g);
	start(&g, SLEEP);
	BEGIN(&g, &a, "/v1/jobs/1/logs?follow=1");
	agent_expect(&g, "OPEN log 1");
	for (int i = 0; i < 4; i++)
		agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, piece, sizeof(piece));
	rig_until(&g, has_given, &want);
	ask_end(&a);
	agent_expect(&g, "CLOSE");
	rig_end(&g);
}

/* A terminal */

struct terminal {
	struct net_ws *ws;
	struct buf in; /* as they came: type byte, payload */
	bool is_open, is_closed;
};

static void term_open(void *data, struct net_ws *ws)
{
	((struct terminal *)data)->is_open = true;
}

static void term_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	buf_add(&((struct terminal *)data)->in, bytes, len);
}

static void term_close(void *data, struct net_ws *ws, const struct err *why)
{
	((struct terminal *)data)->is_closed = true;
}

static const struct net_ws_handlers term_handlers = {
        .on_open = term_open, .on_message = term_message, .on_close = term_close};

static bool term_is_open(struct rig *g, void *t)
{
	return ((struct terminal *)t)->is_open;
}

static bool term_is_closed(struct rig *g, void *t)
{
	return ((struct terminal *)t)->is_closed;
}

static void term_begin(struct rig *g, struct terminal *t, const char *path)
{
	char url[200];
	struct err err;

	*t = (struct terminal){.in = BUF_INIT(MIB)};
	snprintf(url, sizeof(url), "unix:%s/berth.sock:%s", g->dir, path);
	assert_int_equal(net_ws_connect(g->s->loop,
	                         &(struct net_ws_options){.url = url, .protocol = "berth-console"},
	                         &term_handlers, t, &t->ws, &err),
	        0);
}

static void test_attach_and_exec(void **state)
{
	struct rig g = {0};
	struct terminal t;

	rig_begin(&g);
	agent_link(&g);
	start(&g, "{\"command\":[\"sh\"],\"tty\":true}");
	term_begin(&g, &t, "/v1/jobs/1/attach?rows=30&columns=90");
	agent_expect(&g, "OPEN attach 1 e1");
	rig_until(&g, term_is_open, &t);
	(void)net_ws_send(t.ws, "\0ls\n", 4, false);
	agent_expect(&g, "DATA 0");
	assert_memory_equal(g.data.data, "ls\n", 3);
	(void)net_ws_send(t.ws, "\4\0\36\0\120", 5, false);
	agent_expect(&g, "DATA 4");
	(void)net_ws_send(t.ws, "\1no", 3, false); /* output is not for peers to send */
	agent_stream_data(&g, g.last_stream, CONSOLE_STDOUT, "x", 1);
	agent_stream_data(&g, g.last_stream, CONSOLE_EXIT, "\0\0\0\7", 4);
	agent_stream_close(&g, g.last_stream, ERR_NONE, NULL);
	rig_until(&g, term_is_closed, &t);
	assert_int_equal(t.in.len, 7);
	assert_memory_equal(t.in.data, "\1x\5\0\0\0\7", 7);
	assert_false(agent_has(&g, "DATA 1"));
	buf_done(&t.in);
	term_begin(&g, &t, "/v1/jobs/1/exec?arg0=ls&arg1=-l&tty=1");
	agent_expect(&g, "OPEN exec 1 e1 offset=0 ls -l");
	rig_until(&g, term_is_open, &t);
	agent_stream_close(&g, g.last_stream, ERR_NOT_FOUND, "no such attempt");
	rig_until(&g, term_is_closed, &t);
	assert_memory_equal(t.in.data, "\6no such attempt", 16);
	buf_done(&t.in);
	rig_end(&g);
}

static void test_attach_refused(void **state)
{
	struct rig g = {0};
	struct terminal t;

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"hold\":true}");
	rig_refused(&g, "GET", "/v1/jobs/1/attach", NULL, 400, "invalid");
	term_begin(&g, &t, "/v1/jobs/1/attach"); /* it does not run */
	rig_until(&g, term_is_closed, &t);
	assert_false(t.is_open);
	start(&g, SLEEP);
	term_begin(&g, &t, "/v1/jobs/2/exec"); /* nothing to run */
	rig_until(&g, term_is_closed, &t);
	assert_false(t.is_open);
	/* The peer goes, the stream with it; then the agent goes, the peer with it. */
	term_begin(&g, &t, "/v1/jobs/2/attach");
	agent_expect(&g, "OPEN attach 2");
	rig_until(&g, term_is_open, &t);
	net_ws_close(t.ws, 1000, "");
	agent_expect(&g, "CLOSE");
	rig_until(&g, term_is_closed, &t);
	term_begin(&g, &t, "/v1/jobs/2/attach");
	agent_expect(&g, "OPEN attach 2");
	rig_until(&g, term_is_open, &t);
	agent_drop(&g);
	rig_until(&g, term_is_closed, &t);
	assert_int_equal(t.in.data[0], CONSOLE_ERROR);
	buf_done(&t.in);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_whole),
	        cmocka_unit_test(test_follow),
	        cmocka_unit_test(test_start_goes_first),
	        cmocka_unit_test(test_evicted),
	        cmocka_unit_test(test_unstarted_task),
	        cmocka_unit_test(test_link_lost),
	        cmocka_unit_test(test_window),
	        cmocka_unit_test(test_attach_and_exec),
	        cmocka_unit_test(test_attach_refused),
	};

	return cmocka_run_group_tests_name("server_output", tests, NULL, NULL);
}
