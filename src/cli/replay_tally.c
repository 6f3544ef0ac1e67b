#include "cli/replay_priv.h"
#include "base/mem.h"

#include <stdlib.h>

/* By what was asked for, of a device as most are. */
static enum task_class class_of(const struct world *w, const struct gpu_ask *g)
{
	uint32_t milli = g->milli ? g->milli : g->share_milli;

	if (g->count)
		return g->count == 1 ? ONE : g->count < 8 ? SEVERAL : EIGHT;
	if (!gpu_ask_any(g))
		return CPU_ONLY;
	if (g->fgpu_milli)
		milli = g->fgpu_milli / MAX(w->policy.fgpu_per_device, 1);
	return milli >= 1000 ? ONE : milli > 500 ? PART_LARGE : PART_SMALL;
}

static void add_wait(struct replay_class *c, int64_t ms, uint64_t n)
{
	MEM_GROW(c->waits, c->n_waits, c->cap_waits);
	c->waits[c->n_waits++] = (struct replay_wait){MAX(ms, 0), n};
}

/* Who was held or depended on others did not wait for room alone. */
static bool counts(const struct job *j)
{
	return !j->req->hold && !j->req->n_deps;
}

void tally_start(struct stage *g, const struct job *j)
{
	struct replay_class *c = &g->r->classes[class_of(g->w, &j->req->gpu)];

	g->r->placements++;
	if (j->n_attempts > 1)
		return;
	c->started++;
	if (counts(j))
		add_wait(c, g->now_ms - j->submitted_ms, 1);
}

void tally_waiting(struct stage *g)
{
	for (const struct job *j = world_next_job(g->w, NULL); j; j = world_next_job(g->w, j)) {
		struct replay_class *c = &g->r->classes[class_of(g->w, &j->req->gpu)];
		uint64_t n = j->is_array ? array_unstarted(j->array) : 1;
		if (j->wait != WAIT_READY || !n)
			continue;
		c->waiting += n;
		if (!j->n_attempts && counts(j))
			add_wait(c, g->now_ms - j->submitted_ms, n);
	}
}

static void look(struct stage *g)
{
	const struct node *n;

	g->all = g->used = g->broken = 0;
	TAILQ_FOREACH (n, &g->w->nodes, link)
		for (uint32_t i = 0; i < n->n_devices; i++) {
			const struct device *d = &n->devices[i];
			if (!device_is_usable(d) || n->state != NODE_UP)
				continue;
			g->all += 1000;
			g->used += d->used_milli;
			g->broken += d->used_milli ? device_free_milli(d) : 0;
		}
	g->looked_at = g->w->n_events;
}

void tally_time(struct stage *g, int64_t ms)
{
	if (g->looked_at != g->w->n_events)
		look(g);
	g->r->all += g->all * (double)ms;
	g->r->used += g->used * (double)ms;
	g->r->broken += g->broken * (double)ms;
}

static int by_wait(const void *a, const void *b)
{
	const struct replay_wait *x = a, *y = b;

	return (x->ms > y->ms) - (x->ms < y->ms);
}

int64_t replay_wait_at(const struct replay_class *c, double part)
{
	double all = 0, so_far = 0;

	if (c->n_waits)
		qsort(c->waits, c->n_waits, sizeof(*c->waits), by_wait);
	for (size_t i = 0; i < c->n_waits; i++)
		all += (double)c->waits[i].n;
	for (size_t i = 0; i < c->n_waits; i++) {
		so_far += (double)c->waits[i].n;
		if (so_far >= part * all)
			return c->waits[i].ms;
	}
	return 0;
}

double replay_mean_wait(const struct replay_class *c)
{
	double sum = 0, n = 0;

	for (size_t i = 0; i < c->n_waits; i++) {
		sum += (double)c->waits[i].ms * (double)c->waits[i].n;
		n += (double)c->waits[i].n;
	}
	return n > 0 ? sum / n : 0;
}

void replay_done(struct replay *r)
{
	for (int i = 0; i < CLASSES; i++)
		free(r->classes[i].waits);
}
