/*
 * Sending jobs, with the environment taken along: beside one job, or kept once for many.
 * Borrows client and jobspec; one thread; blocks. Refusals are the server's own errors.
 */
#pragma once

#include "cli/client.h"
#include "cli/jobspec.h"

/* For many jobs: keeps the environment and adds its id to the job, unless the server is another machine. *ret_taken: what was kept. */
MUST_CHECK int submission_keep_environment(
        struct client *c, struct jobspec *s, json_t **ret_taken, struct err *err);
/* The job as answered; it has an id, if this is no dry run. */
MUST_CHECK int submission_send(
        struct client *c, struct jobspec *s, json_t **ret_job, struct err *err);
/* What a GPU request came to, one line on stderr for each model. */
void submission_say_resolved(const json_t *job);
/* The answer to a dry run. */
void submission_print_dry_run(const struct cli *cli, const json_t *answer);

/* --from: one job per line, one id per line. Returns the exit code. */
int submission_from(const struct cli *cli, struct client *c, struct jobspec *s);
