/*
 * Queues of the configuration, with what was set at run time over it, as the world has them. Pure; any thread.
 */
#pragma once

#include "conf/conf.h"
#include "core/world.h"

/* As EVENT_QUEUE_SET takes it; its `nodes` is the caller's to free, overlay is borrowed. */
struct queue queues_fill(const struct conf_queue *c, char *overlay);
/* The settings in force; NULL: the configuration does not name it, and nothing was set. *ret_made is the caller's to free, and may be NULL. */
const struct conf_queue *queues_find(
        const struct conf *conf, const struct queue *q, struct conf_queue **ret_made);
