/* The link: starts, ends, acknowledgements, and what the two ends tell each other after a break. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#define SLEEP "{\"command\":[\"sleep\",\"1\"]}"

static struct link_attempt living(uint64_t job, uint64_t epoch)
{
	return (struct link_attempt){
	        .id = {job, TASK_NONE}, .epoch = epoch, .attempt = 1, .phase = LINK_LIVING};
}

static bool is_node_down(struct rig *g, void *unused)
{
	return world_find_node(g->s->world, "n1")->state == NODE_DOWN;
}

static void drop(struct rig *g)
{
	agent_drop(g);
	rig_until(g, is_node_down, NULL);
}

static void test_run(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(
	        &g, "{\"command\":[\"echo\",\"hello\"],\"name\":\"n\",\"time\":\"1m\",\"cpus\":2}");
	agent_expect(&g, "START 1 e1 attempt=1");
	assert_string_equal(g.start.argv[1], "hello");
	assert_string_equal(g.start.name, "n");
	assert_string_equal(g.start.queue, "default");
	assert_int_equal(g.start.time_limit_ms, 60000);
	assert_int_equal(g.start.n_cpus, 2);
	assert_string_equal(rig_state(&g, "1"), "STARTING");
	agent_started(&g, 1, TASK_NONE, 1);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	assert_at(&g, "node", "n1");
	assert_at(&g, "attempts.0.pid", "1001");
	agent_ended(&g, 1, TASK_NONE, 1, 7 << 8);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "FAILED");
	assert_at(&g, "exit_code", "7");
	assert_at(&g, "reasons.0.code", "exited");
	/* A repeat is acknowledged and changes nothing. */
	agent_ended(&g, 1, TASK_NONE, 1, 0);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "FAILED");
	rig_end(&g);
}

static void test_tasks(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, "{\"command\":[\"x\"],\"tasks\":2,\"label\":true,\"cpus\":2}");
	agent_expect(&g, "START 1 e1 attempt=1");
	assert_true(g.start.ranks == 2 && g.start.label && g.start.n_cpus == 4);
	assert_string_equal(rig_state(&g, "1"), "STARTING");
	assert_at(&g, "request.tasks", "2");
	assert_at(&g, "request.cpus", "2");
	assert_at(&g, "request.label", "true");
	agent_started(&g, 1, TASK_NONE, 1);
	agent_ended_by_rank(&g, 1, 1, 7 << 8, 1);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "FAILED");
	assert_at(&g, "exit_code", "7");
	assert_at(&g, "attempts.0.ended_by_task", "1");
	assert_at(&g, "reasons.0.text", "exit code 7, by rank 1");
	rig_end(&g);
}

static void test_ends(void **state)
{
	static const struct {
		enum spool_cause cause;
		int wait_status;
		const char *state, *reason;
	} cases[] = {
	        {SPOOL_EXIT, 9, "FAILED", "signalled"},
	        {SPOOL_TIMEOUT, 15, "TIMEOUT", "time_limit"},
	        {SPOOL_OOM, 9, "OUT_OF_MEMORY", "memory_limit"},
	        {SPOOL_GPU_MEMORY, 9, "OUT_OF_MEMORY", "gpu_memory_limit"},
	        {SPOOL_GPU_AROUND, 0, "CANCELLED", "gpu_around"},
	        {SPOOL_EXEC_FAILED, 127 << 8, "FAILED", "exec_failed"},
	        {SPOOL_SETUP_FAILED, 125 << 8, "FAILED", "exec_failed"},
	        {SPOOL_KEEPER_KILLED, 0, "FAILED", "keeper_killed"},
	        {SPOOL_STOPPED, 15, "CANCELLED", "cancelled"},
	};
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char id[20], line[40];
		uint64_t n = rig_submit(&g, SLEEP);
		snprintf(id, sizeof(id), "%d", (int)n);
		snprintf(line, sizeof(line), "START %s ", id);
		agent_expect(&g, line);
		agent_started(&g, n, TASK_NONE, g.start.epoch);
		agent_ended_by(&g, n, g.start.epoch, cases[i].cause, cases[i].wait_status);
		agent_expect(&g, "ACK ");
		assert_string_equal(rig_state(&g, id), cases[i].state);
		assert_at(&g, "reasons.0.code", cases[i].reason);
	}
	rig_end(&g);
}

static void test_no_disk_to_start_on(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1 attempt=1");
	agent_had_no_disk(&g, 1, 1);
	agent_expect(&g, "ACK ");
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	assert_at(&g, "reasons.0.code", "no_disk");
	assert_at(&g, "reasons.1.code", "backoff");
	rig_end(&g);
}

static void test_cancel_running(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 ");
	agent_started(&g, 1, TASK_NONE, 1);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/cancel", ""), 200);
	assert_at(&g, "state", "COMPLETING");
	agent_expect(&g, "STOP 1 e1 stopped");
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/cancel", "{\"force\":true}"), 200);
	agent_expect(&g, "STOP 1 e1 stopped force");
	agent_ended_by(&g, 1, 1, SPOOL_STOPPED, 9);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "CANCELLED");
	rig_end(&g);
}

/* What was given to the node and is not known there is given again. */
static void test_start_again(void **state)
{
	struct rig g = {0};

	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	drop(&g);
	agent_link(&g);
	agent_expect(&g, "START 1 e1 attempt=1");
	/* Known there: not again; stopped meanwhile: told. */
	drop(&g);
	assert_int_equal(rig_do(&g, "POST", "/v1/jobs/1/cancel", ""), 200);
	struct link_attempt a = living(1, 1);
	agent_link_with(&g, "boot-1", &a, 1);
	agent_expect(&g, "STOP 1 e1 stopped");
	assert_false(agent_has(&g, "START"));
	rig_end(&g);
}

/* A started attempt that its agent does not know is gone; with its node's boot it is lost, and runs again. */
static void test_gone_and_rebooted(void **state)
{
	struct rig g = {0};

	rig_set("JOB_RETRY_BACKOFF", "0");
	rig_begin(&g);
	agent_link(&g);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	agent_started(&g, 1, TASK_NONE, 1);
	assert_string_equal(rig_state(&g, "1"), "RUNNING");
	drop(&g);
	agent_link(&g);
	assert_string_equal(rig_state(&g, "1"), "FAILED");
	assert_at(&g, "reasons.0.code", "keeper_killed");
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 2 e2");
	agent_started(&g, 2, TASK_NONE, 2);
	assert_string_equal(rig_state(&g, "2"), "RUNNING");
	drop(&g);
	struct link_attempt a = living(2, 2);
	agent_link_with(&g, "boot-2", &a, 1);
	agent_expect(&g, "START 2 e3 attempt=2");
	/* The old epoch can no longer finish the job. */
	agent_ended(&g, 2, TASK_NONE, 2, 0);
	agent_expect(&g, "ACK e2");
	assert_string_equal(rig_state(&g, "2"), "STARTING");
	rig_end(&g);
}

static void test_stale_epochs(void **state)
{
	struct rig g = {0};
	struct link_attempt v[2] = {living(1, 77), living(99, 3)};

	rig_begin(&g);
	rig_submit(&g, SLEEP);
	agent_link_with(&g, "boot-1", v, 2);
	agent_expect(&g, "STOP 1 e77 stopped force");
	agent_expect(&g, "STOP 99 e3 stopped force");
	rig_end(&g);
}

/* A newer link of the same node takes the older one's place. */
static void test_replaced(void **state)
{
	struct rig g = {0};
	struct net_ws *older;

	rig_begin(&g);
	agent_link(&g);
	older = g.ws;
	g.ws = NULL;
	agent_link(&g);
	assert_ptr_not_equal(g.ws, older);
	rig_submit(&g, SLEEP);
	agent_expect(&g, "START 1 e1");
	assert_int_equal(rig_do(&g, "GET", "/v1/nodes", NULL), 200);
	assert_at(&g, "nodes.0.state", "up");
	assert_at(&g, "nodes.1", "(absent)");
	rig_end(&g);
}

/* A second HELLO, another version, nonsense: the link is closed, the server goes on. */
static void test_bad_peers(void **state)
{
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct link_hello h = {.version = LINK_VERSION, .name = "other", .boot_id = "b"};
	static const char upgrade[] =
	        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: other\r\n";
	struct ask a;

	rig_begin(&g);
	agent_link(&g);
	link_put_hello(&b, &h);
	agent_send(&g, &b);
	rig_until(&g, is_unlinked, NULL);
	assert_null(world_find_node(g.s->world, "other"));
	agent_link(&g);
	buf_add(&b, "\x04\xff\xff\xff\xff", 5);
	agent_send(&g, &b);
	rig_until(&g, is_unlinked, NULL);
	/* Refused before it is a WebSocket. */
	rig_refused(&g, "GET", "/v1/link", NULL, 400, "invalid");
	ask_begin(&g, &a, "GET", "/v1/link", upgrade, "", 0);
	ask_wait(&a);
	assert_int_equal(a.status, 400);
	ask_end(&a);
	agent_link(&g);
	rig_run(&g, SLEEP, 0);
	rig_end(&g);
}

static void test_beat_and_devices(void **state)
{
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct device_info d = {.uuid = "GPU-a",
	        .model = "Test 8G",
	        .mem_bytes = 8 * GIB,
	        .health = DEVICE_LOST,
	        .health_text = "fell off the bus"};

	rig_set("JOB_RETRY_BACKOFF", "0");
	rig_begin(&g);
	agent_link(&g);
	link_put_empty(&b, LINK_BEAT);
	agent_send(&g, &b);
	agent_expect(&g, "BEAT");
	rig_submit(&g, "{\"command\":[\"x\"],\"gpu\":2}");
	agent_expect(&g, "START 1 e1");
	agent_started(&g, 1, TASK_NONE, 1);
	link_put_devices(&b, &(struct link_devices){.devices = &d, .n_devices = 1});
	agent_send(&g, &b);
	agent_expect(&g, "STOP 1 e1");
	assert_int_equal(rig_do(&g, "GET", "/v1/devices", NULL), 200);
	assert_at(&g, "devices.0.health", "lost");
	assert_at(&g, "devices.0.health_text", "fell off the bus");
	assert_at(&g, "devices.1.health", "ok");
	agent_ended_by(&g, 1, 1, SPOOL_STOPPED, 9);
	agent_expect(&g, "ACK e1");
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	assert_at(&g, "attempts.0.reason", "device_lost");
	rig_end(&g);
}

/* More for one agent than fits into one message. */
static void test_much_at_once(void **state)
{
	enum { N = 24 };
	struct rig g = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(2 * MIB);
	char line[40];

	rig_begin(&g);
	for (int i = 0; i < N; i++) {
		buf_reset(&b);
		buf_addf(&b, "{\"command\":[\"x\"],\"cpus\":0,\"env\":{\"A\":\"%d", i);
		while (b.len < MIB)
			buf_add_str(&b, "0123456789abcdef");
		buf_add_str(&b, "\"}}");
		rig_submit(&g, buf_str(&b));
	}
	agent_link(&g);
	for (int i = 1; i <= N; i++) {
		snprintf(line, sizeof(line), "START %d ", i);
		agent_expect(&g, line);
	}
	assert_false(g.was_closed);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_run),
	        cmocka_unit_test(test_tasks),
	        cmocka_unit_test(test_ends),
	        cmocka_unit_test(test_no_disk_to_start_on),
	        cmocka_unit_test(test_cancel_running),
	        cmocka_unit_test(test_start_again),
	        cmocka_unit_test(test_gone_and_rebooted),
	        cmocka_unit_test(test_stale_epochs),
	        cmocka_unit_test(test_replaced),
	        cmocka_unit_test(test_bad_peers),
	        cmocka_unit_test(test_beat_and_devices),
	        cmocka_unit_test(test_much_at_once),
	};

	return cmocka_run_group_tests_name("server_links", tests, NULL, NULL);
}
