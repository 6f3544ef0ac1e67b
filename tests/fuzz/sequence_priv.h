/* What the files of the random life share. Rules as in sequence.h. */
#pragma once

#include "dice.h"
#include "sequence.h"
#include "shadow.h"
#include "sched/sched.h"

#define SEQ_NODES   4
#define SEQ_DEVICES 6 /* of a node at most */

/* An attempt that an agent was told to start, and may report on however old it is. */
struct launch {
	struct job_id id;
	uint64_t epoch;
	bool is_stopped;
};

struct sequence {
	struct dice dice;
	struct world *w;
	struct sched *sched; /* as long as the world */
	struct now now;
	struct effects fx;
	struct shadow shadow;
	struct launch *launches;
	uint32_t n_launches, cap_launches;
	uint64_t last_epoch; /* of the last START */
	uint32_t weights[32];
	struct sequence_stats *stats;
	struct err *err;
};

/* One event, and every check that follows it. *ret_refused: the event did not fit. */
int seq_apply(struct sequence *s, const struct event *e, bool *ret_refused);
/* A plan, and its starts, all of which must be taken; then no other plan may find anything. */
int seq_plan(struct sequence *s, size_t max, uint32_t *ret_n);
/* sequence_why.c: asks about some job, and tries what the answer promises. */
int seq_ask_why(struct sequence *s);
int seq_submit(struct sequence *s);
int seq_node_up(struct sequence *s, uint32_t k, bool whole);
/* Everything that may end is brought to its end. */
int seq_quiet(struct sequence *s);
int seq_fault(struct sequence *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct job_id seq_any_id(struct sequence *s);
