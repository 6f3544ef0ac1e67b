/* What the files of the scheduler share. Rules as in sched.h. */
#pragma once

#include "sched/room.h"
#include "sched/sched.h"

struct sched {
	struct room *room;
};
