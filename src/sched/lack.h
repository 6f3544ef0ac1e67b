/*
 * One node and one request: could it ever, and what stands in the way, in words for people. Of what is free there the caller
 * says what may be had. Pure, loop thread; never fails.
 */
#pragma once

#include "sched/room.h"

/* What is asked for. */
void need_format(const struct need *need, char *out, size_t size);
/* Whether it is one of its queue, and has the labels. */
bool node_is_meant(const struct node *n, const struct need *need);
/* Could this node take it if it were empty and whole? */
bool node_could(const struct node *n, const struct need *need);
/* Of one that could not: why. */
void node_never(const struct node *n, const struct need *need, char *out, size_t size);
/* What of the request the node lacks when so much of it is free; for nodes that could. False: nothing. */
bool node_lack(const struct node *n, const struct place_room *free, const struct need *need,
        char *out, size_t size);
/* Enough is free there, but not on one device. */
bool node_is_fragmented(const struct node *n, const struct place_room *free,
        const struct need *need, char *out, size_t size);
