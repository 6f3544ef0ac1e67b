/*
 * DESIGN. First the recording is gone through as it was, to learn how each attempt ended and how long after it was placed. Then
 * again, with another policy: what came from outside (jobs, users' words, nodes, queues) comes at its time; what the recorded
 * plan brought about (starts, ends) comes from the plans made now. An attempt that the recording knows no end of lasts until
 * its time limit, or for ever.
 */
#include "cli/replay_priv.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_MAX    256 /* as the server */
#define LEARN_AFTER 500

/* Known ends */

struct attempt_key {
	uint64_t num;
	int64_t task;
	uint64_t attempt;
};
struct known_end {
	struct attempt_key key;
	int64_t lasts_ms;
	enum event_kind kind; /* ENDED or LOST */
	enum reason reason;
	struct attempt_end end;
	bool has_end;
	UT_hash_handle hh;
};

static struct attempt_key key_of(const struct job *j)
{
	return (struct attempt_key){j->id.num, j->id.task, j->n_attempts};
}

static void note_end(struct known_end **ends, const struct event *e, const struct job *j,
        const struct attempt *t, int64_t now_ms)
{
	struct known_end *k = mem_zalloc(sizeof(*k)), *was;

	k->key = key_of(j);
	k->lasts_ms = MAX(now_ms - t->placed_ms, 0);
	k->kind = e->kind;
	k->reason = e->reason;
	k->has_end = e->end != NULL;
	if (e->end)
		k->end = *e->end;
	k->end.wall_ms = 0;
	HASH_REPLACE(hh, *ends, key, sizeof(k->key), k, was);
	free(was);
}

struct first_pass {
	struct stage g;
	struct known_end **ends;
};

static int learn_line(void *data, struct recorded **take, struct err *err)
{
	struct first_pass *p = data;
	const struct recorded *v = *take;
	const struct event *e = &v->event;
	const struct job *j = NULL;
	struct job *ignored;
	int rc = 0;

	if (v->kind != RECORDED_BEGIN)
		stage_move(&p->g, v->at_ms);
	if (v->kind == RECORDED_EVENT && (e->kind == EVENT_ENDED || e->kind == EVENT_LOST))
		j = world_find_job(p->g.w, e->id);
	if (j && job_attempt(j) && j->epoch == e->epoch)
		note_end(p->ends, e, j, job_attempt(j), p->g.now_ms);
	for (size_t i = 0; v->kind == RECORDED_PLAN && rc == 0 && i < v->n_placements; i++)
		rc = stage_start(&p->g, &v->placements[i], &ignored, err);
	if (rc || v->kind == RECORDED_LEARN || v->kind == RECORDED_ADOPT)
		return rc;
	return replay_as_recorded(&p->g, take, err);
}

static int learn_ends(const char *path, struct known_end **ends, struct err *err)
{
	struct replay scratch = {.path = path};
	struct first_pass p = {.g = {.r = &scratch}, .ends = ends};
	int rc = replay_each_line(&scratch, learn_line, &p, err);

	stage_done(&p.g);
	replay_done(&scratch);
	return rc;
}

/* What is to come */

struct coming {
	int64_t at_ms;
	uint64_t number; /* of equals, who was put in first */
	struct job_id id;
	uint64_t epoch;
	enum event_kind kind;
	enum reason reason;
	struct attempt_end end;
	bool has_end;
	RB_ENTRY(coming) link;
};

static int coming_cmp(const struct coming *a, const struct coming *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

RB_HEAD(comings, coming);
RB_PROTOTYPE(comings, coming, link, coming_cmp)
RB_GENERATE(comings, coming, link, coming_cmp)

struct second_pass {
	struct stage g;
	const char *policy;
	struct known_end *ends;
	struct comings comings;
	uint64_t n_comings, n_placed;
	FILE *file; /* NULL: what comes of it is not recorded */
	struct buf lines;
};

static void write_lines(struct second_pass *p)
{
	if (p->file)
		fwrite(p->lines.data, 1, p->lines.len, p->file);
	buf_reset(&p->lines);
}

static void expect(struct second_pass *p, struct coming from)
{
	struct coming *c = mem_dup(&from, sizeof(from));

	c->number = p->n_comings++;
	RB_INSERT(comings, &p->comings, c);
}

static void expect_end(struct second_pass *p, const struct job *j)
{
	const struct attempt *t = job_attempt(j);
	struct attempt_key key = key_of(j);
	struct coming c = {.id = j->id, .epoch = j->epoch, .kind = EVENT_ENDED, .has_end = true};
	struct known_end *k;

	HASH_FIND(hh, p->ends, &key, sizeof(key), k);
	if (k) {
		c.at_ms = t->placed_ms + k->lasts_ms;
		c.kind = k->kind;
		c.reason = k->reason;
		c.end = k->end;
		c.has_end = k->has_end;
		expect(p, c);
	} else if (j->req->time_limit_ms) {
		c.at_ms = t->placed_ms + (int64_t)j->req->time_limit_ms;
		c.end.reason = REASON_TIME_LIMIT;
		expect(p, c);
	}
}

/* What does not fit this course of things (the retry of a job that has not ended here) is left out. */
static void apply(struct second_pass *p, const struct event *e)
{
	struct applied out = {0};
	struct err ignored;

	recording_put_event(&p->lines, p->g.now_ms, e, p->g.w);
	if (stage_apply(&p->g, e, &out, &ignored)) {
		buf_reset(&p->lines);
		return;
	}
	write_lines(p);
	if (e->kind == EVENT_SUBMIT)
		p->g.r->submitted += out.job->is_array ? out.job->array->n : 1;
	for (size_t i = 0; i < p->g.fx.n; i++) {
		const struct effect *f = &p->g.fx.v[i];
		if (f->kind == EFFECT_STOP)
			expect(p, (struct coming){.at_ms = p->g.now_ms,
			                  .id = f->id,
			                  .epoch = f->epoch,
			                  .kind = EVENT_ENDED,
			                  .end = {.reason = f->reason},
			                  .has_end = true});
	}
}

static int plan_once(struct second_pass *p, struct err *err)
{
	struct sched_plan plan = {0};
	struct job *j;
	int rc = 0;

	p->g.w->plan_wanted = false;
	sched_plan_make(p->g.s, p->g.w, p->g.now_ms, PLAN_MAX, &plan);
	p->g.r->plans++;
	recording_put_plan(&p->lines, p->g.now_ms, PLAN_MAX, plan.v, plan.n);
	write_lines(p);
	for (size_t i = 0; i < plan.n && rc == 0; i++) {
		rc = stage_start(&p->g, &plan.v[i], &j, err);
		if (rc)
			break;
		expect_end(p, j);
		apply(p, &(struct event){.kind = EVENT_STARTED, .id = j->id, .epoch = j->epoch});
	}
	p->n_placed += plan.n;
	p->g.w->plan_wanted = plan.n == PLAN_MAX;
	if (!p->g.w->plan_wanted && p->n_placed >= LEARN_AFTER) {
		sched_learn(p->g.s, p->g.w);
		recording_put_learn(&p->lines, p->g.now_ms);
		p->n_placed = 0;
	}
	write_lines(p);
	sched_plan_done(&plan);
	return rc;
}

/* All that has come by now, and what is planned for it. */
static int settle(struct second_pass *p, struct err *err)
{
	struct coming *c;
	int rc = 0;

	for (;;) {
		while ((c = RB_MIN(comings, &p->comings)) != NULL && c->at_ms <= p->g.now_ms) {
			RB_REMOVE(comings, &p->comings, c);
			apply(p, &(struct event){.kind = c->kind,
			                 .id = c->id,
			                 .epoch = c->epoch,
			                 .reason = c->reason,
			                 .end = c->has_end ? &c->end : NULL});
			free(c);
		}
		if (rc || !p->g.w->plan_wanted)
			return rc;
		rc = plan_once(p, err);
	}
}

static int run_until(struct second_pass *p, int64_t at_ms, struct err *err)
{
	int rc = settle(p, err);

	while (rc == 0 && p->g.now_ms < at_ms) {
		const struct coming *c = RB_MIN(comings, &p->comings);
		int64_t tick_ms = world_next_tick(p->g.w), plan_ms = sched_next_ms(p->g.s);
		int64_t next_ms = MIN(MIN(tick_ms, plan_ms), c ? c->at_ms : INT64_MAX);
		stage_move(&p->g, MIN(MAX(next_ms, p->g.now_ms + 1), at_ms));
		if (tick_ms <= p->g.now_ms)
			apply(p, &(struct event){.kind = EVENT_TICK});
		p->g.w->plan_wanted |= plan_ms <= p->g.now_ms;
		rc = settle(p, err);
	}
	return rc;
}

static bool is_from_outside(const struct recorded *v)
{
	enum event_kind kind = v->event.kind;

	return v->kind == RECORDED_EVENT && kind != EVENT_STARTED && kind != EVENT_ENDED &&
	       kind != EVENT_LOST && kind != EVENT_TICK;
}

static int begin(struct second_pass *p, struct recorded *take_begin, struct err *err)
{
	int rc = stage_begin(&p->g, take_begin, p->policy, err);

	if (rc)
		return rc;
	recording_put_begin(&p->lines, p->g.now_ms, p->g.w, p->g.r->policy);
	write_lines(p);
	return 0;
}

static int run_line(void *data, struct recorded **take, struct err *err)
{
	struct second_pass *p = data;
	struct recorded *v = *take;
	const struct job *j;
	int rc;

	if (v->kind == RECORDED_BEGIN && !p->g.w)
		return begin(p, STEAL(*take), err);
	rc = run_until(p, v->at_ms, err);
	if (rc || v->kind == RECORDED_BEGIN)
		return rc;
	if (is_from_outside(v))
		apply(p, &v->event);
	if (v->kind != RECORDED_JOB || world_find_job(p->g.w, v->event.id))
		return 0;
	rc = recorded_adopt(v, p->g.w, err);
	if (rc)
		return rc;
	j = world_find_job(p->g.w, v->event.id);
	recording_put_job(&p->lines, p->g.now_ms, j);
	write_lines(p);
	if (job_attempt(j))
		expect_end(p, j);
	return 0;
}

static int run(struct second_pass *p, const char *write, struct err *err)
{
	int rc = learn_ends(p->g.r->path, &p->ends, err);

	if (rc == 0 && write) {
		p->file = fopen(write, "wxe");
		rc = p->file ? 0 : err_sys(err, errno, "'%s'", write);
	}
	if (rc == 0)
		rc = replay_each_line(p->g.r, run_line, p, err);
	if (rc == 0)
		rc = settle(p, err);
	if (rc == 0)
		tally_waiting(&p->g);
	if (p->file && (ferror(p->file) | fclose(p->file)) && rc == 0)
		rc = err_sys(err, errno, "'%s'", write);
	return rc;
}

int replay_by_policy(
        struct replay *r, const char *path, const char *policy, const char *write, struct err *err)
{
	struct second_pass p = {.g = {.r = r},
	        .policy = policy,
	        .comings = RB_INITIALIZER(&p.comings),
	        .lines = BUF_INIT(SIZE_MAX / 2)};
	struct known_end *k, *next;
	struct coming *c;
	int rc;

	r->path = path;
	rc = run(&p, write, err);
	buf_done(&p.lines);
	while ((c = RB_MIN(comings, &p.comings)) != NULL) {
		RB_REMOVE(comings, &p.comings, c);
		free(c);
	}
	HASH_ITER (hh, p.ends, k, next) {
		HASH_DEL(p.ends, k);
		free(k);
	}
	stage_done(&p.g);
	return rc;
}
