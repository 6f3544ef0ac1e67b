/* Jobs over HTTP: submit, show, list, wait, and what people do with them. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#define SLEEP "{\"command\":[\"sleep\",\"1\"]}"

static void test_submit_and_show(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/jobs",
	                "{\"command\":[\"sleep\",\"1\"],\"name\":\"train\",\"cpus\":2,"
	                "\"mem\":\"1G\",\"time\":\"90m\",\"env\":{\"A\":\"1\"},\"retry\":3}"),
	        201);
	assert_at(&g, "schema", "1");
	assert_at(&g, "id", "1");
	assert_at(&g, "name", "train");
	assert_at(&g, "queue", "default");
	assert_at(&g, "state", "PENDING");
	assert_at(&g, "reasons.0.code", "no_nodes");
	assert_at(&g, "slices", "[]");
	assert_at(&g, "attempt", "0");
	assert_at(&g, "exit_code", "null");
	assert_at(&g, "started_at", "null");
	assert_at(&g, "node", "null");
	assert_at(&g, "array", "null");
	assert_int_equal(strlen(rig_at(&g, "submitted_at")), strlen("2026-01-01T00:00:00.000Z"));
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1", NULL), 200);
	assert_at(&g, "request.command", "[\"sleep\",\"1\"]");
	assert_at(&g, "request.cpus", "2");
	assert_at(&g, "request.mem", "1073741824");
	assert_at(&g, "request.time", "5400");
	assert_at(&g, "request.retry", "3");
	assert_at(&g, "request.env.A", "1");
	assert_at(&g, "transitions.0.state", "PENDING");
	assert_at(&g, "transitions.0.reason", "submitted");
	assert_at(&g, "attempts", "[]");
	rig_end(&g);
}

static void test_gpu_is_resolved(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/jobs", "{\"command\":[\"x\"],\"gpu\":\"0.5\"}"), 201);
	assert_at(&g, "resolved.0.model", "Test 8G");
	assert_at(&g, "resolved.0.mem_bytes", "4294967296");
	assert_at(&g, "resolved.0.share_milli", "500");
	agent_expect(&g, "START 1 e");
	assert_int_equal(g.start.n_slices, 1);
	assert_int_equal(g.start.slices[0].mem_bytes, 4 * GIB);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1", NULL), 200);
	assert_at(&g, "slices.0.node", "n1");
	assert_at(&g, "slices.0.mem_bytes", "4294967296");
	assert_at(&g, "attempts.0.slices.0.share_milli", "500");
	rig_end(&g);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *body;
		int status;
		const char *code;
	} cases[] = {
	        {"", 400, "invalid"},
	        {"{", 400, "invalid"},
	        {"[1]", 400, "invalid"},
	        {"{}", 400, "invalid"},
	        {"{\"command\":[]}", 400, "invalid"},
	        {"{\"command\":[\"x\"],\"gpus\":1}", 400, "unknown_key"},
	        {"{\"command\":[\"x\"],\"gpu\":\"1.5\"}", 400, "invalid"},
	        {"{\"command\":[\"x\"],\"queue\":\"no\"}", 404, "not_found"},
	        {"{\"command\":[\"x\"],\"after\":[\"99\"]}", 404, "not_found"},
	        {"{\"command\":[\"x\"],\"user\":\"no-such-account\"}", 400, "invalid"},
	        {"{\"command\":[\"x\"],\"gpu\":\"3\"}", 422, "impossible"},
	        {"{\"command\":[\"x\"],\"environment\":\"e9\"}", 404, "not_found"},
	        {"{\"command\":[\"x\"],\"command\":[\"y\"]}", 400, "invalid"},
	};
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		rig_refused(&g, "POST", "/v1/jobs", cases[i].body, cases[i].status, cases[i].code);
	rig_refused(&g, "GET", "/v1/jobs/7", NULL, 404, "not_found");
	rig_refused(&g, "GET", "/v1/jobs/x", NULL, 400, "invalid");
	rig_refused(&g, "GET", "/v1/nothing", NULL, 404, "not_found");
	rig_refused(&g, "DELETE", "/v1/jobs/7", NULL, 405, "method_not_allowed");
	rig_refused(&g, "GET", "/v1/jobs?state=LOST", NULL, 400, "invalid");
	rig_refused(&g, "GET", "/v1/jobs?limit=x", NULL, 400, "invalid");
	rig_refused(&g, "GET", "/v1/jobs?after=x", NULL, 400, "invalid");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?all=1", NULL), 200);
	assert_at(&g, "jobs", "[]");
	rig_end(&g);
}

#define X_HELD "{\"command\":[\"x\"],\"hold\":true}"
#define KEYED  "{\"command\":[\"x\"],\"hold\":true,\"idempotency_key\":\"k\"}"

static void test_idempotency_and_dry_run(void **state)
{
	struct rig g = {0};
	struct ask a;

	rig_begin(&g);
	agent_link(&g);
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/jobs", "{\"command\":[\"x\"],\"dry_run\":true,\"gpu\":1}"),
	        200);
	assert_at(&g, "dry_run", "true");
	assert_at(&g, "node", "n1");
	assert_at(&g, "starts", "now");
	assert_at(&g, "slices.0.share_milli", "1000");
	assert_int_equal(rig_submit(&g, KEYED), 1);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs", KEYED), 200);
	assert_at(&g, "id", "1");
	/* In another order, and with the shell's own environment: the same. */
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs",
	                         "{\"hold\":true,\"environment\":{\"A\":\"1\"},\"command\":[\"x\"],"
	                         "\"idempotency_key\":\"k\"}"),
	        200);
	rig_refused(&g, "POST", "/v1/jobs", "{\"command\":[\"y\"],\"idempotency_key\":\"k\"}", 409,
	        "key_reused");
	ask_begin(&g, &a, "POST", "/v1/jobs", "Idempotency-Key: k\r\n", X_HELD, strlen(X_HELD));
	ask_wait(&a);
	assert_int_equal(a.status, 200);
	assert_string_equal(json_at(a.json, "id"), "1");
	ask_end(&a);
	/* Also after a restart. */
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs", KEYED), 200);
	assert_at(&g, "id", "1");
	assert_int_equal(rig_submit(&g, SLEEP), 2);
	rig_end(&g);
}

static void test_control(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	rig_submit(&g, SLEEP);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/hold", NULL), 200);
	assert_at(&g, "reasons.0.code", "held");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/release", NULL), 200);
	assert_int_equal(rig_do(&g, "PATCH", "/v1/jobs/1",
	                         "{\"priority\":5,\"name\":\"n\",\"time\":\"2h\"}"),
	        200);
	assert_at(&g, "priority", "5");
	assert_at(&g, "name", "n");
	rig_refused(
	        &g, "PATCH", "/v1/jobs/1", "{\"priority\":-9223372036854775808}", 400, "invalid");
	rig_refused(&g, "PATCH", "/v1/jobs/1", "{\"chdir\":\"/\"}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/jobs/1/retry", NULL, 409, "conflict");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/cancel", NULL), 200);
	assert_at(&g, "state", "CANCELLED");
	assert_at(&g, "exit_code", "null");
	rig_refused(&g, "POST", "/v1/jobs/1/cancel", "{}", 409, "conflict");
	rig_refused(&g, "POST", "/v1/jobs/1/hold", NULL, 409, "conflict");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/retry", NULL), 200);
	assert_at(&g, "state", "PENDING");
	rig_end(&g);
}

/* Jobs that have left memory come back when they are named. */
static void test_evicted(void **state)
{
	struct rig g = {0};
	char job[100];

	rig_set("SERVER_KEEP_ENDED", "1");
	rig_begin(&g);
	agent_link(&g);
	for (int i = 1; i <= 4; i++)
		assert_int_equal(rig_run(&g, SLEEP, i == 2 ? 256 : 0), i);
	assert_null(world_find_job(g.s->world, (struct job_id){1, TASK_NONE}));
	assert_string_equal(rig_state(&g, "1"), "COMPLETED");
	assert_at(&g, "exit_code", "0");
	assert_at(&g, "attempts.0.output_bytes", "12");
	for (int i = 5; i <= 6; i++)
		rig_run(&g, SLEEP, 0);
	/* Two that are gone, in one submit. */
	snprintf(job, sizeof(job), "{\"command\":[\"x\"],\"after_ok\":[\"1\",\"3\"]}");
	assert_int_equal(rig_submit(&g, job), 7);
	agent_expect(&g, "START 7 ");
	rig_submit(&g, "{\"command\":[\"x\"],\"after_ok\":[\"2\"]}");
	assert_at(&g, "state", "CANCELLED");
	assert_at(&g, "reasons.0.code", "dependency_failed");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/2/retry", NULL), 200);
	agent_expect(&g, "START 2 ");
	assert_int_equal(g.start.attempt, 2);
	rig_end(&g);
}

/* The ids of a listing, page by page. */
static void list_ids(struct rig *g, const char *query, struct buf *ret)
{
	char next[200] = "", path[300];

	do {
		snprintf(
		        path, sizeof(path), "/v1/jobs?%s%s%s", query, *next ? "&after=" : "", next);
		assert_int_equal(rig_do(g, "GET", path, NULL), 200);
		for (size_t i = 0; i < json_array_size(json_object_get(g->one.json, "jobs")); i++) {
			char at[30];
			snprintf(at, sizeof(at), "jobs.%zu.id", i);
			buf_addf(ret, "%s ", rig_at(g, at));
		}
		buf_addf(ret, "(%s) ", rig_at(g, "total"));
		snprintf(next, sizeof(next), "%s", rig_at(g, "next"));
	} while (strcmp(next, "null") != 0);
}

/* Everything, by the classes' own orders, is what a filter lets through that looks at each and keeps out none. */
static void test_list_without_a_look_at_all(void **state)
{
	static const char *const kinds[] = {"", ",\"hold\":true", ",\"gpu\":1",
	        ",\"array\":\"0-4\"", ",\"array\":\"0-4%2\",\"gpu\":\"0.5\"", ",\"queue\":\"low\"",
	        ",\"cpus\":2", ",\"after_ok\":[\"1\"]"};
	CLEANUP_BUF struct buf whole = BUF_INIT(MIB), looked = BUF_INIT(MIB), paged = BUF_INIT(MIB);
	struct rig g = {0};
	char text[200];
	struct queue low = {.name = "low", .priority = -3, .default_cpus = 1, .configured = true};
	uint64_t seed = 7;

	rig_begin(&g);
	agent_link(&g);
	server_apply_or_log(g.s, &(struct event){.kind = EVENT_QUEUE_SET, .queue = &low});
	for (int i = 0; i < 120; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		snprintf(text, sizeof(text), "{\"command\":[\"x\"],\"priority\":%d%s}",
		        (int)(seed >> 40) % 4,
		        i == 0 ? "" : kinds[(seed >> 33) % ARRAY_LEN(kinds)]);
		rig_submit(&g, text);
	}
	list_ids(&g, "limit=all", &whole);
	snprintf(text, sizeof(text), "limit=all&user=%s", rig_at(&g, "jobs.0.user"));
	list_ids(&g, text, &looked);
	assert_string_equal(buf_str(&whole), buf_str(&looked));
	looked.len = 0;
	list_ids(&g, "limit=7", &paged);
	snprintf(text, sizeof(text), "limit=7&user=%s", rig_at(&g, "jobs.0.user"));
	list_ids(&g, text, &looked);
	assert_string_equal(buf_str(&paged), buf_str(&looked));
	rig_end(&g);
}

static void test_list(void **state)
{
	struct rig g = {0};
	char path[300], seen[100] = "", next[200] = "";

	rig_set("SERVER_KEEP_ENDED", "2");
	rig_begin(&g);
	agent_link(&g);
	for (int i = 1; i <= 4; i++)
		rig_run(&g, SLEEP, 0);
	rig_submit(&g, "{\"command\":[\"x\"],\"hold\":true}");
	rig_submit(&g, "{\"command\":[\"x\"],\"hold\":true,\"priority\":3}");
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-9\",\"hold\":true}");
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 8 ");
	agent_started(&g, 8, TASK_NONE, g.start.epoch);
	/* What runs, what waits by priority, what ended, latest first; two at a time. */
	for (int page = 0; page < 9; page++) {
		snprintf(path, sizeof(path), "/v1/jobs?all=1&limit=2%s%s", *next ? "&after=" : "",
		        next);
		assert_int_equal(rig_do(&g, "GET", path, NULL), 200);
		for (size_t i = 0; i < json_array_size(json_object_get(g.one.json, "jobs")); i++) {
			char at[30];
			snprintf(at, sizeof(at), "jobs.%zu.id", i);
			strcat(strcat(seen, rig_at(&g, at)), " ");
		}
		if (strcmp(rig_at(&g, "next"), "null") == 0)
			break;
		snprintf(next, sizeof(next), "%s", rig_at(&g, "next"));
	}
	assert_string_equal(seen, "8 6 5 7 4 3 2 1 ");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	assert_at(&g, "total", "4");
	assert_at(&g, "next", "null");
	assert_at(&g, "jobs.3.array.tasks", "10");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?state=completed&limit=1", NULL), 200);
	assert_at(&g, "jobs.0.id", "4");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?all=1&queue=none", NULL), 200);
	assert_at(&g, "jobs", "[]");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?all=1&user=nobody-here", NULL), 200);
	assert_at(&g, "jobs", "[]");
	rig_end(&g);
}

/* However much a filter passes over, others have the store in between: one submit of some, at the latest, for commits may be paced. */
static void test_list_in_pages(void **state)
{
	enum { N = 3000 };
	bool is_between = false;
	struct rig g = {0};
	struct ask a;

	rig_begin(&g);
	for (uint64_t i = 1; i <= N; i++) {
		struct event e = {
		        .kind = EVENT_CANCEL, .id = {i, TASK_NONE}, .reason = REASON_CANCELLED};
		rig_submit(&g, X_HELD);
		server_apply_or_log(g.s, &e);
	}
	rig_until(&g, is_idle, NULL);
	for (int i = 0; i < 20 && !is_between; i++) {
		ask_begin(&g, &a, "GET", "/v1/jobs?state=failed", NULL, "", 0);
		rig_submit(&g, X_HELD);
		is_between = !a.is_over;
		ask_wait(&a);
		assert_int_equal(a.status, 200);
		assert_string_equal(json_at(a.json, "jobs"), "[]");
		ask_end(&a);
	}
	assert_true(is_between);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?state=cancelled&limit=all", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(g.one.json, "jobs")), N);
	assert_at(&g, "jobs.2999.id", "1");
	rig_end(&g);
}

/* Tasks that have ended, in the order of their indexes. */
static void test_list_tasks(void **state)
{
	enum { N = 1203 };
	struct rig g = {0};
	char path[300];
	json_t *jobs;

	rig_begin(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-1202\",\"hold\":true}");
	for (int64_t i = N - 1; i >= 0; i--) {
		struct event e = {.kind = EVENT_CANCEL, .id = {1, i}, .reason = REASON_CANCELLED};
		server_apply_or_log(g.s, &e);
	}
	rig_until(&g, is_idle, NULL);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?array=1&all=1&limit=1201", NULL), 200);
	jobs = json_object_get(g.one.json, "jobs");
	assert_int_equal(json_array_size(jobs), 1201);
	assert_at(&g, "jobs.0.id", "1_0");
	assert_at(&g, "jobs.1200.id", "1_1200");
	snprintf(path, sizeof(path), "/v1/jobs?array=1&all=1&after=%s", rig_at(&g, "next"));
	assert_int_equal(rig_do(&g, "GET", path, NULL), 200);
	assert_at(&g, "jobs.0.id", "1_1201");
	assert_at(&g, "jobs.1.id", "1_1202");
	assert_at(&g, "next", "null");
	rig_end(&g);
}

/* The peer goes while the store thread reads for it. */
static void test_unknown_query_keys(void **state)
{
	static const char *const paths[] = {"/v1/jobs?limits=3", "/v1/jobs?limit=3&Limit=4",
	        "/v1/jobs/1?all=1", "/v1/jobs/1/logs?following=1", "/v1/jobs/1/exec?arg=ls",
	        "/v1/jobs/1/exec?arg0=a&arg1x=b", "/v1/nodes?x", "/healthz?a=1", "/v1/server?a=1"};
	struct rig g = {0};

	rig_begin(&g);
	rig_submit(&g, X_HELD);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		rig_refused(&g, "GET", paths[i], NULL, 400, "unknown_key");
	rig_refused(&g, "POST", "/v1/jobs?dry_run=1", X_HELD, 400, "unknown_key");
	assert_at(&g, "error.hint", "no key is known here");
	rig_refused(&g, "GET", "/v1/jobs/1/wait?time=1", NULL, 400, "unknown_key");
	assert_at(&g, "error.message", "unknown key 'time' in the query");
	assert_at(&g, "error.hint", "known here: timeout");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?", NULL), 200);
	assert_at(&g, "total", "1");
	rig_end(&g);
}

static void test_list_peer_gone(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, SLEEP, 0);
	for (int i = 0; i < 20; i++) {
		struct ask a;
		ask_begin(&g, &a, "GET", "/v1/jobs?all=1&queue=default&user=somebody", NULL, "", 0);
		rig_do(&g, "GET", "/healthz", NULL);
		ask_end(&a);
	}
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?all=1", NULL), 200);
	assert_at(&g, "jobs.0.id", "1");
	rig_end(&g);
}

static void test_array(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	assert_int_equal(rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-2%1\"}"), 1);
	assert_at(&g, "array.tasks", "3");
	assert_at(&g, "array.throttle", "1");
	agent_expect(&g, "START 1_0 ");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1_2/cancel", NULL), 200);
	assert_at(&g, "id", "1_2");
	assert_at(&g, "state", "CANCELLED");
	agent_started(&g, 1, 0, g.start.epoch);
	agent_ended(&g, 1, 0, g.start.epoch, 0);
	agent_expect(&g, "START 1_1 ");
	agent_started(&g, 1, 1, g.start.epoch);
	agent_ended(&g, 1, 1, g.start.epoch, 256);
	agent_expect(&g, "ACK ");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs?array=1&all=1", NULL), 200);
	assert_at(&g, "jobs.0.id", "1_0");
	assert_at(&g, "jobs.1.id", "1_1");
	assert_at(&g, "jobs.2.state", "CANCELLED");
	rig_state(&g, "1");
	assert_at(&g, "state", "FAILED");
	assert_at(&g, "exit_code", "143");
	rig_end(&g);
}

static void test_wait(void **state)
{
	struct rig g = {0};
	struct ask a, b;

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1/wait?timeout=0", NULL), 200);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs/1/wait?timeout=1", NULL), 200);
	assert_at(&g, "ended_at", "null");
	rig_refused(&g, "GET", "/v1/jobs/1/wait?timeout=x", NULL, 400, "invalid");
	ask_begin(&g, &a, "GET", "/v1/jobs/1/wait", NULL, "", 0);
	ask_begin(&g, &b, "GET", "/v1/jobs/1/wait", NULL, "", 0);
	rig_do(&g, "GET", "/healthz", NULL);
	ask_end(&b); /* one goes */
	agent_started(&g, 1, TASK_NONE, g.start.epoch);
	assert_false(a.is_over);
	agent_ended(&g, 1, TASK_NONE, g.start.epoch, 3 << 8);
	ask_wait(&a);
	assert_string_equal(json_at(a.json, "state"), "FAILED");
	assert_string_equal(json_at(a.json, "exit_code"), "3");
	ask_end(&a);
	rig_end(&g);
}

static void test_environments(void **state)
{
	struct rig g = {0};
	char name[64], job[160];

	rig_begin(&g);
	agent_link(&g);
	assert_int_equal(rig_do(&g, "POST", "/v1/environments",
	                         "{\"environment\":{\"A\":\"1\",\"MY_TOKEN\":\"s\"}}"),
	        201);
	snprintf(name, sizeof(name), "%s", rig_at(&g, "environment"));
	assert_int_equal(strlen(name), 33);
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/environments", "{\"environment\":{\"A\":\"1\"}}"), 201);
	assert_at(&g, "environment", name);
	rig_refused(&g, "POST", "/v1/environments", "{}", 400, "invalid");
	/* No number leads to it. */
	rig_refused(&g, "POST", "/v1/jobs", "{\"command\":[\"x\"],\"environment\":\"e1\"}", 404,
	        "not_found");
	snprintf(job, sizeof(job), "{\"command\":[\"x\"],\"environment\":\"%s\"}", name);
	rig_submit(&g, job);
	agent_expect(&g, "BLOB 1");
	agent_expect(&g, "START 1 ");
	snprintf(job, sizeof(job),
	        "{\"command\":[\"x\"],\"environment\":\"%s\",\"env\":{\"A\":\"2\"}}", name);
	rig_submit(&g, job);
	agent_expect(&g, "BLOB 2");
	rig_state(&g, "2");
	assert_at(&g, "request.env", "{\"A\":\"2\"}");
	/* The same bytes go to an agent once. */
	snprintf(job, sizeof(job), "{\"command\":[\"x\"],\"environment\":\"%s\"}", name);
	rig_submit(&g, job);
	agent_expect(&g, "START 3 ");
	assert_false(agent_has(&g, "BLOB 3"));
	/* The empty one has a name, too. */
	assert_int_equal(rig_do(&g, "POST", "/v1/environments", "{\"environment\":{}}"), 201);
	snprintf(job, sizeof(job), "{\"command\":[\"x\"],\"environment\":\"%s\"}",
	        rig_at(&g, "environment"));
	rig_submit(&g, job);
	agent_expect(&g, "START 4 ");
	rig_end(&g);
}

/* A key holds as long as the store has the row of its job, however long that has been away from memory. */
static void test_keys_of_evicted(void **state)
{
	static const char one[] = "{\"command\":[\"x\"],\"idempotency_key\":\"k1\"}",
	                  other[] = "{\"command\":[\"y\"],\"idempotency_key\":\"k1\"}",
	                  fresh[] = "{\"command\":[\"x\"],\"idempotency_key\":\"k2\"}";
	struct rig g = {0};
	struct ask a;
	char lines[400];

	rig_set("SERVER_KEEP_ENDED", "1");
	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, one, 0);
	for (int i = 0; i < 3; i++)
		rig_run(&g, SLEEP, 0);
	for (int i = 0; i < 2; i++) {
		assert_null(world_find_job(g.s->world, (struct job_id){1, TASK_NONE}));
		assert_int_equal(rig_do(&g, "POST", "/v1/jobs", one), 200);
		assert_at(&g, "id", "1");
		assert_at(&g, "state", "COMPLETED");
		rig_refused(&g, "POST", "/v1/jobs", other, 409, "key_reused");
		rig_run(&g, SLEEP, 0);
		rig_run(&g, SLEEP, 0);
		rig_until(&g, is_idle, NULL);
		if (i == 0) {
			rig_close(&g);
			rig_open(&g);
			agent_link(&g);
			rig_run(&g, SLEEP, 0);
			rig_until(&g, is_idle, NULL);
		}
	}
	snprintf(lines, sizeof(lines), "%s\n%s\n%s\n%s\n", one, fresh, other, fresh);
	ask_begin(&g, &a, "POST", "/v1/jobs", "Content-Type: application/x-ndjson\r\n", lines,
	        strlen(lines));
	ask_wait(&a);
	assert_ptr_equal(
	        strstr(buf_str(&a.body),
	                "{\"id\":\"1\"}\n{\"id\":\"10\"}\n{\"error\":{\"code\":\"key_reused\""),
	        buf_str(&a.body));
	assert_non_null(strstr(buf_str(&a.body), "\"line\":3}\n{\"id\":\"10\"}\n"));
	ask_end(&a);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_submit_and_show),
	        cmocka_unit_test(test_gpu_is_resolved),
	        cmocka_unit_test(test_refusals),
	        cmocka_unit_test(test_idempotency_and_dry_run),
	        cmocka_unit_test(test_keys_of_evicted),
	        cmocka_unit_test(test_control),
	        cmocka_unit_test(test_evicted),
	        cmocka_unit_test(test_list),
	        cmocka_unit_test(test_list_without_a_look_at_all),
	        cmocka_unit_test(test_list_in_pages),
	        cmocka_unit_test(test_list_tasks),
	        cmocka_unit_test(test_list_peer_gone),
	        cmocka_unit_test(test_unknown_query_keys),
	        cmocka_unit_test(test_array),
	        cmocka_unit_test(test_wait),
	        cmocka_unit_test(test_environments),
	};

	return cmocka_run_group_tests_name("server_jobs", tests, NULL, NULL);
}
