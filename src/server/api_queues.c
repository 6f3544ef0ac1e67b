/* Queues: listed, paused, and set at run time over what the configuration says. */
#include "server/batch.h"
#include "server/queues.h"
#include "server/view.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define QUEUES_MAX  1000 /* as many as the configuration may name */
#define OVERLAY_MAX (64 * KIB)

void api_queues(struct call *c)
{
	json_t *list = json_array();
	const struct queue *q, *next;

	HASH_ITER (hh, c->world->queues, q, next)
		if (q->configured)
			json_array_append_new(list, view_queue(c->s->conf, q));
	call_reply_json(c, 200, json_pack("{s:i, s:o}", "schema", 1, "queues", list));
}

/* Applied, and to be kept; false: answered here. */
static bool apply(struct call *c, const struct event *e)
{
	struct applied out;
	struct err err;

	if (batch_check_room(c->s, &err) || server_apply(c->s, e, &out, &err)) {
		call_fail(c, &err);
		return false;
	}
	batch_add_queue(c->s, c->arg);
	return true;
}

static void reply_queue(struct call *c, int status)
{
	call_reply_json(c, status, view_queue(c->s->conf, world_find_queue(c->s->world, c->arg)));
}

static void queue_command(struct call *c, enum event_kind kind)
{
	if (apply(c, &(struct event){.kind = kind, .name = c->arg, .actor = c->who.name}))
		reply_queue(c, 200);
}

void api_queue_pause(struct call *c)
{
	queue_command(c, EVENT_QUEUE_PAUSE);
}

void api_queue_resume(struct call *c)
{
	queue_command(c, EVENT_QUEUE_RESUME);
}

/* As it would stand in the configuration, where a bare number is no duration. */
static int text_of(const char *key, const json_t *v, struct buf *out, struct err *err)
{
	char shown[TEXT_SHOW_SIZE], *dumped;

	if (json_is_object(v))
		return err_set(err, ERR_INVALID,
		        "'%s' is a value, or a list of them, and null takes it back",
		        text_show(key, shown));
	if (json_is_null(v))
		return 0;
	if (json_is_string(v)) {
		buf_add_str(out, json_string_value(v));
		return 0;
	}
	dumped = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	BUG_IF(!dumped);
	buf_addf(out, "%s%s", dumped, json_is_integer(v) && conf_queue_is_duration(key) ? "s" : "");
	free(dumped);
	return 0;
}

static int change(struct conf_queue *q, const struct conf *conf, json_t *body, struct err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach(body, key, v)
	{
		CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX + 1);
		int rc = text_of(key, v, &text, err);
		if (rc == 0 && text.overflow)
			rc = err_set(err, ERR_TOO_LARGE, "a setting of more than %zu bytes",
			        (size_t)CONF_TEXT_MAX);
		if (rc == 0)
			rc = conf_queue_set(q, conf, key, buf_str(&text), err);
		if (rc)
			return rc;
	}
	return conf_queue_check(q, err);
}

static uint32_t count(const struct world *w)
{
	const struct queue *q, *next;
	uint32_t n = 0;

	HASH_ITER (hh, w->queues, q, next)
		n += q->configured;
	return n;
}

/* before: NULL when it is to be made. */
static int settle(const struct call *c, const struct queue *before, json_t *body,
        struct conf_queue **ret_queue, struct buf *overlay, struct err *err)
{
	int rc;

	if (!before && count(c->s->world) >= QUEUES_MAX)
		return err_set(
		        err, ERR_LIMIT, "there are %d queues, and may be no more", QUEUES_MAX);
	rc = conf_queue_make(c->s->conf, c->arg, before ? before->overlay : NULL, ret_queue, err);
	if (rc)
		return err_wrap(err, "'%s'", c->arg);
	rc = change(*ret_queue, c->s->conf, body, err);
	if (rc)
		return rc;
	conf_queue_overlay(*ret_queue, overlay);
	return overlay->overflow ? err_set(err, ERR_TOO_LARGE, "more than %d bytes are set in all",
	                                   (int)OVERLAY_MAX)
	                         : 0;
}

static void on_set(struct call *c, json_t *body)
{
	CLEANUP(conf_queue_freep) struct conf_queue *settled = NULL;
	CLEANUP_BUF struct buf overlay = BUF_INIT(OVERLAY_MAX);
	const struct queue *before = world_find_queue(c->s->world, c->arg);
	struct event e = {.kind = EVENT_QUEUE_SET, .actor = c->who.name};
	struct queue q;
	struct err err;
	bool is_new = !before || !before->configured, is_plain;

	if (settle(c, is_new ? NULL : before, body, &settled, &overlay, &err)) {
		call_fail(c, &err);
		return;
	}
	/* A queue that is there at run time only is kept also when nothing is set. */
	is_plain = conf_find_queue(c->s->conf, c->arg) && strcmp(buf_str(&overlay), "{}") == 0;
	q = queues_fill(settled, is_plain ? NULL : (char *)(uintptr_t)buf_str(&overlay));
	e.queue = &q;
	if (apply(c, &e)) {
		log_info("queue.set", "queue=%s set=\"%s\" by=\"%s\"", c->arg, buf_str(&overlay),
		        c->who.name);
		reply_queue(c, is_new ? 201 : 200);
	}
	free(q.nodes);
}

void api_queue_set(struct call *c)
{
	call_read_json(c, NULL, on_set);
}

void api_queue_remove(struct call *c)
{
	const struct queue *q = world_find_queue(c->s->world, c->arg);
	struct event e = {.kind = EVENT_QUEUE_REMOVE, .name = c->arg, .actor = c->who.name};
	char shown[TEXT_SHOW_SIZE];
	struct err err;

	text_show(c->arg, shown);
	if (!q || !q->configured) {
		(void)!err_set(&err, ERR_NOT_FOUND, "queue '%s' does not exist", shown);
	} else if (conf_find_queue(c->s->conf, c->arg)) {
		(void)!err_set(&err, ERR_CONFLICT, "queue '%s' is of the configuration", shown);
		(void)!err_hint(&err,
		        "take it out of there, and start again; K= takes back what was set at run time");
	} else {
		if (apply(c, &e)) {
			log_info("queue.remove", "queue=%s by=\"%s\"", c->arg, c->who.name);
			call_reply_text(c, 204, "text/plain", "");
		}
		return;
	}
	call_fail(c, &err);
}
