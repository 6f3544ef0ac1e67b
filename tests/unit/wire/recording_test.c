/* Lines of a recording: what is put comes back, and damage is refused, whatever it is. */
#include "base/mem.h"
#include "wire/recording.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define NOW_MS 1700000000000

static struct recorded *parse(const struct buf *b)
{
	struct recorded *r = NULL;
	struct err err;

	assert_int_equal(b->data[b->len - 1], '\n');
	assert_int_equal(recorded_parse((const char *)b->data, b->len, &r, &err), 0);
	return r;
}

static void refuse(const char *line)
{
	struct recorded *r;
	struct err err;

	assert_int_not_equal(recorded_parse(line, strlen(line), &r, &err), 0);
	assert_non_null(strstr(err.text, "recording"));
}

static struct world *new_world(struct policy_model *models)
{
	struct policy p = {.fgpu_per_device = 2,
	        .models = models,
	        .n_models = 1,
	        .backoff_min_ms = 1000,
	        .backoff_max_ms = 60000,
	        .keep_ended = 10};

	return world_new(&p);
}

static void apply(struct world *w, struct event e, struct applied *out)
{
	struct effects fx = {0};
	struct err err;

	assert_int_equal(core_apply(w, &e, (struct now){NOW_MS, NOW_MS}, &fx, out, &err), 0);
	effects_done(&fx);
}

static struct request a_request(struct dep *dep)
{
	static char *argv[] = {(char *)(uintptr_t) "secret-command", NULL};
	static struct array_range range = {2, 10, 4};
	struct request r = {.user = (char *)(uintptr_t) "ada",
	        .queue = (char *)(uintptr_t) "default",
	        .name = (char *)(uintptr_t) "secret-name",
	        .argv = argv,
	        .n_argv = 1,
	        .gpu = {.milli = 500,
	                .mem_bytes = 3 * GIB,
	                .model = (char *)(uintptr_t) "A100|H100"},
	        .constraint = (char *)(uintptr_t) "zone=eu",
	        .ranks = 2,
	        .cpus = 3,
	        .mem_bytes = 5 * GIB,
	        .time_limit_ms = 90000,
	        .retry_max = 2,
	        .priority = -7,
	        .throttle = 2,
	        .ranges = &range,
	        .n_ranges = 1,
	        .deps = dep,
	        .n_deps = dep ? 1 : 0};

	code_set_add(&r.retry_on, 137);
	return r;
}

static struct job *submit(struct world *w, const struct request *r)
{
	struct queue q = {.name = "default", .configured = true};
	struct applied out;

	apply(w, (struct event){.kind = EVENT_QUEUE_SET, .queue = &q}, &out);
	apply(w, (struct event){.kind = EVENT_SUBMIT, .request = r}, &out);
	return out.job;
}

static void test_begin(void **state)
{
	struct policy_model model = {"H100", 7};
	struct world *w = new_world(&model), *again;
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;

	(void)state;
	w->next_job = 18;
	w->next_epoch = 40;
	recording_put_begin(&b, NOW_MS, w, "spread");
	r = parse(&b);
	assert_int_equal(r->kind, RECORDED_BEGIN);
	assert_int_equal(r->at_ms, NOW_MS);
	assert_string_equal(r->placement, "spread");
	again = recorded_world(r);
	assert_int_equal(again->next_job, 18);
	assert_int_equal(again->next_epoch, 40);
	assert_int_equal(again->policy.fgpu_per_device, 2);
	assert_int_equal(again->policy.backoff_max_ms, 60000);
	assert_int_equal(again->policy.n_models, 1);
	assert_string_equal(again->policy.models[0].model, "H100");
	world_free(again);
	recorded_free(r);
	world_free(w);
}

static void test_submit(void **state)
{
	struct dep dep = {DEP_AFTER_OK, {4, 2}};
	struct request request = a_request(&dep);
	struct world *w = new_world(NULL);
	struct event e = {.kind = EVENT_SUBMIT, .request = &request};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;
	const struct request *is;

	(void)state;
	w->next_job = 17;
	recording_put_event(&b, NOW_MS, &e, w);
	world_free(w);
	assert_null(strstr(buf_str(&b), "secret"));
	r = parse(&b);
	is = r->event.request;
	assert_int_equal(r->event.kind, EVENT_SUBMIT);
	assert_int_equal(r->event.id.num, 17);
	assert_string_equal(is->user, "ada");
	assert_int_equal(is->gpu.milli, 500);
	assert_int_equal(is->gpu.mem_bytes, 3 * GIB);
	assert_string_equal(is->gpu.model, "A100|H100");
	assert_string_equal(is->constraint, "zone=eu");
	assert_int_equal(request_cpus(is), 6);
	assert_int_equal(is->mem_bytes, 5 * GIB);
	assert_int_equal(is->time_limit_ms, 90000);
	assert_int_equal(is->retry_max, 2);
	assert_true(code_set_has(&is->retry_on, 137));
	assert_int_equal(is->priority, -7);
	assert_int_equal(is->throttle, 2);
	assert_int_equal(is->n_ranges, 1);
	assert_memory_equal(is->ranges, request.ranges, sizeof(*is->ranges));
	assert_int_equal(is->n_deps, 1);
	assert_int_equal(is->deps[0].kind, DEP_AFTER_OK);
	assert_true(job_id_eq(is->deps[0].on, dep.on));
	recorded_free(r);
}

static void test_node(void **state)
{
	struct node node = {.name = "n1", .boot_id = "boot", .mem_bytes = GIB};
	struct device_info device = {.uuid = "GPU-1",
	        .model = "H100",
	        .mem_bytes = 80 * GIB,
	        .cc = 90,
	        .cuda = 12040,
	        .numa_node = -1,
	        .health = DEVICE_DEGRADED,
	        .withheld_bytes = 5,
	        .card_milli = 250};
	struct event e = {.kind = EVENT_NODE_UP, .node = &node, .devices = &device, .n_devices = 1};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;

	(void)state;
	for (uint32_t c = 3; c < 70; c++)
		if (c != 64)
			cpu_set_add(&node.cpus, c);
	device.cpus = node.cpus;
	recording_put_event(&b, NOW_MS, &e, NULL);
	r = parse(&b);
	assert_string_equal(r->event.node->name, "n1");
	assert_memory_equal(&r->event.node->cpus, &node.cpus, sizeof(node.cpus));
	assert_int_equal(r->event.n_devices, 1);
	assert_memory_equal(r->event.devices, &device, sizeof(device));
	recorded_free(r);
}

static void test_plan(void **state)
{
	struct placement p = {
	        .id = {3, TASK_NONE}, .pos = 4, .node = 2, .n_slices = 2, .bind_cpus = true};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;

	(void)state;
	p.slices[0] = (struct slice){GIB, 5, 1000};
	p.slices[1] = (struct slice){GIB, 7, 1000};
	cpu_set_add(&p.cpus, 1023);
	recording_put_plan(&b, NOW_MS, 256, &p, 1);
	r = parse(&b);
	assert_int_equal(r->kind, RECORDED_PLAN);
	assert_int_equal(r->max, 256);
	assert_int_equal(r->n_placements, 1);
	assert_memory_equal(r->placements, &p, sizeof(p));
	recorded_free(r);
}

static void test_adopt(void **state)
{
	static const double settings[] = {98, 1.0 / 3, 0, 1e-9, 0.1 + 0.2};
	double too_many[RECORDING_SETTINGS_MAX + 1] = {0};
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;

	(void)state;
	recording_put_adopt(&b, NOW_MS, settings, ARRAY_LEN(settings));
	r = parse(&b);
	assert_int_equal(r->kind, RECORDED_ADOPT);
	assert_int_equal(r->n_settings, ARRAY_LEN(settings));
	assert_memory_equal(r->settings, settings, sizeof(settings)); /* to the last bit */
	recorded_free(r);
	buf_reset(&b);
	recording_put_adopt(&b, NOW_MS, too_many, ARRAY_LEN(too_many));
	refuse(buf_str(&b));
}

static void test_job(void **state)
{
	struct policy_model model = {"H100", 7};
	struct world *w = new_world(&model), *other = new_world(&model);
	struct request request = a_request(NULL);
	const struct job *j;
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct recorded *r;
	struct err err;

	(void)state;
	recording_put_job(&b, NOW_MS, submit(w, &request));
	assert_null(strstr(buf_str(&b), "736563726574")); /* "secret" */
	r = parse(&b);
	assert_int_equal(r->kind, RECORDED_JOB);
	for (int i = 0; i < 2; i++)
		assert_int_equal(recorded_adopt(r, other, &err), 0);
	j = world_find_job(other, (struct job_id){1, TASK_NONE});
	assert_non_null(j);
	assert_int_equal(j->array->n, 3);
	assert_int_equal(j->priority, -7);
	recorded_free(r);
	world_free(w);
	world_free(other);
}

/* Not told: what no plan depends on. */
static void test_left_out(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	static const enum event_kind kinds[] = {EVENT_BLOB, EVENT_START, EVENT_USE, EVENT_NOTE,
	        EVENT_TOKEN_ADD, EVENT_TOKEN_REMOVE};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		recording_put_event(&b, NOW_MS, &(struct event){.kind = kinds[i]}, NULL);
	assert_int_equal(b.len, 0);
}

static void test_damage(void **state)
{
	static const char *const lines[] = {"", "{}", "[]", "null", "{\"at\":1}",
	        "{\"at\":1,\"is\":\"x\"}", "{\"at\":-1,\"is\":\"learn\"}",
	        "{\"at\":1,\"is\":\"submit\"}",
	        "{\"at\":1,\"is\":\"submit\",\"id\":\"1\",\"request\":[]}",
	        "{\"at\":1,\"is\":\"submit\",\"id\":\"1\",\"request\":{\"cpus\":-1}}",
	        "{\"at\":1,\"is\":\"submit\",\"id\":\"1\",\"request\":{\"user\":1}}",
	        "{\"at\":1,\"is\":\"node_up\",\"node\":{\"name\":\"a/b\"}}",
	        "{\"at\":1,\"is\":\"node_up\",\"node\":{\"name\":\"a\",\"cpus\":[[0,1024]]}}",
	        "{\"at\":1,\"is\":\"node_down\"}", "{\"at\":1,\"is\":\"queue_set\"}",
	        "{\"at\":1,\"is\":\"queue_remove\"}", "{\"at\":1,\"is\":\"cancel\"}",
	        "{\"at\":1,\"is\":\"cancel\",\"id\":\"1\",\"reason\":\"x\"}",
	        "{\"at\":1,\"is\":\"plan\",\"max\":0,\"placements\":[]}",
	        "{\"at\":1,\"is\":\"plan\",\"max\":1,\"placements\":[{}]}",
	        "{\"at\":1,\"is\":\"job\",\"id\":\"1\",\"record\":\"0\"}",
	        "{\"at\":1,\"is\":\"job\",\"id\":\"1\",\"record\":\"zz\"}",
	        "{\"at\":1,\"is\":\"adopt\"}", "{\"at\":1,\"is\":\"adopt\",\"settings\":[\"1\"]}",
	        "{\"at\":1,\"is\":\"begin\",\"placement\":\"pack\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		refuse(lines[i]);
}

static void test_another_format(void **state)
{
	static const char line[] = "{\"at\":1,\"is\":\"begin\",\"format\":2}";
	struct recorded *r;
	struct err err;

	(void)state;
	assert_int_equal(recorded_parse(line, strlen(line), &r, &err), -ERR_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_begin),
	        cmocka_unit_test(test_submit),
	        cmocka_unit_test(test_node),
	        cmocka_unit_test(test_plan),
	        cmocka_unit_test(test_adopt),
	        cmocka_unit_test(test_job),
	        cmocka_unit_test(test_left_out),
	        cmocka_unit_test(test_damage),
	        cmocka_unit_test(test_another_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
