#include "cli/replay_priv.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines */

static int read_line(struct replay *r, const char *line, size_t len, replay_line_fn *fn, void *data,
        struct err *err)
{
	struct recorded *v;
	int rc = recorded_parse(line, len, &v, err);

	if (rc)
		return rc;
	if (r->line == 1 && v->kind != RECORDED_BEGIN)
		rc = err_set(err, ERR_CORRUPT, "a recording begins with a line \"is\":\"begin\"");
	else
		rc = fn(data, &v, err);
	recorded_free(v);
	return rc;
}

int replay_each_line(struct replay *r, replay_line_fn *fn, void *data, struct err *err)
{
	FILE *f = fopen(r->path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = 0;
	int rc = 0;

	if (!f)
		return err_sys(err, errno, "'%s'", r->path);
	r->line = 0;
	while (rc == 0 && (n = getline(&line, &cap, f)) >= 0) {
		r->line++;
		rc = (size_t)n > RECORDING_LINE_MAX
		             ? err_set(err, ERR_CORRUPT, "the line is too long")
		             : read_line(r, line, (size_t)n, fn, data, err);
	}
	if (rc)
		(void)!err_wrap(err, "%s: line %" PRIu64, r->path, r->line);
	else if (ferror(f))
		rc = err_sys(err, errno, "'%s'", r->path);
	else if (r->line == 0)
		rc = err_set(err, ERR_CORRUPT, "%s: it is empty", r->path);
	fclose(f);
	free(line);
	return rc;
}

/* Stage */

int stage_begin(struct stage *g, struct recorded *take_begin, const char *policy, struct err *err)
{
	int64_t at_ms = take_begin->at_ms;

	stage_done(g);
	g->begin = take_begin;
	g->w = recorded_world(take_begin);
	g->looked_at = UINT64_MAX;
	g->s = sched_new(policy);
	g->now_ms = at_ms;
	if (!g->r->from_ms)
		g->r->from_ms = at_ms;
	g->r->until_ms = MAX(g->r->until_ms, at_ms);
	snprintf(g->r->policy, sizeof(g->r->policy), "%s", policy);
	return g->s ? 0 : err_set(err, ERR_INVALID, "there is no placement policy '%s'", policy);
}

void stage_done(struct stage *g)
{
	effects_done(&g->fx);
	sched_free(STEAL(g->s));
	world_free(STEAL(g->w));
	recorded_free(STEAL(g->begin));
}

void stage_move(struct stage *g, int64_t at_ms)
{
	if (at_ms <= g->now_ms)
		return;
	tally_time(g, at_ms - g->now_ms);
	g->now_ms = g->r->until_ms = at_ms;
}

int stage_apply(struct stage *g, const struct event *e, struct applied *out, struct err *err)
{
	const struct now now = {.wall_ms = g->now_ms, .mono_ms = g->now_ms};
	struct job **dirty;
	int rc;

	g->fx.n = 0;
	rc = core_apply(g->w, e, now, &g->fx, out, err);
	(void)world_take_dirty(g->w, &dirty);
	return rc;
}

int stage_start(struct stage *g, const struct placement *p, struct job **ret_job, struct err *err)
{
	struct event e = {.kind = EVENT_START, .id = p->id, .placement = p};
	struct applied out;
	int rc = stage_apply(g, &e, &out, err);

	if (rc)
		return rc;
	tally_start(g, out.job);
	*ret_job = out.job;
	return 0;
}

/* As it was recorded */

static int do_event(struct stage *g, const struct event *e, struct err *err)
{
	struct applied out = {0};
	char was[48], is[48];
	int rc = stage_apply(g, e, &out, err);

	if (rc || e->kind != EVENT_SUBMIT)
		return rc;
	g->r->submitted += out.job->is_array ? out.job->array->n : 1;
	if (out.job->id.num == e->id.num)
		return 0;
	return err_set(err, ERR_CORRUPT,
	        "job %s of the recording came out as %s: lines are missing",
	        job_id_format(e->id, was), job_id_format(out.job->id, is));
}

static int do_adopt(struct stage *g, const struct recorded *v, struct err *err)
{
	struct sched_settings settings;

	memcpy(settings.v, v->settings, sizeof(settings.v));
	if (v->n_settings == SCHED_SETTINGS && sched_adopt(g->s, g->w, &settings))
		return 0;
	return err_set(err, ERR_CORRUPT, "the settings are none of policy %s", g->r->policy);
}

int replay_as_recorded(struct stage *g, struct recorded **take, struct err *err)
{
	struct recorded *v = *take;

	switch (v->kind) {
	case RECORDED_BEGIN:
		return stage_begin(g, STEAL(*take), v->placement, err);
	case RECORDED_JOB:
		return recorded_adopt(v, g->w, err);
	case RECORDED_EVENT:
		return do_event(g, &v->event, err);
	case RECORDED_LEARN:
		sched_learn(g->s, g->w);
		return 0;
	case RECORDED_ADOPT:
		return do_adopt(g, v, err);
	case RECORDED_PLAN:
		return 0;
	}
	return 0;
}

static void say_placement(char *out, size_t size, const struct placement *p)
{
	char id[48];
	int n = snprintf(out, size, "job %s", job_id_format(p->id, id));

	if (p->pos)
		n += snprintf(out + n, size - (size_t)n, " (task place %" PRIu64 ")", p->pos);
	n += snprintf(out + n, size - (size_t)n, " on node %" PRIu64, p->node);
	for (uint32_t i = 0; i < p->n_slices && (size_t)n < size - 20; i++)
		n += snprintf(out + n, size - (size_t)n, "%s%u:%u", i ? "," : " devices ",
		        p->slices[i].device, p->slices[i].share_milli);
}

static bool is_same(const struct placement *a, const struct placement *b)
{
	if (!job_id_eq(a->id, b->id) || a->pos != b->pos || a->node != b->node ||
	        a->n_slices != b->n_slices || a->bind_cpus != b->bind_cpus ||
	        (a->bind_cpus && memcmp(&a->cpus, &b->cpus, sizeof(a->cpus)) != 0))
		return false;
	for (uint32_t i = 0; i < a->n_slices; i++)
		if (a->slices[i].device != b->slices[i].device ||
		        a->slices[i].mem_bytes != b->slices[i].mem_bytes ||
		        a->slices[i].share_milli != b->slices[i].share_milli)
			return false;
	return true;
}

/* The first difference stays the one that is told. */
static void compare(struct replay *r, const struct recorded *was, const struct sched_plan *is)
{
	size_t i = 0, n = MIN(was->n_placements, is->n);
	char a[130] = "nothing more", b[130] = "nothing more";

	while (i < n && is_same(&was->placements[i], &is->v[i]))
		i++;
	if (r->differs_at || (i == was->n_placements && i == is->n))
		return;
	if (i < was->n_placements)
		say_placement(a, sizeof(a), &was->placements[i]);
	if (i < is->n)
		say_placement(b, sizeof(b), &is->v[i]);
	r->differs_at = r->line;
	snprintf(r->difference, sizeof(r->difference), "placement %zu was %s, is %s", i + 1, a, b);
}

static int do_plan(struct stage *g, const struct recorded *v, struct err *err)
{
	struct sched_plan plan = {0};
	struct job *ignored;
	int rc = 0;

	sched_plan_make(g->s, g->w, g->now_ms, v->max, &plan);
	compare(g->r, v, &plan);
	sched_plan_done(&plan);
	g->r->plans++;
	for (size_t i = 0; i < v->n_placements && rc == 0; i++)
		rc = stage_start(g, &v->placements[i], &ignored, err);
	return rc;
}

static int on_line(void *data, struct recorded **take, struct err *err)
{
	struct stage *g = data;
	struct recorded *v = *take;

	if (v->kind != RECORDED_BEGIN)
		stage_move(g, v->at_ms);
	return v->kind == RECORDED_PLAN ? do_plan(g, v, err) : replay_as_recorded(g, take, err);
}

int replay_file(struct replay *r, const char *path, struct err *err)
{
	struct stage g = {.r = r};
	int rc;

	r->path = path;
	rc = replay_each_line(r, on_line, &g, err);
	if (rc == 0)
		tally_waiting(&g);
	stage_done(&g);
	return rc;
}
