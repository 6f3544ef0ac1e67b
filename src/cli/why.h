/*
 * What a job waits for, for people. The answer stays the caller's. Main thread.
 * Nothing fails: what an answer lacks is left out.
 */
#pragma once

#include "cli/cli.h"

#include <jansson.h>

/* Of an answer of `why`, or of a dry run that starts later. */
void why_print_wait(const json_t *answer);
