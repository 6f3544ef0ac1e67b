/* Everything about one job that waits, or that would: the plan as far as its place, and what is there. */
#include "base/mem.h"
#include "sched/lack.h"
#include "sched/limit.h"
#include "sched/sched_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_MAX 10000 /* placements before it; behind so many it is not told where it starts */

/* Those of queues that go first, or beside its own; not of its own. */
static uint64_t count_of_others(const struct world *w, const struct queue *q, const struct job *j)
{
	const struct sched_class *c;
	uint64_t n = 0;

	for (c = w->classes; c; c = c->hh.next) {
		const struct queue *other = c->shape.queue;
		if (other == q || other->paused || other->priority < q->priority)
			continue;
		n += job_order_count(&c->ready, other->priority > q->priority ? NULL : j);
	}
	return n;
}

static void look_at_node(
        struct sched *s, const struct room_view *v, const struct need *need, struct sched_lack *ret)
{
	const struct place_room *free = room_view_for(s->room, v, need);

	ret->node = v->node;
	if (v->node->state != NODE_UP)
		snprintf(ret->missing, sizeof(ret->missing), "it is down");
	else if (!node_could(v->node, need))
		node_never(v->node, need, ret->missing, sizeof(ret->missing));
	else if (v->node->drained)
		snprintf(ret->missing, sizeof(ret->missing), "it is drained");
	else if (node_lack(v->node, v->now, need, ret->missing, sizeof(ret->missing)))
		return;
	else if (free != v->now &&
	         node_lack(v->node, free, need, ret->missing, sizeof(ret->missing)))
		snprintf(ret->missing, sizeof(ret->missing),
		        "its room is kept for a job that goes first");
	else
		snprintf(ret->missing, sizeof(ret->missing), "nothing");
}

static void look_at_nodes(struct sched *s, const struct need *need, struct sched_why *y)
{
	struct room_view v;
	size_t cap = 0;

	for (uint32_t i = 0; room_look(s->room, i, &v); i++) {
		MEM_GROW(y->nodes, y->n_nodes, cap);
		look_at_node(s, &v, need, &y->nodes[y->n_nodes++]);
	}
}

/* Whether it could ever be in its way: on a node, or as the first of its queue. */
static bool is_rival(const struct world *w, const struct guest *g, const struct need *need,
        const struct sched_shape *other)
{
	bool is_of_queue = other->queue == g->class.shape.queue;
	const struct need others = need_of_shape(other);
	const struct node *n;

	TAILQ_FOREACH (n, &w->nodes, link)
		if (node_could(n, &others) && (is_of_queue || node_could(n, need)))
			return true;
	return false;
}

/* Nobody who waits before it can take its place, wherever room comes first. */
static bool is_first_of_all(const struct world *w, const struct guest *g, const struct need *need)
{
	for (uint32_t i = 0; i < g->n_passed; i++)
		if (is_rival(w, g, need, &g->passed[i]->shape))
			return false;
	return true;
}

/* At its place in the order: a start, or the change that makes one; and when it comes first, its reservation. */
static void look_ahead(struct sched *s, const struct world *w, struct guest *g, int64_t now_ms,
        struct sched_why *y)
{
	const struct sched_shape *shape = &g->class.shape;
	const struct need need = need_of(g->job.req, g->class.shape.queue);
	const struct queue *q = shape->queue;
	uint64_t most_milli = limits_most_milli(s->given, shape, now_ms);
	const struct sched_head *h;
	bool is_eased;

	if (sched__is_blocked(s, q) || q->paused || g->job.wait != WAIT_READY)
		return;
	y->starts = !g->is_limited && room_fit(s->room, &need, &y->at) &&
	            limits_take(s->given, shape, &y->at, now_ms);
	if (y->starts) {
		y->earliest_ms = now_ms;
		return;
	}
	if (most_milli == 0 || !sched__find_change(s, now_ms, g, most_milli, &y->changed, y->change,
	                               sizeof(y->change)))
		y->change[0] = '\0';
	if (sched__find_head(s, q))
		return;
	is_eased = limits_ease_ms(s->given, shape, now_ms) != ROOM_NEVER;
	sched__note_head(s, w, shape, &g->job, 0, now_ms);
	h = sched__find_head(s, q);
	if (h && h->at_ms != ROOM_NEVER && is_eased && is_first_of_all(w, g, &need))
		y->earliest_ms = h->at_ms;
}

static void explain(struct sched *s, const struct world *w, int64_t now_ms, struct guest *g,
        struct sched_why *y)
{
	const struct need need = need_of(g->job.req, g->class.shape.queue);
	struct sched_plan plan = {0};

	y->position = world_position(w, &g->job);
	y->ahead = y->position - 1 + count_of_others(w, g->class.shape.queue, &g->job);
	y->earliest_ms = INT64_MAX;
	if (sched__plan(s, w, now_ms, PLAN_MAX, g, &plan)) {
		look_at_nodes(s, &need, y);
		look_ahead(s, w, g, now_ms, y);
	}
	sched_plan_done(&plan);
	free(g->passed);
	y->n_reasons = sched__say_reasons(s, w, now_ms, &g->job, y->starts, y->reasons);
}

static void invite(struct guest *g, const struct request *r, const struct queue *q)
{
	g->class.shape = (struct sched_shape){.queue = (struct queue *)(uintptr_t)q,
	        .user = r->user,
	        .gpu = r->gpu,
	        .constraint = r->constraint,
	        .cpus = request_cpus(r),
	        .mem_bytes = r->mem_bytes,
	        .time_limit_ms = r->time_limit_ms};
	RB_INIT(&g->class.ready);
	g->job.class = &g->class;
	g->job.req = (struct request *)(uintptr_t)r;
	g->job.is_array = false;
}

void sched_why(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_why *ret)
{
	struct guest g = {.job = *j, .instead_of = j};

	*ret = (struct sched_why){.earliest_ms = INT64_MAX};
	if (job_state_is_final(j->state) || j->wait == WAIT_NONE)
		return;
	invite(&g, j->req, j->class->shape.queue);
	explain(s, w, now_ms, &g, ret);
}

void sched_why_request(struct sched *s, const struct world *w, int64_t now_ms,
        const struct request *r, struct sched_why *ret)
{
	struct queue usual = {0};
	const struct queue *q = world_find_queue(w, r->queue);
	struct guest g = {.job = {.id = {w->next_job, TASK_NONE},
	                          .wait = r->hold ? WAIT_HELD : WAIT_READY,
	                          .held = r->hold,
	                          .priority = r->priority,
	                          .order = w->next_order,
	                          .submitted_ms = now_ms}};

	*ret = (struct sched_why){.earliest_ms = INT64_MAX};
	snprintf(usual.name, sizeof(usual.name), "%s", r->queue);
	invite(&g, r, q ? q : &usual);
	explain(s, w, now_ms, &g, ret);
}

void sched_why_done(struct sched_why *y)
{
	free(y->nodes);
	*y = (struct sched_why){0};
}
