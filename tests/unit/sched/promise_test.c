/*
 * Random worlds with a future in which only the planned happens: jobs end at or before their limits, and whoever comes goes
 * last. After every plan the promises are looked at: limits hold; the earliest start that `why` proved never moves later, and
 * the job has started by then; who is first of all is kept a place once its queue's patience ends, and starts when those who
 * were there have ended; the smallest change, applied, starts the job in the next plan.
 *   sched_promise_test [FIRST_SEED COUNT]
 */
#include "box.h"
#include "../../fuzz/dice.h"
#include "sched/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS      150
#define ROUNDS     60
#define JOBS       20 /* at the beginning */
#define JOBS_MAX   (JOBS + ROUNDS + 1)
#define LONGEST_MS 100000 /* that anybody runs */

static const char *const queue_names[] = {"default", "second", "late"};

struct promise {
	uint64_t pos; /* of an array: of which task */
	int64_t earliest_ms;
	int64_t first_since_ms; /* of all; INT64_MAX: it is not */
};

struct life {
	struct box b;
	struct dice dice;
	struct sched *s;
	uint64_t seed;
	struct promise promises[JOBS_MAX]; /* by number */
	uint64_t kept, broken, changes, bounds;
	char text[200]; /* what is broken; "": nothing */
};

#define BROKEN(l, ...)                                                       \
	do {                                                                 \
		if (!(l)->text[0])                                           \
			snprintf((l)->text, sizeof((l)->text), __VA_ARGS__); \
	} while (0)

static void make_queues(struct life *l)
{
	struct dice *d = &l->dice;

	for (size_t i = 0; i < ARRAY_LEN(queue_names); i++) {
		struct queue q = {.configured = true, .default_cpus = 1};
		snprintf(q.name, sizeof(q.name), "%s", queue_names[i]);
		q.priority = i == 2 ? -9 : dice_one_in(d, 3);
		q.strict = dice_one_in(d, 4);
		q.patience_ms = dice_one_in(d, 2) ? 1000 * dice_below(d, 30) : 0;
		q.max_running = dice_one_in(d, 3) ? 1 + dice_below(d, 4) : 0;
		q.max_running_per_user = dice_one_in(d, 3) ? 1 + dice_below(d, 3) : 0;
		q.max_gpus = dice_one_in(d, 3) ? 1 + dice_below(d, 3) : 0;
		box_apply(&l->b, (struct event){.kind = EVENT_QUEUE_SET, .queue = &q});
	}
}

static void submit(struct life *l, bool is_late)
{
	struct dice *d = &l->dice;
	struct request r = box_request();
	struct array_range range = {0, dice_below(d, 4), 1};
	char user[8];

	snprintf(user, sizeof(user), "u%u", dice_below(d, 2));
	r.user = user;
	r.queue = (char *)(uintptr_t)queue_names[is_late ? 2 : dice_below(d, 2)];
	r.priority = is_late ? -5 : (int32_t)dice_below(d, 2);
	r.cpus = 1 + dice_below(d, 6);
	r.mem_bytes = dice_one_in(d, 4) ? dice_below(d, 64) * GIB : 0;
	if (dice_one_in(d, 3))
		r.gpu.count = 1 + dice_below(d, 2);
	else if (dice_one_in(d, 2))
		r.gpu.milli = 100 + dice_below(d, 900);
	else if (dice_one_in(d, 3))
		r.gpu.mem_bytes = (1 + dice_below(d, 8)) * GIB;
	r.time_limit_ms = dice_one_in(d, 4) ? 0 : 1000 * (1 + dice_below(d, 60));
	r.ranges = &range;
	r.n_ranges = dice_one_in(d, 6);
	l->promises[box_submit(&l->b, r)->id.num] =
	        (struct promise){.earliest_ms = INT64_MAX, .first_since_ms = INT64_MAX};
}

/* As the server: again while something starts, since who waits first may then have its place elsewhere. */
static void plan(struct life *l)
{
	struct sched_plan p = {0};

	do {
		sched_plan_make(l->s, l->b.w, l->b.now.wall_ms, 1000, &p);
		for (size_t i = 0; i < p.n; i++) {
			box_apply(&l->b, (struct event){.kind = EVENT_START, .placement = &p.v[i]});
			box_started(&l->b, l->b.out.job);
		}
	} while (p.n);
	sched_plan_done(&p);
}

/* By what runs, not by what is counted. */
static void check_limits(struct life *l, const struct queue *q)
{
	uint64_t all = 0, milli = 0, of_user[2] = {0};
	const struct node *n;
	const struct job *j;

	TAILQ_FOREACH (n, &l->b.w->nodes, link)
		LIST_FOREACH (j, &n->jobs, on_node) {
			if (strcmp(j->req->queue, q->name) != 0)
				continue;
			all++;
			of_user[j->req->user[1] - '0']++;
			for (uint32_t i = 0; i < j->n_slices; i++)
				milli += j->slices[i].share_milli;
		}
	if ((q->max_running && all > q->max_running) ||
	        (q->max_gpus && milli > (uint64_t)q->max_gpus * 1000) ||
	        (q->max_running_per_user && MAX(of_user[0], of_user[1]) > q->max_running_per_user))
		BROKEN(l, "queue %s is over a limit", q->name);
}

static void check_heads(struct life *l)
{
	const struct sched_head *v;

	for (size_t i = sched_heads(l->s, &v); i-- > 0;)
		if (v[i].patient_until_ms <= l->b.now.wall_ms)
			BROKEN(l, "the patience with job %llu has ended, and nothing is kept",
			        (unsigned long long)v[i].id.num);
}

static void check_earliest(
        struct life *l, const struct job *j, const struct sched_why *y, struct promise *p)
{
	int64_t now_ms = l->b.now.wall_ms;

	if (y->earliest_ms > p->earliest_ms)
		BROKEN(l, "job %llu was to start in %lld ms, and now in %lld",
		        (unsigned long long)j->id.num, (long long)(p->earliest_ms - now_ms),
		        y->earliest_ms == INT64_MAX ? -1 : (long long)(y->earliest_ms - now_ms));
	if (p->earliest_ms <= now_ms)
		BROKEN(l, "job %llu waits after its earliest start", (unsigned long long)j->id.num);
	l->kept += y->earliest_ms != INT64_MAX;
	p->earliest_ms = y->earliest_ms;
}

/* The patience, those who run in the queue's places, and then those who run on the node. */
static void check_bound(
        struct life *l, const struct job *j, const struct sched_why *y, struct promise *p)
{
	const struct queue *q = j->class->shape.queue;
	int64_t now_ms = l->b.now.wall_ms;
	struct err err;

	if (y->ahead || !q->patience_ms || sched_check_possible(l->b.w, j->req, &err) ||
	        (q->max_gpus && j->req->gpu.count > q->max_gpus)) {
		p->first_since_ms = INT64_MAX;
		return;
	}
	p->first_since_ms = MIN(p->first_since_ms, now_ms);
	l->bounds++;
	if (now_ms > MAX(p->first_since_ms, j->submitted_ms + (int64_t)q->patience_ms) +
	                     2 * (LONGEST_MS + 10000))
		BROKEN(l, "job %llu is first, and is passed over for ever",
		        (unsigned long long)j->id.num);
}

static void try_change(struct life *l, struct job *j, struct request *changed)
{
	struct job_id id = j->id;
	uint64_t starts_before = j->is_array ? array_unstarted(j->array) : 0;

	box_apply(&l->b, (struct event){.kind = EVENT_EDIT, .id = id, .request = changed});
	plan(l);
	/* What others were promised did not know of it. */
	for (uint64_t num = 1; num < l->b.w->next_job; num++)
		l->promises[num].earliest_ms = INT64_MAX;
	l->changes++;
	j = box_find(&l->b, id.num, id.task);
	if (j->is_array ? array_unstarted(j->array) == starts_before : j->wait == WAIT_READY)
		BROKEN(l, "job %llu does not start with its smallest change",
		        (unsigned long long)id.num);
}

static void look_at(struct life *l, struct job *j, bool may_change)
{
	struct promise *p = &l->promises[j->id.num];
	uint64_t pos = j->is_array ? array_next(j->array, 0) : 0;
	struct sched_why y;

	if (pos != p->pos)
		*p = (struct promise){
		        .pos = pos, .earliest_ms = INT64_MAX, .first_since_ms = INT64_MAX};
	sched_why(l->s, l->b.w, l->b.now.wall_ms, j, &y);
	if (y.starts || y.n_reasons == 0)
		BROKEN(l, "job %llu waits, and nothing says why", (unsigned long long)j->id.num);
	check_earliest(l, j, &y, p);
	check_bound(l, j, &y, p);
	if (may_change && y.change[0])
		try_change(l, j, &y.changed);
	sched_why_done(&y);
}

/* Who is at its limit, or has run long enough, and now and then somebody else. */
static bool must_end(struct life *l, const struct job *j)
{
	int64_t runs_ms = l->b.now.wall_ms - j->started_ms;
	int64_t limit_ms = (int64_t)j->req->time_limit_ms;

	return (limit_ms && runs_ms >= limit_ms) || runs_ms >= LONGEST_MS ||
	       dice_one_in(&l->dice, 12);
}

static int64_t next_end_ms(const struct life *l)
{
	int64_t next = l->b.now.wall_ms + LONGEST_MS;
	const struct node *n;
	const struct job *j;

	TAILQ_FOREACH (n, &l->b.w->nodes, link)
		LIST_FOREACH (j, &n->jobs, on_node)
			if (j->req->time_limit_ms)
				next = MIN(next, j->started_ms + (int64_t)j->req->time_limit_ms);
	return next;
}

static void go_on(struct life *l)
{
	int64_t until_ms = l->b.now.wall_ms + 1 + dice_below(&l->dice, 8000);
	const struct node *n;
	struct job *j, *next;

	box_pass(&l->b, MIN(until_ms, next_end_ms(l)) - l->b.now.wall_ms);
	TAILQ_FOREACH (n, &l->b.w->nodes, link)
		for (j = LIST_FIRST(&n->jobs); j; j = next) {
			next = LIST_NEXT(j, on_node);
			if (must_end(l, j))
				box_exit(&l->b, j, 0);
		}
	if (dice_one_in(&l->dice, 3))
		submit(l, true);
}

static void live(struct life *l)
{
	for (int round = 0; round < ROUNDS && !l->text[0]; round++) {
		plan(l);
		check_heads(l);
		for (const struct queue *q = l->b.w->queues; q; q = q->hh.next)
			check_limits(l, q);
		for (struct job *j = world_next_job(l->b.w, NULL); j && !l->text[0];
		        j = world_next_job(l->b.w, j))
			if (j->wait == WAIT_READY)
				look_at(l, j, dice_one_in(&l->dice, 200));
		go_on(l);
	}
}

static void run(uint64_t seed, struct life *l)
{
	static const char *const nodes[] = {"n1", "n2", "n3"};

	l->seed = seed;
	l->dice = (struct dice){.state = seed};
	l->text[0] = '\0';
	box_init(&l->b);
	l->s = sched_new(seed % 2 ? "pack" : SCHED_POLICY_USUAL);
	make_queues(l);
	for (uint32_t i = 0, n = 1 + dice_below(&l->dice, 3); i < n; i++)
		box_node(&l->b, nodes[i], 4 + dice_below(&l->dice, 5), dice_below(&l->dice, 4),
		        8 * GIB);
	for (int i = 0; i < JOBS; i++)
		submit(l, false);
	live(l);
	sched_free(l->s);
	box_done(&l->b);
}

static void test_promises_are_kept(void **state)
{
	struct life l = {0};

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		run(seed, &l);
		if (l.text[0])
			fail_msg("seed %llu: %s", (unsigned long long)seed, l.text);
	}
	/* Where nothing is promised every promise is kept. */
	assert_true(l.kept > 1000 && l.changes > 50 && l.bounds > 500);
}

static int campaign(uint64_t first, uint64_t count)
{
	struct life l = {0};
	uint64_t faults = 0;

	for (uint64_t seed = first; seed < first + count; seed++) {
		run(seed, &l);
		if (!l.text[0])
			continue;
		faults++;
		printf("seed %llu: %s\n", (unsigned long long)seed, l.text);
	}
	printf("%llu seeds, %llu promises of a start, %llu of a bound, %llu changes tried: %llu faults\n",
	        (unsigned long long)count, (unsigned long long)l.kept, (unsigned long long)l.bounds,
	        (unsigned long long)l.changes, (unsigned long long)faults);
	return faults != 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_promises_are_kept)};

	if (argc > 2)
		return campaign(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
