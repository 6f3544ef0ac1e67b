#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "wire/job_json.h"

/* A spec and what it hangs on. */
struct parsed {
	void *ctx;
	json_t *json;
	json_t *was; /* what `json` changed, or NULL */
	struct job_spec spec;
	struct err err;
	int rc;
};

static struct parsed parse_json(json_t *take_json)
{
	struct parsed p = {.ctx = talloc_new(NULL), .json = take_json};

	assert_non_null(take_json);
	p.rc = job_spec_from_json(p.json, p.ctx, &p.spec, &p.err);
	return p;
}

static void parsed_done(struct parsed *p)
{
	json_decref(p->json);
	json_decref(p->was);
	talloc_free(p->ctx);
}

#define CLEANUP_PARSED CLEANUP(parsed_done)

static struct parsed parse(const char *text)
{
	json_error_t why;
	json_t *json = json_loads(text, JSON_ALLOW_NUL, &why);

	if (!json)
		fail_msg("%s: %s", text, why.text);
	return parse_json(json);
}

/* {"command":["true"], ...} */
static struct parsed with(const char *rest)
{
	char text[4096];

	snprintf(text, sizeof(text), "{\"command\":[\"true\"],%s}", rest);
	return parse(text);
}

static void refuse_kind(const char *rest, enum err_kind kind, const char *part)
{
	CLEANUP_PARSED struct parsed p = with(rest);

	if (p.rc != -(int)kind)
		fail_msg("%s: %d %s", rest, p.rc, p.rc ? p.err.text : "was taken");
	if (!strstr(p.err.text, part))
		fail_msg("%s: '%s' does not say '%s'", rest, p.err.text, part);
}

static void refuse(const char *rest, const char *part)
{
	refuse_kind(rest, ERR_INVALID, part);
}

static void test_everything(void **state)
{
	CLEANUP_PARSED struct parsed p = parse(
	        "{\"command\":[\"python\",\"train.py\",\"\"],\"gpu\":\"0.5:a100\",\"gpu_mem\":\"12G\",\"gpu_share\":\"30%\",\"gpu_cc\":\"8.6+\","
	        "\"cpus\":2,\"tasks\":4,\"label\":true,\"mem\":\"8G\",\"time\":\"90m\",\"queue\":\"fast\",\"name\":\"train\",\"priority\":-3,\"hold\":true,\"tty\":false,"
	        "\"env\":{\"A\":\"1\"},\"environment\":{\"B\":\"2\"},\"user\":\"ada\",\"chdir\":\"/data\",\"output\":\"/o\",\"error\":\"/e\",\"array\":\"0-99%8\","
	        "\"after\":[\"3\"],\"after_any\":[\"4\",\"5_2\"],\"after_ok\":[\"6_%a\"],\"retry\":3,\"retry_on\":\"75,sigkill,TERM\",\"no_retry\":false,\"idempotency_key\":\"k\",\"dry_run\":true}");
	const struct request *r = &p.spec.request;

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_int_equal(r->n_argv, 3);
	assert_string_equal(r->argv[1], "train.py");
	assert_string_equal(r->argv[2], "");
	assert_null(r->argv[3]);
	assert_true(r->gpu.milli == 500 && r->gpu.mem_bytes == 12 * GIB &&
	            r->gpu.share_milli == 300 && r->gpu.cc_min == 86 && r->gpu.count == 0);
	assert_string_equal(r->gpu.model, "a100");
	assert_true(r->cpus == 2 && r->mem_bytes == 8 * GIB && r->time_limit_ms == 5400000 &&
	            r->priority == -3);
	assert_true(p.spec.from_queue == 0 && r->by_queue == 0 && p.spec.dry_run);
	assert_true(r->ranks == 4 && r->label && request_cpus(r) == 8);
	assert_true(r->hold && !r->tty && !r->no_retry && r->retry_max == 3);
	assert_true(code_set_has(&r->retry_on, 75) && code_set_has(&r->retry_on, 137) &&
	            code_set_has(&r->retry_on, 143) && !code_set_has(&r->retry_on, 9));
	assert_string_equal(r->queue, "fast");
	assert_string_equal(r->name, "train");
	assert_string_equal(p.spec.user, "ada");
	assert_string_equal(r->chdir, "/data");
	assert_string_equal(r->output, "/o");
	assert_string_equal(r->error, "/e");
	assert_string_equal(r->idempotency_key, "k");
	assert_string_equal(json_string_value(json_object_get(p.spec.env, "A")), "1");
	assert_string_equal(json_string_value(json_object_get(p.spec.taken_env, "B")), "2");
	assert_true(r->n_ranges == 1 && r->ranges[0].last == 99 && r->throttle == 8);
	assert_int_equal(r->n_deps, 4);
	assert_true(r->deps[0].kind == DEP_AFTER && r->deps[0].on.num == 3 &&
	            r->deps[0].on.task == TASK_NONE);
	assert_true(r->deps[2].kind == DEP_AFTER_ANY && r->deps[2].on.num == 5 &&
	            r->deps[2].on.task == 2);
	assert_true(r->deps[3].kind == DEP_AFTER_OK && r->deps[3].on.num == 6 &&
	            r->deps[3].on.task == TASK_SAME);
}

static void test_the_least(void **state)
{
	CLEANUP_PARSED struct parsed p = parse("{\"command\":[\"true\"]}");

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.spec.from_queue, BY_QUEUE_ALL);
	assert_int_equal(p.spec.request.by_queue, BY_QUEUE_ALL);
	assert_false(p.spec.dry_run);
	assert_false(gpu_ask_any(&p.spec.request.gpu) || p.spec.request.ranks);
	assert_int_equal(request_cpus(&(struct request){.cpus = 3}), 3);
	assert_null(p.spec.request.queue);
	assert_null(p.spec.env);
}

/* One value of every kind that somebody may send; each key takes those that are named beside it, and nothing else. */
static const struct {
	char letter;
	const char *json;
} samples[] = {{'1', "1"}, {'0', "0"}, {'-', "-1"}, {'.', "1.5"}, {'b', "5000000000"},
        {'B', "9223372036854775807"}, {'t', "true"}, {'x', "\"x\""}, {'e', "\"\""}, {'o', "\"1\""},
        {'G', "\"2G\""}, {'m', "\"90s\""}, {'/', "\"/x\""}, {'N', "\"/x\\u0000y\""}, {'[', "[]"},
        {'a', "[\"a\"]"}, {'i', "[\"1\"]"}, {'n', "[1]"}, {'z', "[\"\"]"}, {'{', "{}"},
        {'s', "{\"A\":\"b\"}"}, {'d', "{\"A\":1}"}, {'=', "{\"A=\":\"b\"}"}};

static const struct {
	const char *key, *takes, *beside;
} keys[] = {
        {"command", "ai", ""},
        {"gpu", "1o", ""},
        {"gpu_milli", "1", ""},
        {"fgpu", "1o", ""},
        {"gpu_mem", "1bBG", ""},
        {"gpu_share", "1o", ""},
        {"gpu_cc", "o", ",\"gpu_mem\":1"},
        {"gpu_cuda", "o", ",\"gpu_mem\":1"},
        {"gpu_driver", "o", ",\"gpu_mem\":1"},
        {"constraint", "xoGm", ""},
        {"cpus", "10", ""},
        {"tasks", "1", ""},
        {"label", "t", ",\"tasks\":2"},
        {"mem", "10bBG", ""},
        {"time", "10bm", ""},
        {"queue", "xoGm/", ""},
        {"name", "xoGm/", ""},
        {"priority", "10-", ""},
        {"hold", "t", ""},
        {"tty", "t", ""},
        {"env", "{s", ""},
        {"environment", "{sxoGm/", ""},
        {"user", "xoGm/", ""},
        {"chdir", "/", ""},
        {"output", "/", ""},
        {"error", "/", ""},
        {"array", "o", ""},
        {"after", "[i", ""},
        {"after_any", "[i", ""},
        {"after_ok", "[i", ""},
        {"retry", "10", ""},
        {"retry_on", "o", ""},
        {"no_retry", "t", ""},
        {"idempotency_key", "xoGm/", ""},
        {"dry_run", "t", ""},
};

static void check_sample(size_t k, size_t i)
{
	char text[256], quoted[64];
	bool takes = strchr(keys[k].takes, samples[i].letter) != NULL;

	snprintf(text, sizeof(text), "{%s\"%s\":%s%s}",
	        strcmp(keys[k].key, "command") == 0 ? "" : "\"command\":[\"true\"],", keys[k].key,
	        samples[i].json, keys[k].beside);
	CLEANUP_PARSED struct parsed p = parse(text);
	if (takes ? p.rc != 0 : p.rc != -(int)ERR_INVALID)
		fail_msg("%s: %d %s", text, p.rc, p.rc ? p.err.text : "was taken");
	snprintf(quoted, sizeof(quoted), "'%s'", keys[k].key);
	if (!takes && !strstr(p.err.text, quoted))
		fail_msg("%s: '%s' does not name the key", text, p.err.text);
}

static void test_every_key_with_every_type(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(keys); k++)
		for (size_t i = 0; i < ARRAY_LEN(samples); i++)
			check_sample(k, i);
}

static void test_null_is_as_if_it_were_not_there(void **state)
{
	(void)state;
	for (size_t k = 1; k < ARRAY_LEN(keys); k++) {
		char text[256];
		snprintf(text, sizeof(text), "\"%s\":null", keys[k].key);
		CLEANUP_PARSED struct parsed p = with(text);
		assert_int_equal(p.rc, 0);
	}
	CLEANUP_PARSED struct parsed p = parse("{\"command\":null}");
	assert_int_equal(p.rc, -(int)ERR_INVALID);
}

static void test_unknown_keys(void **state)
{
	static const struct {
		const char *key, *near;
	} v[] = {{"comand", "command"}, {"gpus", "gpu"}, {"gpu-mem", "gpu_mem"},
	        {"afterok", "after_ok"}, {"Retry", "retry"}, {"enviroment", "environment"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		char text[128], hint[128];
		snprintf(text, sizeof(text), "\"%s\":1", v[i].key);
		snprintf(hint, sizeof(hint), "did you mean '%s'?", v[i].near);
		CLEANUP_PARSED struct parsed p = with(text);
		assert_int_equal(p.rc, -(int)ERR_UNKNOWN_KEY);
		assert_non_null(strstr(p.err.text, v[i].key));
		assert_string_equal(p.err.hint, hint);
	}
	CLEANUP_PARSED struct parsed p = with("\"something_else\":1");
	assert_int_equal(p.rc, -(int)ERR_UNKNOWN_KEY);
	assert_string_equal(p.err.hint, "");
	/* A message stays UTF-8, and does not act on a terminal, whatever the key is. */
	CLEANUP_PARSED struct parsed odd = with(
	        "\"\\u001b[2Jxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\":1");
	json_t *said = json_string(odd.err.text);
	assert_non_null(said);
	assert_null(strchr(odd.err.text, '\x1b'));
	json_decref(said);
}

static void test_not_an_object(void **state)
{
	static const char *const v[] = {"[]", "[{\"command\":[\"true\"]}]"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		CLEANUP_PARSED struct parsed p = parse(v[i]);
		assert_int_equal(p.rc, -(int)ERR_INVALID);
	}
	CLEANUP_PARSED struct parsed p = parse("{}");
	assert_int_equal(p.rc, -(int)ERR_INVALID);
	assert_string_equal(p.err.text, "'command' is missing");
}

static void test_what_contradicts(void **state)
{
	(void)state;
	refuse("\"gpu\":1,\"gpu_milli\":500", "say the same thing");
	refuse("\"gpu\":\"0.5\",\"fgpu\":1", "say the same thing");
	refuse("\"gpu_milli\":500,\"fgpu\":1", "say the same thing");
	/* Also where one would silently stand for the other. */
	refuse("\"gpu\":2,\"gpu_milli\":1000", "say the same thing");
	refuse("\"gpu_milli\":1000,\"gpu\":2", "say the same thing");
	refuse("\"gpu\":1,\"gpu_mem\":\"1G\"", "a whole device is given whole");
	refuse("\"gpu\":\"1\",\"gpu_share\":\"50%\"", "a whole device is given whole");
	refuse("\"gpu_cc\":\"8.0\"", "no GPU is asked for");
	refuse("\"retry\":1,\"no_retry\":true", "contradict");
	refuse("\"array\":\"0-9\",\"tty\":true", "no terminal");
	refuse("\"tasks\":2,\"tty\":true", "a terminal is of one task");
	refuse("\"tasks\":1,\"label\":true,\"tty\":true", "a terminal has none");
	refuse("\"label\":true", "'tasks' must say how many");
	CLEANUP_PARSED struct parsed p = with(
	        "\"retry\":0,\"no_retry\":true,\"gpu\":\"0.5\",\"gpu_mem\":\"1G\",\"gpu_share\":\"10%\"");
	assert_int_equal(p.rc, 0);
}

static struct gpu_ask gpu(const char *rest)
{
	CLEANUP_PARSED struct parsed p = with(rest);

	if (p.rc)
		fail_msg("%s: %s", rest, p.err.text);
	p.spec.request.gpu.model = NULL;
	return p.spec.request.gpu;
}

static void test_gpus(void **state)
{
	(void)state;
	assert_int_equal(gpu("\"gpu\":2").count, 2);
	assert_int_equal(gpu("\"gpu\":\"50%\"").milli, 500);
	assert_int_equal(gpu("\"gpu_milli\":999").milli, 999);
	assert_int_equal(gpu("\"gpu_milli\":1000").count, 1);
	assert_int_equal(gpu("\"fgpu\":2").fgpu_milli, 2000);
	assert_int_equal(gpu("\"fgpu\":\"0.5\"").fgpu_milli, 500);
	assert_int_equal(gpu("\"fgpu\":10000").fgpu_milli, 10000000);
	assert_true(gpu("\"gpu_mem\":4096").mem_bytes == 4096);
	assert_int_equal(gpu("\"gpu_share\":250").share_milli, 250);
	assert_int_equal(gpu("\"gpu_share\":\"12.5%\"").share_milli, 125);
	assert_int_equal(gpu("\"gpu_cc\":\"8\",\"gpu\":1").cc_min, 80);
	assert_int_equal(gpu("\"gpu_cc\":\"7.5\",\"gpu\":1").cc_min, 75);
	assert_int_equal(gpu("\"gpu_cc\":\"12.0+\",\"gpu\":1").cc_min, 120);
	refuse("\"gpu\":0", "'gpu' must be a whole number from 1 to 64");
	refuse("\"gpu\":65", "from 1 to 64");
	refuse("\"gpu\":1.5", "'gpu'");
	refuse("\"tasks\":257", "from 1 to 256");
	refuse("\"tasks\":\"2\"", "'tasks' must be a whole number");
	refuse("\"gpu\":\"1.5\"", "'1.5' of a GPU");
	refuse("\"gpu\":\"0\"", "'0' GPUs");
	refuse("\"gpu\":\"1\\u00002\"", "without NUL");
	refuse("\"gpu\":\"0.1234\"", "at most three decimals");
	refuse("\"gpu_milli\":1001", "from 1 to 1000");
	refuse("\"fgpu\":10001", "from 1 to 10000");
	refuse("\"fgpu\":\"0.0001\"", "at most three decimals");
	refuse("\"gpu_mem\":0", "more than nothing");
	refuse("\"gpu_mem\":\"0\"", "more than nothing");
	refuse("\"gpu_mem\":\"12\"", "unit");
	refuse("\"gpu_share\":1001", "from 1 to 1000");
	static const char *const cc[] = {
	        "x", "8.", ".5", "8.05", "8.0x", "8.0++", "100", "999999999999", "8.x"};
	for (size_t i = 0; i < ARRAY_LEN(cc); i++) {
		char text[64];
		snprintf(text, sizeof(text), "\"gpu\":1,\"gpu_cc\":\"%s\"", cc[i]);
		refuse(text, "compute capability");
	}
	assert_int_equal(gpu("\"gpu_cuda\":\"12.4+\",\"gpu\":1").cuda_min, 12040);
	assert_int_equal(gpu("\"gpu_driver\":\"550.54.15\",\"gpu\":1").driver_min, 550054015);
	assert_int_equal(gpu("\"gpu_driver\":\"550+\",\"gpu\":1").driver_min, 550000000);
	refuse("\"gpu\":1,\"gpu_cuda\":\"12.400\"", "a version of CUDA");
	refuse("\"gpu\":1,\"gpu_driver\":\"550.1.2.3\"", "a version of the driver");
	refuse("\"gpu\":1,\"gpu_driver\":\"5500\"", "a version of the driver");
	refuse("\"gpu_driver\":\"550\"", "'gpu_driver' says which GPU, but no GPU is asked for");
	refuse("\"constraint\":\"a,,b\"", "labels like");
	refuse("\"constraint\":\"a,\"", "labels like");
	refuse("\"constraint\":\"a=\"", "labels like");
	refuse("\"constraint\":\"a b\"", "labels like");
}

static void test_units(void **state)
{
	CLEANUP_PARSED struct parsed p = with("\"mem\":\"1.5g\",\"time\":\"1-02:00:00\"");
	CLEANUP_PARSED struct parsed q = with("\"mem\":100,\"time\":60");
	CLEANUP_PARSED struct parsed z = with("\"time\":\"0\",\"cpus\":0");

	(void)state;
	assert_true(p.spec.request.mem_bytes == 3 * GIB / 2 &&
	            p.spec.request.time_limit_ms == 93600000);
	assert_true(q.spec.request.mem_bytes == 100 && q.spec.request.time_limit_ms == 60000);
	assert_true(z.spec.from_queue == BY_QUEUE_RETRY && z.spec.request.time_limit_ms == 0 &&
	            z.spec.request.cpus == 0);
	refuse("\"mem\":\"8\"", "unit");
	refuse("\"time\":\"90\"", "unit");
	refuse("\"time\":31536000001", "from 0 to 31536000000");
	refuse("\"time\":\"365001d\"", "'time'");
}

/* {"command":["true"],"KEY":VALUE} with a long value. */
static int rc_with(const char *key, json_t *take_value)
{
	json_t *o = json_pack("{s:[s]}", "command", "true");

	json_object_set_new(o, key, take_value);
	CLEANUP_PARSED struct parsed p = parse_json(o);
	return p.rc;
}

static json_t *text_of(size_t len, const char *begin)
{
	char *text = malloc(len + 1);
	json_t *s;

	assert_non_null(text);
	memset(text, 'x', len);
	memcpy(text, begin, strlen(begin));
	text[len] = '\0';
	s = json_string(text);
	free(text);
	return s;
}

static json_t *many(size_t n, const char *each)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(each));
	return a;
}

static void test_limits(void **state)
{
	const int bad = -(int)ERR_INVALID;
	json_t *env;

	(void)state;
	assert_int_equal(rc_with("name", text_of(255, "")), 0);
	assert_int_equal(rc_with("name", text_of(256, "")), bad);
	assert_int_equal(rc_with("queue", text_of(63, "")), 0);
	assert_int_equal(rc_with("queue", text_of(64, "")), bad);
	assert_int_equal(rc_with("idempotency_key", text_of(255, "")), 0);
	assert_int_equal(rc_with("idempotency_key", text_of(256, "")), bad);
	assert_int_equal(rc_with("chdir", text_of(4095, "/")), 0);
	assert_int_equal(rc_with("chdir", text_of(4096, "/")), bad);
	assert_int_equal(rc_with("output", text_of(4096, "/")), bad);
	assert_int_equal(rc_with("error", text_of(10, "relative/")), bad);
	assert_int_equal(rc_with("cpus", json_integer(NODE_CPUS_MAX)), 0);
	assert_int_equal(rc_with("cpus", json_integer(NODE_CPUS_MAX + 1)), bad);
	assert_int_equal(rc_with("retry", json_integer(1000)), 0);
	assert_int_equal(rc_with("retry", json_integer(1001)), bad);
	assert_int_equal(rc_with("priority", json_integer(INT32_MIN)), 0);
	assert_int_equal(rc_with("priority", json_integer((json_int_t)INT32_MAX + 1)), bad);
	assert_int_equal(rc_with("after", many(JOB_JSON_DEPS_MAX, "1")), 0);
	assert_int_equal(rc_with("after", many(JOB_JSON_DEPS_MAX + 1, "1")), -(int)ERR_TOO_LARGE);
	assert_int_equal(rc_with("command", many(JOB_JSON_ARGV_MAX, "x")), 0);
	assert_int_equal(rc_with("command", many(JOB_JSON_ARGV_MAX + 1, "x")), bad);
	assert_int_equal(rc_with("command", many(90000, "0123456789a")), bad); /* more than 1 MiB */
	env = json_object();
	json_object_set_new(env, "A", text_of(MIB - 3, ""));
	assert_int_equal(rc_with("env", json_incref(env)), 0);
	json_object_set_new(env, "A", text_of(MIB - 2, ""));
	assert_int_equal(rc_with("env", json_incref(env)), bad);
	assert_int_equal(rc_with("environment", env), bad);
}

static void test_dependencies_in_all_count_together(void **state)
{
	json_t *o = json_pack("{s:[s], s:o, s:o}", "command", "true", "after", many(600, "1"),
	        "after_ok", many(600, "2"));
	CLEANUP_PARSED struct parsed p = parse_json(o);

	(void)state;
	assert_int_equal(p.rc, -(int)ERR_TOO_LARGE);
	assert_non_null(strstr(p.err.text, "at most 1024 jobs"));
}

static void test_environments(void **state)
{
	CLEANUP_PARSED struct parsed p = with("\"environment\":\"e12\"");

	(void)state;
	assert_string_equal(p.spec.environment, "e12");
	assert_null(p.spec.taken_env);
	refuse("\"env\":{\"\":\"x\"}", "a name without '='");
	refuse("\"env\":{\"A=B\":\"x\"}", "'A=B'");
	refuse("\"env\":{\"A\":\"x\\u0000y\"}", "'A'");
	refuse("\"env\":{\"A\":null}", "'A'");
}

static void test_ids(void **state)
{
	(void)state;
	refuse("\"after\":[\"0\"]", "not a job id");
	refuse("\"after_ok\":[\"1\",\"x\"]", "not a job id");
	refuse("\"array\":\"0-1\",\"after_ok\":[\"_%a\"]", "not a job id");
	refuse("\"after_ok\":[\"1_%a\"]", "this is none");
	refuse("\"after_any\":[1]", "job ids as strings");
	refuse("\"command\":[\"a\\u0000b\"]", "without NUL");
	refuse("\"name\":\"a\\u0000b\"", "without NUL");
}

/* What `was`, a job as JSON, comes to when it is edited so. */
static struct parsed edited(const char *was, const char *change)
{
	struct parsed p = with(was);
	struct parsed q = {.ctx = p.ctx, .json = json_loads(change, 0, NULL), .was = p.json};

	assert_int_equal(p.rc, 0);
	assert_non_null(q.json);
	q.rc = job_spec_edit(q.json, q.ctx,
	        talloc_memdup(q.ctx, &p.spec.request, sizeof(p.spec.request)), &q.spec, &q.err);
	return q;
}

static void refuse_edit(const char *was, const char *change, enum err_kind kind, const char *part)
{
	CLEANUP_PARSED struct parsed p = edited(was, change);

	if (p.rc != -(int)kind)
		fail_msg("%s: %d %s", change, p.rc, p.rc ? p.err.text : "was taken");
	if (!strstr(p.err.text, part))
		fail_msg("%s: '%s' does not say '%s'", change, p.err.text, part);
}

static void test_edit(void **state)
{
	CLEANUP_PARSED struct parsed p =
	        edited("\"gpu\":\"2:a100\",\"gpu_cc\":\"8.0\",\"mem\":\"1G\",\"time\":60",
	                "{\"gpu\":\"0.5\",\"cpus\":3,\"mem\":null,\"queue\":\"night\"}");
	CLEANUP_PARSED struct parsed q = edited(
	        "\"gpu\":1,\"cpus\":2,\"time\":60,\"name\":\"x\",\"retry\":2",
	        "{\"gpu_mem\":\"2G\",\"gpu\":null,\"cpus\":null,\"time\":null,\"retry\":null,\"name\":null}");
	CLEANUP_PARSED struct parsed n =
	        edited("\"name\":\"x\"", "{\"no_retry\":true,\"priority\":-4}");
	const struct request *r = &p.spec.request;

	(void)state;
	assert_int_equal(p.rc, 0);
	assert_true(
	        r->gpu.count == 0 && r->gpu.milli == 500 && !r->gpu.model && r->gpu.cc_min == 80);
	assert_true(r->cpus == 3 && r->mem_bytes == 0 && r->time_limit_ms == 60000);
	assert_string_equal(r->queue, "night");
	assert_int_equal(r->by_queue, BY_QUEUE_RETRY);
	assert_int_equal(p.spec.from_queue, 0);
	r = &q.spec.request;
	assert_int_equal(q.rc, 0);
	assert_true(r->gpu.mem_bytes == 2 * GIB && r->gpu.count == 0 && !r->name);
	assert_int_equal(r->by_queue, BY_QUEUE_ALL);
	assert_int_equal(q.spec.from_queue, BY_QUEUE_ALL);
	assert_true(n.rc == 0 && n.spec.request.no_retry && n.spec.request.priority == -4);
	assert_string_equal(n.spec.request.name, "x");
	refuse_edit("\"cpus\":1", "{\"colour\":1}", ERR_UNKNOWN_KEY, "'colour' cannot be edited");
	refuse_edit(
	        "\"cpus\":1", "{\"command\":[\"x\"]}", ERR_INVALID, "'command' cannot be edited");
	refuse_edit("\"cpus\":1", "{\"dry_run\":null}", ERR_INVALID, "'dry_run' cannot be edited");
	refuse_edit(
	        "\"gpu\":1", "{\"gpu_mem\":\"2G\"}", ERR_INVALID, "a whole device is given whole");
	refuse_edit("\"gpu\":1", "{\"gpu\":2,\"fgpu\":2}", ERR_INVALID, "give one of them");
	refuse_edit("\"retry\":1", "{\"no_retry\":true}", ERR_INVALID, "contradict");
	refuse_edit(
	        "\"cpus\":1", "{\"cpus\":\"two\"}", ERR_INVALID, "'cpus' must be a whole number");
	refuse_edit("\"cpus\":1", "[]", ERR_INVALID, "a JSON object");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_everything),
	        cmocka_unit_test(test_edit),
	        cmocka_unit_test(test_the_least),
	        cmocka_unit_test(test_every_key_with_every_type),
	        cmocka_unit_test(test_null_is_as_if_it_were_not_there),
	        cmocka_unit_test(test_unknown_keys),
	        cmocka_unit_test(test_not_an_object),
	        cmocka_unit_test(test_what_contradicts),
	        cmocka_unit_test(test_gpus),
	        cmocka_unit_test(test_units),
	        cmocka_unit_test(test_limits),
	        cmocka_unit_test(test_dependencies_in_all_count_together),
	        cmocka_unit_test(test_environments),
	        cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
