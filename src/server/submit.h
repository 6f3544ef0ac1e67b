/*
 * From a job as it was sent to a job of the world: account, environment, queue's defaults, dependencies, possible or not.
 * Loop thread. The JSON stays the caller's.
 */
#pragma once

#include "server/api.h"

struct submitted {
	struct job *job; /* NULL: dry run, or not yet */
	bool is_repeat;  /* the idempotency key was known: the job of that time */
	json_t *dry_run; /* new reference, or NULL */
	struct job_id
	        fetch; /* num not 0: this job must be brought from the store first (fetch_job), then ask again */
};

/* default_key: of the Idempotency-Key header, or NULL. Returns 0 also when `fetch` is set. */
MUST_CHECK int submit_one(struct server *s, const struct caller *who, json_t *json,
        const char *default_key, struct submitted *ret, struct err *err);
/* Keeps an environment (object of strings), leaving out what job.env_exclude says; its number. */
MUST_CHECK int submit_keep_env(struct server *s, json_t *env, uint64_t *ret_num, struct err *err);
