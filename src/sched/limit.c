#include "sched/limit.h"
#include "base/mem.h"
#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a queue, and of a queue and an account. */
struct given {
	char *key;
	uint64_t n;
	uint64_t gpu_milli;
	bool gpus_are_closed;
	/* For the first that waits; kept_n 0: nothing */
	uint64_t kept_n, kept_milli;
	int64_t kept_at_ms;
	UT_hash_handle hh;
};

struct limits {
	struct given *all;
};

struct limits *limits_new(void)
{
	return mem_zalloc(sizeof(struct limits));
}

void limits_free(struct limits *l)
{
	struct given *g, *next;

	if (!l)
		return;
	HASH_ITER (hh, l->all, g, next) {
		HASH_DEL(l->all, g);
		free(g->key);
		free(g);
	}
	free(l);
}

static bool is_limited(const struct queue *q)
{
	return q->max_running || q->max_running_per_user || q->max_gpus;
}

/* user "": of the queue. */
static struct given *get_given(struct limits *l, const struct queue *q, const char *user)
{
	char key[sizeof(q->name) + 80];
	struct given *g;

	snprintf(key, sizeof(key), "%s\x1f%.70s", q->name, user);
	HASH_FIND_STR(l->all, key, g);
	if (g)
		return g;
	g = mem_zalloc(sizeof(*g));
	g->key = mem_strdup(key);
	HASH_ADD_KEYPTR(hh, l->all, g->key, strlen(g->key), g);
	return g;
}

/* Thousandths of devices that the ask comes to on any of them; more may turn out where it is placed. */
static uint64_t least_milli(const struct gpu_ask *g)
{
	if (g->count)
		return (uint64_t)g->count * 1000;
	return gpu_ask_any(g) ? MAX(MAX(g->milli, g->share_milli), 1) : 0;
}

/* What it may come to at most, wherever it is placed. */
static uint64_t greatest_milli(const struct gpu_ask *g)
{
	bool depends = (g->mem_bytes && !g->milli && !g->share_milli) || g->fgpu_milli;

	return depends ? 1000 : least_milli(g);
}

static uint64_t milli_of(const struct placement *at)
{
	uint64_t milli = 0;

	for (uint32_t i = 0; i < at->n_slices; i++)
		milli += at->slices[i].share_milli;
	return milli;
}

static bool is_over_gpus(const struct queue *q, uint64_t given_milli, uint64_t milli)
{
	return q->max_gpus && milli &&
	       q->gpu_milli + given_milli + milli > (uint64_t)q->max_gpus * 1000;
}

/* Whether it may still be there when what is kept must be left. */
static bool may_stay(const struct given *g, const struct sched_shape *shape, int64_t now_ms)
{
	return g->kept_n && (g->kept_at_ms == ROOM_NEVER || !shape->time_limit_ms ||
	                            now_ms + (int64_t)shape->time_limit_ms > g->kept_at_ms);
}

static uint64_t count_of(const struct given *g, const struct sched_shape *shape, int64_t now_ms)
{
	return g->n + (may_stay(g, shape, now_ms) ? g->kept_n : 0);
}

static uint64_t milli_given(const struct given *g, const struct sched_shape *shape, int64_t now_ms)
{
	return g->gpu_milli + (may_stay(g, shape, now_ms) ? g->kept_milli : 0);
}

/* One more, whatever devices it takes. */
static bool allow_one(struct limits *l, const struct sched_shape *shape, int64_t now_ms)
{
	const struct queue *q = shape->queue;

	if (q->max_running &&
	        q->n_running + count_of(get_given(l, q, ""), shape, now_ms) >= q->max_running)
		return false;
	return !q->max_running_per_user ||
	       queue_user_running(q, shape->user) +
	                       count_of(get_given(l, q, shape->user), shape, now_ms) <
	               q->max_running_per_user;
}

bool limits_allow(struct limits *l, const struct sched_shape *shape, int64_t now_ms)
{
	const struct queue *q = shape->queue;
	uint64_t milli = least_milli(&shape->gpu);
	struct given *of_queue;

	if (!is_limited(q))
		return true;
	if (!allow_one(l, shape, now_ms))
		return false;
	of_queue = get_given(l, q, "");
	if (milli && of_queue->gpus_are_closed)
		return false;
	return !is_over_gpus(q, milli_given(of_queue, shape, now_ms), milli);
}

void limits_keep(struct limits *l, const struct sched_shape *shape, int64_t at_ms)
{
	const struct queue *q = shape->queue;
	struct given *of_queue, *of_user;

	if (!is_limited(q))
		return;
	of_queue = get_given(l, q, "");
	of_queue->kept_n = 1;
	of_queue->kept_milli = greatest_milli(&shape->gpu);
	of_queue->kept_at_ms = at_ms;
	if (!q->max_running_per_user)
		return;
	of_user = get_given(l, q, shape->user);
	of_user->kept_n = 1;
	of_user->kept_at_ms = at_ms;
}

uint64_t limits_most_milli(struct limits *l, const struct sched_shape *shape, int64_t now_ms)
{
	const struct queue *q = shape->queue;
	const struct given *of_queue;
	uint64_t held, all = (uint64_t)q->max_gpus * 1000;

	if (!is_limited(q))
		return UINT64_MAX;
	if (!allow_one(l, shape, now_ms))
		return 0;
	if (!q->max_gpus || !gpu_ask_any(&shape->gpu))
		return UINT64_MAX;
	of_queue = get_given(l, q, "");
	if (of_queue->gpus_are_closed)
		return 0;
	held = q->gpu_milli + milli_given(of_queue, shape, now_ms);
	return all - MIN(all, held);
}

bool limits_take(struct limits *l, const struct sched_shape *shape, const struct placement *at,
        int64_t now_ms)
{
	const struct queue *q = shape->queue;
	struct given *of_queue;
	uint64_t milli = milli_of(at);

	if (!is_limited(q))
		return true;
	of_queue = get_given(l, q, "");
	if (is_over_gpus(q, milli_given(of_queue, shape, now_ms), milli))
		return false;
	of_queue->n++;
	of_queue->gpu_milli += milli;
	if (q->max_running_per_user)
		get_given(l, q, shape->user)->n++;
	return true;
}

/* Who holds something of a queue's, and until when at most. */
struct holder {
	int64_t end_ms;
	uint64_t milli;
};

static int by_end(const void *a, const void *b)
{
	int64_t x = ((const struct holder *)a)->end_ms, y = ((const struct holder *)b)->end_ms;

	return x < y ? -1 : x > y;
}

/* user NULL: of all. In the order of their ends; the caller frees. */
static struct holder *find_holders(
        const struct queue *q, const char *user, int64_t now_ms, uint32_t *ret_n)
{
	struct holder *v = NULL;
	const struct job *j;
	size_t cap = 0;

	*ret_n = 0;
	LIST_FOREACH (j, &q->running, in_queue) {
		if (user && strcmp(j->req->user ? j->req->user : "", user) != 0)
			continue;
		MEM_GROW(v, *ret_n, cap);
		v[*ret_n] = (struct holder){.end_ms = room_end_of(j, now_ms)};
		for (uint32_t i = 0; i < j->n_slices; i++)
			v[*ret_n].milli += j->slices[i].share_milli;
		(*ret_n)++;
	}
	if (*ret_n)
		qsort(v, *ret_n, sizeof(*v), by_end);
	return v;
}

/* When so many of those have ended, and given so much back; ROOM_NEVER: nothing says when. */
static int64_t ended_ms(
        const struct queue *q, const char *user, uint64_t n, uint64_t milli, int64_t now_ms)
{
	uint32_t n_holders;
	struct holder *v = n || milli ? find_holders(q, user, now_ms, &n_holders) : NULL;
	int64_t at_ms = now_ms;

	for (uint32_t i = 0; v && i < n_holders && (n || milli); i++) {
		at_ms = v[i].end_ms;
		n -= MIN(n, 1);
		milli -= MIN(milli, v[i].milli);
	}
	free(v);
	return n || milli ? ROOM_NEVER : at_ms;
}

static uint64_t beyond(uint64_t n, uint64_t most)
{
	return most && n >= most ? n - most + 1 : 0;
}

int64_t limits_ease_ms(struct limits *l, const struct sched_shape *shape, int64_t now_ms)
{
	const struct queue *q = shape->queue;
	uint64_t n, of_user, milli, most = (uint64_t)q->max_gpus * 1000;
	uint64_t asked = greatest_milli(&shape->gpu);
	int64_t at_ms;

	if (!is_limited(q))
		return now_ms;
	if (q->max_gpus && asked > most)
		return ROOM_NEVER;
	n = q->n_running + get_given(l, q, "")->n;
	milli = q->max_gpus && asked ? q->gpu_milli + get_given(l, q, "")->gpu_milli + asked : 0;
	at_ms = ended_ms(q, NULL, beyond(n, q->max_running), milli - MIN(milli, most), now_ms);
	if (!q->max_running_per_user)
		return at_ms;
	of_user = queue_user_running(q, shape->user) + get_given(l, q, shape->user)->n;
	return MAX(at_ms,
	        ended_ms(q, shape->user, beyond(of_user, q->max_running_per_user), 0, now_ms));
}

void limits_close(struct limits *l, const struct sched_shape *shape)
{
	const struct queue *q = shape->queue;
	struct given *of_queue;

	if (!is_limited(q))
		return;
	of_queue = get_given(l, q, "");
	if (is_over_gpus(q, of_queue->gpu_milli, greatest_milli(&shape->gpu)))
		of_queue->gpus_are_closed = true;
}

bool limits_forbid(const struct sched_shape *shape)
{
	return shape->queue->max_gpus &&
	       least_milli(&shape->gpu) > (uint64_t)shape->queue->max_gpus * 1000;
}

/* Until so many have ended, or given so much back. */
static void add_end(const struct limit_question *q, const char *user, uint64_t n, uint64_t milli,
        char *out, size_t size)
{
	int64_t at_ms = ended_ms(q->shape->queue, user, n, milli, q->now_ms);
	size_t len = strlen(out);
	char when[32];

	if (at_ms != ROOM_NEVER && len < size)
		snprintf(out + len, size - len, "; until %s at the latest",
		        num_format_time(at_ms, when));
}

static bool is_too_many(const struct limit_question *q, char *out, size_t size)
{
	const struct queue *of = q->shape->queue;
	uint64_t n = of->n_running + get_given(q->given, of, "")->n;

	if (!of->max_running || n < of->max_running)
		return false;
	snprintf(out, size, "queue '%s' runs %llu of at most %u", of->name, (unsigned long long)n,
	        of->max_running);
	add_end(q, NULL, n - of->max_running + 1, 0, out, size);
	return true;
}

static bool is_too_many_of_user(const struct limit_question *q, char *out, size_t size)
{
	const struct queue *of = q->shape->queue;
	const char *user = q->shape->user;
	uint64_t n;

	if (!of->max_running_per_user)
		return false;
	n = queue_user_running(of, user) + get_given(q->given, of, user)->n;
	if (n < of->max_running_per_user)
		return false;
	snprintf(out, size, "queue '%s' runs %llu of at most %u of %s", of->name,
	        (unsigned long long)n, of->max_running_per_user, user);
	add_end(q, user, n - of->max_running_per_user + 1, 0, out, size);
	return true;
}

static bool are_too_many_gpus(const struct limit_question *q, char *out, size_t size)
{
	const struct queue *of = q->shape->queue;
	uint64_t milli = q->at ? milli_of(q->at) : least_milli(&q->shape->gpu);
	uint64_t given = get_given(q->given, of, "")->gpu_milli, held = of->gpu_milli + given;

	if (!is_over_gpus(of, given, milli))
		return false;
	snprintf(out, size,
	        "queue '%s' holds %llu.%03llu of at most %u GPUs, and this takes %llu.%03llu",
	        of->name, (unsigned long long)held / 1000, (unsigned long long)held % 1000,
	        of->max_gpus, (unsigned long long)milli / 1000, (unsigned long long)milli % 1000);
	if (milli <= (uint64_t)of->max_gpus * 1000)
		add_end(q, NULL, 0, held + milli - (uint64_t)of->max_gpus * 1000, out, size);
	return true;
}

bool limit_reached(const struct limit_question *q, char *out, size_t size)
{
	return is_limited(q->shape->queue) &&
	       (is_too_many(q, out, size) || is_too_many_of_user(q, out, size) ||
	               are_too_many_gpus(q, out, size));
}
