/*
 * Names of things, and the time that is passed in. Values only: nothing is owned, nothing fails but parsing.
 */
#pragma once

#include "base/err.h"

#define TASK_NONE (-1)
#define TASK_SAME \
	(-2) /* in what an array depends on: for each task the one of the same index, "17_%a" */

/* A job ("17"), or one task of an array job ("17_3"). */
struct job_id {
	uint64_t num;
	int64_t task; /* TASK_NONE: the job itself */
};

/* wall: for people and records, may jump. mono: for intervals, never jumps. Both in milliseconds. */
struct now {
	int64_t wall_ms;
	int64_t mono_ms;
};

MUST_CHECK int job_id_parse(const char *text, struct job_id *ret_id, struct err *err);
const char *job_id_format(struct job_id id, char out[48]);

static inline bool job_id_eq(struct job_id a, struct job_id b)
{
	return a.num == b.num && a.task == b.task;
}
