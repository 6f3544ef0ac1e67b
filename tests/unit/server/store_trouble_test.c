/* A store that takes nothing, or does not answer: what is asked meanwhile is answered, and memory has bounds. */
#include "rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define HELD "{\"command\":[\"x\"],\"hold\":true}"

/* No file may grow: as a full disk. */
static void set_full(bool is_full)
{
	struct rlimit r;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = is_full ? 4096 : r.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static bool is_in_trouble(struct rig *g, void *unused)
{
	return g->s->store_trouble != ERR_NONE;
}

static bool is_well(struct rig *g, void *unused)
{
	return g->s->store_trouble == ERR_NONE && is_idle(g, NULL);
}

/* What is durable is shown, and nothing else; the state of job 2 is not known to anybody yet. */
static void check_reads(struct rig *g, int status)
{
	assert_int_equal(rig_do(g, "GET", "/v1/jobs", NULL), 200);
	assert_at(g, "total", "1");
	assert_at(g, "jobs.0.id", "1");
	assert_at(g, "jobs.0.state", "PENDING");
	assert_at(g, "jobs.0.reasons.0.code", "held");
	assert_non_null(strstr(rig_at(g, "store_trouble"), "nothing can be kept now"));
	assert_int_equal(rig_do(g, "GET", "/v1/jobs?all=1", NULL), 200);
	assert_at(g, "total", "3");
	assert_at(g, "jobs.1.id", "3");
	assert_at(g, "jobs.2.id", "2");
	assert_at(g, "jobs.2.state", "COMPLETED");
	rig_refused(g, "GET", "/v1/jobs/4", NULL, status, NULL);
	rig_refused(g, "GET", "/v1/jobs/4/wait?timeout=0", NULL, status, NULL);
	assert_int_equal(rig_do(g, "GET", "/v1/jobs/3/wait?timeout=0", NULL), 200);
	assert_at(g, "state", "CANCELLED");
	rig_refused(g, "GET", "/v1/jobs/99", NULL, status == 503 ? 503 : 404, NULL);
	assert_string_equal(rig_state(g, "1"), "PENDING");
	assert_int_equal(rig_do(g, "GET", "/v1/nodes", NULL), 200);
	assert_at(g, "nodes.0.state", "up");
	assert_int_equal(rig_do(g, "GET", "/v1/devices", NULL), 200);
	assert_at(g, "devices.0.health", "ok");
	assert_int_equal(rig_do(g, "GET", "/v1/queues", NULL), 200);
	assert_int_equal(rig_do(g, "GET", "/v1/tokens", NULL), 200);
	assert_int_equal(rig_do(g, "GET", "/v1/config", NULL), 200);
}

/* Nothing is begun that cannot be kept. */
static void check_refusals(struct rig *g, int status)
{
	rig_refused(g, "POST", "/v1/jobs", HELD, status, NULL);
	rig_refused(g, "POST", "/v1/jobs/1/cancel", "{}", status, NULL);
	rig_refused(g, "PATCH", "/v1/jobs/1", "{\"priority\":3}", status, NULL);
	rig_refused(g, "POST", "/v1/nodes/n1/drain", "{}", status, NULL);
	rig_refused(g, "POST", "/v1/queues/default/pause", "{}", status, NULL);
	rig_refused(g, "POST", "/v1/tokens", "{}", status, NULL);
	rig_refused(g, "POST", "/v1/environments", "{\"environment\":{}}", status, NULL);
}

/* Job 1 is held, 2 has ended, 3 is about to be cancelled, and 4 to be made, when nothing is kept any more. */
static void begin(struct rig *g)
{
	rig_begin(g);
	agent_link(g);
	rig_submit(g, HELD);
	rig_run(g, "{\"command\":[\"x\"]}", 0);
	rig_submit(g, HELD);
	rig_until(g, is_idle, NULL);
	assert_int_equal(rig_do(g, "POST", "/v1/jobs/3/cancel", "{}"), 200);
	rig_until(g, is_idle, NULL);
}

static void test_full_disk(void **state)
{
	struct rig g = {0};
	struct ask submit, list, wait;

	begin(&g);
	set_full(true);
	ask_begin(&g, &submit, "POST", "/v1/jobs", NULL, HELD, strlen(HELD));
	ask_begin(&g, &list, "GET", "/v1/jobs", NULL, "", 0);
	rig_until(&g, is_in_trouble, NULL);
	/* Asked before it was known, and after. */
	ask_wait(&list);
	assert_int_equal(list.status, 200);
	assert_string_equal(json_at(list.json, "total"), "1");
	ask_end(&list);
	check_reads(&g, 507);
	check_refusals(&g, 507);
	assert_false(submit.is_over);
	ask_begin(&g, &wait, "GET", "/v1/jobs/1/wait?timeout=60", NULL, "", 0);
	set_full(false);
	rig_until(&g, is_well, NULL);
	ask_wait(&submit);
	assert_int_equal(submit.status, 201);
	assert_string_equal(rig_state(&g, "4"), "PENDING");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	assert_at(&g, "total", "2");
	assert_at(&g, "store_trouble", "(absent)");
	assert_false(wait.is_over);
	ask_end(&submit);
	ask_end(&wait);
	rig_end(&g);
}

/* A submit that does not become durable in time is an error, and its job never runs; its key makes another one. */
static void test_submit_ends(void **state)
{
	static const char keyed[] = "{\"command\":[\"x\"],\"idempotency_key\":\"k\"}";
	static const char lines[] = "{\"command\":[\"x\"],\"array\":\"0-9\"}\n{\"command\":[]}\n"
	                            "{\"command\":[\"x\"],\"idempotency_key\":\"k\"}\n";
	struct rig g = {0};
	struct ask single, many;

	begin(&g);
	g.s->answer_ms = 100;
	set_full(true);
	ask_begin(&g, &single, "POST", "/v1/jobs", NULL, keyed, strlen(keyed));
	ask_begin(&g, &many, "POST", "/v1/jobs", "Content-Type: application/x-ndjson\r\n", lines,
	        strlen(lines));
	ask_wait(&single);
	assert_int_equal(single.status, 507);
	assert_string_equal(json_at(single.json, "error.code"), "no_space");
	assert_non_null(strstr(json_at(single.json, "error.message"), "withdrawn"));
	ask_wait(&many);
	assert_int_equal(many.status, 200);
	assert_null(strstr(buf_str(&many.body), "\"id\""));
	assert_non_null(strstr(buf_str(&many.body), "\"line\":1"));
	assert_non_null(strstr(buf_str(&many.body), "\"line\":3"));
	ask_end(&single);
	ask_end(&many);
	set_full(false);
	rig_until(&g, is_well, NULL);
	assert_string_equal(rig_state(&g, "4"), "CANCELLED");
	assert_at(&g, "reasons.0.code", "withdrawn");
	assert_false(agent_has(&g, "START 4"));
	assert_int_equal(rig_submit(&g, keyed), 6);
	agent_expect(&g, "START");
	/* Also for the next server. */
	rig_until(&g, is_idle, NULL);
	rig_close(&g);
	rig_open(&g);
	rig_do(&g, "POST", "/v1/jobs", keyed);
	assert_int_equal(g.one.status, 200);
	assert_string_equal(rig_state(&g, "4"), "CANCELLED");
	rig_end(&g);
}

/* The store thread, held. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void pass_gate(void *unused)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void passed(void *unused)
{
}

static void hold_store(struct rig *g)
{
	pthread_mutex_lock(&gate);
	assert_true(worker_submit(g->s->worker, pass_gate, passed, NULL));
}

static void let_go_store(void)
{
	pthread_mutex_unlock(&gate);
}

static void test_slow_disk(void **state)
{
	struct rig g = {0};
	struct ask submit, late;

	begin(&g);
	g.s->patience_ms = 30;
	hold_store(&g);
	ask_begin(&g, &submit, "POST", "/v1/jobs", NULL, HELD, strlen(HELD));
	while (!g.s->store_is_slow)
		rig_do(&g, "GET", "/v1/jobs", NULL);
	for (int i = 0; i < 2; i++)
		check_reads(&g, 503);
	check_refusals(&g, 503);
	assert_false(submit.is_over);
	let_go_store();
	ask_wait(&submit);
	assert_int_equal(submit.status, 201);
	ask_end(&submit);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	assert_at(&g, "total", "2");
	/* And one that waits too long. */
	g.s->answer_ms = 60;
	hold_store(&g);
	ask_begin(&g, &late, "POST", "/v1/jobs", NULL, HELD, strlen(HELD));
	ask_wait(&late);
	assert_int_equal(late.status, 503);
	ask_end(&late);
	let_go_store();
	rig_until(&g, is_well, NULL);
	assert_string_equal(rig_state(&g, "5"), "CANCELLED");
	rig_end(&g);
}

static char *big_environment(int i)
{
	enum { BIG = 1900000 };
	char *body = malloc(BIG + 100);
	int n = sprintf(body, "{\"environment\":{\"A%d\":\"", i);

	memset(body + n, 'x', BIG);
	strcpy(body + n + BIG, "\"}}");
	return body;
}

/* Twice what may wait is less: one batch with the store, one that gathers. */
enum { N_BIG = 90 };

/* While the store is held nobody is told that anything was taken. */
static bool are_refused(struct rig *g, void *asks)
{
	const struct ask *a = asks;
	unsigned n = 0;

	for (int i = 0; i < N_BIG; i++)
		n += a[i].is_over;
	return n >= 10;
}

/* However long the store takes, and however much is asked for: refused in time, and nothing that was taken is lost. */
static void test_backlog_is_bounded(void **state)
{
	enum { N = N_BIG };
	struct rig g = {0};
	struct ask *asks = calloc(N, sizeof(*asks));
	unsigned taken = 0, refused = 0;

	rig_begin(&g);
	g.s->patience_ms = 600000;
	hold_store(&g);
	for (int i = 0; i < N; i++) {
		char *body = big_environment(i);
		ask_begin(&g, &asks[i], "POST", "/v1/environments", NULL, body, strlen(body));
		free(body);
	}
	rig_until(&g, are_refused, asks);
	let_go_store();
	for (int i = 0; i < N; i++) {
		ask_wait(&asks[i]);
		taken += asks[i].status == 201;
		refused += asks[i].status == 503;
		ask_end(&asks[i]);
	}
	assert_true(taken >= 20 && refused >= 10);
	assert_int_equal(taken + refused, N);
	rig_until(&g, is_idle, NULL);
	rig_submit(&g, HELD);
	assert_int_equal(HASH_COUNT(g.s->world->blobs), taken);
	free(asks);
	rig_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_full_disk),
	        cmocka_unit_test(test_submit_ends),
	        cmocka_unit_test(test_slow_disk),
	        cmocka_unit_test(test_backlog_is_bounded),
	};

	return cmocka_run_group_tests_name("server_store_trouble", tests, NULL, NULL);
}
