/*
 * A world to test in: queue "default", a clock that the test turns, and events that check every invariant afterwards.
 * The test owns the box; what hangs in it goes with box_done(). Fails by cmocka's asserts.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "core/apply.h"
#include "core/check.h"

#define BOX_WALL_MS 1700000000000
#define BOX_MODEL   "Acme A100"

struct box {
	struct policy policy;
	struct world *w;
	struct now now;
	struct effects fx; /* of the last event */
	struct applied out;
	struct err err;
};

void box_init(struct box *b);
void box_done(struct box *b);
void box_pass(struct box *b, int64_t ms); /* time goes by, and a TICK tells */

/* What core_apply() returns. A refused event must have changed nothing that has to be stored. */
int box_try(struct box *b, struct event e);
void box_apply(struct box *b, struct event e); /* must be taken */
void box_refuse(struct box *b, struct event e, enum err_kind kind, const char *part_of_text);

/* `true`, by ada, in queue default, one CPU. */
struct request box_request(void);
struct job *box_submit(struct box *b, struct request r);
struct job *box_submit_plain(struct box *b);
struct job *box_submit_array(struct box *b, int64_t first, int64_t last, uint32_t throttle);
struct job *box_submit_after(struct box *b, enum dep_kind kind, struct job_id on);
struct job *box_find(const struct box *b, uint64_t num, int64_t task);

/* A node with CPUs 0.. and devices "NAME-0".. of BOX_MODEL, compute capability 8.0; again: a new inventory of it. */
struct node *box_node(
        struct box *b, const char *name, uint32_t cpus, uint32_t devices, uint64_t device_bytes);

/* The next of the job starts on node 1, with one slice of device 0 when bytes > 0. Returns what started: a job or a task. */
struct job *box_start(struct box *b, const struct job *j);
struct job *box_start_on(struct box *b, const struct job *j, uint64_t bytes, uint32_t milli);
struct job *box_run(struct box *b, const struct job *j); /* started, and its command runs */
void box_started(struct box *b, const struct job *j);
void box_exit(struct box *b, struct job *j, int32_t code);
void box_end(struct box *b, const struct job *j, enum reason reason);
void box_lose(struct box *b, const struct job *j, enum reason reason);
void box_cancel(struct box *b, struct job_id id);
/* A job as far as the state that is wanted; of a final one by the usual way. */
struct job *box_job_in(struct box *b, enum job_state state);

const struct effect *box_effect(const struct box *b, enum effect_kind kind, struct job_id id);
void box_take_dirty(struct box *b);
/* State and reason of the last transition. */
void box_expect(const struct job *j, enum job_state state, enum reason reason);
