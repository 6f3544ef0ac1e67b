/* What the files of the scheduler share. Rules as in sched.h. */
#pragma once

#include "sched/room.h"
#include "sched/sched.h"

/* Who is first of those that wait in a queue, and where it will fit. */
struct head {
	const struct queue *queue;
	struct job_id id;
	uint64_t pos;
	struct reservation at;
	int64_t patient_until_ms; /* INT64_MAX: a place is kept, or never will be */
};

struct sched {
	struct room *room;
	struct head *heads; /* of the last plan */
	uint32_t n_heads, cap_heads;
};
