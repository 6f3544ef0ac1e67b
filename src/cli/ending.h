/*
 * How a job ended, and what that is as the exit code of `run` and `wait`. Borrows client and json; one thread.
 */
#pragma once

#include "cli/client.h"

bool ending_is_final(const json_t *job);
/* Waits until the job is final, however long that takes. */
MUST_CHECK int ending_await(struct client *c, const char *id, json_t **ret_job, struct err *err);
/* The code by the brief; of an array, the largest of its tasks'. */
int ending_code(const json_t *job);
/* One line on stderr, when the exit code alone does not tell what happened. */
void ending_say(const json_t *job);
/* Of an array, in one line: "4 COMPLETED, 6 FAILED". */
void ending_add_tasks(const json_t *job, struct buf *b);
/* Why it waits, or why it ended; or NULL. */
const char *ending_reason(const json_t *job);
