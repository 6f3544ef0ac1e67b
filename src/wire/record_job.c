/* A job as bytes. Reasons are stored by code, not by number, so that their table may change. */
#include "wire/record_priv.h"
#include "core/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum job_tag {
	T_NUM = 1,
	T_TASK,
	T_STATE,
	T_REASON,
	T_HELD,
	T_STOP_REASON,
	T_STOP_FORCE,
	T_PRIORITY,
	T_ORDER,
	T_SUBMITTED,
	T_STARTED,
	T_ENDED,
	T_NOT_BEFORE,
	T_FAILURES,
	T_CODE,
	T_EPOCH,
	T_ATTEMPT,
	T_TRANSITION,
	T_ARRAY,
	T_DEP_MET,
	T_CPUS,
	T_REQUEST,
	T_OWN_REQUEST, /* of a task: see job.has_own_request */
};
enum attempt_tag {
	A_N = 1,
	A_EPOCH,
	A_NODE,
	A_NODE_NAME,
	A_PLACED,
	A_STARTED,
	A_ENDED,
	A_STATE,
	A_REASON,
	A_CODE,
	A_PID,
	A_PEAK,
	A_CPU,
	A_OUTPUT,
	A_DROPPED,
	A_SLICE,
	A_HELD,
	A_NOT_HELD,
	A_RANK,
};
enum slice_tag { S_DEVICE = 1, S_MEM, S_SHARE };
enum transition_tag { H_WALL = 1, H_STATE, H_REASON, H_ATTEMPT, H_TEXT };
enum array_tag { R_N = 1, R_NEXT, R_CUT, R_SKIP, R_COUNT, R_WORST };

static void put_code(struct buf *b, uint32_t tag, bool has, int32_t code)
{
	if (has)
		codec_add_u64(b, tag, (uint64_t)((uint32_t)code) + 1);
}

static void put_attempt(struct buf *b, const struct attempt *a)
{
	size_t mark = codec_begin(b, T_ATTEMPT);

	codec_put_u64(b, A_N, a->n);
	codec_put_u64(b, A_EPOCH, a->epoch);
	codec_put_u64(b, A_NODE, a->node);
	codec_put_str(b, A_NODE_NAME, a->node_name);
	codec_put_i64(b, A_PLACED, a->placed_ms);
	codec_put_i64(b, A_STARTED, a->started_ms);
	codec_put_i64(b, A_ENDED, a->ended_ms);
	codec_put_u64(b, A_STATE, a->state);
	if (a->reason)
		codec_put_str(b, A_REASON, reason_code(a->reason));
	put_code(b, A_CODE, a->has_code, a->exit_code);
	codec_put_u64(b, A_PID, a->pid);
	codec_put_u64(b, A_PEAK, a->peak_mem_bytes);
	codec_put_u64(b, A_CPU, a->cpu_ms);
	codec_put_u64(b, A_OUTPUT, a->output_bytes);
	codec_put_u64(b, A_DROPPED, a->dropped_bytes);
	codec_put_u64(b, A_HELD, a->held);
	codec_put_u64(b, A_NOT_HELD, a->not_held);
	if (a->has_rank)
		codec_add_u64(b, A_RANK, a->rank);
	for (uint32_t i = 0; i < a->n_slices; i++) {
		size_t inner = codec_begin(b, A_SLICE);
		codec_put_str(b, S_DEVICE, a->slices[i].device);
		codec_put_u64(b, S_MEM, a->slices[i].mem_bytes);
		codec_put_u64(b, S_SHARE, a->slices[i].share_milli);
		codec_end(b, inner);
	}
	codec_end(b, mark);
}

static void put_transition(struct buf *b, const struct transition *t)
{
	size_t mark = codec_begin(b, T_TRANSITION);

	codec_put_i64(b, H_WALL, t->wall_ms);
	codec_put_u64(b, H_STATE, t->state);
	codec_put_str(b, H_REASON, reason_code(t->reason));
	codec_put_u64(b, H_ATTEMPT, t->attempt);
	codec_put_str(b, H_TEXT, t->text);
	codec_end(b, mark);
}

static void put_array(struct buf *b, const struct array *a)
{
	size_t mark = codec_begin(b, T_ARRAY);

	codec_put_u64(b, R_N, a->n);
	codec_put_u64(b, R_NEXT, a->next_pos);
	codec_put_u64(b, R_CUT, a->cut);
	for (uint32_t i = 0; i < a->n_skip; i++)
		codec_add_u64(b, R_SKIP, a->skip[i]);
	for (int s = 0; s < JOB_STATE_MAX; s++)
		codec_add_u64(b, R_COUNT, a->by_state[s]);
	codec_put_i64(b, R_WORST, a->worst_code);
	codec_end(b, mark);
}

void record_put_job(struct buf *b, const struct job *j)
{
	codec_put_u64(b, T_NUM, j->id.num);
	codec_put_i64(b, T_TASK, j->id.task);
	codec_put_u64(b, T_STATE, j->state);
	codec_put_str(b, T_REASON, reason_code(j->reason));
	codec_put_u64(b, T_HELD, j->held);
	if (j->stop_reason)
		codec_put_str(b, T_STOP_REASON, reason_code(j->stop_reason));
	codec_put_u64(b, T_STOP_FORCE, j->stop_force);
	codec_put_i64(b, T_PRIORITY, j->priority);
	codec_put_u64(b, T_ORDER, j->order);
	codec_put_i64(b, T_SUBMITTED, j->submitted_ms);
	codec_put_i64(b, T_STARTED, j->started_ms);
	codec_put_i64(b, T_ENDED, j->ended_ms);
	codec_put_i64(b, T_NOT_BEFORE, j->not_before_ms);
	codec_put_u64(b, T_FAILURES, j->failures);
	put_code(b, T_CODE, j->has_code, j->exit_code);
	codec_put_u64(b, T_EPOCH, j->epoch);
	for (uint32_t i = 0; i < j->n_attempts; i++)
		put_attempt(b, &j->attempts[i]);
	for (uint32_t i = 0; i < j->n_transitions; i++)
		put_transition(b, &j->transitions[i]);
	if (j->array)
		put_array(b, j->array);
	for (uint32_t i = 0; j->dep_met && i < j->req->n_deps; i++)
		codec_add_u64(b, T_DEP_MET, j->dep_met[i]);
	if (j->cpus)
		codec_put_bytes(b, T_CPUS, j->cpus, sizeof(*j->cpus));
	if (j->id.task == TASK_NONE)
		record__put_request(b, T_REQUEST, j->req);
	else if (j->has_own_request)
		record__put_request(b, T_OWN_REQUEST, j->req);
}

/* Decoding. */

static enum reason get_reason(const struct codec_field *f)
{
	char code[40];
	int r;

	codec_strcpy(code, sizeof(code), f);
	r = reason_find(code);
	return r < 0 ? REASON_NONE : (enum reason)r;
}

static enum job_state get_state(struct codec_reader *r, const struct codec_field *f)
{
	if (f->is_bytes || f->u >= JOB_STATE_MAX) {
		r->bad = true;
		return JOB_FAILED;
	}
	return (enum job_state)f->u;
}

static void get_code(const struct codec_field *f, bool *has, int32_t *code)
{
	*has = f->u > 0;
	*code = (int32_t)(uint32_t)(f->u - 1);
}

static bool get_slice(const struct codec_field *from, struct attempt *a)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;
	struct slice_record *s;

	if (a->n_slices == NODE_DEVICES_MAX)
		return false;
	a->slices = mem_realloc(a->slices, a->n_slices + 1, sizeof(*a->slices));
	s = &a->slices[a->n_slices++];
	*s = (struct slice_record){0};
	while (codec_next(&r, &f)) {
		if (f.tag == S_DEVICE)
			codec_strcpy(s->device, sizeof(s->device), &f);
		else if (f.tag == S_MEM)
			s->mem_bytes = f.u;
		else if (f.tag == S_SHARE)
			s->share_milli = codec_u32(&f);
	}
	return !r.bad;
}

static char *get_str(const struct codec_field *f)
{
	char *s = mem_zalloc(f->len + 1);

	codec_strcpy(s, f->len + 1, f);
	return s;
}

static void get_attempt_number(const struct codec_field *f, struct attempt *a)
{
	switch (f->tag) {
	case A_N:
		a->n = codec_u32(f);
		break;
	case A_EPOCH:
		a->epoch = f->u;
		break;
	case A_NODE:
		a->node = f->u;
		break;
	case A_PLACED:
		a->placed_ms = codec_i64(f);
		break;
	case A_STARTED:
		a->started_ms = codec_i64(f);
		break;
	case A_ENDED:
		a->ended_ms = codec_i64(f);
		break;
	case A_CODE:
		get_code(f, &a->has_code, &a->exit_code);
		break;
	case A_PID:
		a->pid = codec_u32(f);
		break;
	case A_PEAK:
		a->peak_mem_bytes = f->u;
		break;
	case A_CPU:
		a->cpu_ms = f->u;
		break;
	case A_OUTPUT:
		a->output_bytes = f->u;
		break;
	case A_HELD:
		a->held = codec_u32(f);
		break;
	case A_NOT_HELD:
		a->not_held = codec_u32(f);
		break;
	case A_DROPPED:
		a->dropped_bytes = f->u;
		break;
	case A_RANK:
		a->has_rank = true;
		a->rank = codec_u32(f);
		break;
	default:
		break;
	}
}

static bool get_attempt(const struct codec_field *from, struct job *j)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;
	struct attempt *a;
	bool ok = true;

	j->attempts = mem_realloc(j->attempts, j->n_attempts + 1, sizeof(*j->attempts));
	a = &j->attempts[j->n_attempts++];
	*a = (struct attempt){0};
	while (ok && codec_next(&r, &f)) {
		switch (f.tag) {
		case A_NODE_NAME:
			free(a->node_name);
			a->node_name = get_str(&f);
			break;
		case A_STATE:
			a->state = get_state(&r, &f);
			break;
		case A_REASON:
			a->reason = get_reason(&f);
			break;
		case A_SLICE:
			ok = f.is_bytes && get_slice(&f, a);
			break;
		default:
			get_attempt_number(&f, a);
			break;
		}
	}
	return ok && !r.bad;
}

static bool get_transition(const struct codec_field *from, struct job *j)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;
	struct transition *t;

	j->transitions = mem_realloc(j->transitions, j->n_transitions + 1, sizeof(*j->transitions));
	t = &j->transitions[j->n_transitions++];
	*t = (struct transition){0};
	while (codec_next(&r, &f)) {
		switch (f.tag) {
		case H_WALL:
			t->wall_ms = codec_i64(&f);
			break;
		case H_STATE:
			t->state = get_state(&r, &f);
			break;
		case H_REASON:
			t->reason = get_reason(&f);
			break;
		case H_ATTEMPT:
			t->attempt = codec_u32(&f);
			break;
		case H_TEXT:
			free(t->text);
			t->text = get_str(&f);
			break;
		default:
			break;
		}
	}
	return !r.bad;
}

static bool get_array(const struct codec_field *from, struct job *j)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;
	struct array *a;
	uint32_t state = 0;

	if (j->array)
		return false;
	a = j->array = mem_zalloc(sizeof(*a));
	j->is_array = true;
	while (codec_next(&r, &f)) {
		switch (f.tag) {
		case R_N:
			a->n = f.u;
			break;
		case R_NEXT:
			a->next_pos = f.u;
			break;
		case R_CUT:
			a->cut = f.u;
			break;
		case R_SKIP:
			MEM_GROW(a->skip, a->n_skip, a->cap_skip);
			a->skip[a->n_skip++] = f.u;
			break;
		case R_COUNT:
			if (state < JOB_STATE_MAX)
				a->by_state[state++] = f.u;
			break;
		case R_WORST:
			a->worst_code = (int32_t)codec_i64(&f);
			break;
		default:
			break;
		}
	}
	return !r.bad;
}

/* What of a job is numbers. */
static void get_number(const struct codec_field *f, struct job *j)
{
	switch (f->tag) {
	case T_NUM:
		j->id.num = f->u;
		break;
	case T_TASK:
		j->id.task = codec_i64(f);
		break;
	case T_HELD:
		j->held = f->u;
		break;
	case T_STOP_FORCE:
		j->stop_force = f->u;
		break;
	case T_PRIORITY:
		j->priority = (int32_t)codec_i64(f);
		break;
	case T_ORDER:
		j->order = f->u;
		break;
	case T_SUBMITTED:
		j->submitted_ms = codec_i64(f);
		break;
	case T_STARTED:
		j->started_ms = codec_i64(f);
		break;
	case T_ENDED:
		j->ended_ms = codec_i64(f);
		break;
	case T_NOT_BEFORE:
		j->not_before_ms = codec_i64(f);
		break;
	case T_FAILURES:
		j->failures = codec_u32(f);
		break;
	case T_CODE:
		get_code(f, &j->has_code, &j->exit_code);
		break;
	case T_EPOCH:
		j->epoch = f->u;
		break;
	default:
		break;
	}
}

/* A job while it is put together. */
struct draft {
	struct job *job;
	bool met[RECORD_DEPS_MAX];
	uint32_t n_met;
};

static bool get_field(struct codec_reader *r, const struct codec_field *f, struct draft *d)
{
	struct job *j = d->job;

	switch (f->tag) {
	case T_STATE:
		j->state = get_state(r, f);
		return true;
	case T_REASON:
		j->reason = get_reason(f);
		return true;
	case T_STOP_REASON:
		j->stop_reason = get_reason(f);
		return true;
	case T_ATTEMPT:
		return f->is_bytes && get_attempt(f, j);
	case T_TRANSITION:
		return f->is_bytes && get_transition(f, j);
	case T_ARRAY:
		return f->is_bytes && get_array(f, j);
	case T_REQUEST:
		if (!f->is_bytes || j->req)
			return false;
		j->req = record__get_request(f);
		return j->req != NULL;
	case T_OWN_REQUEST:
		if (!f->is_bytes || j->req)
			return false;
		j->req = record__get_request(f);
		j->has_own_request = true;
		return j->req != NULL;
	case T_DEP_MET:
		if (d->n_met < RECORD_DEPS_MAX)
			d->met[d->n_met++] = f->u;
		return true;
	case T_CPUS:
		if (!f->is_bytes || f->len != sizeof(*j->cpus) || j->cpus)
			return false;
		j->cpus = mem_dup(f->data, f->len);
		return true;
	default:
		get_number(f, j);
		return true;
	}
}

int record_get_job(const void *data, size_t len, const struct job *parent, struct job **ret_job,
        struct err *err)
{
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;
	struct draft d = {.job = world_job_new()};
	struct job *j = d.job;
	struct err why;
	bool ok = true;

	j->id.task =
	        0; /* of task 0 the field is left out, as every zero is; of a job itself it is there */
	while (ok && codec_next(&r, &f))
		ok = get_field(&r, &f, &d);
	/* A task has the request of its array, unless it says that it has its own. */
	ok = ok && !(j->req && j->id.task != TASK_NONE && !j->has_own_request);
	if (ok && !j->req && parent)
		j->req = request_ref(parent->req);
	if (!ok || r.bad || job_check(j, &why)) {
		world_job_free(j);
		return err_set(err, ERR_CORRUPT, "a stored job is damaged%s%s",
		        ok && !r.bad ? ": " : "", ok && !r.bad ? why.text : "");
	}
	if (j->id.task == TASK_NONE && j->req->n_deps) {
		j->dep_met = mem_zalloc(j->req->n_deps * sizeof(bool));
		memcpy(j->dep_met, d.met, MIN(d.n_met, j->req->n_deps) * sizeof(bool));
	}
	*ret_job = j;
	return 0;
}

int record_get_attempts(const void *data, size_t len, struct job **ret_job, struct err *err)
{
	struct codec_reader r = codec_read(data, len);
	struct job *j = world_job_new();
	struct codec_field f;
	bool ok = true;

	j->id.task = 0;
	while (ok && codec_next(&r, &f)) {
		if (f.tag == T_ATTEMPT)
			ok = f.is_bytes && get_attempt(&f, j);
		else if (f.tag == T_REQUEST && f.is_bytes && !j->req)
			j->req = record__get_request(&f);
		else
			get_number(&f, j);
	}
	if (!ok || r.bad || !j->id.num) {
		world_job_free(j);
		return err_set(err, ERR_CORRUPT, "a stored job is damaged");
	}
	*ret_job = j;
	return 0;
}
