/* What the files of the scheduler share. Rules as in sched.h. */
#pragma once

#include "sched/room.h"
#include "sched/sched.h"
#include "core/world.h"

struct sched {
	struct room *room;
	struct sched_head *heads; /* of the last plan */
	uint32_t n_heads, cap_heads;
	struct limits *given; /* by the last plan; NULL: there was none */
	int64_t next_ms;      /* of the last plan that was made to be carried out */
	/* The plan that questions are answered by, of the world as it was then; see sched__ask(). */
	struct sched_plan asked;
	bool is_asked;
	const struct world *asked_world;
	uint64_t asked_events;
	int64_t asked_ms;
};

/*
 * Somebody who is asked about alone: a job of the world as it is or as it could be asked for, or one that is not there yet.
 * The plan goes as far as its place in the order and leaves the room as it is found there.
 */
struct guest {
	struct sched_class class; /* of its own, with nobody ready */
	struct job job;
	const struct job *instead_of; /* NULL: of none */
	bool is_limited;              /* its queue is at a limit when its turn comes */
	/* Of those who go first and wait: any of them may come before it wherever it could go, too. Owned. */
	const struct sched_class **passed;
	uint32_t n_passed, cap_passed;
};

static inline struct need need_of_shape(const struct sched_shape *shape)
{
	return (struct need){.gpu = &shape->gpu,
	        .cpus = shape->cpus,
	        .mem_bytes = shape->mem_bytes,
	        .time_limit_ms = shape->time_limit_ms,
	        .queue = shape->queue,
	        .constraint = shape->constraint};
}

/* plan.c. True: it ended at the guest's place, and not at max before. */
bool sched__plan(struct sched *s, const struct world *w, int64_t now_ms, size_t max,
        struct guest *g, struct sched_plan *plan);
const struct sched_head *sched__find_head(const struct sched *s, const struct queue *q);
/* Nothing of a strict queue passes its head. */
bool sched__is_blocked(const struct sched *s, const struct queue *q);
/* The first of its queue that has to wait is the one that nobody delays; what could never fit is not. */
void sched__note_head(struct sched *s, const struct world *w, const struct sched_shape *shape,
        const struct job *j, uint64_t pos, int64_t now_ms);

/*
 * change.c: the least change of what is asked for with which it fits in the room as it is, on no more than most_milli
 * thousandths of devices. False: none does.
 */
bool sched__find_change(struct sched *s, int64_t now_ms, const struct guest *g, uint64_t most_milli,
        struct request *ret, char *out, size_t size);
/* why.c: for the room at the job's place. */
size_t sched__say_reasons(struct sched *s, const struct world *w, int64_t now_ms,
        const struct job *j, bool starts, struct sched_reason out[SCHED_REASONS_MAX]);
