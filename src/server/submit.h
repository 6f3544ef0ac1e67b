/*
 * From a job as it was sent to a job of the world: account, environment, queue's defaults, dependencies, possible or not.
 * Loop thread. The JSON stays the caller's.
 */
#pragma once

#include "server/api.h"
#include "wire/job_json.h"

struct submitted {
	struct job *job; /* NULL: dry run, or not yet */
	bool is_repeat;  /* the idempotency key was known: the job of that time */
	json_t *dry_run; /* new reference, or NULL */
	/* Not 0 or not NULL: this must be brought from the store first (fetch_job, fetch_key), then ask again. */
	struct job_id fetch;
	char *fetch_key; /* the receiver's */
};

/* What comes with the JSON of a job. */
struct submit_with {
	const char *default_key; /* of the Idempotency-Key header, or NULL */
	bool key_was_fetched;
};

/* Returns 0 also when something is to be fetched. */
MUST_CHECK int submit_one(struct server *s, const struct caller *who, json_t *json,
        const struct submit_with *with, struct submitted *ret, struct err *err);
/* What its queue gives and allows, and whether some node could ever take it; the account is settled before. */
MUST_CHECK int submit_settle(struct server *s, struct job_spec *spec, void *ctx, struct err *err);
/* LIMIT when so many more may not wait in its queue. */
MUST_CHECK int submit_check_waiting(
        const struct server *s, const struct request *r, uint64_t more, struct err *err);
/* A job that its submitter was not told of, and is not to be: it never runs, and its idempotency key is free. err: why, is told so. */
void submit_withdraw(struct server *s, struct job_id id, struct err *err);
/* Keeps an environment (object of strings), leaving out what job.env_exclude says; its number. */
MUST_CHECK int submit_keep_env(struct server *s, json_t *env, uint64_t *ret_num, struct err *err);
/* How jobs name it; nobody can who does not know it. */
#define SUBMIT_ENV_NAME 34
void submit_name_env(const struct server *s, uint64_t num, char out[SUBMIT_ENV_NAME]);
