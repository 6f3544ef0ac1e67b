/*
 * How a job as JSON is read, key by key: what job_json.c and job_ask.c share. Pure; any thread. A function reads the value of
 * one key into the spec, which hangs on the context; it returns 0, or refuses the value, naming the key.
 */
#pragma once

#include "wire/job_json.h"

struct job_parse {
	void *ctx;
	struct job_spec *spec;
	const char *key;
	int n_amounts; /* of gpu, gpu_milli, fgpu */
};

MUST_CHECK int key_bad(struct job_parse *p, struct err *err, const char *want);
MUST_CHECK int key_wrap(
        struct job_parse *p, int rc, struct err *err); /* err says what is wrong with the value */
MUST_CHECK int key_text(struct job_parse *p, json_t *v, char **ret, struct err *err);
MUST_CHECK int key_int(
        struct job_parse *p, json_t *v, int64_t min, int64_t max, int64_t *ret, struct err *err);
/* It is said, so its queue does not say it. */
void key_said(struct job_parse *p, enum request_by_queue what);

typedef int key_fn(struct job_parse *p, json_t *v, struct err *err);

/* job_ask.c: what it asks of a node. */
key_fn key_on_gpu, key_on_gpu_milli, key_on_fgpu, key_on_gpu_mem, key_on_gpu_share, key_on_gpu_cc,
        key_on_gpu_cuda, key_on_gpu_driver, key_on_constraint, key_on_cpus, key_on_tasks,
        key_on_mem, key_on_time;
