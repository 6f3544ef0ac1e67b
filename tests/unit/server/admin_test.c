/* Who may do what: tokens and roles; nodes, queues, the server itself, and going down. */
#include "rig.h"
#include "server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLEEP "{\"command\":[\"sleep\",\"1\"]}"

static void make_token(struct rig *g, const char *body, char out[80])
{
	assert_int_equal(rig_do(g, "POST", "/v1/tokens", body), 201);
	snprintf(out, 80, "%s", rig_at(g, "token"));
	assert_int_equal(strncmp(out, "berth_", 6), 0);
}

static void test_roles(void **state)
{
	struct rig g = {.listens = true};
	char user[80], admin[80], agent[80];

	rig_begin(&g);
	make_token(&g, "{\"name\":\"u\"}", user);
	assert_at(&g, "role", "user");
	assert_at(&g, "expires_at", "null");
	make_token(&g, "{\"name\":\"a\",\"role\":\"admin\",\"expires\":\"30d\"}", admin);
	assert_int_equal(strlen(rig_at(&g, "expires_at")), 24);
	make_token(&g, "{\"role\":\"agent\"}", agent);
	/* Without one, only what anyone may see. */
	assert_int_equal(rig_do_tcp(&g, "GET", "/healthz", NULL, NULL), 200);
	assert_int_equal(rig_do_tcp(&g, "GET", "/readyz", NULL, NULL), 503);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", NULL, NULL), 401);
	assert_at(&g, "error.code", "unauthenticated");
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", "berth_00", NULL), 401);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 200);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/tokens", user, NULL), 403);
	assert_at(&g, "error.code", "forbidden");
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/shutdown", user, "{}"), 403);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/link", user, NULL), 403);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", agent, NULL), 403);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/link", agent, NULL), 400);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/tokens", admin, NULL), 200);
	assert_at(&g, "tokens.0.name", "u");
	assert_at(&g, "tokens.0.token", "(absent)");
	assert_at(&g, "tokens.3", "(absent)");
	/* Tokens outlive the server; a revoked one does not. */
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 200);
	assert_int_equal(rig_do(&g, "DELETE", "/v1/tokens/u", NULL), 204);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 401);
	rig_refused(&g, "DELETE", "/v1/tokens/u", NULL, 404, "not_found");
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 401);
	rig_end(&g);
}

static bool has_expired(struct rig *g, void *token)
{
	const struct token *t = TAILQ_FIRST(&g->s->world->tokens);

	return t->expires_ms <= server_now(g->s).wall_ms;
}

static void test_token_refusals(void **state)
{
	struct rig g = {.listens = true};
	struct token *t;
	char user[80];

	rig_begin(&g);
	rig_refused(&g, "POST", "/v1/tokens", "{\"name\":\"a b\"}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/tokens", "{\"name\":\"\"}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/tokens", "{\"role\":\"root\"}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/tokens", "{\"role\":7}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/tokens", "{\"expires\":9}", 400, "invalid");
	rig_refused(&g, "POST", "/v1/tokens", "{\"scope\":1}", 400, "unknown_key");
	rig_refused(&g, "POST", "/v1/tokens", "{\"user\":\"no-such-account\"}", 400, "invalid");
	make_token(&g, "{\"name\":\"u\",\"expires\":\"1h\"}", user);
	rig_refused(&g, "POST", "/v1/tokens", "{\"name\":\"u\"}", 409, "conflict");
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 200);
	t = TAILQ_FIRST(&g.s->world->tokens);
	t->expires_ms = server_now(g.s).wall_ms;
	rig_until(&g, has_expired, NULL);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs", user, NULL), 401);
	assert_non_null(strstr(rig_at(&g, "error.message"), "expired"));
	rig_end(&g);
}

/* An agent's token is one node's; without a name it is good for a node that nobody is, and never for the server's own. */
static void test_agent_tokens(void **state)
{
	struct rig g = {.listens = true};
	char bound[80], loose[80], second[80];

	rig_begin(&g);
	make_token(&g, "{\"name\":\"n2\",\"role\":\"agent\"}", bound);
	assert_at(&g, "node", "n2");
	make_token(&g, "{\"role\":\"agent\"}", loose);
	assert_at(&g, "node", "null");
	make_token(&g, "{\"name\":\"n1\",\"role\":\"admin\"}", second);
	assert_at(&g, "node", "null");
	rig_close(&g);
	rig_open(&g);
	agent_link(&g);
	agent_drop(&g);
	assert_false(agent_join(&g, bound, "n3"));
	assert_false(agent_join(&g, loose, "n1"));
	assert_true(agent_join(&g, bound, "n2"));
	agent_drop(&g);
	assert_true(agent_join(&g, loose, "n4"));
	assert_int_equal(rig_do(&g, "GET", "/v1/nodes", NULL), 200);
	assert_at(&g, "nodes.1.node", "n2");
	assert_at(&g, "nodes.2.node", "n4");
	assert_at(&g, "nodes.3", "(absent)");
	rig_end(&g);
}

/* A node is the key that it joined with first: a token to join with does not make another machine of it. */
static void test_node_keys(void **state)
{
	struct rig g = {.listens = true};
	char loose[80], second[80], bound[80];

	rig_begin(&g);
	make_token(&g, "{\"role\":\"agent\"}", loose);
	make_token(&g, "{\"role\":\"agent\"}", second);
	make_token(&g, "{\"name\":\"n2\",\"role\":\"agent\"}", bound);
	g.node_key = "first";
	assert_true(agent_join(&g, loose, "n2"));
	agent_drop(&g);
	g.node_key = "stolen";
	assert_false(agent_join(&g, loose, "n2"));
	g.node_key = NULL;
	assert_false(agent_join(&g, loose, "n2"));
	assert_true(agent_join(&g, loose, "n5")); /* that has none yet: from an older program */
	agent_drop(&g);
	/* It is kept, as a hash. */
	rig_close(&g);
	rig_open(&g);
	assert_null(strstr(world_find_node(g.s->world, "n2")->key_hash, "first"));
	agent_link(&g);
	agent_drop(&g);
	g.node_key = "stolen";
	assert_false(agent_join(&g, second, "n2"));
	assert_true(agent_join(&g, second, "n3"));
	agent_drop(&g);
	assert_true(agent_join(&g, loose, "n5"));
	agent_drop(&g);
	g.node_key = "first";
	assert_false(agent_join(&g, second, "n5"));
	assert_true(agent_join(&g, second, "n2"));
	agent_drop(&g);
	/* The administrator's word for this node. */
	g.node_key = "new";
	assert_true(agent_join(&g, bound, "n2"));
	agent_drop(&g);
	g.node_key = "first";
	assert_false(agent_join(&g, loose, "n2"));
	g.node_key = "new";
	assert_true(agent_join(&g, loose, "n2"));
	agent_drop(&g);
	assert_false(agent_join(&g, loose, "evil\033[2J"));
	assert_false(agent_join(&g, loose, "a,b"));
	assert_false(agent_join(&g, loose, ""));
	rig_end(&g);
}

static bool are_there(struct rig *g, void *unused)
{
	struct call *c;
	unsigned n = 0;

	LIST_FOREACH (c, &g->s->calls, link)
		n += c->who.token != 0;
	return n == 3;
}

/* What a token opened goes with it. */
static void test_revoked(void **state)
{
	struct rig g = {.listens = true};
	char agent[80], user[80], other[80];
	struct ask follow, wait, stays;

	rig_begin(&g);
	make_token(&g, "{\"name\":\"n2\",\"role\":\"agent\"}", agent);
	make_token(&g, "{\"name\":\"u\"}", user);
	make_token(&g, "{\"name\":\"o\"}", other);
	assert_true(agent_join(&g, agent, "n2"));
	assert_int_equal(
	        rig_do_tcp(&g, "POST", "/v1/jobs", user, "{\"command\":[\"x\"],\"hold\":true}"),
	        201);
	ask_begin_tcp(&g, &follow, "GET", "/v1/jobs/1/logs?follow=1", user, NULL);
	ask_begin_tcp(&g, &wait, "GET", "/v1/jobs/1/wait?timeout=60", user, NULL);
	ask_begin_tcp(&g, &stays, "GET", "/v1/jobs/1/wait?timeout=60", other, NULL);
	rig_until(&g, are_there, NULL);
	assert_int_equal(rig_do(&g, "DELETE", "/v1/tokens/u", NULL), 204);
	ask_wait(&follow);
	assert_false(follow.is_whole);
	ask_wait(&wait);
	assert_int_equal(wait.status, 401);
	assert_non_null(g.ws);
	assert_int_equal(rig_do(&g, "DELETE", "/v1/tokens/n2", NULL), 204);
	rig_until(&g, is_unlinked, NULL);
	assert_false(stays.is_over);
	ask_end(&follow);
	ask_end(&wait);
	ask_end(&stays);
	rig_end(&g);
}

/* Root only: others cannot have jobs of two accounts. */
static void test_accounts(void **state)
{
	struct rig g = {.listens = true};
	char nobody[80];

	if (geteuid() != 0)
		skip();
	rig_begin(&g);
	make_token(&g, "{\"name\":\"u\"}", nobody);
	/* Root's own account only for root itself, over the socket. */
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/tokens", "{\"name\":\"r\",\"user\":\"root\"}"), 403);
	assert_int_equal(
	        rig_submit(&g, "{\"command\":[\"x\"],\"hold\":true,\"env\":{\"A\":\"1\"}}"), 1);
	assert_at(&g, "user", "root");
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/jobs", nobody, SLEEP), 201);
	assert_at(&g, "user", "nobody");
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/jobs", nobody,
	                         "{\"command\":[\"x\"],\"user\":\"root\"}"),
	        403);
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/jobs", nobody,
	                         "{\"command\":[\"x\"],\"user\":\"daemon\"}"),
	        403);
	/* Another's job may be seen, not its environment; and not touched. */
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs/1", nobody, NULL), 200);
	assert_at(&g, "request.env", "(absent)");
	assert_int_equal(rig_do_tcp(&g, "POST", "/v1/jobs/1/cancel", nobody, NULL), 403);
	assert_int_equal(rig_do_tcp(&g, "PATCH", "/v1/jobs/1", nobody, "{\"priority\":9}"), 403);
	assert_int_equal(rig_do_tcp(&g, "GET", "/v1/jobs/1/logs", nobody, NULL), 403);
	assert_int_equal(
	        rig_do(&g, "POST", "/v1/jobs", "{\"command\":[\"x\"],\"user\":\"daemon\"}"), 201);
	assert_at(&g, "user", "daemon");
	rig_end(&g);
}

static void test_drain_and_pause(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	assert_int_equal(rig_do(&g, "POST", "/v1/nodes/n1/drain", NULL), 200);
	assert_at(&g, "state", "drained");
	rig_submit(&g, SLEEP);
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	assert_at(&g, "reasons.0.code", "node_drained");
	assert_int_equal(rig_do(&g, "POST", "/v1/queues/default/pause", NULL), 200);
	assert_at(&g, "paused", "true");
	/* Both are kept. */
	rig_close(&g);
	rig_open(&g);
	agent_link(&g);
	assert_int_equal(rig_do(&g, "GET", "/v1/nodes", NULL), 200);
	assert_at(&g, "nodes.0.state", "drained");
	assert_int_equal(rig_do(&g, "POST", "/v1/nodes/n1/resume", NULL), 200);
	assert_at(&g, "state", "up");
	rig_state(&g, "1");
	assert_at(&g, "reasons.0.code", "queue_paused");
	assert_int_equal(rig_do(&g, "POST", "/v1/queues/default/resume", NULL), 200);
	agent_expect(&g, "START 1 e1");
	assert_int_equal(rig_do(&g, "GET", "/v1/queues", NULL), 200);
	assert_at(&g, "queues.0.queue", "default");
	assert_at(&g, "queues.0.running", "1");
	rig_refused(&g, "POST", "/v1/nodes/n9/drain", NULL, 404, "not_found");
	rig_refused(&g, "POST", "/v1/queues/none/pause", NULL, 404, "not_found");
	rig_end(&g);
}

static void test_queue_set(void **state)
{
	static const char *const bad[] = {"{\"tim_limit\":1}", "{\"order\":\"none\"}",
	        "{\"nodes\":[\"@\"]}", "{\"users\":{}}", "{\"retry\":true}",
	        "{\"time_limit\":\"1h\",\"default_time\":\"2h\"}"};
	struct rig g = {0};

	rig_begin(&g);
	assert_int_equal(rig_do(&g, "PATCH", "/v1/queues/night",
	                         "{\"time_limit\":\"90m\",\"nodes\":[\"a*\",\"@b\"],\"retry\":2}"),
	        201);
	assert_at(&g, "time_limit", "5400");
	assert_at(&g, "configured", "false");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(rig_do(&g, "PATCH", "/v1/queues/night", bad[i]), 400);
	assert_int_equal(rig_do(&g, "PATCH", "/v1/queues/default",
	                         "{\"max_running\":1,\"retry\":3,\"patience\":600}"),
	        200);
	assert_int_equal(rig_do(&g, "PATCH", "/v1/queues/default", "{\"retry\":null}"), 200);
	assert_int_equal(rig_do(&g, "POST", "/v1/queues/night/pause", NULL), 200);
	/* All of it is kept. */
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rig_do(&g, "GET", "/v1/queues", NULL), 200);
	assert_at(&g, "queues.0.max_running", "1");
	assert_at(&g, "queues.0.retry", "0");
	assert_at(&g, "queues.0.patience", "600");
	assert_at(&g, "queues.0.set.0", "patience");
	assert_at(&g, "queues.0.set.1", "max_running");
	assert_at(&g, "queues.1.queue", "night");
	assert_at(&g, "queues.1.paused", "true");
	assert_at(&g, "queues.1.retry", "2");
	assert_at(&g, "queues.1.nodes.1", "@b");
	assert_at(&g, "queues.1.set.2", "nodes");
	rig_refused(&g, "DELETE", "/v1/queues/default", NULL, 409, "conflict");
	rig_refused(&g, "DELETE", "/v1/queues/none", NULL, 404, "not_found");
	assert_int_equal(rig_do(&g, "DELETE", "/v1/queues/night", NULL), 204);
	rig_refused(&g, "DELETE", "/v1/queues/night", NULL, 404, "not_found");
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rig_do(&g, "GET", "/v1/queues", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(g.one.json, "queues")), 1);
	rig_end(&g);
}

static void test_server_and_config(void **state)
{
	struct rig g = {0};

	rig_set("SERVER_KEEP_ENDED", "77");
	rig_begin(&g);
	assert_int_equal(rig_do(&g, "GET", "/v1/server", NULL), 200);
	assert_at(&g, "ready", "false");
	assert_at(&g, "not_ready", "this machine's agent is not connected");
	assert_at(&g, "listen", "null");
	assert_at(&g, "data", g.dir);
	agent_link(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-9\",\"hold\":true}");
	assert_int_equal(rig_do(&g, "GET", "/v1/server", NULL), 200);
	assert_at(&g, "ready", "true");
	assert_at(&g, "nodes", "1");
	assert_at(&g, "jobs_waiting", "10");
	assert_int_equal(rig_do(&g, "GET", "/readyz", NULL), 200);
	assert_int_equal(rig_do(&g, "GET", "/v1/config", NULL), 200);
	assert_non_null(strstr(buf_str(&g.one.body),
	        "{\"key\":\"server.keep_ended\",\"value\":\"77\",\"from\":\"environment\"}"));
	rig_end(&g);
}

static void test_backup(void **state)
{
	struct rig g = {0};
	char body[200], path[100];
	struct stat st;

	rig_begin(&g);
	rig_submit(&g, SLEEP);
	snprintf(path, sizeof(path), "%s/copy.db", g.dir);
	snprintf(body, sizeof(body), "{\"path\":\"%s\"}", path);
	assert_int_equal(rig_do(&g, "POST", "/v1/backup", body), 200);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(atoll(rig_at(&g, "bytes")), st.st_size);
	rig_refused(&g, "POST", "/v1/backup", body, 409, "conflict");
	rig_refused(&g, "POST", "/v1/backup", "{\"path\":\"x\"}", 400, "invalid");
	rig_end(&g);
}

/* Others have the store between the steps of a copy. */
static void test_backup_in_steps(void **state)
{
	enum { BIG = 1900000 };
	struct rig g = {0};
	char *body = malloc(BIG + 100), text[200];
	struct ask a;

	rig_begin(&g);
	for (int i = 0; i < 12; i++) {
		int n = sprintf(body, "{\"environment\":{\"A%d\":\"", i);
		memset(body + n, 'x', BIG);
		strcpy(body + n + BIG, "\"}}");
		assert_int_equal(rig_do(&g, "POST", "/v1/environments", body), 201);
	}
	free(body);
	snprintf(text, sizeof(text), "{\"path\":\"%s/copy.db\"}", g.dir);
	ask_begin(&g, &a, "POST", "/v1/backup", NULL, text, strlen(text));
	for (int i = 0; i < 3; i++)
		rig_submit(&g, SLEEP);
	assert_false(a.is_over);
	ask_wait(&a);
	assert_int_equal(a.status, 200);
	ask_end(&a);
	/* One that the server does not live to end leaves nothing behind. */
	snprintf(text, sizeof(text), "{\"path\":\"%s/second.db\"}", g.dir);
	ask_begin(&g, &a, "POST", "/v1/backup", NULL, text, strlen(text));
	rig_submit(&g, SLEEP);
	ask_end(&a);
	rig_close(&g);
	snprintf(text, sizeof(text), "%s/second.db", g.dir);
	assert_int_not_equal(access(text, F_OK), 0);
	snprintf(text, sizeof(text), "%s/second.db.part", g.dir);
	assert_int_not_equal(access(text, F_OK), 0);
	rig_end(&g);
}

static void test_shutdown_keep(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	agent_started(&g, 1, TASK_NONE, 1);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	ask_end(&g.one);
	ask_begin(&g, &g.one, "POST", "/v1/shutdown", NULL, "{\"keep\":true}", 13);
	rig_until(&g, is_stopped, NULL);
	assert_false(agent_has(&g, "SHUTDOWN"));
	ask_end(&g.one);
	server_close(g.s);
	assert_null(g.ws);
	rig_open(&g);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	rig_end(&g);
}

/* The agent ends what runs here, says BYE, and the server goes; what ran waits for the next up. */
static void test_shutdown(void **state)
{
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	rig_begin(&g);
	agent_link(&g);
	for (int i = 0; i < 2; i++)
		rig_submit(&g, i ? "{\"command\":[\"x\"],\"no_retry\":true}" : SLEEP);
	agent_expect(&g, "START 2 e2");
	assert_int_equal(rig_do(&g, "POST", "/v1/shutdown", "{}"), 202);
	assert_at(&g, "keep", "false");
	agent_expect(&g, "SHUTDOWN");
	rig_refused(&g, "POST", "/v1/jobs", SLEEP, 503, "unavailable");
	assert_int_equal(rig_do(&g, "GET", "/readyz", NULL), 503);
	for (uint64_t i = 1; i <= 2; i++) {
		agent_ended_by(&g, i, i, SPOOL_SHUTDOWN, 15);
		agent_expect(&g, "ACK ");
	}
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	assert_string_equal(rig_state(&g, "2"), "CANCELLED");
	link_put_empty(&b, LINK_BYE);
	agent_send(&g, &b);
	rig_until(&g, is_stopped, NULL);
	server_close(g.s);
	rig_open(&g);
	agent_link(&g);
	agent_expect(&g, "START 1 e3 attempt=2");
	rig_end(&g);
}

static void test_shutdown_no_retry(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	assert_int_equal(rig_do(&g, "POST", "/v1/shutdown", "{\"no_retry\":true}"), 202);
	agent_expect(&g, "STOP 1 e1 stopped");
	agent_expect(&g, "SHUTDOWN");
	agent_ended_by(&g, 1, 1, SPOOL_STOPPED, 15);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "CANCELLED");
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_roles),
	        cmocka_unit_test(test_token_refusals),
	        cmocka_unit_test(test_agent_tokens),
	        cmocka_unit_test(test_node_keys),
	        cmocka_unit_test(test_revoked),
	        cmocka_unit_test(test_accounts),
	        cmocka_unit_test(test_drain_and_pause),
	        cmocka_unit_test(test_queue_set),
	        cmocka_unit_test(test_server_and_config),
	        cmocka_unit_test(test_backup),
	        cmocka_unit_test(test_backup_in_steps),
	        cmocka_unit_test(test_shutdown_keep),
	        cmocka_unit_test(test_shutdown),
	        cmocka_unit_test(test_shutdown_no_retry),
	};

	return cmocka_run_group_tests_name("server_admin", tests, NULL, NULL);
}
