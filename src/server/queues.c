#include "server/queues.h"

#include <string.h>

struct queue queues_fill(const struct conf_queue *c, char *overlay)
{
	struct queue q = {.strict = c->order == CONF_ORDER_STRICT,
	        .patience_ms = (uint64_t)c->patience_ms,
	        .priority = c->priority,
	        .default_cpus = c->default_cpus,
	        .time_limit_ms = (uint64_t)c->time_limit_ms,
	        .default_time_ms = (uint64_t)c->default_time_ms,
	        .default_retry = c->retry,
	        .max_waiting = c->max_waiting,
	        .max_running = c->max_running,
	        .max_running_per_user = c->max_running_per_user,
	        .max_gpus = c->max_gpus,
	        .configured = true,
	        .nodes = conf_join(&c->nodes),
	        .overlay = overlay};

	memcpy(q.name, c->name, sizeof(q.name));
	return q;
}

const struct conf_queue *queues_find(
        const struct conf *conf, const struct queue *q, struct conf_queue **ret_made)
{
	struct err err;

	*ret_made = NULL;
	/* What was set once is well formed. */
	if (q->overlay && conf_queue_make(conf, q->name, q->overlay, ret_made, &err) == 0)
		return *ret_made;
	return conf_find_queue(conf, q->name);
}
