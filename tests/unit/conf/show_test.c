#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "conf/conf.h"

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;
	struct err err;

	if (conf_parse(text, strlen(text), &c, &err) < 0)
		fail_msg("refused: %s in:\n%s", err.text, text);
	return c;
}

static void add_row(const struct conf_row *row, void *arg)
{
	buf_addf(arg, "%s=%s (%s)\n", row->key, row->value, conf_source_name(row->source));
}

static void add_value(const struct conf_row *row, void *arg)
{
	buf_addf(arg, "%s=%s\n", row->key, row->value);
}

/* What show prints is a file of the same values, with and without explanations. */
static void check_round_trip(const struct conf *c)
{
	CLEANUP_BUF struct buf before = BUF_INIT(1 << 20);

	conf_each(c, add_value, &before);
	for (int explain = 0; explain < 2; explain++) {
		CLEANUP_BUF struct buf shown = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
		CLEANUP_CONF struct conf *again = NULL;

		conf_show(c, explain, &shown);
		again = parse(buf_str(&shown));
		conf_each(again, add_value, &after);
		assert_string_equal(buf_str(&before), buf_str(&after));
	}
}

static void test_round_trip(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	struct err err;

	check_round_trip(c);
	conf_freep(&c);
	c = parse(
	        "server: {listen: '[::1]:1', tls_cert: \"/a b\\\"c\\\\#: {é'\", tls_key: 'null'}\n"
	        "socket: {group: '~', mode: 0666}\n"
	        "agent: {silence: 1d, heartbeat: 1234ms, withhold_mem: 1.5G}\n"
	        "job: {grace: 1h1m1s, env_exclude: ['&a', '[x]', \"it's\", '\"']}\n"
	        "gpu: {models: {'no': {fgpu_per_device: 3}, '7': {}, 'a: b\"': {}, A100: {}}}\n"
	        "queues: {'no': {time_limit: 1-02:03:04}, '7': {priority: -1000000}, a.b: {}}\n");
	check_round_trip(c);
	/* From the environment come characters that a file cannot hold as they are. */
	assert_int_equal(
	        conf_override(c, "BERTH_CONF_SERVER_TLS_CERT",
	                "/\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf\xef\xbf\xbe\xef\xbf\xbf\xf0\x9f\x98\x80",
	                &err),
	        0);
	check_round_trip(c);
}

static void test_sources(void **state)
{
	CLEANUP_CONF struct conf *c = parse("server: {keep_ended: 5}\n"
	                                    "gpu: {models: {B: , A: {fgpu_per_device: 3}}}\n"
	                                    "queues: {gold: {priority: 3}}\n");
	CLEANUP_BUF struct buf rows = BUF_INIT(1 << 20);
	static const char *const expected[] = {"socket.mode=0660 (default)\n",
	        "server.keep_ended=5 (file)\n", "log.level=debug (environment)\n",
	        "server.listen=\"a:1\" (flag)\n",
	        "gpu.models.B.fgpu_per_device=1 (default)\ngpu.models.B.mechanism=same (default)\n",
	        "gpu.models.A.fgpu_per_device=3 (file)\n",
	        "queues.default.time_limit=0 (default)\n", "queues.gold.priority=3 (file)\n",
	        "queues.gold.retry=0 (default)\n"};
	struct err err;

	assert_int_equal(conf_override(c, "BERTH_CONF_LOG_LEVEL", "debug", &err), 0);
	assert_int_equal(conf_set(c, "server.listen", "a:1", CONF_FROM_FLAG, &err), 0);
	conf_each(c, add_row, &rows);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++)
		if (!strstr(buf_str(&rows), expected[i]))
			fail_msg("%s is not in:\n%s", expected[i], buf_str(&rows));
}

static void test_show(void **state)
{
	CLEANUP_CONF struct conf *c = parse("gpu: {models: {A100: {fgpu_per_device: 4}, B: }}\n"
	                                    "queues: {gold: {priority: 3}}\n");
	CLEANUP_BUF struct buf out = BUF_INIT(1 << 20), explained = BUF_INIT(1 << 20);
	const char *gpu = "\n"
	                  "gpu:\n"
	                  "  fgpu_per_device: 1  # default\n"
	                  "  models:\n"
	                  "    A100:\n"
	                  "      fgpu_per_device: 4  # file\n"
	                  "      mechanism: same  # default\n"
	                  "    B:\n"
	                  "      fgpu_per_device: 1  # default\n"
	                  "      mechanism: same  # default\n"
	                  "  mechanism: auto  # default\n"
	                  "  compute_limit: share  # default\n"
	                  "  watchdog: report  # default\n"
	                  "\n"
	                  "sched:\n"
	                  "  policy: fragment  # default\n"
	                  "  calibrate: 0  # default\n"
	                  "\n"
	                  "queues:\n"
	                  "  default:\n"
	                  "    time_limit: 0  # default\n"
	                  "    default_time: 0  # default\n"
	                  "    default_cpus: 1  # default\n"
	                  "    retry: 0  # default\n"
	                  "    order: backfill  # default\n"
	                  "    patience: 1h  # default\n"
	                  "    priority: 0  # default\n"
	                  "    users: []  # default\n"
	                  "    nodes: []  # default\n"
	                  "    max_waiting: 0  # default\n"
	                  "    max_running: 0  # default\n"
	                  "    max_running_per_user: 0  # default\n"
	                  "    max_gpus: 0  # default\n"
	                  "  gold:\n"
	                  "    time_limit: 0  # default\n";

	conf_show(c, false, &out);
	assert_non_null(strstr(buf_str(&out), gpu));
	conf_show(c, true, &explained);
	assert_non_null(strstr(buf_str(&explained),
	        "  # what happens to a job that uses more memory of a device than its slice, or goes around what holds it (off|report|end)\n"
	        "  watchdog: report  # default\n"));
	assert_non_null(strstr(buf_str(&explained),
	        "    # higher goes first (-1000000..1000000)\n"
	        "    priority: 0  # default\n"
	        "    # whose jobs it takes: patterns of accounts, and of their groups as @GROUP; empty: everybody's\n"
	        "    users: []  # default\n"));
	assert_non_null(strstr(buf_str(&explained), "    max_gpus: 0  # default\n"
	                                            "  gold:\n"
	                                            "    time_limit: 0  # default\n"));
}

/* The defaults are their own reference: each row has its words, and its default is what the table says. */
static void check_reference(const struct conf_row *row, void *arg)
{
	assert_true(*row->help);
	assert_in_range(row->n_path, 2, 4);
	assert_int_equal(row->source, CONF_FROM_DEFAULT);
	(*(int *)arg)++;
}

static void test_reference(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	int n = 0;

	conf_each(c, check_reference, &n);
	assert_int_equal(n, CONF_KEY_N - 1 + CONF_QUEUE_N);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip),
	        cmocka_unit_test(test_sources),
	        cmocka_unit_test(test_show),
	        cmocka_unit_test(test_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
