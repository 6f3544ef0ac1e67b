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
	uint64_t *recheck; /* numbers of jobs whose dependents are to be looked at again */
	uint32_t n_recheck, cap_recheck;
};

void world__mark_dirty(struct world *w, struct job *j);
void world__add_job(
        struct world *w, struct job *j); /* into by_id, its class, dependencies, idempotency */
void world__free_job(struct world *w, struct job *j); /* out of every index, and freed */
void world__set_wait(struct world *w, struct job *j, enum job_wait wait);
/* Puts a job where it has to wait now, by all that is known. */
void world__settle(struct world *w, struct job *j, struct now now);
void world__join_class(struct world *w, struct job *j);
void world__leave_class(struct world *w, struct job *j);
void world__hold_slices(struct world *w, struct job *j); /* adds what j holds to its node's sums */
void world__drop_slices(struct world *w, struct job *j);
struct queue *world__get_queue(struct world *w, const char *name); /* made when absent */

enum dep_verdict { DEP_MET, DEP_NOT_YET, DEP_NEVER };
enum dep_verdict world__dep_verdict(const struct world *w, const struct dep *d);

/* apply_job.c */
void apply__transition(
        struct apply *a, struct job *j, enum job_state state, enum reason reason, const char *text);
int apply__submit(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__start(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__cancel(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__hold(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__retry(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__edit(struct apply *a, const struct event *e, struct applied *out, struct err *err);
void apply__tick(struct apply *a);
/* apply_attempt.c */
int apply__started(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__ended(struct apply *a, const struct event *e, struct applied *out, struct err *err);
/* apply_array.c */
struct job *array__materialise(struct apply *a, struct job *parent, uint64_t pos);
void array__count(struct apply *a, struct job *parent, const struct job *task, enum job_state old);
void array__cancel_rest(struct apply *a, struct job *parent);
void array__settle_state(struct apply *a, struct job *parent);
/* apply_node.c */
int apply__node(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__device(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__queue(struct apply *a, const struct event *e, struct applied *out, struct err *err);
int apply__token(struct apply *a, const struct event *e, struct applied *out, struct err *err);
uint32_t node__add_device(struct world *w, struct node *n, const struct device_info *info);
