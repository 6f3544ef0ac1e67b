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

bool limits_allow(struct limits *l, const struct sched_shape *shape)
{
	const struct queue *q = shape->queue;
	uint64_t milli = least_milli(&shape->gpu);
	struct given *of_queue;

	if (!is_limited(q))
		return true;
	of_queue = get_given(l, q, "");
	if (q->max_running && q->n_running + of_queue->n >= q->max_running)
		return false;
	if (q->max_running_per_user &&
	        queue_user_running(q, shape->user) + get_given(l, q, shape->user)->n >=
	                q->max_running_per_user)
		return false;
	if (milli && of_queue->gpus_are_closed)
		return false;
	if (!is_over_gpus(q, of_queue->gpu_milli, milli))
		return true;
	/* What is more than the queue ever gives keeps nobody waiting. */
	of_queue->gpus_are_closed = milli <= (uint64_t)q->max_gpus * 1000;
	return false;
}

bool limits_take(struct limits *l, const struct sched_shape *shape, const struct placement *at)
{
	const struct queue *q = shape->queue;
	struct given *of_queue;
	uint64_t milli = milli_of(at);

	if (!is_limited(q))
		return true;
	of_queue = get_given(l, q, "");
	if (is_over_gpus(q, of_queue->gpu_milli, milli)) {
		of_queue->gpus_are_closed = true;
		return false;
	}
	of_queue->n++;
	of_queue->gpu_milli += milli;
	if (q->max_running_per_user)
		get_given(l, q, shape->user)->n++;
	return true;
}

bool limit_reached(
        const struct sched_shape *shape, const struct placement *at, char *out, size_t size)
{
	const struct queue *q = shape->queue;
	uint64_t milli = at ? milli_of(at) : least_milli(&shape->gpu), of_user;

	if (q->max_running && q->n_running >= q->max_running) {
		snprintf(out, size, "queue '%s' runs %llu of at most %u", q->name,
		        (unsigned long long)q->n_running, q->max_running);
		return true;
	}
	of_user = q->max_running_per_user ? queue_user_running(q, shape->user) : 0;
	if (q->max_running_per_user && of_user >= q->max_running_per_user) {
		snprintf(out, size, "queue '%s' runs %llu of at most %u of %s", q->name,
		        (unsigned long long)of_user, q->max_running_per_user, shape->user);
		return true;
	}
	if (!is_over_gpus(q, 0, milli))
		return false;
	snprintf(out, size,
	        "queue '%s' holds %llu.%03llu of at most %u GPUs, and this takes %llu.%03llu",
	        q->name, (unsigned long long)q->gpu_milli / 1000,
	        (unsigned long long)q->gpu_milli % 1000, q->max_gpus,
	        (unsigned long long)milli / 1000, (unsigned long long)milli % 1000);
	return true;
}
