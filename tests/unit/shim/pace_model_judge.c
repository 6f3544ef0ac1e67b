/* The judge of a device, as the agent runs it: it is woken, and is late, as other threads are. */
#include "pace_model_priv.h"

#include <stdlib.h>
#include <string.h>

static uint64_t judge_now(void *arg)
{
	return ((struct gpu *)arg)->model->now;
}

static unsigned judge_lines(void *arg, unsigned tenant, struct pace_proc *ret, unsigned max)
{
	const struct pace_page *own = &((struct gpu *)arg)->own[tenant];
	unsigned n = own->top < max ? own->top : max;

	memcpy(ret, own->procs, n * sizeof(*ret));
	return n;
}

static bool judge_is_dead(void *arg, unsigned tenant, unsigned slot)
{
	const struct model *m = ((struct gpu *)arg)->model;

	return slot >= m->n_procs || m->procs[slot]->is_dead;
}

static void judge_wake(void *arg, uint32_t *word)
{
	model_wake(((struct gpu *)arg)->model, word);
}

static void judge_schedule(struct model *m, struct gpu *g, uint64_t at)
{
	g->judge_at = at;
	g->judge_gen++;
	if (at != PACE_NEVER)
		model_push(m, at, ON_JUDGE, (unsigned)(g - m->gpus), g->judge_gen);
}

/* Who asks wakes it; a judge that is awake sees that at its next look. */
void model_judge_ask(struct model *m, struct gpu *g)
{
	uint64_t at = m->now + model_draw(m, m->params.wake_min_ns, m->params.wake_max_ns);

	if (g->is_absent)
		return;
	g->is_asked = true;
	if (at < g->judge_at)
		judge_schedule(m, g, at);
}

void model_judge_step(struct model *m, struct gpu *g)
{
	struct judge_wait w;
	uint64_t late = model_draw(m, 40 * US, 140 * US);

	judge_look(&g->judge, g->is_asked, &w);
	g->is_asked = false;
	g->n_looks++;
	if (w.is_spin)
		judge_schedule(m, g, m->now + 2 * US);
	else
		judge_schedule(m, g,
		        w.until_ns == PACE_NEVER
		                ? PACE_NEVER
		                : (w.until_ns > m->now ? w.until_ns : m->now) + late);
}

static void begin(struct model *m, struct gpu *g)
{
	const struct judge_hooks hooks = {.now = judge_now,
	        .lines = judge_lines,
	        .is_dead = judge_is_dead,
	        .wake = judge_wake,
	        .arg = g};

	judge_init(&g->judge, &g->page, &hooks);
	for (unsigned i = 0; i < m->n_tenants; i++)
		judge_seat(&g->judge, i);
	judge_schedule(m, g, m->now);
}

void model_judge_new(struct model *m, struct gpu *g)
{
	g->model = m;
	g->judge_at = PACE_NEVER;
	if (!m->params.is_judged)
		return;
	g->own = calloc(PACE_TENANTS, sizeof(*g->own));
	begin(m, g);
}

void model_judge_free(struct gpu *g)
{
	judge_done(&g->judge);
	free(g->own);
}

void model_judge_absent(struct model *m, bool is_absent)
{
	for (unsigned i = 0; i < MODEL_GPUS; i++) {
		struct gpu *g = &m->gpus[i];

		g->is_absent = is_absent;
		if (is_absent)
			judge_done(&g->judge);
		/* Killed, it has told nobody. */
		for (unsigned t = 0; is_absent && t < m->n_tenants; t++)
			g->page.tenants[t].flags |= PACE_SEATED;
		judge_schedule(m, g, PACE_NEVER);
		if (!is_absent)
			begin(m, g);
	}
}

void model_unseat(struct model *m, unsigned tenant)
{
	for (unsigned g = 0; g < MODEL_GPUS; g++)
		judge_unseat(&m->gpus[g].judge, tenant);
}

struct pace_page *model_own(struct model *m, unsigned tenant, unsigned gpu)
{
	return &m->gpus[gpu].own[tenant];
}
