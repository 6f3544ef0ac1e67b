/*
 * What a queue lets its jobs hold at once: attempts, attempts of one account, devices' worth of slices.
 * struct limits is of one plan: what the plan has given so far, on top of what the world says; its maker frees it. Pure, loop thread.
 * Never fails.
 */
#pragma once

#include "sched/room.h"

struct limits;
struct limits *limits_new(void);
void limits_free(struct limits *l);

/* Whether one more of that shape may start now, as far as that is known without its place. */
bool limits_allow(struct limits *l, const struct sched_shape *shape, int64_t now_ms);
/* It waits for devices that the queue has not left: nobody else of the queue is given any. */
void limits_close(struct limits *l, const struct sched_shape *shape);
/* From at_ms on (ROOM_NEVER: from now on) one of that shape must find it allowed: who may still be there then leaves it so much. */
void limits_keep(struct limits *l, const struct sched_shape *shape, int64_t at_ms);
/* Thousandths of devices that one of that shape may have at most; UINT64_MAX: any number. 0: it may not start. */
uint64_t limits_most_milli(struct limits *l, const struct sched_shape *shape, int64_t now_ms);
/* It starts there. False: it may not, since its slices come to more than is left. */
bool limits_take(struct limits *l, const struct sched_shape *shape, const struct placement *at,
        int64_t now_ms);

/* From when on time limits prove that one of that shape may start, wherever; ROOM_NEVER: they do not. */
int64_t limits_ease_ms(struct limits *l, const struct sched_shape *shape, int64_t now_ms);
/* However long it waits. */
bool limits_forbid(const struct sched_shape *shape);

/*
 * In words, when one of that shape cannot start now for that reason, and until when at most, if time limits say so.
 * at: where it would, or NULL.
 */
struct limit_question {
	struct limits *given; /* by the plan that it is about */
	int64_t now_ms;
	const struct sched_shape *shape;
	const struct placement *at;
};
bool limit_reached(const struct limit_question *q, char *out, size_t size);
