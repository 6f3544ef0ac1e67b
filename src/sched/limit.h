/*
 * What a queue lets its jobs hold at once: attempts, attempts of one account, devices' worth of slices.
 * struct limits is of one plan: what the plan has given so far, on top of what the world says; its maker frees it. Pure, loop thread.
 * Never fails. Who asks for devices while the queue has not enough left closes it to all who ask for devices: nobody passes it there.
 */
#pragma once

#include "core/event.h"

struct limits;
struct limits *limits_new(void);
void limits_free(struct limits *l);

/* Whether one more of that shape may start, as far as that is known without its place. */
bool limits_allow(struct limits *l, const struct sched_shape *shape);
/* It starts there. False: it may not, since its slices come to more than is left. */
bool limits_take(struct limits *l, const struct sched_shape *shape, const struct placement *at);

/* In words, when one of that shape cannot start now for that reason. at: where it would, or NULL. */
bool limit_reached(
        const struct sched_shape *shape, const struct placement *at, char *out, size_t size);
