/* The server itself: health, what it is, configuration, backup, going down; and the door for agents. */
#include "server/batch.h"
#include "server/links.h"
#include "server/view.h"
#include "base/mem.h"
#include "base/version.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

void api_health(struct call *c)
{
	net_request_reply(c->r, 200, "text/plain", "ok\n", 3);
}

static const char *not_ready(const struct server *s)
{
	struct err ignored;

	if (s->shutting_down)
		return "going down";
	if (server_is_stuck(s, &ignored))
		return "the store does not take anything now";
	if (!links_has_local(s))
		return "this machine's agent is not connected";
	return NULL;
}

void api_ready(struct call *c)
{
	const char *why = not_ready(c->s);
	char line[120];

	snprintf(line, sizeof(line), "%s\n", why ? why : "ready");
	net_request_reply(c->r, why ? 503 : 200, "text/plain", line, strlen(line));
}

void api_server(struct call *c)
{
	const struct server *s = c->s;
	const struct node *n;
	const struct queue *q, *next;
	uint64_t running = 0, waiting = 0, up = 0;
	struct err trouble;
	json_t *o;

	HASH_ITER (hh, s->world->queues, q, next) {
		running += q->n_running;
		waiting += q->n_waiting;
	}
	TAILQ_FOREACH (n, &s->world->nodes, link)
		up += n->state == NODE_UP;
	o = json_pack("{s:i, s:s, s:i, s:s, s:o, s:b, s:I, s:I, s:I, s:s?, s:s?}", "schema", 1,
	        "version", berth_version, "pid", (int)getpid(), "data", s->data_dir, "started_at",
	        view_time(s->started_ms), "ready", not_ready(s) == NULL, "jobs_waiting",
	        (json_int_t)waiting, "jobs_running", (json_int_t)running, "nodes", (json_int_t)up,
	        "listen", s->listen, "tls_pin", s->tls_pin[0] ? s->tls_pin : NULL);
	if (not_ready(s))
		json_object_set_new(o, "not_ready", json_string(not_ready(s)));
	if (server_is_stuck(s, &trouble))
		json_object_set_new(o, "store_trouble",
		        json_string(s->store_trouble != ERR_NONE ? s->store_trouble_text
		                                                 : trouble.text));
	/* At once: this is where people look when nothing becomes durable. */
	call_reply_json_now(c, 200, o);
}

static void add_setting(const struct conf_row *row, void *list)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "key", row->key, "value",
	                                    row->value, "from", conf_source_name(row->source)));
}

void api_config(struct call *c)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX * 4);
	json_t *list = json_array();

	conf_each(c->s->conf, add_setting, list);
	conf_show(c->s->conf, false, &text);
	call_reply_json_now(c, 200,
	        json_pack(
	                "{s:i, s:o, s:s}", "schema", 1, "settings", list, "text", buf_str(&text)));
}

/* At most once: what runs is cancelled, not put back. */
static void cancel_running(struct server *s, const char *actor)
{
	for (struct job *j = world_next_job(s->world, NULL); j; j = world_next_job(s->world, j)) {
		struct event e = {.kind = EVENT_CANCEL,
		        .id = j->id,
		        .reason = REASON_CANCELLED,
		        .actor = actor};
		if (!j->is_array && job_state_holds(j->state))
			server_apply_or_log(s, &e);
	}
}

static void go_down(struct server *s, void *data)
{
	(void)data;
	if (s->shutdown_keep || !links_has_local(s))
		server_stop(s);
	else
		links_shutdown_local(s);
}

static void on_shutdown(struct call *c, json_t *body)
{
	struct server *s = c->s;

	s->shutting_down = true;
	s->shutdown_keep = json_is_true(json_object_get(body, "keep"));
	log_info("shutdown", "by=\"%s\" keep=%d", c->who.name, (int)s->shutdown_keep);
	if (!s->shutdown_keep && json_is_true(json_object_get(body, "no_retry")))
		cancel_running(s, "berth down --no-retry");
	call_reply_json_now(
	        c, 202, json_pack("{s:i, s:b}", "schema", 1, "keep", (int)s->shutdown_keep));
	/* What cannot be made durable now was told to nobody, and keeps nobody from going down. */
	if (s->store_trouble != ERR_NONE)
		go_down(s, NULL);
	else
		batch_after(s, go_down, NULL);
}

void api_shutdown(struct call *c)
{
	static const struct body_key keys[] = {{"keep", true}, {"no_retry", true}, {0}};

	call_read_json(c, keys, on_shutdown);
}

void api_link(struct call *c)
{
	struct err err;

	if (!net_request_wants_ws(c->r)) {
		(void)!err_set(&err, ERR_INVALID, "agents connect here by WebSocket");
		call_fail(c, &err);
		return;
	}
	/* A request that was taken over is not closed any more. */
	if (links_accept(c->s, c->r, &c->who))
		call_taken_over(c);
}
