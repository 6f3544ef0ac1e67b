/*
 * What a decision costs while many wait: one plan after one job ended, and one `why`. Each waiting job is a job of its own.
 *   plan_bench [JOBS SHAPES QUEUES NODES]      one line of JSON each; without numbers the usual cases
 * A shape is what makes jobs different to the scheduler; JOBS are spread evenly over SHAPES, and these over QUEUES.
 * On NODES nodes with 8 devices each everything is taken, half of it by jobs without a time limit.
 */
#include "base/err.h"
#include "core/apply.h"
#include "sched/sched.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS       200
#define PLAN_MAX     256 /* as the server */
#define CPUS         96
#define DEVICES      8
#define DEVICE_BYTES (80 * GIB)
#define WALL_MS      1700000000000

struct bench {
	uint64_t jobs, shapes, queues, nodes;
	struct world *w;
	struct sched *s;
	struct now now;
	struct effects fx;
	struct applied out;
	uint64_t plan_ns[ROUNDS], why_ns[ROUNDS];
	uint64_t starts;
	uint64_t state; /* of the random numbers */
};

/* Nothing here waits: on a machine that does nothing else this is what a clock shows. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void apply(struct bench *b, struct event e)
{
	struct job **jobs;
	struct err err;

	if (core_apply(b->w, &e, b->now, &b->fx, &b->out, &err)) {
		fprintf(stderr, "plan_bench: %s\n", err.text);
		exit(1);
	}
	b->fx.n = 0;
	(void)world_take_dirty(b->w, &jobs);
}

static uint64_t draw(struct bench *b, uint64_t below)
{
	b->state = b->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (b->state >> 33) % below;
}

static void add_node(struct bench *b, uint64_t i)
{
	struct node n = {.boot_id = "boot", .mem_bytes = 768 * GIB};
	struct device_info v[DEVICES] = {0};

	snprintf(n.name, sizeof(n.name), "n%" PRIu64, i);
	for (uint32_t c = 0; c < CPUS; c++)
		cpu_set_add(&n.cpus, c);
	for (uint32_t k = 0; k < DEVICES; k++) {
		v[k] = (struct device_info){
		        .index = k, .mem_bytes = DEVICE_BYTES, .cc = 80, .numa_node = -1};
		snprintf(v[k].uuid, sizeof(v[k].uuid), "GPU-%" PRIu64 "-%u", i, k);
		snprintf(v[k].model, sizeof(v[k].model), "A100");
	}
	apply(b, (struct event){
	                 .kind = EVENT_NODE_UP, .node = &n, .devices = v, .n_devices = DEVICES});
}

static void submit(struct bench *b, uint64_t queue, struct request r)
{
	static char program[] = "/bin/true", user[] = "ada";
	char *argv[] = {program, NULL};
	char name[32];

	snprintf(name, sizeof(name), "q%" PRIu64, queue);
	r.queue = name;
	r.user = user;
	r.argv = argv;
	r.n_argv = 1;
	apply(b, (struct event){.kind = EVENT_SUBMIT, .request = &r, .actor = user});
}

/* Whole devices and parts of them, with CPUs, memory and time limits; no two numbers below 10,000 make the same. */
static struct request shape(uint64_t i)
{
	struct request r = {.cpus = 1 + (uint32_t)(i % 10), .mem_bytes = (1 + i / 10 % 10) * GIB};

	if (i % 3 == 0)
		r.gpu.count = 1 + (uint32_t)(i / 3 % 2);
	else
		r.gpu.milli = 100 + (uint32_t)(i % 9) * 100;
	r.time_limit_ms = i % 2 ? 60000 * (1 + i / 100) : 60001 * (1 + i / 100);
	return r;
}

static void start_planned(struct bench *b, const struct sched_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		apply(b, (struct event){.kind = EVENT_START, .placement = &p->v[i]});
	b->starts += p->n;
}

/* Everything is taken, one device by each. */
static void fill(struct bench *b)
{
	struct sched_plan p = {0};

	for (uint64_t i = 0; i < b->nodes * DEVICES; i++)
		submit(b, 0,
		        (struct request){.cpus = CPUS / DEVICES,
		                .gpu = {.count = 1},
		                .time_limit_ms = i % 2 ? 3600000 + i * 1000 : 0});
	do {
		sched_plan_make(b->s, b->w, b->now.wall_ms, PLAN_MAX, &p);
		start_planned(b, &p);
	} while (p.n);
	sched_plan_done(&p);
}

static void end_one(struct bench *b)
{
	struct node *n = world_find_node_num(b->w, 1 + draw(b, b->nodes));
	const struct job *j = LIST_FIRST(&n->jobs);
	struct attempt_end end = {
	        .reason = REASON_EXITED, .has_code = true, .wall_ms = b->now.wall_ms};

	if (j)
		apply(b, (struct event){
		                 .kind = EVENT_ENDED, .id = j->id, .epoch = j->epoch, .end = &end});
}

static void ask(struct bench *b, uint64_t *ret_ns)
{
	struct job_id id = {b->w->next_job - 1 - draw(b, b->jobs), TASK_NONE};
	uint64_t begin_ns = cpu_ns();
	struct sched_why y;

	sched_why(b->s, b->w, b->now.wall_ms, world_find_job(b->w, id), &y);
	sched_why_done(&y);
	*ret_ns = cpu_ns() - begin_ns;
}

static void measure(struct bench *b)
{
	struct sched_plan p = {0};
	uint64_t begin_ns;

	for (int i = 0; i < ROUNDS; i++) {
		b->now.wall_ms += 100;
		end_one(b);
		begin_ns = cpu_ns();
		sched_plan_make(b->s, b->w, b->now.wall_ms, PLAN_MAX, &p);
		b->plan_ns[i] = cpu_ns() - begin_ns;
		start_planned(b, &p);
		ask(b, &b->why_ns[i]);
	}
	sched_plan_done(&p);
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double part_us(uint64_t ns[ROUNDS], size_t at)
{
	qsort(ns, ROUNDS, sizeof(ns[0]), cmp_u64);
	return (double)ns[at] / 1000;
}

static void run(uint64_t jobs, uint64_t shapes, uint64_t queues, uint64_t nodes)
{
	static const struct policy policy = {
	        .fgpu_per_device = 1, .backoff_min_ms = 1000, .backoff_max_ms = 60000};
	struct bench b = {jobs, shapes, queues, nodes, .now = {WALL_MS, 1000}};

	b.w = world_new(&policy);
	b.s = sched_new(SCHED_POLICY_USUAL);
	for (uint64_t i = 0; i < nodes; i++)
		add_node(&b, i);
	fill(&b);
	b.starts = 0;
	for (uint64_t i = 0; i < jobs; i++)
		submit(&b, i % shapes % queues, shape(i % shapes));
	sched_learn(b.s, b.w);
	measure(&b);
	printf("{\"jobs\":%" PRIu64 ",\"shapes\":%" PRIu64 ",\"queues\":%" PRIu64
	       ",\"nodes\":%" PRIu64 ",\"plan_p50_us\":%.0f,\"plan_max_us\":%.0f"
	       ",\"why_p50_us\":%.0f,\"why_max_us\":%.0f,\"starts\":%" PRIu64 "}\n",
	        jobs, shapes, queues, nodes, part_us(b.plan_ns, ROUNDS / 2),
	        part_us(b.plan_ns, ROUNDS - 1), part_us(b.why_ns, ROUNDS / 2),
	        part_us(b.why_ns, ROUNDS - 1), b.starts);
	fflush(stdout);
	sched_free(b.s);
	world_free(b.w);
	effects_done(&b.fx);
}

int main(int argc, char **argv)
{
	static const uint64_t usual[][3] = {{1, 1, 1}, {1, 1, 16}, {10, 4, 16}, {1000, 1, 16},
	        {1000, 8, 16}, {10, 4, 1213}, {1000, 8, 1213}};

	if (argc == 5) {
		run(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10),
		        strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		run(100000, usual[i][0], usual[i][1], usual[i][2]);
	return 0;
}
