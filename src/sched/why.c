/*
 * DESIGN. Why a job waits is read off a plan: `sched_reasons` off one that is made once for the world as it is, however many
 * jobs are asked about; `sched_why` off one that ends at the job's own place, where the room is exactly what the job finds.
 */
#include "sched/lack.h"
#include "sched/limit.h"
#include "sched/sched_priv.h"
#include "base/mem.h"
#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MAX    1000 /* placements of a plan that is made to answer questions */
#define ASK_AGE_MS 1000 /* it holds so long, if nothing happens */
#define DEPS_MAX   3    /* told one by one */

struct asking {
	struct sched *s;
	const struct world *w;
	int64_t now_ms;
	const struct job *job;
	struct need need;
	const struct queue *queue;
	bool starts; /* in the plan */
	struct sched_reason *out;
	size_t n;
};

/* Impossible, over a limit, kept back, waiting for room, starting. */
static unsigned rank_of(enum reason r)
{
	switch (r) {
	case REASON_IMPOSSIBLE:
		return 0;
	case REASON_ARRAY_THROTTLE:
	case REASON_LIMIT:
		return 1;
	case REASON_HELD:
	case REASON_DEPENDENCY:
	case REASON_QUEUE_PAUSED:
	case REASON_NO_DISK:
	case REASON_BACKOFF:
		return 2;
	case REASON_STARTING:
		return 4;
	default:
		return 3;
	}
}

static void say(struct asking *a, enum reason code, const char *text)
{
	size_t at = a->n;

	if (a->n == SCHED_REASONS_MAX)
		return;
	for (; at && rank_of(a->out[at - 1].code) > rank_of(code); at--)
		a->out[at] = a->out[at - 1];
	a->out[at].code = code;
	snprintf(a->out[at].text, sizeof(a->out[at].text), "%s", text ? text : reason_text(code));
	a->n++;
}

static void say_dependencies(struct asking *a)
{
	static const char *const until[] = {"has started", "has ended", "has completed"};
	const struct job *j = a->job->parent ? a->job->parent : a->job;
	char id[48], text[200];
	uint32_t unmet = 0;

	for (uint32_t i = 0; j->dep_met && i < j->req->n_deps; i++) {
		if (j->dep_met[i] || ++unmet > DEPS_MAX)
			continue;
		snprintf(text, sizeof(text), "waits until job %s %s",
		        job_id_format(j->req->deps[i].on, id), until[j->req->deps[i].kind]);
		say(a, REASON_DEPENDENCY, text);
	}
	if (unmet > DEPS_MAX) {
		snprintf(text, sizeof(text), "and for %u jobs more", unmet - DEPS_MAX);
		say(a, REASON_DEPENDENCY, text);
	}
}

/* What keeps it back, whatever room there is. */
static void say_kept_back(struct asking *a)
{
	const struct job *j = a->job, *array = j->parent ? j->parent : j;
	char text[160], when[32];

	if (j->held || array->held)
		say(a, REASON_HELD, NULL);
	say_dependencies(a);
	if (j->wait == WAIT_BACKOFF) {
		snprintf(text, sizeof(text), "attempt %u begins not before %s", j->n_attempts + 1,
		        num_format_time(j->not_before_ms, when));
		if (j->reason == REASON_NO_DISK)
			say(a, REASON_NO_DISK, j->transitions[j->n_transitions - 1].text);
		say(a, REASON_BACKOFF, text);
	}
	if (j->wait == WAIT_THROTTLE) {
		snprintf(text, sizeof(text), "its array runs at most %u tasks at once",
		        array->req->throttle);
		say(a, REASON_ARRAY_THROTTLE, text);
	}
	if (a->queue->paused)
		say(a, REASON_QUEUE_PAUSED, NULL);
}

static const char *node_name(const struct world *w, uint64_t num)
{
	const struct node *n = world_find_node_num(w, num);

	return n ? n->name : "a node";
}

/* Who goes first, and what is kept free for it. */
static void say_order(struct asking *a, const struct sched_head *h, bool is_strict)
{
	char id[48], when[32], text[240];

	job_id_format(h->id, id);
	if (is_strict)
		snprintf(text, sizeof(text), "queue '%s' is strict and job %s is before it",
		        a->queue->name, id);
	else if (h->at_ms == ROOM_NEVER)
		snprintf(text, sizeof(text), "job %s goes first: %s is kept free for it", id,
		        node_name(a->w, h->node));
	else
		snprintf(text, sizeof(text), "job %s goes first: its place on %s is kept from %s",
		        id, node_name(a->w, h->node), num_format_time(h->at_ms, when));
	say(a, REASON_ORDER, text);
}

/* Of the first of its queue: when its turn comes, as far as anything says. */
static void add_turn(const struct asking *a, const struct sched_head *h, char *text, size_t size)
{
	const char *name = node_name(a->w, h->node);
	size_t n = strlen(text);
	char when[32];

	if (h->is_kept && h->at_ms != ROOM_NEVER)
		snprintf(text + n, size - n, "; its place on %s is kept from %s", name,
		        num_format_time(h->at_ms, when));
	else if (h->is_kept)
		snprintf(text + n, size - n, "; %s is kept free for it", name);
	else if (h->patient_until_ms != INT64_MAX)
		snprintf(text + n, size - n, "; from %s on %s is kept free for it",
		        num_format_time(h->patient_until_ms, when), name);
}

static bool is_head(const struct asking *a, const struct sched_head *h)
{
	const struct job *j = a->job;

	return h && (job_id_eq(h->id, j->id) || (j->parent && job_id_eq(h->id, j->parent->id)));
}

static const struct sched_head *head_on(const struct sched *s, uint64_t node)
{
	for (uint32_t i = 0; i < s->n_heads; i++)
		if (s->heads[i].is_kept && s->heads[i].node == node)
			return &s->heads[i];
	return NULL;
}

static void say_no_room(struct asking *a, const struct sched_head *own)
{
	struct room_view v;
	char text[240];
	bool is_told = false;

	for (uint32_t i = 0; !is_told && room_look(a->s->room, i, &v); i++) {
		if (!v.now->is_open || !node_could(v.node, &a->need) ||
		        (own && own->is_kept && own->node != v.node->num))
			continue;
		is_told = true;
		if (!node_lack(v.node, v.now, &a->need, text, sizeof(text)))
			snprintf(text, sizeof(text), "%s", reason_text(REASON_NO_ROOM));
		if (own)
			add_turn(a, own, text, sizeof(text));
		say(a, REASON_NO_ROOM, text);
		if (node_is_fragmented(v.node, v.now, &a->need, text, sizeof(text)))
			say(a, REASON_FRAGMENTED, text);
	}
}

/* Some node could take it. */
static void say_turn(struct asking *a)
{
	const struct sched_head *head = sched__find_head(a->s, a->queue), *other;
	struct placement p;
	bool fits, is_limited;
	char text[240];
	struct limit_question limit = {
	        .given = a->s->given, .now_ms = a->now_ms, .shape = &a->job->class->shape};

	if (a->starts) {
		say(a, REASON_STARTING, NULL);
		return;
	}
	fits = room_fit_unkept(a->s->room, &a->need, &p);
	limit.at = fits ? &p : NULL;
	is_limited = limit_reached(&limit, text, sizeof(text));
	if (is_limited)
		say(a, REASON_LIMIT, text);
	if (head && !is_head(a, head) && a->queue->strict) {
		say_order(a, head, true);
	} else if (fits && !is_limited && !is_head(a, head) && !a->queue->paused) {
		other = head_on(a->s, p.node);
		if (!other && head && head->is_kept)
			other = head;
		if (other)
			say_order(a, other, false);
		else
			say(a, REASON_ORDER, NULL);
	}
	if (!fits || is_head(a, head))
		say_no_room(a, is_head(a, head) ? head : NULL);
}

static void say_place(struct asking *a)
{
	const struct node *n, *drained = NULL;
	bool any = false, able = false;
	char text[200] = "no connected node could ever satisfy ";
	size_t len = strlen(text);

	TAILQ_FOREACH (n, &a->w->nodes, link) {
		if (n->state != NODE_UP)
			continue;
		any = true;
		if (able || !node_could(n, &a->need))
			continue;
		if (n->drained)
			drained = n;
		else
			able = true;
	}
	if (!any) {
		say(a, REASON_NO_NODES, NULL);
	} else if (!able && drained) {
		snprintf(text, sizeof(text), "node %s could take it and is drained", drained->name);
		say(a, REASON_NODE_DRAINED, text);
	} else if (!able) {
		need_format(&a->need, text + len, sizeof(text) - len);
		say(a, REASON_IMPOSSIBLE, text);
	} else if (a->job->wait == WAIT_READY) {
		say_turn(a);
	}
}

size_t sched__say_reasons(struct sched *s, const struct world *w, int64_t now_ms,
        const struct job *j, bool starts, struct sched_reason out[SCHED_REASONS_MAX])
{
	struct asking a = {
	        .s = s, .w = w, .now_ms = now_ms, .job = j, .starts = starts, .out = out};

	if (job_state_is_final(j->state) || j->wait == WAIT_NONE)
		return 0;
	a.need = need_of(j->req, j->class->shape.queue);
	a.queue = j->class->shape.queue;
	say_kept_back(&a);
	say_place(&a);
	return a.n;
}

/* The plan for the world as it is now, once for everybody who asks. */
static void ask(struct sched *s, const struct world *w, int64_t now_ms)
{
	if (s->is_asked && s->asked_world == w && s->asked_events == w->n_events &&
	        now_ms >= s->asked_ms && now_ms - s->asked_ms < ASK_AGE_MS)
		return;
	sched__plan(s, w, now_ms, ASK_MAX, NULL, &s->asked);
	s->is_asked = true;
	s->asked_world = w;
	s->asked_events = w->n_events;
	s->asked_ms = now_ms;
}

static bool is_planned(const struct sched_plan *plan, const struct job *j)
{
	for (size_t i = 0; i < plan->n; i++)
		if (job_id_eq(plan->v[i].id, j->id))
			return true;
	return false;
}

size_t sched_reasons(struct sched *s, const struct world *w, int64_t now_ms, const struct job *j,
        struct sched_reason out[SCHED_REASONS_MAX])
{
	ask(s, w, now_ms);
	return sched__say_reasons(
	        s, w, now_ms, j, is_planned(&s->asked, j) || s->asked.n == ASK_MAX, out);
}
