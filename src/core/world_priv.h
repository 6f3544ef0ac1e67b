/*
 * How the files of core change the world: shared by world.c, apply*.c only. Rules as in world.h.
 */
#pragma once

#include "core/apply.h"

/* One call of core_apply(). */
struct apply {
	struct world *w;
	struct now now;
	struct effects *fx;
	struct job_id *recheck; /* jobs whose dependents are to be looked at again */
	uint32_t n_recheck, cap_recheck;
};

void world__mark_dirty(struct world *w, struct job *j);
void world__add_job(
        struct world *w, struct job *j); /* into by_id, its class, dependencies, idempotency */
void world__free_job(struct world *w, struct job *j); /* out of every index, and freed */
void world__forget_key(
        struct world *w, const struct job *j); /* its idempotency key makes a new job */
void world__set_wait(struct world *w, struct job *j, enum job_wait wait);
/* Puts a job where it has to wait now, by all that is known. */
void world__settle(struct world *w, struct job *j, struct now now);
void world__join_class(struct world *w, struct job *j);
void world__leave_class(struct world *w, struct job *j);
/* Its request, or what makes classes, is not what it was. Arrays before their tasks. Of an ended job it does nothing. */
void world__reclass(struct world *w, struct job *j);
/* What j adds to its queue's n_waiting; an array only what never started. */
uint64_t world__waiting_of(const struct job *j);
void world__hold_slices(struct world *w, struct job *j); /* adds what j holds to its node's sums */
void world__drop_slices(struct world *w, struct job *j);
/* What is free or offered there, or who ends when, is not what it was. */
void world__touch_node(struct world *w, struct node *n);
/* queue.c */
void world__free_queue(struct world *w, struct queue *q);
struct queue *world__queue_of(const struct world *w, const struct job *j);
/* The last attempt of j begins to hold resources, or holds them no more. */
void queue__count(struct queue *q, struct job *j, bool holds);
struct queue *world__get_queue(struct world *w, const char *name); /* made when absent */

/* wait.c: where a job has to wait now. Set it with world__settle(). */
enum job_wait job_wait_due(const struct job *j, struct now now);

/* order.c: the only ones who put jobs into an order and take them out. */
void world__order_insert(struct job_order *o, struct job *j);
void world__order_append(
        struct job_order *o, struct job *last, struct job *j); /* behind its last */
void world__order_remove(struct job_order *o, struct job *j);

/* deps.c */
bool job_deps_are_met(const struct job *j);
void world__watch_deps(struct world *w, struct job *j); /* of a job that begins to live */
void world__unwatch_deps(struct world *w, struct job *j);
void apply__note_recheck(
        struct apply *a, struct job_id id); /* a job on which others may depend changed */
void apply__recheck_dependents(struct apply *a);
/* Decides what is decided already; may cancel j. */
void apply__recheck_own(struct apply *a, struct job *j);

/* CONFLICT while a twin of a task that is to run again has not got as far. */
int task_check_twins(const struct world *w, const struct job *task, struct err *err);

/* apply_job.c */
void apply__transition(
        struct apply *a, struct job *j, enum job_state state, enum reason reason, const char *text);
int apply__submit(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__start(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__cancel(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__hold(struct apply *a, const struct event *e, struct applied *out, struct err *err);
void apply__stop_task(
        struct apply *a, struct job *j, enum reason reason, const char *text, bool force);
void apply__retry_one(struct apply *a, struct job *j, const char *actor);
int apply__retry(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__edit(struct apply *a, const struct event *e, struct applied *out, struct err *err);
void apply__tick(struct apply *a, int64_t shift_ms);
/* apply_attempt.c */
int apply__started(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__ended(struct apply *a, const struct event *e, struct applied *out, struct err *err);
void apply__use(struct apply *a, const struct event *e);
int apply__note(struct apply *a, const struct event *e, struct applied *out, struct err *err);
/* apply_array.c */
struct job *array__materialise(struct apply *a, struct job *parent, uint64_t pos);
/* After a task changed its state, which by_state tells already: what follows for its array. */
void array__follow(struct apply *a, struct job *parent, const struct job *task);
void array__settle_state(struct apply *a, struct job *parent, const char *text);
void array__settle_tasks(struct apply *a, struct job *parent);
/* Ends what runs and what waits of it, and cuts off what never started. */
void array__cancel(
        struct apply *a, struct job *parent, enum reason reason, const char *text, bool force);
/* What did not complete runs again. */
int array__retry(struct apply *a, struct job *parent, const char *actor, struct err *err);
/* apply_node.c */
int apply__node(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__device(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__queue(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__token(struct apply *a, const struct event *e, struct applied *out, struct err *err);
/* A device that is new at its place, which is one of the node's or the next one. */
void node__set_device(
        struct world *w, struct node *n, uint32_t place, const struct device_info *info);
/* check.c: the counts of an array against its tasks that live. */
int array_check_tasks(const struct world *w, const struct job *parent, struct err *err);
