/* Records bring back what was put. What becomes of damaged ones: record_damage_test.c. */
#include "box.h"
#include "golden.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static char *the_argv[] = {"python", "train.py", "", NULL};
static struct array_range the_ranges[] = {{1, 9, 2}, {20, 20, 1}};
static struct dep the_deps[] = {
        {DEP_AFTER, {3, TASK_NONE}}, {DEP_AFTER_ANY, {4, 0}}, {DEP_AFTER_OK, {5, 7}}};

static struct request whole_request(void)
{
	return (struct request){.uid = 1000,
	        .gid = 1001,
	        .user = "ada",
	        .name = "train",
	        .queue = "fast",
	        .argv = the_argv,
	        .n_argv = 3,
	        .env_blob = 12,
	        .chdir = "/data",
	        .output = "/o",
	        .error = "/e",
	        .idempotency_key = "k",
	        .grant = "00112233445566778899aabbccddeeff",
	        .fingerprint = UINT64_MAX - 1,
	        .cpus = 2,
	        .mem_bytes = 8 * GIB,
	        .gpu = {.count = 1,
	                .milli = 2,
	                .fgpu_milli = 3,
	                .mem_bytes = 4,
	                .share_milli = 5,
	                .cc_min = 6,
	                .model = "a100"},
	        .time_limit_ms = 7,
	        .retry_max = 8,
	        .no_retry = true,
	        .hold = true,
	        .tty = true,
	        .priority = -9,
	        .throttle = 10,
	        .ranges = the_ranges,
	        .n_ranges = 2,
	        .deps = the_deps,
	        .n_deps = 3};
}

/* An array in the middle of its life, every member set. */
static struct job *whole_job(void)
{
	struct request q = whole_request();
	struct job *j = world_job_new();

	j->id.num = 77;
	j->req = request_pack(&q);
	j->state = JOB_RUNNING;
	j->reason = REASON_EXEC;
	j->is_array = j->held = true;
	j->stop_reason = REASON_SHUTDOWN;
	j->stop_force = true;
	j->priority = -4;
	j->order = 5;
	j->submitted_ms = 6;
	j->started_ms = 7;
	j->not_before_ms = -8;
	j->failures = 9;
	j->has_code = true;
	j->exit_code = 255;
	j->array = mem_zalloc(sizeof(*j->array));
	*j->array = (struct array){.n = 6,
	        .next_pos = 2,
	        .cut = 6,
	        .worst_code = 143,
	        .n_skip = 1,
	        .cap_skip = 1,
	        .skip = mem_zalloc(sizeof(uint64_t))};
	j->array->skip[0] = 4;
	j->array->by_state[JOB_RUNNING] = 2;
	j->array->by_state[JOB_CANCELLED] = 1;
	j->dep_met = mem_zalloc(3 * sizeof(bool));
	j->dep_met[1] = true;
	j->transitions = mem_zalloc(2 * sizeof(*j->transitions));
	j->n_transitions = 2;
	j->transitions[0] = (struct transition){.wall_ms = 1,
	        .state = JOB_PENDING,
	        .reason = REASON_SUBMITTED,
	        .text = mem_strdup("ada")};
	j->transitions[1] = (struct transition){
	        .wall_ms = 2, .state = JOB_RUNNING, .reason = REASON_EXEC, .attempt = 3};
	return j;
}

static void expect_request(const struct request *r)
{
	assert_true(r->uid == 1000 && r->gid == 1001 && r->env_blob == 12 && r->cpus == 2 &&
	            r->mem_bytes == 8 * GIB && r->time_limit_ms == 7 && r->retry_max == 8);
	assert_true(r->no_retry && r->hold && r->tty && r->priority == -9 && r->throttle == 10 &&
	            r->n_argv == 3 && r->refs == 1);
	assert_true(r->gpu.count == 1 && r->gpu.milli == 2 && r->gpu.fgpu_milli == 3 &&
	            r->gpu.mem_bytes == 4 && r->gpu.share_milli == 5 && r->gpu.cc_min == 6);
	assert_string_equal(r->user, "ada");
	assert_string_equal(r->name, "train");
	assert_string_equal(r->queue, "fast");
	assert_string_equal(r->argv[1], "train.py");
	assert_string_equal(r->argv[2], "");
	assert_null(r->argv[3]);
	assert_string_equal(r->chdir, "/data");
	assert_string_equal(r->output, "/o");
	assert_string_equal(r->error, "/e");
	assert_string_equal(r->idempotency_key, "k");
	assert_string_equal(r->grant, "00112233445566778899aabbccddeeff");
	assert_true(r->fingerprint == UINT64_MAX - 1);
	assert_string_equal(r->gpu.model, "a100");
	assert_memory_equal(r->ranges, the_ranges, sizeof(the_ranges));
	assert_int_equal(r->n_deps, 3);
	for (int i = 0; i < 3; i++)
		assert_true(r->deps[i].kind == the_deps[i].kind &&
		            job_id_eq(r->deps[i].on, the_deps[i].on));
}

static void test_one_job_field_by_field(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct job *j = whole_job(), *k;
	struct err err;

	(void)state;
	record_put_job(&b, j);
	golden_made("row-array", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err), 0);
	expect_request(k->req);
	assert_true(k->id.num == 77 && k->id.task == TASK_NONE && k->state == JOB_RUNNING &&
	            k->reason == REASON_EXEC && k->is_array && k->held);
	assert_true(k->stop_reason == REASON_SHUTDOWN && k->stop_force && k->priority == -4 &&
	            k->order == 5 && k->submitted_ms == 6);
	assert_true(k->started_ms == 7 && k->not_before_ms == -8 && k->failures == 9 &&
	            k->has_code && k->exit_code == 255);
	assert_true(k->array->n == 6 && k->array->next_pos == 2 && k->array->cut == 6 &&
	            k->array->worst_code == 143 && k->array->n_skip == 1 && k->array->skip[0] == 4);
	assert_memory_equal(k->array->by_state, j->array->by_state, sizeof(j->array->by_state));
	assert_true(!k->dep_met[0] && k->dep_met[1] && !k->dep_met[2]);
	assert_true(k->n_transitions == 2 && k->transitions[0].wall_ms == 1 &&
	            k->transitions[1].attempt == 3 && k->transitions[1].state == JOB_RUNNING);
	assert_string_equal(k->transitions[0].text, "ada");
	assert_null(k->transitions[1].text);
	world_job_free(j);
	world_job_free(k);
}

static void test_an_attempt_field_by_field(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct request q = box_request();
	struct job *j = world_job_new(), *k;
	struct attempt *a;
	struct err err;

	(void)state;
	j->id.num = 1;
	j->req = request_pack(&q);
	j->state = JOB_RUNNING;
	j->epoch = 9;
	j->cpus = mem_zalloc(sizeof(*j->cpus));
	cpu_set_add(j->cpus, 70);
	j->attempts = mem_zalloc(2 * sizeof(*a));
	j->n_attempts = 2;
	j->attempts[0] = (struct attempt){
	        .n = 1, .epoch = 3, .state = JOB_NODE_FAIL, .reason = REASON_REBOOTED};
	a = &j->attempts[1];
	*a = (struct attempt){.n = 2,
	        .epoch = 9,
	        .node = 4,
	        .node_name = mem_strdup("n4"),
	        .placed_ms = 5,
	        .started_ms = 6,
	        .ended_ms = 7,
	        .state = JOB_RUNNING,
	        .reason = REASON_EXITED,
	        .has_code = true,
	        .exit_code = 0,
	        .pid = 8,
	        .peak_mem_bytes = 9,
	        .cpu_ms = 10,
	        .output_bytes = 11,
	        .dropped_bytes = 12,
	        .slices = mem_zalloc(2 * sizeof(struct slice_record)),
	        .n_slices = 2};
	a->slices[0] = (struct slice_record){.device = "GPU-1", .mem_bytes = 13, .share_milli = 14};
	a->slices[1] = (struct slice_record){.device = "GPU-2"};
	record_put_job(&b, j);
	golden_made("row-job", &b);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err), 0);
	assert_true(k->n_attempts == 2 && k->attempts[0].epoch == 3 &&
	            k->attempts[0].state == JOB_NODE_FAIL &&
	            k->attempts[0].reason == REASON_REBOOTED && !k->attempts[0].has_code);
	a = &k->attempts[1];
	assert_true(a->n == 2 && a->epoch == 9 && a->node == 4 && a->placed_ms == 5 &&
	            a->started_ms == 6 && a->ended_ms == 7 && a->state == JOB_RUNNING);
	assert_true(a->reason == REASON_EXITED && a->has_code && a->exit_code == 0 && a->pid == 8 &&
	            a->peak_mem_bytes == 9 && a->cpu_ms == 10);
	assert_true(a->output_bytes == 11 && a->dropped_bytes == 12 && a->n_slices == 2 &&
	            a->slices[0].mem_bytes == 13 && a->slices[0].share_milli == 14);
	assert_string_equal(a->node_name, "n4");
	assert_string_equal(a->slices[0].device, "GPU-1");
	assert_string_equal(a->slices[1].device, "GPU-2");
	assert_true(cpu_set_has(k->cpus, 70) && cpu_set_count(k->cpus) == 1);
	world_job_free(j);
	world_job_free(k);
}

/* A task that was started before its array was edited; and what its array's queue gave. */
static void test_own_request(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct array_range range = {0, 9, 1};
	struct request q = box_request();
	struct job *array = world_job_new(), *t = world_job_new(), *k;
	struct err err;

	(void)state;
	q.ranges = &range;
	q.n_ranges = 1;
	array->req = request_pack(&q);
	q.cpus = 7;
	q.by_queue = BY_QUEUE_TIME | BY_QUEUE_RETRY;
	t->id = (struct job_id){17, 3};
	t->state = JOB_COMPLETED;
	t->req = request_pack(&q);
	t->has_own_request = true;
	record_put_job(&b, t);
	golden_made("row-own-request", &b);
	assert_int_equal(record_get_job(b.data, b.len, array, &k, &err), 0);
	assert_true(k->has_own_request && k->req->cpus == 7 && array->req->cpus == 1);
	assert_int_equal(k->req->by_queue, BY_QUEUE_TIME | BY_QUEUE_RETRY);
	world_job_free(k);
	/* It is of no task that waits, and of no whole job. */
	t->state = JOB_PENDING;
	buf_reset(&b);
	record_put_job(&b, t);
	assert_int_equal(record_get_job(b.data, b.len, array, &k, &err), -ERR_CORRUPT);
	world_job_free(t);
	world_job_free(array);
}

static void test_task_zero(void **state)
{
	struct box b;
	CLEANUP_BUF struct buf bytes = BUF_INIT(MIB);
	struct job *t, *k;
	struct err err;

	(void)state;
	box_init(&b);
	box_node(&b, "n1", 4, 0, 0);
	t = box_run(&b, box_submit_array(&b, 0, 3, 0));
	assert_int_equal(t->id.task, 0);
	record_put_job(&bytes, t);
	assert_int_equal(record_get_job(bytes.data, bytes.len, t->parent, &k, &err), 0);
	assert_int_equal(k->id.task, 0);
	assert_ptr_equal(k->req, t->req);
	world_job_free(k);
	/* Without its array there is no request. */
	assert_int_equal(record_get_job(bytes.data, bytes.len, NULL, &k, &err), -(int)ERR_CORRUPT);
	box_done(&b);
}

/* Written again it would have none, and would be lost with the next start. */
static void test_task_with_a_request_of_its_own(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
	struct request q = whole_request();
	struct job *j = world_job_new(), *read;
	struct err err;

	q.n_ranges = 0;
	q.throttle = 0;
	j->id = (struct job_id){77, TASK_NONE};
	j->req = request_pack(&q);
	record_put_job(&b, j);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &read, &err), 0);
	world_job_free(read);
	codec_put_i64(&b, 2, 3);
	assert_int_equal(record_get_job(b.data, b.len, NULL, &read, &err), -ERR_CORRUPT);
	assert_int_equal(record_get_job(b.data, b.len, j, &read, &err), -ERR_CORRUPT);
	world_job_free(j);
}

static void test_too_many_dependencies(void **state)
{
	static struct dep deps[RECORD_DEPS_MAX + 1];
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct request q = box_request();
	struct job *j = world_job_new(), *k;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(deps); i++)
		deps[i] = (struct dep){DEP_AFTER, {i + 1, TASK_NONE}};
	q.deps = deps;
	for (int extra = 0; extra <= 1; extra++) {
		q.n_deps = RECORD_DEPS_MAX + (uint32_t)extra;
		j->id.num = 9;
		j->req = request_pack(&q);
		j->dep_met = mem_zalloc(q.n_deps * sizeof(bool));
		j->dep_met[RECORD_DEPS_MAX - 1] = true;
		buf_reset(&b);
		record_put_job(&b, j);
		assert_int_equal(record_get_job(b.data, b.len, NULL, &k, &err),
		        extra ? -(int)ERR_CORRUPT : 0);
		if (!extra) {
			assert_true(k->dep_met[RECORD_DEPS_MAX - 1] && !k->dep_met[0]);
			world_job_free(k);
		}
		request_unref(j->req);
		j->req = NULL;
		free(j->dep_met);
		j->dep_met = NULL;
	}
	world_job_free(j);
}

/* The small records: each decodes to what encodes the same, and any damage is refused or decodes to something whole. */

typedef int redo_fn(const uint8_t *data, size_t len, struct buf *out);

static int redo_node(const uint8_t *data, size_t len, struct buf *out)
{
	void *ctx = talloc_new(NULL);
	struct device_info *devices;
	struct node n;
	uint32_t n_devices;
	struct err err;
	int rc = record_get_node(data, len, ctx, &n, &devices, &n_devices, &err);

	if (rc == 0) {
		struct box b;
		struct event e = {.kind = EVENT_NODE_UP,
		        .node = &n,
		        .devices = devices,
		        .n_devices = n_devices,
		        .force = true};
		box_init(&b);
		box_apply(&b, e);
		record_put_node(out, TAILQ_FIRST(&b.w->nodes));
		box_done(&b);
	}
	talloc_free(ctx);
	return rc;
}

static int redo_queue(const uint8_t *data, size_t len, struct buf *out)
{
	void *ctx = talloc_new(NULL);
	struct queue q;
	struct err err;
	int rc = record_get_queue(data, len, ctx, &q, &err);

	if (rc == 0)
		record_put_queue(out, &q);
	talloc_free(ctx);
	return rc;
}

static int redo_token(const uint8_t *data, size_t len, struct buf *out)
{
	struct token t;
	struct err err;
	int rc = record_get_token(data, len, &t, &err);

	if (rc == 0)
		record_put_token(out, &t);
	return rc;
}

static int redo_blob(const uint8_t *data, size_t len, struct buf *out)
{
	struct record_blob r;
	struct err err;
	int rc = record_get_blob(data, len, &r, &err);

	if (rc == 0) {
		struct world *w = world_new(&(struct policy){0});
		const struct blob *x = world_adopt_blob(w, 1, r.hash, r.used_ms, r.data, r.len);
		record_put_blob(out, &(struct record_blob){x->hash, x->used_ms, x->data, x->len});
		world_free(w);
	}
	return rc;
}

static int redo_meta(const uint8_t *data, size_t len, struct buf *out)
{
	struct world *w = world_new(&(struct policy){0});
	struct err err;
	int rc = record_get_meta(data, len, w, &err);

	if (rc == 0)
		record_put_meta(out, w);
	world_free(w);
	return rc;
}

static void check_redo(redo_fn *redo, const struct buf *b)
{
	CLEANUP_BUF struct buf out = BUF_INIT(MIB);
	uint8_t *copy;

	assert_int_equal(redo(b->data, b->len, &out), 0);
	assert_int_equal(out.len, b->len);
	assert_memory_equal(out.data, b->data, b->len);
	for (size_t len = 0; len < b->len; len++) {
		copy = mem_dup(b->data, len);
		buf_reset(&out);
		(void)redo(copy, len, &out);
		free(copy);
	}
	copy = mem_dup(b->data, b->len);
	for (size_t bit = 0; bit < 8 * b->len; bit++) {
		copy[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		buf_reset(&out);
		if (redo(copy, b->len, &out) == 0) {
			/* What was accepted is whole: it comes back as itself. */
			CLEANUP_BUF struct buf again = BUF_INIT(MIB);
			assert_int_equal(redo(out.data, out.len, &again), 0);
			assert_int_equal(again.len, out.len);
		}
		copy[bit / 8] ^= (uint8_t)(1 << (bit % 8));
	}
	free(copy);
}

static void test_small_records(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct token t = {.num = 3,
	        .name = "ci",
	        .hash = {1, 0, 255},
	        .role = ROLE_ADMIN,
	        .user = "ada",
	        .made_ms = -5,
	        .expires_ms = 6};
	struct queue q = {.name = "fast", .paused = true, .overlay = "{retry: 2}"};
	uint8_t hash[16] = {1, 2, 3};
	struct box box;

	(void)state;
	box_init(&box);
	box_node(&box, "n1", 16, 2, 8 * GIB);
	box_apply(&box, (struct event){.kind = EVENT_NODE_DRAIN, .name = "n1"});
	record_put_node(&b, world_find_node(box.w, "n1"));
	check_redo(redo_node, &b);
	buf_reset(&b);
	record_put_queue(&b, &q);
	check_redo(redo_queue, &b);
	buf_reset(&b);
	record_put_token(&b, &t);
	check_redo(redo_token, &b);
	buf_reset(&b);
	record_put_blob(&b, &(struct record_blob){hash, 99, (const uint8_t *)"A=1\0B=2", 8});
	check_redo(redo_blob, &b);
	buf_reset(&b);
	box_submit_plain(&box);
	record_put_meta(&b, box.w);
	check_redo(redo_meta, &b);
	box_done(&box);
}

static void test_small_records_refused(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	CLEANUP_BUF struct buf out = BUF_INIT(MIB);
	struct world *w = world_new(&(struct policy){0});

	(void)state;
	w->next_job = UINT64_MAX;
	record_put_meta(&b, w);
	assert_int_equal(redo_meta(b.data, b.len, &out), -(int)ERR_CORRUPT);
	world_free(w);
	assert_int_equal(redo_node(NULL, 0, &out), -(int)ERR_CORRUPT);
	assert_int_equal(redo_queue(NULL, 0, &out), -(int)ERR_CORRUPT);
	assert_int_equal(redo_token(NULL, 0, &out), -(int)ERR_CORRUPT);
	assert_int_equal(redo_blob(NULL, 0, &out), -(int)ERR_CORRUPT);
	assert_int_equal(redo_meta(NULL, 0, &out), 0);
}

static void test_counters_only_grow(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct world *w = world_new(&(struct policy){0});
	struct err err;

	(void)state;
	w->next_job = 5;
	record_put_meta(&b, w);
	w->next_job = 9;
	w->next_epoch = 7;
	assert_int_equal(record_get_meta(b.data, b.len, w, &err), 0);
	assert_true(w->next_job == 9 && w->next_epoch == 7);
	world_free(w);
}

static void test_a_line_of_the_journal(void **state)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct codec_reader r;
	struct codec_field f;
	struct box box;
	struct job *j;
	int n = 0;

	(void)state;
	box_init(&box);
	j = box_submit_plain(&box);
	record_put_history(&b, j);
	r = codec_read(b.data, b.len);
	while (codec_next(&r, &f))
		n += f.tag == 2 && f.len == strlen("submitted") &&
		     memcmp(f.data, "submitted", f.len) == 0;
	assert_false(r.bad);
	assert_int_equal(n, 1);
	box_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_one_job_field_by_field),
	        cmocka_unit_test(test_an_attempt_field_by_field),
	        cmocka_unit_test(test_own_request),
	        cmocka_unit_test(test_task_zero),
	        cmocka_unit_test(test_task_with_a_request_of_its_own),
	        cmocka_unit_test(test_too_many_dependencies),
	        cmocka_unit_test(test_small_records),
	        cmocka_unit_test(test_small_records_refused),
	        cmocka_unit_test(test_counters_only_grow),
	        cmocka_unit_test(test_a_line_of_the_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
