/*
 * Where the files of an attempt are: its output in the data directory, or where its submitter wants it.
 * Strings returned hang on the caller's talloc context. Pure; any thread. Cannot fail.
 */
#pragma once

#include "core/ids.h"

/* DATA/logs/<num/1000>: at most a thousand jobs in one directory. */
char *paths_log_dir(void *ctx, const char *data_dir, struct job_id id);
bool paths_share_log_dir(struct job_id a, struct job_id b);
/*
 * DATA/logs/<num/1000>/<num>[_<task>].<attempt>.<kind>; kind: "out", "err", "idx".
 * Output that stands elsewhere is found through a symbolic link of this name.
 */
char *paths_log(
        void *ctx, const char *data_dir, struct job_id id, uint32_t attempt, const char *kind);
/* The empty directory that a job without one is given. */
char *paths_work_dir(void *ctx, const char *data_dir, struct job_id id, uint32_t attempt);

/* What the patterns of an output name stand for. */
struct paths_names {
	struct job_id id;
	uint32_t attempt;
	const char *job;  /* %x */
	const char *user; /* %u */
	const char *node; /* %N */
};
/*
 * The file that `output` names: %j the id ("17", "17_3"), %A the job's number, %a the task's index, %x the name, %u the
 * account, %N the node, %% a percent sign; others stay as they are. Relative to cwd. From the second attempt on with
 * ".2" and so on behind it, so that a retry never overwrites.
 */
char *paths_output(void *ctx, const char *output, const char *cwd, const struct paths_names *n);
