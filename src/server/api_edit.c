/* A job that waits asks for something else. */
#include "server/batch.h"
#include "server/submit.h"
#include "server/view.h"

#include <string.h>
#include <talloc.h>

static bool is_said(json_t *body, const char *key)
{
	return json_object_get(body, key) != NULL;
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Nothing that decides where it may go, or whether it may wait there, is another. */
static bool is_same_shape(const struct request *a, const struct request *b)
{
	const struct gpu_ask *g = &a->gpu, *h = &b->gpu;

	return same_text(a->queue, b->queue) && request_cpus(a) == request_cpus(b) &&
	       a->mem_bytes == b->mem_bytes && a->time_limit_ms == b->time_limit_ms &&
	       a->retry_max == b->retry_max && g->count == h->count && g->milli == h->milli &&
	       g->fgpu_milli == h->fgpu_milli && g->mem_bytes == h->mem_bytes &&
	       g->share_milli == h->share_milli && g->cc_min == h->cc_min &&
	       g->cuda_min == h->cuda_min && g->driver_min == h->driver_min &&
	       same_text(g->model, h->model) && same_text(a->constraint, b->constraint);
}

/* Jobs and tasks of it that wait. */
static uint64_t count_waiting(const struct job *j)
{
	return j->is_array ? array_unstarted(j->array) + j->array->by_state[JOB_PENDING] : 1;
}

static int settle(
        struct server *s, const struct job *j, struct job_spec *spec, void *ctx, struct err *err)
{
	const struct request *was = j->req;
	bool is_moved = !same_text(was->queue, spec->request.queue);
	int rc;

	if (is_moved)
		spec->from_queue |= spec->request.by_queue;
	if (!spec->from_queue && !code_set_any(&spec->request.retry_on) &&
	        is_same_shape(was, &spec->request))
		return 0;
	rc = submit_settle(s, spec, ctx, err);
	return rc == 0 && is_moved ? submit_check_waiting(s, &spec->request, count_waiting(j), err)
	                           : rc;
}

static int apply_edit(
        struct call *c, struct job *j, json_t *body, struct applied *out, struct err *err)
{
	struct event e = {.kind = EVENT_EDIT, .id = j->id, .actor = c->who.name};
	struct job_spec spec;
	int rc = batch_check_room(c->s, err);

	if (rc == 0)
		rc = job_spec_edit(body, c->ctx, j->req, &spec, err);
	if (rc)
		return rc;
	e.set_priority = is_said(body, "priority");
	e.priority = spec.request.priority;
	if (json_object_size(body) > (e.set_priority ? 1 : 0)) {
		e.request = &spec.request;
		rc = settle(c->s, j, &spec, c->ctx, err);
	}
	return rc ? rc : server_apply(c->s, &e, out, err);
}

static void edit(struct call *c, struct job *j)
{
	struct applied out;
	struct err err;

	if (!call_may_touch(c, j))
		return;
	if (apply_edit(c, j, c->data, &out, &err))
		call_fail(c, &err);
	else
		call_reply_json(c, 200, view_job(c->s, c->world, out.job));
}

static int drop_body(json_t **body)
{
	json_decref(*body);
	return 0;
}

static void on_edit(struct call *c, json_t *body)
{
	struct job_id id;
	json_t **kept;
	struct err err;

	if (!call_job_id(c, &id))
		return;
	if (job_spec_check_edit(body, &err)) {
		call_fail(c, &err);
		return;
	}
	kept = talloc(c->ctx, json_t *);
	*kept = json_incref(body);
	talloc_set_destructor(kept, drop_body);
	c->data = body;
	call_with_job(c, id, edit);
}

void api_job_edit(struct call *c)
{
	call_read_json(c, NULL, on_edit);
}
