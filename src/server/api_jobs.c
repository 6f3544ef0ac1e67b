/* One job: show, why, wait, cancel, hold, release, retry. */
#include "server/batch.h"
#include "server/view.h"
#include "server/watch.h"
#include "base/num.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#define WAIT_MAX_S 60

static void show(struct call *c, struct job *j)
{
	call_reply_job(c, j, view_job_whole(c->s, c->world, j, caller_owns(&c->who, j)));
}

void api_job_show(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, show);
}

static void why(struct call *c, struct job *j)
{
	call_reply_json(c, 200, view_why(c->s, c->world, j));
}

void api_job_why(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, why);
}

/* Long poll. */
struct wait {
	struct call *c;
	struct job_id id;
	/* of the job, and of a task that has not started its array's, which may be cancelled before */
	struct watch *watches[2];
	struct loop_timer *timer;
};

static void wait_reply(struct call *c, struct job *j)
{
	call_reply_job(c, j, view_job(c->s, c->world, j));
}

void api_job_now(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, wait_reply);
}

static void wait_end(struct wait *w)
{
	for (size_t i = 0; i < ARRAY_LEN(w->watches); i++)
		watch_remove(w->c->s, STEAL(w->watches[i]));
	loop_timer_free(STEAL(w->timer));
}

static void wait_over(void *wait)
{
	struct wait *w = wait;

	wait_end(w);
	if (w->c->r)
		call_with_job(w->c, w->id, wait_reply);
}

static bool wait_changed(struct wait *w, struct watch **own)
{
	const struct job *j = call_find_job(w->c, w->id);

	if (j && !job_state_is_final(j->state))
		return true;
	*own = NULL;
	wait_over(w);
	return false;
}

static bool wait_job_changed(struct server *s, void *data)
{
	struct wait *w = data;

	(void)s;
	return wait_changed(w, &w->watches[0]);
}

static bool wait_array_changed(struct server *s, void *data)
{
	struct wait *w = data;

	(void)s;
	return wait_changed(w, &w->watches[1]);
}

static void wait_gone(struct call *c)
{
	wait_end(c->data);
}

static void begin_wait(struct call *c, struct job *j)
{
	const char *text = net_request_query(c->r, "timeout");
	uint64_t seconds = 30;
	struct wait *w;
	struct err err;

	if (text && num_parse_u64(text, 1000000, &seconds, &err)) {
		call_fail(c, &err);
		return;
	}
	/* Of an end that is not durable yet its watch tells. */
	if (seconds == 0 || (job_state_is_final(j->state) &&
	                            (batch_is_idle(c->s) || !batch_has_job(c->s, j)))) {
		wait_reply(c, j);
		return;
	}
	w = talloc_zero(c->ctx, struct wait);
	w->c = c;
	w->id = j->id;
	w->watches[0] = watch_add(c->s, j->id, wait_job_changed, w);
	if (j->id.task != TASK_NONE && !world_find_job(c->s->world, j->id))
		w->watches[1] = watch_add(
		        c->s, (struct job_id){j->id.num, TASK_NONE}, wait_array_changed, w);
	w->timer = loop_timer_new(c->s->loop, wait_over, w);
	loop_timer_start(w->timer, MIN(seconds, WAIT_MAX_S) * 1000, 0);
	c->data = w;
	c->on_gone = wait_gone;
}

void api_job_wait(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, begin_wait);
}

/* Commands: all of them one event about one job. */

struct control {
	enum event_kind kind;
	struct job_id id;
	bool force;
};

static void carry_out(struct call *c, struct job *j)
{
	struct control *k = c->data;
	struct event e = {.kind = k->kind,
	        .id = k->id,
	        .reason = REASON_CANCELLED,
	        .actor = c->who.name,
	        .force = k->force};
	struct applied out;
	struct err err;

	if (!call_may_touch(c, j))
		return;
	if (batch_check_room(c->s, &err) || server_apply(c->s, &e, &out, &err))
		call_fail(c, &err);
	else
		call_reply_json(c, 200, view_job(c->s, c->world, out.job));
}

/* A task that never was a job of its own is cancelled through its array. */
static void control_job(struct call *c, enum event_kind kind, bool force)
{
	struct control *k = talloc(c->ctx, struct control);
	struct job *parent;

	*k = (struct control){.kind = kind, .force = force};
	c->data = k;
	if (!call_job_id(c, &k->id))
		return;
	parent = world_find_job(c->s->world, (struct job_id){k->id.num, TASK_NONE});
	if (!world_find_job(c->s->world, k->id) && parent && parent->array &&
	        kind == EVENT_CANCEL &&
	        array_is_unstarted(parent->array, request_task_pos(parent->req, k->id.task)))
		carry_out(c, parent);
	else
		call_with_job(c, k->id, carry_out);
}

static void on_cancel(struct call *c, json_t *body)
{
	control_job(c, EVENT_CANCEL, json_is_true(json_object_get(body, "force")));
}

void api_job_cancel(struct call *c)
{
	static const struct body_key keys[] = {{"force", true}, {0}};

	call_read_json(c, keys, on_cancel);
}

void api_job_hold(struct call *c)
{
	control_job(c, EVENT_HOLD, false);
}

void api_job_release(struct call *c)
{
	control_job(c, EVENT_RELEASE, false);
}

/* A task's array must be there too, since it counts its tasks. */
static void retry_with_parent(struct call *c, struct job *parent)
{
	(void)parent;
	control_job(c, EVENT_RETRY, false);
}

void api_job_retry(struct call *c)
{
	struct job_id id;

	if (!call_job_id(c, &id))
		return;
	if (id.task != TASK_NONE)
		call_with_job(c, (struct job_id){id.num, TASK_NONE}, retry_with_parent);
	else
		control_job(c, EVENT_RETRY, false);
}
