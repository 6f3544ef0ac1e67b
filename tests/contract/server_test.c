/*
 * Acknowledged means durable: the server over a disk that fails. Nothing is answered, acknowledged or started before the store has
 * it; what could not be kept is refused; when the disk works again, so does the server; and after a restart everything is there.
 */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fault_vfs.h"

#define SLEEP "{\"command\":[\"sleep\",\"1\"]}"

static bool in_trouble(struct rig *g, void *unused)
{
	return g->s->store_trouble != ERR_NONE;
}

static bool has_recovered(struct rig *g, void *unused)
{
	return g->s->store_trouble == ERR_NONE && is_idle(g, NULL);
}

/* A full disk stays full. */
static void fill_again(struct rig *g)
{
	if (fault.kind == FAULT_WRITE && fault.after < 0)
		fault.after = 0;
}

static void begin(struct rig *g)
{
	fault_install();
	fault = (struct fault){0};
	rig_begin(g);
	agent_link(g);
	rig_until(g, is_idle, NULL);
}

static void test_nothing_before_durable(void **state)
{
	struct rig g = {0};
	struct ask a, b;

	begin(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	agent_started(&g, 1, TASK_NONE, 1);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	rig_until(&g, is_idle, NULL);
	fault = (struct fault){.kind = FAULT_DEAD};
	agent_ended(&g, 1, TASK_NONE, 1, 0);
	rig_until(&g, in_trouble, NULL);
	ask_begin(&g, &a, "GET", "/v1/jobs/1", NULL, "", 0);
	ask_begin(&g, &b, "GET", "/v1/jobs/1/wait", NULL, "", 0);
	/* New work is refused at once; who asks how the server is hears it. */
	rig_refused(&g, "POST", "/v1/jobs", SLEEP, 503, "unavailable");
	assert_int_equal(rig_do(&g, "GET", "/readyz", NULL), 503);
	assert_int_equal(rig_do(&g, "GET", "/v1/server", NULL), 200);
	assert_at(&g, "ready", "false");
	assert_string_not_equal(rig_at(&g, "store_trouble"), "(absent)");
	/* Who looks sees what is durable; who waits for more waits. */
	ask_wait(&a);
	assert_int_equal(a.status, 503); /* the disk cannot be read, either */
	assert_false(b.is_over);
	assert_false(agent_has(&g, "ACK"));
	fault = (struct fault){0};
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "COMPLETED");
	ask_wait(&b);
	assert_string_equal(json_at(b.json, "state"), "COMPLETED");
	ask_end(&a);
	ask_end(&b);
	assert_int_equal(rig_submit(&g, SLEEP), 2);
	rig_end(&g);
}

/* A submit whose commit fails is answered when it succeeds, and its job starts no sooner. */
static void test_submit_waits(void **state)
{
	struct rig g = {0};
	struct ask a;

	begin(&g);
	fault = (struct fault){.kind = FAULT_DEAD};
	ask_begin(&g, &a, "POST", "/v1/jobs", NULL, SLEEP, strlen(SLEEP));
	rig_until(&g, in_trouble, NULL);
	assert_int_equal(rig_do(&g, "GET", "/healthz", NULL), 200);
	assert_false(a.is_over);
	assert_false(agent_has(&g, "START"));
	fault = (struct fault){0};
	ask_wait(&a);
	assert_int_equal(a.status, 201);
	agent_expect(&g, "START 1 e1");
	ask_end(&a);
	rig_end(&g);
}

static void test_full_disk(void **state)
{
	struct rig g = {0};

	begin(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	agent_started(&g, 1, TASK_NONE, 1);
	rig_state(&g, "1");
	rig_until(&g, is_idle, NULL);
	/* The reserve takes the first end. */
	assert_false(g.s->reserve_is_out);
	fault = (struct fault){.kind = FAULT_WRITE};
	agent_ended(&g, 1, TASK_NONE, 1, 0);
	agent_expect(&g, "ACK e1");
	assert_int_equal(fault.n_failed, 1);
	assert_int_equal(g.s->store_trouble, ERR_NONE);
	/* Without it: 507 until there is room. */
	rig_until(&g, is_idle, NULL);
	g.s->reserve_is_out = true;
	g.on_turn = fill_again;
	fault = (struct fault){.kind = FAULT_WRITE};
	rig_do(&g, "GET", "/healthz", NULL);
	ask_end(&g.one);
	ask_begin(&g, &g.one, "POST", "/v1/jobs", NULL, SLEEP, strlen(SLEEP));
	rig_until(&g, in_trouble, NULL);
	ask_end(&g.one); /* gives up; whether it became a job is not known to it */
	rig_refused(&g, "POST", "/v1/jobs", SLEEP, 507, "no_space");
	g.on_turn = NULL;
	fault = (struct fault){0};
	rig_until(&g, has_recovered, NULL);
	assert_int_equal(rig_submit(&g, SLEEP), 3);
	rig_end(&g);
}

/* What could not be kept was told to nobody, and keeps nobody from going down. */
static void test_down_in_trouble(void **state)
{
	struct rig g = {0};
	struct ask a;

	begin(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	rig_until(&g, is_idle, NULL);
	fault = (struct fault){.kind = FAULT_DEAD};
	agent_started(&g, 1, TASK_NONE, 1);
	rig_until(&g, in_trouble, NULL);
	ask_begin(&g, &a, "POST", "/v1/shutdown", NULL, "{\"keep\":true}", 13);
	rig_until(&g, is_stopped, NULL);
	ask_end(&g.one);
	server_close(g.s);
	assert_int_equal(a.status, 202);
	ask_end(&a);
	fault = (struct fault){0};
	rig_open(&g);
	assert_string_equal(rig_state(&g, "1"), "STARTING");
	rig_end(&g);
}

/* Closed and opened again at every moment of a job's life. */
static void test_restart(void **state)
{
	struct rig g = {0};
	struct link_attempt there = {
	        .id = {1, TASK_NONE}, .epoch = 1, .attempt = 1, .phase = LINK_LIVING};

	begin(&g);
	rig_submit(&g,
	        "{\"command\":[\"x\"],\"gpu\":\"0.5\",\"name\":\"kept\",\"env\":{\"A\":\"1\"}}");
	rig_submit(&g, "{\"command\":[\"x\"],\"after_ok\":[\"1\"]}");
	rig_submit(&g, "{\"command\":[\"x\"],\"array\":\"0-99\",\"hold\":true}");
	agent_expect(&g, "START 1 e1");
	rig_close(&g);
	rig_open(&g);
	assert_string_equal(rig_state(&g, "1"), "STARTING");
	assert_at(&g, "name", "kept");
	assert_at(&g, "request.env.A", "1");
	assert_int_equal(rig_do(&g, "GET", "/v1/devices", NULL), 200);
	assert_at(&g, "devices.0.slices.0.job", "1");
	agent_link_with(&g, "boot-1", &there, 1);
	agent_started(&g, 1, TASK_NONE, 1);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	assert_false(agent_has(&g, "START"));
	rig_close(&g);
	rig_open(&g);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	assert_string_equal(rig_state(&g, "2"), "PENDING");
	assert_string_equal(rig_state(&g, "3"), "PENDING");
	there.phase = LINK_ENDED_UNACKED;
	agent_link_with(&g, "boot-1", &there, 1);
	agent_ended(&g, 1, TASK_NONE, 1, 0);
	agent_expect(&g, "START 2 e2");
	agent_expect(&g, "ACK e1");
	rig_close(&g);
	rig_open(&g);
	assert_string_equal(rig_state(&g, "1"), "COMPLETED");
	assert_string_equal(rig_state(&g, "2"), "STARTING");
	/* Numbers and epochs only grow. */
	assert_int_equal(rig_submit(&g, "{\"command\":[\"x\"],\"hold\":true}"), 4);
	agent_link(&g);
	agent_expect(&g, "START 2 e2 attempt=1");
	rig_end(&g);
}

static void test_second_server(void **state)
{
	struct rig g = {0};
	struct server *other;
	struct err err;

	begin(&g);
	assert_int_equal(
	        server_open(g.dir, NULL, NULL, false, false, &other, &err), -(int)ERR_CONFLICT);
	assert_int_equal(rig_submit(&g, SLEEP), 1);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_nothing_before_durable),
	        cmocka_unit_test(test_submit_waits),
	        cmocka_unit_test(test_full_disk),
	        cmocka_unit_test(test_restart),
	        cmocka_unit_test(test_second_server),
	        cmocka_unit_test(test_down_in_trouble),
	};

	return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
