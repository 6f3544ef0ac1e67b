/* What is older than server.retain: rows, output on nodes that are there or away, environments. */
#include "rig.h"
#include "server/prune.h"
#include "server/submit.h"

#include <stdio.h>
#include <string.h>

#define TRUE_JOB "{\"command\":[\"true\"]}"

static bool is_later(struct rig *g, void *than)
{
	return server_now(g->s).wall_ms > *(int64_t *)than;
}

static void do_nothing(void *unused)
{
}

/* Everything that has ended so far is old now. */
static void grow_old(struct rig *g)
{
	int64_t then = server_now(g->s).wall_ms + 1;
	struct loop_timer *t = loop_timer_new(g->s->loop, do_nothing, NULL);

	rig_until(g, is_idle, NULL);
	loop_timer_start(t, 1, 1);
	rig_until(g, is_later, &then);
	loop_timer_free(t);
}

static bool is_pruned(struct rig *g, void *unused)
{
	return !g->s->prune && is_idle(g, NULL);
}

static void prune(struct rig *g)
{
	grow_old(g);
	g->s->conf->server_retain_ms = 1;
	prune_begin(g->s);
	rig_until(g, is_pruned, NULL);
}

static int count_row(void *data, const struct store_row *row, struct err *err)
{
	++*(unsigned *)data;
	return 0;
}

static unsigned rows(struct rig *g, enum row_kind kind)
{
	unsigned n = 0;
	struct err err;

	assert_int_equal(store_each(g->s->store, kind, STORE_ALL, count_row, &n, &err), 0);
	return n;
}

static void answer(struct rig *g, uint64_t number)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	link_put_removed(&b, number);
	agent_send(g, &b);
}

static bool has_no_removal(struct rig *g, void *unused)
{
	return is_idle(g, NULL) && rows(g, ROW_REMOVAL) == 0;
}

/* The oldest go, however many are old. */
static void test_more_than_a_page(void **state)
{
	enum { N = 2100 };
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, "{\"command\":[\"true\"],\"idempotency_key\":\"k\"}", 0);
	for (uint64_t i = 2; i <= N; i++) {
		struct event e = {.kind = EVENT_CANCEL,
		        .id = {rig_submit(&g, "{\"command\":[\"true\"],\"hold\":true}"), TASK_NONE},
		        .reason = REASON_CANCELLED};
		server_apply_or_log(g.s, &e);
	}
	assert_int_equal(rig_submit(&g, "{\"command\":[\"true\"],\"hold\":true}"), N + 1);
	prune(&g);
	assert_int_equal(rows(&g, ROW_JOB), 1);
	agent_expect(&g, "REMOVE 1 1.1");
	answer(&g, 1);
	rig_until(&g, has_no_removal, NULL);
	/* Memory agrees with the store; so do keys. */
	assert_int_equal(rows(&g, ROW_IDEM), 0);
	assert_int_equal(
	        rig_submit(&g, "{\"command\":[\"other\"],\"hold\":true,\"idempotency_key\":\"k\"}"),
	        N + 2);
	assert_int_equal(rows(&g, ROW_IDEM), 1);
	rig_refused(&g, "GET", "/v1/jobs/1", NULL, 404, "not_found");
	assert_string_equal(rig_state(&g, "2101"), "PENDING");
	rig_end(&g);
}

/* What root granted for a job that never began goes with it: told as an attempt that is none. */
static void test_grants(void **state)
{
	struct rig g = {0};
	uint64_t id;

	rig_begin(&g);
	agent_link(&g);
	id = rig_submit(&g,
	        "{\"command\":[\"true\"],\"hold\":true,\"grant\":\"00112233445566778899aabbccddeeff\"}");
	assert_int_equal(rig_submit(&g, "{\"command\":[\"true\"],\"hold\":true}"), id + 1);
	for (uint64_t i = id; i <= id + 1; i++) {
		struct event e = {
		        .kind = EVENT_CANCEL, .id = {i, TASK_NONE}, .reason = REASON_CANCELLED};
		server_apply_or_log(g.s, &e);
	}
	prune(&g);
	agent_expect(&g, "REMOVE 1 1.0");
	answer(&g, 1);
	rig_until(&g, has_no_removal, NULL);
	rig_end(&g);
}

/* Every attempt of every task; nothing of an array that lives. */
static void test_arrays(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, "{\"command\":[\"true\"],\"array\":\"0-1\"}");
	rig_submit(&g, "{\"command\":[\"true\"],\"array\":\"0-1%1\"}");
	agent_expect(&g, "START 1_0 e1");
	agent_expect(&g, "START 1_1 e2");
	agent_expect(&g, "START 2_0 e3");
	agent_ended(&g, 1, 0, 1, 0);
	agent_ended(&g, 1, 1, 2, 0);
	agent_ended(&g, 2, 0, 3, 0);
	agent_expect(&g, "ACK e3");
	prune(&g);
	agent_expect(&g, "REMOVE 2 1_0.1 1_1.1");
	assert_int_equal(rows(&g, ROW_JOB), 1);
	assert_int_equal(rows(&g, ROW_TASK), 2);
	assert_string_equal(rig_state(&g, "2_0"), "COMPLETED");
	rig_refused(&g, "GET", "/v1/jobs/1_0", NULL, 404, "not_found");
	rig_end(&g);
}

/* A node that is away is told when it joins, and again until it has answered; also by the next server. */
static void test_node_away(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, TRUE_JOB, 0);
	agent_drop(&g);
	prune(&g);
	assert_int_equal(rows(&g, ROW_JOB), 0);
	assert_int_equal(rows(&g, ROW_REMOVAL), 1);
	rig_close(&g);
	rig_open(&g);
	agent_link(&g);
	agent_expect(&g, "REMOVE 1 1.1");
	agent_drop(&g);
	agent_link(&g);
	agent_expect(&g, "REMOVE 1 1.1");
	rig_run(&g, TRUE_JOB, 0);
	prune(&g);
	/* One at a time. */
	assert_false(agent_has(&g, "REMOVE 1 2.1"));
	answer(&g, 7);
	answer(&g, 1);
	agent_expect(&g, "REMOVE 1 2.1");
	answer(&g, 2);
	rig_until(&g, has_no_removal, NULL);
	rig_end(&g);
}

static void test_blobs(void **state)
{
	struct rig g = {0};
	char names[2][SUBMIT_ENV_NAME], job[160];

	rig_begin(&g);
	agent_link(&g);
	rig_run(&g, "{\"command\":[\"true\"],\"env\":{\"A\":\"1\"}}", 0);
	rig_submit(&g, "{\"command\":[\"true\"],\"env\":{\"A\":\"2\"},\"hold\":true}");
	g.s->conf->server_retain_ms = 1;
	rig_run(&g, "{\"command\":[\"true\"],\"env\":{\"A\":\"3\"}}", 0);
	submit_name_env(g.s, 1, names[0]);
	submit_name_env(g.s, 3, names[1]);
	prune(&g);
	/* The first was kept for the time that held when it was used last. */
	assert_int_equal(rows(&g, ROW_JOB), 1);
	assert_int_equal(rows(&g, ROW_BLOB), 2);
	agent_expect(&g, "DROP 3");
	snprintf(job, sizeof(job), "{\"command\":[\"true\"],\"environment\":\"%s\"}", names[1]);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs", job), 404);
	snprintf(job, sizeof(job), "{\"command\":[\"true\"],\"environment\":\"%s\",\"hold\":true}",
	        names[0]);
	rig_submit(&g, job);
	/* What is asked for again comes again. */
	rig_run(&g, "{\"command\":[\"true\"],\"env\":{\"A\":\"3\"}}", 0);
	assert_true(agent_has(&g, "BLOB 4"));
	rig_close(&g);
	rig_open(&g);
	assert_int_equal(rows(&g, ROW_BLOB), 3);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_more_than_a_page),
	        cmocka_unit_test(test_grants),
	        cmocka_unit_test(test_arrays),
	        cmocka_unit_test(test_node_away),
	        cmocka_unit_test(test_blobs),
	};

	return cmocka_run_group_tests_name("server_prune", tests, NULL, NULL);
}
