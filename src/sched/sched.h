/*
 * The decision: which waiting job starts where, and why the others wait. Pure: a const world in, a plan out.
 * The plan belongs to the caller (sched_plan_done); the world is only read. Loop thread. Never fails: what cannot be placed waits.
 * The same world, mix and settings give the same plan. Placement is on devices, never on totals: a fraction lies on one device.
 */
#pragma once

#include "core/event.h"

/* What is there to choose from is place_policies(). */
#define SCHED_POLICY_USUAL "fragment"

struct sched_plan {
	struct placement *v; /* in the order in which they are to be applied */
	size_t n, cap;
};

/*
 * What is remembered between plans: scores that save work; the mix of requests to come, in force from sched_learn() to the
 * next; and what `fragment` is set to, from sched_adopt() to the next. The policy is one of place_policies(); NULL when there is none such.
 */
struct sched;
struct sched *sched_new(const char *policy);
void sched_free(struct sched *s);
void sched_learn(struct sched *s, const struct world *w);
/*
 * After sched_learn(): a calibration (sched/calibrate.h) for that mix, on a copy of the nodes, so that another thread may carry
 * it out. The caller's. NULL: it would find nothing (another policy, no devices, nobody asks for one), or all is much as when `last` began.
 */
struct calibration;
struct calibration *sched_calibrate(const struct sched *s, const struct calibration *last);
/* What `fragment` is set to, as numbers that are its own matter. */
#define SCHED_SETTINGS 11
struct sched_settings {
	double v[SCHED_SETTINGS];
};
/* Plans go by these from now on, and by the mix as it is now, as after sched_learn(). False: they are none, and nothing changed. */
bool sched_adopt(struct sched *s, const struct world *w, const struct sched_settings *settings);

/* At most max placements; call again when plan->n == max. */
void sched_plan_make(struct sched *s, const struct world *w, int64_t now_ms, size_t max,
        struct sched_plan *plan);
void sched_plan_done(struct sched_plan *plan);
/* Of the last plan: who comes first of those that wait in a queue. Nobody who comes later delays it. */
struct sched_head {
	const struct queue *queue;
	struct job_id id; /* of an array's parent: `pos` says which task */
	uint64_t pos;
	uint64_t node;            /* where it will fit first; 0: on none as they are now */
	int64_t at_ms;            /* when time limits prove that; INT64_MAX: they do not */
	bool is_kept;             /* a place is kept free for it there */
	int64_t patient_until_ms; /* from then on one is; INT64_MAX: it is kept, or never will be */
};
size_t sched_heads(const struct sched *s, const struct sched_head **ret);
/* When the last plan, of the same world, would come out differently: its patience with somebody ends; INT64_MAX: never. */
int64_t sched_next_ms(const struct sched *s);

/* One job alone, as if it came first: for dry runs. False: there is no room now. */
bool sched_fit_request(struct sched *s, const struct world *w, int64_t now_ms,
        const struct request *r, struct placement *ret);

/* IMPOSSIBLE, naming the largest node, when no node that is known could ever take it. No nodes known yet: 0. */
MUST_CHECK int sched_check_possible(
        const struct world *w, const struct request *r, struct err *err);

struct sched_reason {
	enum reason code;
	char text[240];
};
#define SCHED_REASONS_MAX 10
/* Why a job waits, most important first; 0 when it does not wait. */
size_t sched_reasons(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_reason out[SCHED_REASONS_MAX]);

/* All that can be said of one job that waits. Release with sched_why_done(). */
struct sched_lack {
	const struct node *node;
	char missing[240];
};
struct sched_why {
	uint64_t position; /* in its queue, from 1; 0: it does not wait */
	uint64_t ahead;    /* jobs of all queues that go first */
	struct sched_reason reasons[SCHED_REASONS_MAX];
	size_t n_reasons;
	struct sched_lack *nodes; /* every node of the world */
	size_t n_nodes;
	bool starts;         /* in the next plan: there */
	struct placement at; /* of what starts */
	int64_t earliest_ms; /* what runs has ended by then, by its time limits; INT64_MAX: nothing proves a moment */
	/*
	 * As it is typed, such as "--gpu 0.3"; "": nothing smaller starts now. Of all single nodes the change that leaves most
	 * of what was asked for: the product of what is left of each amount, where to do without a wish for a model, or to take
	 * on a time limit, counts as half. It was tried.
	 */
	char change[160];
	struct request changed; /* what that comes to: sizes and time limit only */
};
void sched_why(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_why *ret);
/* The same of a request that is not submitted: as if it were, now. */
void sched_why_request(struct sched *s, const struct world *w, int64_t now_ms,
        const struct request *r, struct sched_why *ret);
void sched_why_done(struct sched_why *y);
