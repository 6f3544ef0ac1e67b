/*
 * One thread that does blocking work for a loop: jobs run in the order in which they came, their ends are told on the loop's thread.
 * The worker owns the queue; `data` of a job belongs to the job from submit to done, and done gets it back, always.
 * worker_* are called on the loop's thread; `run` is called on the worker's, with all signals blocked. Submitting fails only when full or being freed.
 */
#pragma once

#include "plat/loop.h"

struct worker;

/* max_queued: jobs submitted whose done has not been called yet; their memory is thereby bounded. name: as `ps -L` shows it, <= 15 bytes. */
MUST_CHECK int worker_new(struct loop *loop, const char *name, size_t max_queued,
        struct worker **ret_worker, struct err *err);
/* Waits until every job has run, calls what is still to be told, ends the thread. Not from a done callback. NULL does nothing. */
void worker_free(struct worker *w);

/* False when full (or inside worker_free), and then nothing is taken: a later done callback says that there is room. Both functions are needed.
 * Allowed from a done callback. Jobs that are under way keep loop_run from returning. */
MUST_CHECK bool worker_submit(struct worker *w, loop_fn *run, loop_fn *done, void *data);

size_t worker_queued(const struct worker *w); /* submitted and not yet told */
