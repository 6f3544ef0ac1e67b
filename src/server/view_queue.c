#include "server/queues.h"
#include "server/view.h"

static json_t *number_or_null(uint64_t n)
{
	return n ? json_integer((json_int_t)n) : json_null();
}

/* The keys that were set at run time. */
static json_t *view_set(const struct conf_queue *c)
{
	json_t *keys = json_array();

	for (size_t f = 0; c && f < CONF_QUEUE_N; f++)
		if (c->source[f] == CONF_FROM_RUN_TIME)
			json_array_append_new(
			        keys, json_string(conf_queue_key((enum conf_queue_field)f)));
	return keys;
}

json_t *view_queue(const struct conf *conf, const struct queue *q)
{
	CLEANUP(conf_queue_freep) struct conf_queue *made = NULL;
	const struct conf_queue *c = queues_find(conf, q, &made);
	json_t *users = json_array();

	for (size_t i = 0; c && i < c->users.n; i++)
		json_array_append_new(users, json_string(c->users.v[i]));
	return json_pack(
	        "{s:s, s:b, s:I, s:I, s:f, s:i, s:s, s:o, s:i, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}",
	        "queue", q->name, "paused", (int)q->paused, "waiting", (json_int_t)q->n_waiting,
	        "running", (json_int_t)q->n_running, "gpus", (double)q->gpu_milli / 1000,
	        "priority", (int)q->priority, "order", q->strict ? "strict" : "backfill",
	        "patience", number_or_null(q->patience_ms / 1000), "default_cpus",
	        (int)q->default_cpus, "time_limit", number_or_null(q->time_limit_ms / 1000),
	        "default_time", number_or_null(q->default_time_ms / 1000), "retry",
	        (int)q->default_retry, "max_waiting", number_or_null(q->max_waiting), "max_running",
	        number_or_null(q->max_running), "max_running_per_user",
	        number_or_null(q->max_running_per_user), "max_gpus", number_or_null(q->max_gpus),
	        "users", users, "nodes", view_list(q->nodes), "configured",
	        (int)(conf_find_queue(conf, q->name) != NULL), "set", view_set(c));
}
