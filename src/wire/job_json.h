/*
 * A job as JSON, as people and programs send it (doc/http.md): the long flags as keys, with `_`.
 * Pure; any thread. The result hangs on the talloc context that is passed. Errors name the key and what is wrong with it;
 * an unknown key is refused by name, with the nearest one that exists.
 */
#pragma once

#include "core/node.h"

#include <jansson.h>

#define JOB_JSON_ARGV_MAX 100000
#define JOB_JSON_DEPS_MAX 1024

struct job_spec {
	struct request request; /* user, uid, gid, env_blob are the caller's to fill */
	json_t *env;            /* object of strings, borrowed from the parsed JSON, or NULL */
	json_t *taken_env;      /* the environment taken along, to be filtered; borrowed, or NULL */
	const char *environment; /* "e12", or NULL */
	const char *user;        /* account asked for, or NULL */
	bool dry_run;
	/* What its queue is to give now, of enum request_by_queue; the same stands in request.by_queue. */
	uint32_t from_queue;
};

/* json stays the caller's and must live as long as the spec. */
MUST_CHECK int job_spec_from_json(
        json_t *json, void *ctx, struct job_spec *ret_spec, struct err *err);
/*
 * What a job that waits asks for when these keys are said anew: the rest is as it was. null takes back what was said. The spec
 * points into `was`, too.
 */
MUST_CHECK int job_spec_edit(json_t *json, void *ctx, const struct request *was,
        struct job_spec *ret_spec, struct err *err);
/* Whether these keys are such that a job can have changed; their values are not looked at. */
MUST_CHECK int job_spec_check_edit(json_t *json, struct err *err);
