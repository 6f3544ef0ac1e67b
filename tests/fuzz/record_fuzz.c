/*
 * Stored records: pieces, each a byte that says of what it is, and its bytes. Each is written again and read again; then all
 * jobs are loaded into one world, as a server does when it starts: refused, or every invariant holds.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "fuzz.h"
#include "core/check.h"
#include "wire/record.h"

enum { OF_JOB, OF_ATTEMPTS, OF_NODE, OF_QUEUE, OF_TOKEN, OF_BLOB, OF_META, OF_N };

struct load {
	struct world *w;
	void *ctx;
	struct effects fx;
	bool is_refused; /* a job was: a server would not start */
};

static void check_same_attempt(const struct attempt *a, const struct attempt *b)
{
	FUZZ_MUST(a->n == b->n && a->epoch == b->epoch && a->node == b->node);
	FUZZ_MUST(a->placed_ms == b->placed_ms && a->started_ms == b->started_ms);
	FUZZ_MUST(a->ended_ms == b->ended_ms && a->state == b->state && a->reason == b->reason);
	FUZZ_MUST(a->has_code == b->has_code && (!a->has_code || a->exit_code == b->exit_code));
	FUZZ_MUST(a->pid == b->pid && a->peak_mem_bytes == b->peak_mem_bytes);
	FUZZ_MUST(a->cpu_ms == b->cpu_ms && a->output_bytes == b->output_bytes);
	FUZZ_MUST(a->dropped_bytes == b->dropped_bytes && a->n_slices == b->n_slices);
	FUZZ_MUST(a->n_slices <= NODE_DEVICES_MAX);
	for (uint32_t i = 0; i < a->n_slices; i++) {
		FUZZ_MUST(strcmp(a->slices[i].device, b->slices[i].device) == 0);
		FUZZ_MUST(a->slices[i].mem_bytes == b->slices[i].mem_bytes);
		FUZZ_MUST(a->slices[i].share_milli == b->slices[i].share_milli);
	}
}

static void check_same_array(const struct array *a, const struct array *b)
{
	FUZZ_MUST(a->n == b->n && a->next_pos == b->next_pos && a->cut == b->cut);
	FUZZ_MUST(a->worst_code == b->worst_code && a->n_skip == b->n_skip);
	FUZZ_MUST(!a->n_skip || memcmp(a->skip, b->skip, a->n_skip * sizeof(*a->skip)) == 0);
	FUZZ_MUST(memcmp(a->by_state, b->by_state, sizeof(a->by_state)) == 0);
}

/* Nothing was lost on the way; of the request what decides about its life. */
static void check_same_job(const struct job *a, const struct job *b)
{
	FUZZ_MUST(job_id_eq(a->id, b->id) && a->state == b->state && a->reason == b->reason);
	FUZZ_MUST(a->held == b->held && a->stop_reason == b->stop_reason);
	FUZZ_MUST(a->stop_force == b->stop_force && a->priority == b->priority);
	FUZZ_MUST(a->order == b->order && a->submitted_ms == b->submitted_ms);
	FUZZ_MUST(a->started_ms == b->started_ms && a->ended_ms == b->ended_ms);
	FUZZ_MUST(a->not_before_ms == b->not_before_ms && a->failures == b->failures);
	FUZZ_MUST(a->has_code == b->has_code && (!a->has_code || a->exit_code == b->exit_code));
	FUZZ_MUST(a->epoch == b->epoch && a->n_attempts == b->n_attempts);
	for (uint32_t i = 0; i < a->n_attempts; i++)
		check_same_attempt(&a->attempts[i], &b->attempts[i]);
	FUZZ_MUST(a->n_transitions == b->n_transitions && a->is_array == b->is_array);
	for (uint32_t i = 0; i < a->n_transitions; i++) {
		FUZZ_MUST(a->transitions[i].wall_ms == b->transitions[i].wall_ms);
		FUZZ_MUST(a->transitions[i].state == b->transitions[i].state);
		FUZZ_MUST(a->transitions[i].attempt == b->transitions[i].attempt);
	}
	FUZZ_MUST(!a->array == !b->array);
	if (a->array)
		check_same_array(a->array, b->array);
	FUZZ_MUST(
	        !a->cpus == !b->cpus && (!a->cpus || !memcmp(a->cpus, b->cpus, sizeof(*a->cpus))));
	FUZZ_MUST(a->req->n_argv == b->req->n_argv && a->req->n_deps == b->req->n_deps);
	FUZZ_MUST(a->req->cpus == b->req->cpus && a->req->mem_bytes == b->req->mem_bytes);
	FUZZ_MUST(a->req->ranks == b->req->ranks && a->req->label == b->req->label);
	FUZZ_MUST(memcmp(&a->req->gpu, &b->req->gpu, offsetof(struct gpu_ask, model)) == 0);
	FUZZ_MUST(request_n_tasks(a->req) == request_n_tasks(b->req));
	FUZZ_MUST(a->req->throttle == b->req->throttle && a->req->retry_max == b->req->retry_max);
	FUZZ_MUST(a->req->no_retry == b->req->no_retry && a->req->uid == b->req->uid);
}

static void check_job_again(const struct job *j, const struct job *parent)
{
	CLEANUP_BUF struct buf first = BUF_INIT(RECORD_MAX), second = BUF_INIT(RECORD_MAX);
	struct job *again;
	struct err err;

	record_put_job(&first, j);
	FUZZ_MUST(!first.overflow);
	FUZZ_MUST(record_get_job(first.data, first.len, parent, &again, &err) == 0);
	check_same_job(j, again);
	record_put_job(&second, again);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	world_job_free(again);
}

/* A task is read with its array, when that is there; which one it is stands only in the record. */
static const struct job *find_parent(const struct load *l, const uint8_t *data, size_t size)
{
	struct job *j;
	struct err err;
	const struct job *parent = NULL;

	if (record_get_attempts(data, size, &j, &err) == 0) {
		if (j->id.task != TASK_NONE)
			parent = world_find_job(l->w, (struct job_id){j->id.num, TASK_NONE});
		world_job_free(j);
	}
	return parent;
}

static int take_job(struct load *l, const uint8_t *data, size_t size, struct err *err)
{
	const struct job *parent = find_parent(l, data, size);
	struct job *j;
	int rc = record_get_job(data, size, parent, &j, err);

	if (rc == 0) {
		check_job_again(j, parent);
		rc = world_adopt_job(l->w, j, err);
	}
	l->is_refused = l->is_refused || rc;
	return rc;
}

static int take_attempts(const uint8_t *data, size_t size, struct err *err)
{
	struct job *j;
	int rc = record_get_attempts(data, size, &j, err);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < j->n_attempts; i++)
		FUZZ_MUST(j->attempts[i].n_slices <= NODE_DEVICES_MAX);
	world_job_free(j);
	return 0;
}

static int take_node(struct load *l, const uint8_t *data, size_t size, struct err *err)
{
	struct node n;
	struct event e = {.kind = EVENT_NODE_UP, .node = &n, .force = true};
	struct device_info *devices;
	struct applied out;
	int rc = record_get_node(data, size, l->ctx, &n, &devices, &e.n_devices, err);

	if (rc)
		return rc;
	FUZZ_MUST(n.num && *n.name && memchr(n.name, '\0', sizeof(n.name)));
	FUZZ_MUST(e.n_devices <= NODE_DEVICES_MAX);
	e.devices = devices;
	return core_apply(l->w, &e, (struct now){0}, &l->fx, &out, err);
}

static int take_queue(struct load *l, const uint8_t *data, size_t size, struct err *err)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
	void *ctx = talloc_new(NULL);
	struct queue q, again;
	struct event e = {.kind = EVENT_QUEUE_SET, .queue = &q};
	struct applied out;
	int rc = record_get_queue(data, size, ctx, &q, err);

	if (rc == 0) {
		record_put_queue(&first, &q);
		FUZZ_MUST(record_get_queue(first.data, first.len, ctx, &again, err) == 0);
		record_put_queue(&second, &again);
		FUZZ_MUST(fuzz_is_same(&first, &second));
		q.configured = true;
		rc = core_apply(l->w, &e, (struct now){0}, &l->fx, &out, err);
	}
	talloc_free(ctx);
	return rc;
}

static int take_token(struct load *l, const uint8_t *data, size_t size, struct err *err)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
	struct token t, again;
	struct event e = {.kind = EVENT_TOKEN_ADD, .token = &t};
	struct applied out;
	int rc = record_get_token(data, size, &t, err);

	if (rc)
		return rc;
	record_put_token(&first, &t);
	FUZZ_MUST(record_get_token(first.data, first.len, &again, err) == 0);
	record_put_token(&second, &again);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	FUZZ_MUST(t.role <= ROLE_AGENT && *t.name);
	return core_apply(l->w, &e, (struct now){0}, &l->fx, &out, err);
}

static int take_blob(const uint8_t *data, size_t size, struct err *err)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB);
	struct record_blob b, again;
	int rc = record_get_blob(data, size, &b, err);

	if (rc)
		return rc;
	record_put_blob(&first, &b);
	FUZZ_MUST(record_get_blob(first.data, first.len, &again, err) == 0);
	FUZZ_MUST(again.len == b.len && again.used_ms == b.used_ms);
	FUZZ_MUST(memcmp(again.hash, b.hash, 16) == 0);
	FUZZ_MUST(!b.len || memcmp(again.data, b.data, b.len) == 0);
	return 0;
}

static int take(struct load *l, uint8_t of, const uint8_t *data, size_t size, struct err *err)
{
	switch (of % OF_N) {
	case OF_JOB:
		return take_job(l, data, size, err);
	case OF_ATTEMPTS:
		return take_attempts(data, size, err);
	case OF_NODE:
		return take_node(l, data, size, err);
	case OF_QUEUE:
		return take_queue(l, data, size, err);
	case OF_TOKEN:
		return take_token(l, data, size, err);
	case OF_BLOB:
		return take_blob(data, size, err);
	default:
		return record_get_meta(data, size, l->w, err);
	}
}

/* All that was loaded holds together, and can be stored again. */
static void check_loaded(struct load *l)
{
	struct err err;
	int rc;

	fuzz_err_init(&err);
	rc = world_adopted(l->w, &err);
	if (rc) {
		fuzz_err_check(rc, &err);
		return;
	}
	if (world_check(l->w, &err))
		fuzz_fail(__FILE__, __LINE__, err.text);
	for (const struct job *j = world_next_job(l->w, NULL); j; j = world_next_job(l->w, j))
		check_job_again(j, j->parent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy policy = {.fgpu_per_device = 2, .backoff_min_ms = 500, .keep_ended = 1000};
	struct load l = {.w = world_new(&policy), .ctx = talloc_new(NULL)};
	const uint8_t *piece;
	size_t len;
	struct err err;

	while (size) {
		uint8_t of = fuzz_byte(&data, &size);
		int rc;
		if (!fuzz_piece(&data, &size, &piece, &len))
			break;
		fuzz_err_init(&err);
		rc = take(&l, of, piece, len, &err);
		if (rc)
			fuzz_err_check(rc, &err);
	}
	if (!l.is_refused)
		check_loaded(&l);
	effects_done(&l.fx);
	world_free(l.w);
	talloc_free(l.ctx);
	return 0;
}
