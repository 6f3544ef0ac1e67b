/*
 * One node and one request: could it ever, and what stands in the way now, in words for people. Reads the world as it is, no
 * plan. Pure, loop thread; never fails.
 */
#pragma once

#include "sched/room.h"

/* Could this node take it if it were empty and whole? */
bool node_could(const struct node *n, const struct need *need);
/* What stands in the way there now; for nodes that could. */
void node_lack(const struct node *n, const struct need *need, char *out, size_t size);
