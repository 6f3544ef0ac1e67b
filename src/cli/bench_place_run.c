/*
 * DESIGN. Without a load: all tasks of the list arrive in a random order, then single ones drawn from it, until the next would
 * pass the demand. Each is placed at once where the policy says, or dropped; nothing leaves. With a load: tasks drawn from the
 * list come as a Poisson process, stay for exponential times of mean 1, and wait in the order in which they came, where each
 * that has room may start. Shares and waits are those from WARM on.
 */
#include "cli/bench_place_run.h"
#include "base/mem.h"
#include "plat/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WARM 3.0 /* mean durations until it counts, and until the end */
#define END  8.0

const char *const task_class_names[CLASSES] = {
        "cpu", "fraction_to_half", "fraction_above_half", "gpu_1", "gpu_2_to_7", "gpu_8_and_more"};

static enum task_class class_of(const struct trace_task *k)
{
	if (k->n_devices == 0)
		return CPU_ONLY;
	if (k->n_devices > 1)
		return k->n_devices >= 8 ? EIGHT : SEVERAL;
	return k->milli == 1000 ? ONE : k->milli > 500 ? PART_LARGE : PART_SMALL;
}

/* Arrivals */

struct arrivals {
	const struct trace *t;
	uint32_t *order; /* all tasks, shuffled */
	uint64_t n;      /* so far */
	unsigned short dice[3];
};

static uint32_t throw_below(struct arrivals *a, uint32_t n)
{
	return (uint32_t)(erand48(a->dice) * n);
}

static void shuffle(struct arrivals *a, const struct trace *t, uint64_t seed)
{
	*a = (struct arrivals){.t = t,
	        .order = mem_realloc(NULL, t->n_tasks, sizeof(*a->order)),
	        .dice = {0x330e, (unsigned short)seed, (unsigned short)(seed >> 16)}};
	for (uint32_t i = 0; i < t->n_tasks; i++)
		a->order[i] = i;
	for (uint32_t i = t->n_tasks; i > 1; i--) {
		uint32_t k = throw_below(a, i), kept = a->order[i - 1];
		a->order[i - 1] = a->order[k];
		a->order[k] = kept;
	}
}

static const struct trace_task *next_arrival(struct arrivals *a)
{
	uint64_t i = a->n++;

	return &a->t->tasks[i < a->t->n_tasks ? a->order[i] : throw_below(a, a->t->n_tasks)];
}

/* One run */

/* Any node that has room, each as likely. */
static bool find_anywhere(struct place *p, const struct trace *t, uint32_t type, struct arrivals *a,
        struct place_found *ret)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_nodes; i++)
		if (place_has_room(p, type, i) && throw_below(a, ++n) == 0)
			ret->node = i;
	return n && place_try(p, type, place_look(p, ret->node), ret);
}

static bool is_same(const struct place_found *a, const struct place_found *b)
{
	return a->node == b->node && a->n_devices == b->n_devices &&
	       memcmp(a->devices, b->devices, a->n_devices * sizeof(a->devices[0])) == 0;
}

/* Finds a place and takes it; this is what is timed. */
static bool decide(const struct place_run *r, struct place *p, struct arrivals *a,
        const struct trace_task *k, struct place_found *ret, struct place_tally *sum)
{
	uint64_t from_ns = clock_mono_ns();
	bool found = r->is_random ? find_anywhere(p, a->t, k->type, a, ret)
	                          : place_find(p, k->type, NULL, NULL, ret);

	sum->took_ns += clock_mono_ns() - from_ns;
	sum->decisions++;
	if (r->is_audited) {
		struct place_found slowly;
		bool slowly_found = place_find_slowly(p, k->type, &slowly);
		sum->wrong += found != slowly_found || (found && !is_same(ret, &slowly));
	}
	from_ns = clock_mono_ns();
	if (found)
		place_take(p, k->type, ret);
	sum->took_ns += clock_mono_ns() - from_ns;
	return found;
}

static double fill(
        const struct place_run *r, struct place *p, struct arrivals *a, struct place_tally *sum)
{
	uint64_t most = r->demand * a->t->n_devices, arrived = 0, allocated = 0;
	const struct trace_task *k;

	while (k = next_arrival(a), arrived + task_milli(k) <= most) {
		struct place_found at;
		arrived += task_milli(k);
		sum->arrived[class_of(k)]++;
		if (decide(r, p, a, k, &at, sum))
			allocated += task_milli(k);
		else
			sum->rejected[class_of(k)]++;
	}
	return (double)allocated / ((double)a->t->n_devices * 1000);
}

/* With departures */

struct stay {
	const struct trace_task *task;
	struct place_found at;
	double end;
};
struct waiter {
	const struct trace_task *task;
	double since, lasts;
};
struct flow {
	const struct place_run *r;
	struct place *p;
	struct arrivals *a;
	struct place_tally *sum;
	struct stay *stays; /* a heap, the earliest end first */
	struct waiter *queue;
	uint32_t n_stays, cap_stays, n_queue, cap_queue;
	double now, allocated, area; /* of devices, in thousandths, over time */
};

static double exponential(struct arrivals *a)
{
	return -log(1 - erand48(a->dice));
}

static void add_stay(struct flow *f, struct stay v)
{
	uint32_t i;

	MEM_GROW(f->stays, f->n_stays, f->cap_stays);
	for (i = f->n_stays++; i && f->stays[(i - 1) / 2].end > v.end; i = (i - 1) / 2)
		f->stays[i] = f->stays[(i - 1) / 2];
	f->stays[i] = v;
}

static struct stay first_stay(struct flow *f)
{
	struct stay first = f->stays[0], v = f->stays[--f->n_stays];
	uint32_t i = 0, k;

	while ((k = 2 * i + 1) < f->n_stays) {
		if (k + 1 < f->n_stays && f->stays[k + 1].end < f->stays[k].end)
			k++;
		if (v.end <= f->stays[k].end)
			break;
		f->stays[i] = f->stays[k];
		i = k;
	}
	f->stays[i] = v;
	return first;
}

static void count_wait(struct flow *f, const struct waiter *w)
{
	enum task_class c = class_of(w->task);

	if (w->since < WARM)
		return;
	f->sum->arrived[c]++;
	f->sum->waited[c] += f->now - w->since;
}

static bool start(struct flow *f, const struct waiter *w)
{
	struct stay v = {.task = w->task};

	if (!decide(f->r, f->p, f->a, w->task, &v.at, f->sum))
		return false;
	v.end = f->now + w->lasts;
	add_stay(f, v);
	f->allocated += (double)task_milli(w->task);
	count_wait(f, w);
	return true;
}

static void move_to(struct flow *f, double at)
{
	if (at > WARM)
		f->area += f->allocated * (at - fmax(f->now, WARM));
	f->now = at;
}

/* Who waits had no room before; only this node changed. */
static void leave(struct flow *f)
{
	struct stay v = first_stay(f);
	uint32_t kept = 0;

	move_to(f, v.end);
	place_give(f->p, v.task->type, &v.at);
	f->allocated -= (double)task_milli(v.task);
	for (uint32_t i = 0; i < f->n_queue; i++) {
		struct waiter w = f->queue[i];
		if (!place_has_room(f->p, w.task->type, v.at.node) || !start(f, &w))
			f->queue[kept++] = w;
	}
	f->n_queue = kept;
}

static void come(struct flow *f)
{
	struct waiter w = {.task = &f->a->t->tasks[throw_below(f->a, f->a->t->n_tasks)],
	        .since = f->now,
	        .lasts = exponential(f->a)};

	if (start(f, &w))
		return;
	MEM_GROW(f->queue, f->n_queue, f->cap_queue);
	f->queue[f->n_queue++] = w;
}

static double live(
        const struct place_run *r, struct place *p, struct arrivals *a, struct place_tally *sum)
{
	struct flow f = {.r = r, .p = p, .a = a, .sum = sum};
	double milli = 0, gap, next;

	for (uint32_t i = 0; i < a->t->n_tasks; i++)
		milli += (double)task_milli(&a->t->tasks[i]);
	gap = milli / a->t->n_tasks / ((double)r->load * (double)a->t->n_devices);
	for (next = gap * exponential(a); next < END; next += gap * exponential(a)) {
		while (f.n_stays && f.stays[0].end <= next)
			leave(&f);
		move_to(&f, next);
		come(&f);
	}
	move_to(&f, END);
	for (uint32_t i = 0; i < f.n_queue; i++)
		count_wait(&f, &f.queue[i]);
	free(f.stays);
	free(f.queue);
	return f.area / (END - WARM) / ((double)a->t->n_devices * 1000);
}

void place_run(const struct place_run *r, struct place *p, const struct trace *t, uint64_t seed,
        struct place_tally *sum)
{
	struct arrivals a;
	double share;

	shuffle(&a, t, seed);
	share = r->load ? live(r, p, &a, sum) : fill(r, p, &a, sum);
	free(a.order);
	sum->share += share;
	sum->share_squared += share * share;
	sum->runs++;
}
