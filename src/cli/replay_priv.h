/* What the files of a replay share: replay.c (reading and comparing), replay_policy.c (another policy), replay_tally.c. */
#pragma once

#include "cli/replay.h"
#include "sched/sched.h"

/* A world that is brought on. */
struct stage {
	struct replay *r;
	struct world *w;
	struct sched *s;
	struct recorded *begin; /* what the world's policy points into */
	struct effects fx;      /* of the latest event */
	int64_t now_ms;
	/* of the world as it was after so many events */
	uint64_t looked_at;
	double all, used, broken; /* thousandths of devices */
};

/* Begins anew. INVALID when there is no such policy. */
MUST_CHECK int stage_begin(
        struct stage *g, struct recorded *take_begin, const char *policy, struct err *err);
void stage_done(struct stage *g);
void stage_move(struct stage *g, int64_t at_ms); /* time goes on; never back */
MUST_CHECK int stage_apply(
        struct stage *g, const struct event *e, struct applied *out, struct err *err);
MUST_CHECK int stage_start(
        struct stage *g, const struct placement *p, struct job **ret_job, struct err *err);

/* Every line in turn; *take is the callee's when it sets it to NULL. */
typedef int replay_line_fn(void *data, struct recorded **take, struct err *err);
MUST_CHECK int replay_each_line(struct replay *r, replay_line_fn *fn, void *data, struct err *err);
/* A line of the beginning of a server, or what happened to it but for its plans. */
MUST_CHECK int replay_as_recorded(struct stage *g, struct recorded **take, struct err *err);

/* replay_tally.c */
void tally_start(struct stage *g, const struct job *j);
void tally_waiting(struct stage *g);          /* at the end */
void tally_time(struct stage *g, int64_t ms); /* as the world is */
