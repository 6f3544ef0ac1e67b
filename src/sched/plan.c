/*
 * DESIGN. Jobs that are alike (struct sched_class) stand in one ordered tree. The heads of all classes are merged by
 * queue priority, job priority and order; the first head is placed, or its whole class is out for this plan, since
 * room only shrinks while a plan is made. The work is (classes + placements) x nodes, however many jobs wait.
 */
#include "sched/limit.h"
#include "sched/sched_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct cursor {
	const struct sched_class *class;
	struct job *job;  /* next of its class */
	uint64_t pos;     /* of an array: next task */
	uint64_t started; /* of an array: tasks placed in this plan */
	RB_ENTRY(cursor) link;
};

static int cursor_cmp(const struct cursor *a, const struct cursor *b)
{
	int32_t qa = a->class->shape.queue->priority, qb = b->class->shape.queue->priority;

	if (qa != qb)
		return qa > qb ? -1 : 1;
	return job_order_cmp(a->job, b->job);
}

RB_HEAD(cursors, cursor);
RB_PROTOTYPE(cursors, cursor, link, cursor_cmp)
RB_GENERATE(cursors, cursor, link, cursor_cmp)

static void enter_job(struct cursor *c, struct job *j)
{
	c->job = j;
	c->started = 0;
	c->pos = j && j->is_array ? array_next(j->array, 0) : 0;
}

/* What of the job at the cursor may still start in this plan. A task that is READY has its place under the throttle. */
static bool has_more(const struct cursor *c)
{
	const struct job *j = c->job;

	if (!j->is_array)
		return c->started == 0;
	return c->pos < j->array->n && c->started < array_places(j);
}

/* On to a job of which something may start, and which no guest stands for. */
static void skip(struct cursor *c, const struct guest *g)
{
	while (c->job && (!has_more(c) || (g && c->job == g->instead_of)))
		enter_job(c, RB_NEXT(job_order, &c->class->ready, c->job));
}

static void advance(struct cursor *c, const struct guest *g)
{
	c->started++;
	if (c->job->is_array)
		c->pos = array_next(c->job->array, c->pos + 1);
	skip(c, g);
}

static void gather(const struct world *w, struct guest *g, struct cursors *set, struct cursor *pool)
{
	struct sched_class *c, *next;

	if (g) {
		pool->class = &g->class;
		pool->job = &g->job;
		RB_INSERT(cursors, set, pool++);
	}
	HASH_ITER (hh, w->classes, c, next) {
		if (c->shape.queue->paused || !c->first_ready)
			continue;
		pool->class = c;
		enter_job(pool, c->first_ready);
		skip(pool, g);
		if (pool->job)
			RB_INSERT(cursors, set, pool++);
	}
}

const struct sched_head *sched__find_head(const struct sched *s, const struct queue *q)
{
	for (uint32_t i = 0; i < s->n_heads; i++)
		if (s->heads[i].queue == q)
			return &s->heads[i];
	return NULL;
}

bool sched__is_blocked(const struct sched *s, const struct queue *q)
{
	return q->strict && sched__find_head(s, q) != NULL;
}

/* No node that is known could ever take it, or its queue never lets it: not even a strict queue waits for that. */
static bool is_hopeless(const struct world *w, const struct sched_shape *shape, const struct job *j)
{
	struct err err;

	return limits_forbid(shape) || sched_check_possible(w, j->req, &err) != 0;
}

static struct need need_of_class(const struct sched_shape *shape, const struct job *j)
{
	struct need need = need_of_shape(shape);

	need.user = j->req->user;
	return need;
}

void sched__note_head(struct sched *s, const struct world *w, const struct sched_shape *shape,
        const struct job *j, uint64_t pos, int64_t now_ms)
{
	const struct queue *q = shape->queue;
	const struct need need = need_of_class(shape, j);
	int64_t until_ms = q->patience_ms ? j->submitted_ms + (int64_t)q->patience_ms : INT64_MAX;
	int64_t ease_ms = limits_ease_ms(s->given, shape, now_ms);
	struct sched_head h = {.queue = q, .id = j->id, .pos = pos};
	struct reservation at = {.at_ms = ROOM_NEVER};
	bool is_patient = now_ms < until_ms, has_place;

	if (sched__find_head(s, q))
		return;
	/* Nothing is kept for who waits for a limit of which nobody knows when it will be free. */
	if (ease_ms == ROOM_NEVER && limits_allow(s->given, shape, now_ms))
		ease_ms = now_ms;
	has_place = ease_ms != ROOM_NEVER && room_reserve(s->room, &need, ease_ms, is_patient, &at);
	if (!has_place && (!q->strict || is_hopeless(w, shape, j)))
		return;
	h.node = at.node;
	h.at_ms = at.at_ms;
	h.is_kept = has_place && (at.at_ms != ROOM_NEVER || !is_patient);
	h.patient_until_ms = h.is_kept || !has_place ? INT64_MAX : until_ms;
	if (h.is_kept)
		limits_keep(s->given, shape, at.at_ms);
	MEM_GROW(s->heads, s->n_heads, s->cap_heads);
	s->heads[s->n_heads++] = h;
}

/* The first of the cursors starts, or waits. False: it waits, and its class is out. */
static bool start_first(struct sched *s, const struct world *w, struct cursor *c, int64_t now_ms,
        struct placement *ret)
{
	const struct sched_shape *shape = &c->class->shape;
	const struct need need = need_of_class(shape, c->job);
	bool is_allowed, has_room;

	if (sched__is_blocked(s, shape->queue))
		return false;
	is_allowed = limits_allow(s->given, shape, now_ms);
	has_room = is_allowed && room_fit(s->room, &need, ret);
	if (!has_room || !limits_take(s->given, shape, ret, now_ms)) {
		/* What could never start keeps nobody waiting. */
		if (is_allowed == has_room && !is_hopeless(w, shape, c->job))
			limits_close(s->given, shape);
		sched__note_head(s, w, shape, c->job, c->pos, now_ms);
		return false;
	}
	room_take(s->room, &need, ret);
	ret->id = c->job->id;
	ret->pos = c->pos;
	return true;
}

static void note_passed(struct guest *g, const struct sched_class *class)
{
	MEM_GROW(g->passed, g->n_passed, g->cap_passed);
	g->passed[g->n_passed++] = class;
}

static void begin(struct sched *s, const struct world *w, int64_t now_ms)
{
	limits_free(s->given);
	s->given = limits_new();
	s->n_heads = 0;
	s->is_asked = false;
	room_sync(s->room, w, now_ms);
}

bool sched__plan(struct sched *s, const struct world *w, int64_t now_ms, size_t max,
        struct guest *g, struct sched_plan *plan)
{
	struct cursors set = RB_INITIALIZER(&set);
	struct cursor *pool = mem_zalloc((HASH_COUNT(w->classes) + 2) * sizeof(*pool));
	struct cursor *c;
	bool is_at_guest = false;

	plan->n = 0;
	begin(s, w, now_ms);
	gather(w, g, &set, pool);
	while (plan->n < max && (c = RB_MIN(cursors, &set)) != NULL) {
		is_at_guest = g && c->job == &g->job;
		if (is_at_guest)
			break;
		RB_REMOVE(cursors, &set, c);
		MEM_GROW(plan->v, plan->n, plan->cap);
		if (!start_first(s, w, c, now_ms, &plan->v[plan->n])) {
			if (g)
				note_passed(g, c->class);
			continue;
		}
		plan->n++;
		advance(c, g);
		if (c->job)
			RB_INSERT(cursors, &set, c);
	}
	if (is_at_guest)
		g->is_limited = !limits_allow(s->given, &g->class.shape, now_ms);
	free(pool);
	return is_at_guest;
}

void sched_plan_make(
        struct sched *s, const struct world *w, int64_t now_ms, size_t max, struct sched_plan *plan)
{
	sched__plan(s, w, now_ms, max, NULL, plan);
	s->next_ms = INT64_MAX;
	for (uint32_t i = 0; i < s->n_heads; i++)
		s->next_ms = MIN(s->next_ms, s->heads[i].patient_until_ms);
}

void sched_plan_done(struct sched_plan *plan)
{
	free(plan->v);
	*plan = (struct sched_plan){0};
}

size_t sched_heads(const struct sched *s, const struct sched_head **ret)
{
	*ret = s->heads;
	return s->n_heads;
}

int64_t sched_next_ms(const struct sched *s)
{
	return s->next_ms;
}
