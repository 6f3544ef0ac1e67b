/* What was asked for, as bytes: a part of its job's record. */
#include "wire/record_priv.h"
#include "base/mem.h"

#include <string.h>

enum request_tag {
	Q_UID = 1,
	Q_GID,
	Q_USER,
	Q_NAME,
	Q_QUEUE,
	Q_ARG,
	Q_ENV,
	Q_CHDIR,
	Q_OUTPUT,
	Q_ERROR,
	Q_KEY,
	Q_GPU_COUNT,
	Q_GPU_MILLI,
	Q_GPU_FGPU,
	Q_GPU_MEM,
	Q_GPU_SHARE,
	Q_GPU_CC,
	Q_GPU_MODEL,
	Q_CPUS,
	Q_MEM,
	Q_TIME,
	Q_RETRY,
	Q_NO_RETRY,
	Q_HOLD,
	Q_TTY,
	Q_PRIORITY,
	Q_THROTTLE,
	Q_RANGE,
	Q_DEP,
	Q_FINGERPRINT,
	Q_GRANT,
	Q_RETRY_ON, /* once for each code */
	Q_RANKS,
	Q_LABEL,
	Q_BY_QUEUE = 40,
	Q_CONSTRAINT,
	Q_GPU_CUDA,
	Q_GPU_DRIVER,
};

static void put_lists(struct buf *b, const struct request *r)
{
	size_t mark;

	for (uint32_t code = 1; code <= UINT8_MAX; code++)
		if (code_set_has(&r->retry_on, (uint8_t)code))
			codec_add_u64(b, Q_RETRY_ON, code);
	for (uint32_t i = 0; i < r->n_argv; i++)
		codec_add_bytes(b, Q_ARG, r->argv[i], strlen(r->argv[i]));
	for (uint32_t i = 0; i < r->n_ranges; i++) {
		mark = codec_begin(b, Q_RANGE);
		codec_put_i64(b, 1, r->ranges[i].first);
		codec_put_i64(b, 2, r->ranges[i].last);
		codec_put_i64(b, 3, r->ranges[i].step);
		codec_end(b, mark);
	}
	for (uint32_t i = 0; i < r->n_deps; i++) {
		mark = codec_begin(b, Q_DEP);
		codec_put_u64(b, 1, r->deps[i].kind);
		codec_put_u64(b, 2, r->deps[i].on.num);
		codec_put_i64(b, 3, r->deps[i].on.task);
		codec_end(b, mark);
	}
}

void record__put_request(struct buf *b, uint32_t tag, const struct request *r)
{
	size_t mark = codec_begin(b, tag);

	codec_put_u64(b, Q_UID, r->uid);
	codec_put_u64(b, Q_GID, r->gid);
	codec_put_str(b, Q_USER, r->user);
	codec_put_str(b, Q_NAME, r->name);
	codec_put_str(b, Q_QUEUE, r->queue);
	codec_put_u64(b, Q_ENV, r->env_blob);
	codec_put_str(b, Q_CHDIR, r->chdir);
	codec_put_str(b, Q_OUTPUT, r->output);
	codec_put_str(b, Q_ERROR, r->error);
	codec_put_str(b, Q_KEY, r->idempotency_key);
	codec_put_u64(b, Q_FINGERPRINT, r->fingerprint);
	codec_put_str(b, Q_GRANT, r->grant);
	codec_put_u64(b, Q_GPU_COUNT, r->gpu.count);
	codec_put_u64(b, Q_GPU_MILLI, r->gpu.milli);
	codec_put_u64(b, Q_GPU_FGPU, r->gpu.fgpu_milli);
	codec_put_u64(b, Q_GPU_MEM, r->gpu.mem_bytes);
	codec_put_u64(b, Q_GPU_SHARE, r->gpu.share_milli);
	codec_put_u64(b, Q_GPU_CC, r->gpu.cc_min);
	codec_put_str(b, Q_GPU_MODEL, r->gpu.model);
	codec_put_u64(b, Q_CPUS, r->cpus);
	codec_put_u64(b, Q_MEM, r->mem_bytes);
	codec_put_u64(b, Q_TIME, r->time_limit_ms);
	codec_put_u64(b, Q_RETRY, r->retry_max);
	codec_put_u64(b, Q_NO_RETRY, r->no_retry);
	codec_put_u64(b, Q_HOLD, r->hold);
	codec_put_u64(b, Q_TTY, r->tty);
	codec_put_i64(b, Q_PRIORITY, r->priority);
	codec_put_u64(b, Q_THROTTLE, r->throttle);
	codec_put_u64(b, Q_BY_QUEUE, r->by_queue);
	codec_put_u64(b, Q_RANKS, r->ranks);
	codec_put_u64(b, Q_LABEL, r->label);
	codec_put_str(b, Q_CONSTRAINT, r->constraint);
	codec_put_u64(b, Q_GPU_CUDA, r->gpu.cuda_min);
	codec_put_u64(b, Q_GPU_DRIVER, r->gpu.driver_min);
	put_lists(b, r);
	codec_end(b, mark);
}

/* The request becomes one block: first counted, then filled. */
struct request_size {
	uint32_t args, ranges, deps;
	size_t text;
};

static bool measure_request(const struct codec_field *from, struct request_size *size)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;

	*size = (struct request_size){0};
	while (codec_next(&r, &f)) {
		if (f.tag == Q_ARG)
			size->args++;
		else if (f.tag == Q_RANGE)
			size->ranges++;
		else if (f.tag == Q_DEP)
			size->deps++;
		if (f.is_bytes)
			size->text += f.len + 1;
	}
	return !r.bad && size->args > 0;
}

static void get_range(const struct codec_field *from, struct array_range *out)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;

	*out = (struct array_range){0};
	while (codec_next(&r, &f)) {
		if (f.tag == 1)
			out->first = codec_i64(&f);
		else if (f.tag == 2)
			out->last = codec_i64(&f);
		else if (f.tag == 3)
			out->step = codec_i64(&f);
	}
	if (r.bad)
		out->step = 0; /* refused by request_check() */
}

static void get_dep(const struct codec_field *from, struct dep *out)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct codec_field f;

	*out = (struct dep){0};
	while (codec_next(&r, &f)) {
		if (f.tag == 1)
			out->kind = f.u <= DEP_AFTER_OK ? (enum dep_kind)f.u : DEP_AFTER_ANY;
		else if (f.tag == 2)
			out->on.num = f.u;
		else if (f.tag == 3)
			out->on.task = codec_i64(&f);
	}
	if (r.bad)
		out->on.num = 0; /* refused by request_check() */
}

static char *lay_text(char **at, const struct codec_field *f)
{
	char *s = *at;

	codec_strcpy(s, f->len + 1, f);
	*at += f->len + 1;
	return s;
}

static void get_gpu_number(struct request *q, const struct codec_field *f)
{
	switch (f->tag) {
	case Q_GPU_COUNT:
		q->gpu.count = codec_u32(f);
		break;
	case Q_GPU_MILLI:
		q->gpu.milli = codec_u32(f);
		break;
	case Q_GPU_FGPU:
		q->gpu.fgpu_milli = codec_u32(f);
		break;
	case Q_GPU_MEM:
		q->gpu.mem_bytes = f->u;
		break;
	case Q_GPU_SHARE:
		q->gpu.share_milli = codec_u32(f);
		break;
	case Q_GPU_CC:
		q->gpu.cc_min = codec_u32(f);
		break;
	case Q_GPU_CUDA:
		q->gpu.cuda_min = codec_u32(f);
		break;
	case Q_GPU_DRIVER:
		q->gpu.driver_min = codec_u32(f);
		break;
	default:
		break;
	}
}

static void get_request_number(struct request *q, const struct codec_field *f)
{
	switch (f->tag) {
	case Q_UID:
		q->uid = codec_u32(f);
		break;
	case Q_GID:
		q->gid = codec_u32(f);
		break;
	case Q_ENV:
		q->env_blob = f->u;
		break;
	case Q_CPUS:
		q->cpus = codec_u32(f);
		break;
	case Q_MEM:
		q->mem_bytes = f->u;
		break;
	case Q_TIME:
		q->time_limit_ms = f->u;
		break;
	case Q_RETRY:
		q->retry_max = codec_u32(f);
		break;
	case Q_NO_RETRY:
		q->no_retry = f->u;
		break;
	case Q_HOLD:
		q->hold = f->u;
		break;
	case Q_TTY:
		q->tty = f->u;
		break;
	case Q_PRIORITY:
		q->priority = (int32_t)codec_i64(f);
		break;
	case Q_RANKS:
		q->ranks = codec_u32(f);
		break;
	case Q_LABEL:
		q->label = f->u;
		break;
	case Q_THROTTLE:
		q->throttle = codec_u32(f);
		break;
	case Q_FINGERPRINT:
		q->fingerprint = f->u;
		break;
	case Q_BY_QUEUE:
		q->by_queue = codec_u32(f) & BY_QUEUE_ALL;
		break;
	case Q_RETRY_ON:
		if (f->u <= UINT8_MAX)
			code_set_add(&q->retry_on, (uint8_t)f->u);
		break;
	default:
		get_gpu_number(q, f);
		break;
	}
}

static void get_request_text(struct request *q, const struct codec_field *f, char **at)
{
	switch (f->tag) {
	case Q_USER:
		q->user = lay_text(at, f);
		break;
	case Q_NAME:
		q->name = lay_text(at, f);
		break;
	case Q_QUEUE:
		q->queue = lay_text(at, f);
		break;
	case Q_ARG:
		q->argv[q->n_argv++] = lay_text(at, f);
		break;
	case Q_CHDIR:
		q->chdir = lay_text(at, f);
		break;
	case Q_OUTPUT:
		q->output = lay_text(at, f);
		break;
	case Q_ERROR:
		q->error = lay_text(at, f);
		break;
	case Q_KEY:
		q->idempotency_key = lay_text(at, f);
		break;
	case Q_GRANT:
		q->grant = lay_text(at, f);
		break;
	case Q_GPU_MODEL:
		q->gpu.model = lay_text(at, f);
		break;
	case Q_CONSTRAINT:
		q->constraint = lay_text(at, f);
		break;
	case Q_RANGE:
		get_range(f, &q->ranges[q->n_ranges++]);
		break;
	case Q_DEP:
		get_dep(f, &q->deps[q->n_deps++]);
		break;
	default:
		break;
	}
}

struct request *record__get_request(const struct codec_field *from)
{
	struct codec_reader r = codec_read(from->data, from->len);
	struct request_size size;
	struct codec_field f;
	struct request *q;
	struct err why;
	size_t bytes;
	char *at;

	if (!measure_request(from, &size))
		return NULL;
	bytes = sizeof(*q) + (size.args + 1) * sizeof(char *) + size.ranges * sizeof(*q->ranges) +
	        size.deps * sizeof(*q->deps);
	q = mem_zalloc(bytes + size.text);
	q->refs = 1;
	q->bytes = bytes + size.text;
	q->argv = (char **)(q + 1);
	q->ranges = (struct array_range *)(q->argv + size.args + 1);
	q->deps = (struct dep *)(q->ranges + size.ranges);
	at = (char *)q + bytes;
	while (codec_next(&r, &f)) {
		if (f.is_bytes)
			get_request_text(q, &f, &at);
		else
			get_request_number(q, &f);
	}
	if (q->n_deps <= RECORD_DEPS_MAX && request_check(q, &why) == 0)
		return q;
	request_unref(q);
	return NULL;
}
