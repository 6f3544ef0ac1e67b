/* What the files of the scheduler share. Rules as in sched.h. */
#pragma once

#include "sched/room.h"
#include "sched/sched.h"

struct sched {
	struct room *room;
	struct sched_head *heads; /* of the last plan */
	uint32_t n_heads, cap_heads;
};
