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

static void test_reads_on_a_full_disk(void **state)
{
	struct rig g = {0};
	struct ask submit, list, show;

	rig_begin(&g);
	rig_submit(&g, HELD);
	rig_until(&g, is_idle, NULL);
	set_full(true);
	ask_begin(&g, &submit, "POST", "/v1/jobs", NULL, HELD, strlen(HELD));
	ask_begin(&g, &list, "GET", "/v1/jobs", NULL, "", 0);
	rig_until(&g, is_in_trouble, NULL);
	/* Asked before it was known, and after. */
	ask_wait(&list);
	if (list.status != 200) /* else it came before the submit */
		assert_int_equal(list.status, 507);
	ask_end(&list);
	rig_refused(&g, "GET", "/v1/jobs", NULL, 507, "no_space");
	rig_refused(&g, "GET", "/v1/jobs?all=1", NULL, 507, "no_space");
	rig_refused(&g, "GET", "/v1/jobs/2", NULL, 507, "no_space");
	rig_refused(&g, "GET", "/v1/jobs/2/wait?timeout=0", NULL, 507, "no_space");
	/* What did not change is durable as it is. */
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	assert_int_equal(rig_do(&g, "GET", "/v1/config", NULL), 200);
	assert_false(submit.is_over);
	ask_begin(&g, &show, "GET", "/v1/jobs/1/wait?timeout=60", NULL, "", 0);
	set_full(false);
	rig_until(&g, is_well, NULL);
	ask_wait(&submit);
	assert_int_equal(submit.status, 201);
	assert_string_equal(rig_state(&g, "2"), "PENDING");
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	assert_false(show.is_over);
	ask_end(&submit);
	ask_end(&show);
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

static void test_reads_of_a_slow_disk(void **state)
{
	struct rig g = {0};
	struct ask submit;

	rig_begin(&g);
	rig_submit(&g, HELD);
	g.s->patience_ms = 30;
	hold_store(&g);
	ask_begin(&g, &submit, "POST", "/v1/jobs", NULL, HELD, strlen(HELD));
	for (int i = 0; i < 2; i++)
		rig_refused(&g, "GET", "/v1/jobs", NULL, 503, "unavailable");
	assert_string_equal(rig_state(&g, "1"), "PENDING");
	let_go_store();
	ask_wait(&submit);
	assert_int_equal(submit.status, 201);
	assert_int_equal(rig_do(&g, "GET", "/v1/jobs", NULL), 200);
	ask_end(&submit);
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

/* However long the store takes, and however much is asked for: refused in time, and nothing that was taken is lost. */
static void test_backlog_is_bounded(void **state)
{
	enum { N = 60 };
	struct rig g = {0};
	struct ask *asks = calloc(N, sizeof(*asks));
	unsigned taken = 0, refused = 0;

	rig_begin(&g);
	hold_store(&g);
	for (int i = 0; i < N; i++) {
		char *body = big_environment(i);
		ask_begin(&g, &asks[i], "POST", "/v1/environments", NULL, body, strlen(body));
		free(body);
	}
	ask_wait(&asks[N - 1]);
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
	        cmocka_unit_test(test_reads_on_a_full_disk),
	        cmocka_unit_test(test_reads_of_a_slow_disk),
	        cmocka_unit_test(test_backlog_is_bounded),
	};

	return cmocka_run_group_tests_name("server_store_trouble", tests, NULL, NULL);
}
