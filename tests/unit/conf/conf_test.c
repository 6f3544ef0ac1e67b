#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "conf/conf.h"

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;
	struct err err;

	if (conf_parse(text, strlen(text), &c, &err) < 0)
		fail_msg("refused: %s", err.text);
	return c;
}

static void set(struct conf *c, const char *key, const char *value)
{
	struct err err;

	if (conf_set(c, key, value, CONF_FROM_FLAG, &err) < 0)
		fail_msg("refused: %s", err.text);
}

static void test_defaults(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	struct err err;

	assert_int_equal(conf_check(c, &err), 0);
	assert_int_equal(c->socket_mode, 0660);
	assert_string_equal(c->socket_group, "");
	assert_string_equal(c->server_listen, "");
	assert_false(c->server_insecure);
	assert_string_equal(c->server_job_user, "nobody");
	assert_int_equal(c->server_keep_ended, 10000);
	assert_int_equal(c->server_retain_ms, INT64_C(90) * 86400 * 1000);
	assert_int_equal(c->agent_silence_ms, 15000);
	assert_int_equal(c->agent_start_burst, 4);
	assert_int_equal(c->job_grace_ms, 10000);
	assert_int_equal(c->job_output_max_bytes, GIB);
	assert_int_equal(c->job_retry_backoff_ms, 1000);
	assert_int_equal(c->job_retry_backoff_max_ms, 300000);
	assert_int_equal(c->job_env_exclude.n, 5);
	assert_string_equal(c->job_env_exclude.v[0], "*TOKEN*");
	assert_string_equal(c->job_env_exclude.v[4], "SSH_AUTH_SOCK");
	assert_int_equal(c->gpu_fgpu_per_device, 1);
	assert_int_equal(c->gpu_models.n, 0);
	assert_int_equal(c->gpu_watchdog, CONF_WATCHDOG_REPORT);
	assert_int_equal(c->log_level, CONF_LOG_INFO);
	assert_int_equal(c->queues.n, 1);
	assert_string_equal(c->queues.v[0].name, "default");
	assert_int_equal(c->queues.v[0].default_cpus, 1);
	for (size_t i = 0; i < CONF_KEY_N; i++)
		assert_int_equal(c->source[i], CONF_FROM_DEFAULT);
}

static void test_file(void **state)
{
	CLEANUP_CONF struct conf *c = parse("socket: {mode: 0600}\n"
	                                    "server:\n"
	                                    "  listen: 0.0.0.0:7070\n"
	                                    "  insecure: yes\n"
	                                    "  retain: 0\n"
	                                    "job:\n"
	                                    "  output_max: 64M\n"
	                                    "  env_exclude: []\n"
	                                    "agent:\n"
	                                    "log:\n"
	                                    "  level: debug\n"
	                                    "gpu:\n"
	                                    "  watchdog: end\n"
	                                    "  fgpu_per_device: 2\n");

	assert_int_equal(c->socket_mode, 0600);
	assert_string_equal(c->server_listen, "0.0.0.0:7070");
	assert_true(c->server_insecure);
	assert_int_equal(c->server_retain_ms, 0);
	assert_int_equal(c->job_output_max_bytes, 64 * MIB);
	assert_int_equal(c->job_env_exclude.n, 0);
	assert_int_equal(c->log_level, CONF_LOG_DEBUG);
	assert_int_equal(c->gpu_watchdog, CONF_WATCHDOG_END);
	assert_int_equal(c->gpu_fgpu_per_device, 2);
	assert_int_equal(c->source[CONF_KEY_server_listen], CONF_FROM_FILE);
	assert_int_equal(c->source[CONF_KEY_server_user], CONF_FROM_DEFAULT);
}

static void test_words_of_choices(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	static const char *const watchdog[] = {[CONF_WATCHDOG_OFF] = "off",
	        [CONF_WATCHDOG_REPORT] = "report",
	        [CONF_WATCHDOG_END] = "end"};
	static const char *const level[] = {[CONF_LOG_ERROR] = "error",
	        [CONF_LOG_WARN] = "warn",
	        [CONF_LOG_INFO] = "info",
	        [CONF_LOG_DEBUG] = "debug"};

	for (uint32_t i = 0; i < ARRAY_LEN(watchdog); i++) {
		set(c, "gpu.watchdog", watchdog[i]);
		assert_int_equal(c->gpu_watchdog, i);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(level); i++) {
		set(c, "log.level", level[i]);
		assert_int_equal(c->log_level, i);
	}
}

static void test_queues(void **state)
{
	CLEANUP_CONF struct conf *c =
	        parse("queues:\n"
	              "  gold: {time_limit: 1d, default_time: 1h, default_cpus: 2}\n"
	              "  default: {priority: -1}\n"
	              "  gpu-a100.x_1:\n"
	              "  \"7\": {retry: 3}\n");
	const struct conf_queue *q;

	assert_int_equal(c->queues.n, 4);
	assert_string_equal(c->queues.v[0].name, "default");
	assert_int_equal(c->queues.v[0].priority, -1);
	assert_int_equal(c->queues.v[0].source[CONF_QUEUE_priority], CONF_FROM_FILE);
	assert_int_equal(c->queues.v[0].source[CONF_QUEUE_retry], CONF_FROM_DEFAULT);
	assert_string_equal(c->queues.v[1].name, "gold");
	q = conf_find_queue(c, "gold");
	assert_ptr_equal(q, &c->queues.v[1]);
	assert_int_equal(q->time_limit_ms, 86400000);
	assert_int_equal(q->default_time_ms, 3600000);
	assert_int_equal(q->default_cpus, 2);
	assert_int_equal(conf_find_queue(c, "gpu-a100.x_1")->default_cpus, 1);
	assert_int_equal(conf_find_queue(c, "7")->retry, 3);
	assert_null(conf_find_queue(c, "Gold"));
}

static void test_models(void **state)
{
	CLEANUP_CONF struct conf *c =
	        parse("gpu: {models: {A100: {fgpu_per_device: 4}, 'NVIDIA H100 80GB HBM3': {}}}\n");

	assert_int_equal(c->gpu_models.n, 2);
	assert_string_equal(c->gpu_models.v[0].name, "A100");
	assert_int_equal(c->gpu_models.v[0].fgpu_per_device, 4);
	assert_string_equal(c->gpu_models.v[1].name, "NVIDIA H100 80GB HBM3");
	assert_int_equal(c->gpu_models.v[1].fgpu_per_device, 1);
}

static const struct {
	const char *text;
	enum err_kind kind;
	const char *message, *hint;
} refused[] = {
        {"sever: {}\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'sever'", "did you mean 'server'?"},
        {"\nserver:\n  jobuser: x\n", ERR_UNKNOWN_KEY, "line 3: unknown key 'server.jobuser'",
                "did you mean 'server.job_user'?"},
        {"job_user: x\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'job_user'",
                "did you mean 'server.job_user'?"},
        {"job: {job_user: x}\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'job.job_user'",
                "did you mean 'server.job_user'?"},
        {"nonsense: 1\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'nonsense'", ""},
        {"'': 1\n", ERR_UNKNOWN_KEY, "line 1: unknown key ''", ""},
        {"server: {'': 1}\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'server.'", ""},
        {"server.listen: a:1\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'server.listen'",
                "write the parts as maps: 'server:', and the rest below it"},
        {"gpu.models: {}\n", ERR_UNKNOWN_KEY, "line 1: unknown key 'gpu.models'",
                "write the parts as maps: 'gpu:', and the rest below it"},
        {"server: 5\n", ERR_INVALID, "line 1: server: a map is wanted, this is a value", ""},
        {"server: []\n", ERR_INVALID, "line 1: server: a map is wanted, this is a list", ""},
        {"- server\n", ERR_INVALID, "line 1: a map is wanted, this is a list", ""},
        {"server\n", ERR_INVALID, "line 1: a map is wanted, this is a value", ""},
        {"server:\n  listen: [a]\n", ERR_INVALID,
                "line 2: server.listen: HOST:PORT is wanted, this is a list", ""},
        {"server:\n  listen:\n", ERR_INVALID,
                "line 2: server.listen: HOST:PORT is wanted, this is empty", ""},
        {"job:\n  grace: 10\n", ERR_INVALID, "line 2: job.grace: duration '10' has no unit",
                "write 10s or 10m, for seconds or minutes"},
        {"job: {grace: 2d}\n", ERR_INVALID, "line 1: job.grace: '2d' is out of range: 0..1d", ""},
        {"job: {grace: 1s}\njob: {}\n", ERR_INVALID,
                "line 2: key 'job' stands twice, first on line 1", ""},
        {"queues: [gold]\n", ERR_INVALID,
                "line 1: queues: a map of names is wanted, this is a list", ""},
        {"queues:\n  gold: 5\n", ERR_INVALID,
                "line 2: queues.gold: a map is wanted, this is a value", ""},
        {"queues:\n  gold:\n    prority: 5\n", ERR_UNKNOWN_KEY,
                "line 3: unknown key 'queues.gold.prority'", "did you mean 'priority'?"},
        {"queues:\n  gold:\n    color: 5\n", ERR_UNKNOWN_KEY,
                "line 3: unknown key 'queues.gold.color'",
                "it takes time_limit, default_time, default_cpus, retry, order, patience, priority, users, nodes, max_waiting, max_running, max_running_per_user, max_gpus"},
        {"queues: {a b: }\n", ERR_INVALID, "line 1: queues.a b: not a name for a queue",
                "names are letters, digits, '_', '.' and '-', at most 63"},
        {"queues: {-x: {}}\n", ERR_INVALID, "line 1: queues.-x: not a name for a queue", NULL},
        {"queues: {'': {}}\n", ERR_INVALID, "line 1: queues.: not a name for a queue", NULL},
        {"queues: {q: {retry: -1}}\n", ERR_INVALID,
                "line 1: queues.q.retry: '-1' is out of range: 0..1000", ""},
        {"gpu: {models: 4}\n", ERR_INVALID,
                "line 1: gpu.models: a map of names is wanted, this is a value", ""},
        {"gpu: {models: {'': {}}}\n", ERR_INVALID,
                "line 1: gpu.models.: a model's name has 1..95 bytes", ""},
        {"gpu: {models: {A: {fgpu: 2}}}\n", ERR_UNKNOWN_KEY,
                "line 1: unknown key 'gpu.models.A.fgpu'", "it takes fgpu_per_device, mechanism"},
        {"job: {env_exclude: '*X*'}\n", ERR_INVALID,
                "line 1: job.env_exclude: a list is wanted, this is a value", ""},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct conf *c = NULL;
		struct err err;

		if (conf_parse(refused[i].text, strlen(refused[i].text), &c, &err) == 0)
			fail_msg("accepted: %s", refused[i].text);
		assert_null(c);
		assert_int_equal(err.kind, refused[i].kind);
		assert_string_equal(err.text, refused[i].message);
		if (refused[i].hint)
			assert_string_equal(err.hint, refused[i].hint);
	}
}

static void test_long_names(void **state)
{
	char text[200], name[130];
	struct conf *c = NULL;
	struct err err;

	memset(name, 'q', sizeof(name));
	name[64] = '\0';
	snprintf(text, sizeof(text), "queues: {%s: {}}\n", name);
	assert_int_equal(conf_parse(text, strlen(text), &c, &err), -ERR_INVALID);
	snprintf(text, sizeof(text), "queues: {%s: {}}\n", name + 1);
	assert_int_equal(conf_parse(text, strlen(text), &c, &err), 0);
	assert_int_equal(strlen(c->queues.v[1].name), CONF_NAME_MAX);
	conf_free(c);
	memset(name, 'm', sizeof(name));
	name[96] = '\0';
	snprintf(text, sizeof(text), "gpu: {models: {%s: {}}}\n", name);
	assert_int_equal(conf_parse(text, strlen(text), &c, &err), -ERR_INVALID);
	snprintf(text, sizeof(text), "gpu: {models: {%s: {}}}\n", name + 1);
	assert_int_equal(conf_parse(text, strlen(text), &c, &err), 0);
	conf_free(c);
}

static void test_overrides(void **state)
{
	CLEANUP_CONF struct conf *c =
	        parse("server: {keep_ended: 5}\nqueues: {gold: {priority: 1}}\n");
	struct err err;

	assert_int_equal(conf_override(c, "BERTH_CONF_SERVER_KEEP_ENDED", "7", &err), 0);
	assert_int_equal(c->server_keep_ended, 7);
	assert_int_equal(c->source[CONF_KEY_server_keep_ended], CONF_FROM_ENVIRONMENT);
	assert_int_equal(conf_override(c, "BERTH_CONF_SERVER_LISTEN", "", &err), 0);
	assert_int_equal(conf_override(c, "BERTH_CONF_JOB_ENV_EXCLUDE", "*A*, B ,,C", &err), 0);
	assert_int_equal(c->job_env_exclude.n, 3);
	assert_string_equal(c->job_env_exclude.v[0], "*A*");
	assert_string_equal(c->job_env_exclude.v[1], "B");
	assert_string_equal(c->job_env_exclude.v[2], "C");
	assert_int_equal(conf_override(c, "BERTH_CONF_JOB_ENV_EXCLUDE", "['*A, B*']", &err), 0);
	assert_int_equal(c->job_env_exclude.n, 1);
	assert_string_equal(c->job_env_exclude.v[0], "*A, B*");
	assert_int_equal(conf_override(c, "BERTH_CONF_JOB_ENV_EXCLUDE", "", &err), 0);
	assert_int_equal(c->job_env_exclude.n, 0);
	assert_int_equal(conf_override(c, "BERTH_CONF_QUEUES", "{silver: {retry: 2}}", &err), 0);
	assert_null(conf_find_queue(c, "gold"));
	assert_int_equal(conf_find_queue(c, "silver")->retry, 2);
	assert_int_equal(
	        conf_find_queue(c, "silver")->source[CONF_QUEUE_retry], CONF_FROM_ENVIRONMENT);
	assert_non_null(conf_find_queue(c, "default"));
	assert_int_equal(
	        conf_override(c, "BERTH_CONF_GPU_MODELS", "{A100: {fgpu_per_device: 8}}", &err), 0);
	assert_int_equal(c->gpu_models.v[0].fgpu_per_device, 8);
	set(c, "server.keep_ended", "9");
	assert_int_equal(c->server_keep_ended, 9);
	assert_int_equal(c->source[CONF_KEY_server_keep_ended], CONF_FROM_FLAG);
}

/* What fails says which variable, and changes nothing. */
static void test_failed_overrides(void **state)
{
	CLEANUP_CONF struct conf *c =
	        parse("server: {keep_ended: 5}\nqueues: {gold: {priority: 1}}\n");
	CLEANUP_BUF struct buf before = BUF_INIT(100000), after = BUF_INIT(100000);
	static const struct {
		const char *name, *value;
		enum err_kind kind;
		const char *message, *hint;
	} cases[] = {
	        {"BERTH_CONF_SERVER_KEEP_ENDED", "x", ERR_INVALID,
	                "BERTH_CONF_SERVER_KEEP_ENDED: 'x' is not a whole number", ""},
	        {"BERTH_CONF_SERVER_KEEP_ENDED", "", ERR_INVALID,
	                "BERTH_CONF_SERVER_KEEP_ENDED: '' is not a whole number", ""},
	        {"BERTH_CONF_SERVER_USER", "", ERR_INVALID,
	                "BERTH_CONF_SERVER_USER: must not be empty", ""},
	        {"BERTH_CONF_SERVER_JOBUSER", "x", ERR_UNKNOWN_KEY,
	                "unknown setting BERTH_CONF_SERVER_JOBUSER in the environment",
	                "did you mean BERTH_CONF_SERVER_JOB_USER?"},
	        {"BERTH_CONF_", "x", ERR_UNKNOWN_KEY,
	                "unknown setting BERTH_CONF_ in the environment", ""},
	        {"BERTH_CONF_server_user", "x", ERR_UNKNOWN_KEY,
	                "unknown setting BERTH_CONF_server_user in the environment", ""},
	        {"BERTH_CONF_QUEUES", "gold", ERR_INVALID,
	                "line 1: BERTH_CONF_QUEUES: a map of names is wanted, this is a value", ""},
	        {"BERTH_CONF_QUEUES", "{gold: {", ERR_INVALID, NULL, NULL},
	        {"BERTH_CONF_QUEUES", "{ok: {retry: 1}, gold: {retry: x}}", ERR_INVALID,
	                "line 1: BERTH_CONF_QUEUES.gold.retry: 'x' is not a whole number", ""},
	        {"BERTH_CONF_GPU_MODELS", "{A: {fgpu_per_device: 0}}", ERR_INVALID, NULL, NULL},
	        {"BERTH_CONF_JOB_ENV_EXCLUDE", "[{}]", ERR_INVALID, NULL, NULL},
	};

	conf_show(c, false, &before);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};

		assert_int_equal(
		        conf_override(c, cases[i].name, cases[i].value, &err), -(int)cases[i].kind);
		if (cases[i].message)
			assert_string_equal(err.text, cases[i].message);
		if (cases[i].hint)
			assert_string_equal(err.hint, cases[i].hint);
		buf_reset(&after);
		conf_show(c, false, &after);
		assert_string_equal(buf_str(&before), buf_str(&after));
	}
}

static void test_unknown_flag(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	struct err err;

	assert_int_equal(
	        conf_set(c, "server.lsten", "a:1", CONF_FROM_FLAG, &err), -ERR_UNKNOWN_KEY);
	assert_string_equal(err.text, "unknown key 'server.lsten'");
	assert_string_equal(err.hint, "did you mean 'server.listen'?");
	assert_int_equal(conf_set(c, "", "", CONF_FROM_FLAG, &err), -ERR_UNKNOWN_KEY);
}

static void test_override_all(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	const char *const good[] = {"PATH=/bin", "BERTH_DATA=/x", "BERTH_CONF_LOG_LEVEL=warn",
	        "BERTH_CONF_SERVER_JOB_USER=a=b", "BERTH_CONF_NOTHING", NULL};
	const char *const bad[] = {"BERTH_CONF_LOG_LEVEL=debug", "BERTH_CONF_LOG_LVL=warn", NULL};
	struct err err;

	assert_int_equal(conf_override_all(c, (char *const *)good, &err), 0);
	assert_int_equal(c->log_level, CONF_LOG_WARN);
	assert_string_equal(c->server_job_user, "a=b");
	assert_int_equal(conf_override_all(c, (char *const *)bad, &err), -ERR_UNKNOWN_KEY);
	assert_string_equal(err.hint, "did you mean BERTH_CONF_LOG_LEVEL?");
}

static void test_check(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	        {"server: {job_user: root}\n",
	                "server.job_user is root: only root itself may run jobs as root"},
	        {"server: {job_user: '0'}\n",
	                "server.job_user is root: only root itself may run jobs as root"},
	        {"server: {job_user: x, user: x}\n",
	                "server.job_user and server.user are both 'x': jobs could end the server"},
	        {"server: {tls_cert: /x}\n",
	                "server.tls_cert and server.tls_key go together: server.tls_key is empty"},
	        {"server: {tls_key: /x}\n",
	                "server.tls_cert and server.tls_key go together: server.tls_cert is empty"},
	        {"agent: {silence: 5s}\n",
	                "agent.heartbeat is more than half of agent.silence: one late beat would lose a node"},
	        {"job: {retry_backoff: 10m}\n",
	                "job.retry_backoff is longer than job.retry_backoff_max"},
	        {"queues: {q: {time_limit: 1h, default_time: 2h}}\n",
	                "queues.q: default_time is longer than time_limit"},
	        {"queues: {q: {nodes: ['@']}}\n",
	                "queues.q.nodes: '@' is neither a pattern of names nor @LABEL"},
	        {"queues: {q: {nodes: ['a,b']}}\n",
	                "queues.q.nodes: 'a,b' is neither a pattern of names nor @LABEL"},
	        {"node: {labels: [a100]}\n",
	                "node.labels: 'a100' is not PATTERN:LABEL, where a label is a word or WORD=WORD"},
	        {"node: {labels: ['n1:a b']}\n",
	                "node.labels: 'n1:a b' is not PATTERN:LABEL, where a label is a word or WORD=WORD"},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_CONF struct conf *c = parse(cases[i].text);

		assert_int_equal(conf_check(c, &err), -ERR_INVALID);
		assert_string_equal(err.text, cases[i].message);
	}
	CLEANUP_CONF struct conf *fine = parse("server: {tls_cert: /x, tls_key: /y}\n"
	                                       "agent: {silence: 300ms, heartbeat: 150ms}\n"
	                                       "queues: {q: {default_time: 2h}}\n");
	assert_int_equal(conf_check(fine, &err), 0);
}

static struct conf_queue *make(const struct conf *c, const char *name, const char *overlay)
{
	struct conf_queue *q = NULL;
	struct err err;

	if (conf_queue_make(c, name, overlay, &q, &err) < 0)
		fail_msg("refused: %s", err.text);
	return q;
}

static void over(struct conf_queue *q, const struct conf *c, const char *key, const char *value)
{
	struct err err;

	if (conf_queue_set(q, c, key, value, &err) < 0)
		fail_msg("refused: %s", err.text);
}

static void assert_overlay(const struct conf_queue *q, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(CONF_TEXT_MAX);

	conf_queue_overlay(q, &b);
	assert_string_equal(buf_str(&b), text);
}

static void test_run_time(void **state)
{
	CLEANUP_CONF struct conf *c =
	        parse("queues: {q: {time_limit: 3h, nodes: ['@a', n1], retry: 2}}\n");
	CLEANUP(conf_queue_freep)
	struct conf_queue *q = make(c, "q", NULL), *again = NULL, *new = NULL;
	CLEANUP_BUF struct buf b = BUF_INIT(CONF_TEXT_MAX);

	assert_int_equal(q->time_limit_ms, 3 * 3600 * 1000);
	assert_int_equal(q->nodes.n, 2);
	assert_string_equal(q->nodes.v[0], "@a");
	assert_overlay(q, "{}");
	over(q, c, "time_limit", "90m");
	over(q, c, "nodes", "b*, '@c: d'");
	over(q, c, "users", "[]");
	over(q, c, "order", "strict");
	assert_int_equal(q->source[CONF_QUEUE_nodes], CONF_FROM_RUN_TIME);
	assert_int_equal(q->source[CONF_QUEUE_retry], CONF_FROM_FILE);
	assert_string_equal(q->nodes.v[1], "'@c: d'");
	/* What is written is read again as it was. */
	conf_queue_overlay(q, &b);
	again = make(c, "q", buf_str(&b));
	assert_int_equal(again->time_limit_ms, 90 * 60 * 1000);
	assert_string_equal(again->nodes.v[1], "'@c: d'");
	assert_int_equal(again->order, CONF_ORDER_STRICT);
	assert_int_equal(again->retry, 2);
	assert_memory_equal(again->source, q->source, sizeof(q->source));
	/* Key by key it is taken back. */
	over(again, c, "nodes", "");
	over(again, c, "time_limit", "");
	over(again, c, "users", "");
	assert_int_equal(again->time_limit_ms, 3 * 3600 * 1000);
	assert_string_equal(again->nodes.v[1], "n1");
	assert_overlay(again, "{order: strict}");
	new = make(c, "new", "{priority: -3}");
	assert_int_equal(new->priority, -3);
	assert_int_equal(new->default_cpus, 1);
	over(new, c, "priority", "");
	assert_int_equal(new->priority, 0);
	assert_overlay(new, "{}");
}

static void test_run_time_refused(void **state)
{
	static const struct {
		const char *key, *value, *message, *hint;
	} cases[] = {
	        {"tim_limit", "1h", "unknown key 'queues.q.tim_limit'",
	                "did you mean 'time_limit'?"},
	        {"tim_limit", "", "unknown key 'queues.q.tim_limit'", "did you mean 'time_limit'?"},
	        {"order", "first", "queues.q.order: 'first' is not one of backfill|strict", ""},
	        {"retry", "1001", "queues.q.retry: '1001' is out of range: 0..1000", ""},
	        {"nodes", "a\nb", "queues.q.nodes: a control character, or not UTF-8", ""},
	};
	CLEANUP_CONF struct conf *c = parse("queues: {q: {time_limit: 3h}}\n");
	CLEANUP(conf_queue_freep) struct conf_queue *q = make(c, "q", NULL), *none = NULL;
	char name[CONF_NAME_MAX + 2];
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(conf_queue_set(q, c, cases[i].key, cases[i].value, &err) < 0);
		assert_string_equal(err.text, cases[i].message);
		assert_string_equal(err.hint, cases[i].hint);
	}
	assert_overlay(q, "{}");
	over(q, c, "default_time", "4h");
	assert_int_equal(conf_queue_check(q, &err), -ERR_INVALID);
	assert_string_equal(err.text, "queues.q: default_time is longer than time_limit");
	over(q, c, "default_time", "");
	over(q, c, "nodes", "@");
	assert_int_equal(conf_queue_check(q, &err), -ERR_INVALID);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(conf_queue_make(c, name, NULL, &none, &err), -ERR_INVALID);
	assert_int_equal(conf_queue_make(c, "", NULL, &none, &err), -ERR_INVALID);
	assert_int_equal(conf_queue_make(c, "q", "[a]", &none, &err), -ERR_INVALID);
	assert_null(none);
}

static void test_excludes_env(void **state)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	static const char *const excluded[] = {"GITHUB_TOKEN", "TOKEN", "hf_token_x", "MY_SECRET_1",
	        "PGPASSWORD", "AWS_KEY", "SSH_AUTH_SOCK"};
	static const char *const taken[] = {
	        "PATH", "KEY", "KEYBOARD", "MY_KEYS", "SSH_AUTH_SOCK2", ""};

	for (size_t i = 0; i < ARRAY_LEN(excluded); i++)
		assert_true(conf_excludes_env(c, excluded[i]));
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		assert_false(conf_excludes_env(c, taken[i]));
	set(c, "job.env_exclude", "");
	assert_false(conf_excludes_env(c, "GITHUB_TOKEN"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_defaults),
	        cmocka_unit_test(test_file),
	        cmocka_unit_test(test_words_of_choices),
	        cmocka_unit_test(test_queues),
	        cmocka_unit_test(test_models),
	        cmocka_unit_test(test_refused),
	        cmocka_unit_test(test_long_names),
	        cmocka_unit_test(test_overrides),
	        cmocka_unit_test(test_failed_overrides),
	        cmocka_unit_test(test_unknown_flag),
	        cmocka_unit_test(test_override_all),
	        cmocka_unit_test(test_check),
	        cmocka_unit_test(test_run_time),
	        cmocka_unit_test(test_run_time_refused),
	        cmocka_unit_test(test_excludes_env),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
