#include "plat/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "plat/loop_priv.h"

/*
 * DESIGN. One ring of jobs and three counters that only grow: told <= ran <= submitted <= told + cap. The loop's thread moves `submitted`
 * and `told`, the worker's moves `ran`; all three under one mutex, which is never held while a job or a callback runs.
 */

/* SQLite and libpq need far less; what is never touched costs address space only. */
#define STACK_BYTES (512 * KIB)

struct job {
	loop_fn *run;
	loop_fn *done;
	void *data;
};

struct worker {
	struct loop *loop;
	uv_async_t *finished; /* its own block: closing it ends after worker_free */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	uint64_t submitted;
	uint64_t ran;
	uint64_t told;
	bool is_closing;
	bool is_telling; /* loop's thread only */
	size_t cap;
	struct job ring[]; /* job n stands at n % cap */
};

static void *worker_main(void *data)
{
	struct worker *w = data;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct job job;

		while (w->ran == w->submitted && !w->is_closing)
			pthread_cond_wait(&w->work, &w->lock);
		if (w->ran == w->submitted)
			break;
		job = w->ring[w->ran % w->cap];
		pthread_mutex_unlock(&w->lock);
		job.run(job.data);
		pthread_mutex_lock(&w->lock);
		w->ran++;
		uv_async_send(w->finished);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void tell_finished(struct worker *w)
{
	uint64_t ran;
	bool is_idle;

	BUG_IF(w->is_telling);
	w->is_telling = true;
	pthread_mutex_lock(&w->lock);
	ran = w->ran;
	pthread_mutex_unlock(&w->lock);
	while (w->told < ran) {
		struct job job = w->ring[w->told % w->cap];

		/* Counted first, so that the callback may submit into the place that became free. */
		w->told++;
		job.done(job.data);
	}
	w->is_telling = false;
	is_idle = w->told == w->submitted;
	if (is_idle && !w->is_closing)
		uv_unref((uv_handle_t *)w->finished);
}

static void on_finished(uv_async_t *async)
{
	tell_finished(async->data);
}

static void free_async(uv_handle_t *handle)
{
	free(handle);
}

static int start_thread(struct worker *w, const char *name, struct err *err)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return err_sys(err, rc, "starting the thread '%s'", name);
	pthread_setname_np(w->thread, name);
	return 0;
}

int worker_new(struct loop *loop, const char *name, size_t max_queued, struct worker **ret_worker,
        struct err *err)
{
	struct worker *w;
	int rc;

	BUG_IF(max_queued == 0);
	w = mem_zalloc(sizeof(*w) + max_queued * sizeof(w->ring[0]));
	w->loop = loop;
	w->cap = max_queued;
	w->finished = mem_zalloc(sizeof(*w->finished));
	w->finished->data = w;
	rc = uv_async_init(loop_uv(loop), w->finished, on_finished);
	if (rc < 0) {
		free(w->finished);
		free(w);
		return loop_uv_err(err, rc, "starting the thread '%s'", name);
	}
	uv_unref((uv_handle_t *)w->finished);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	rc = start_thread(w, name, err);
	if (rc < 0) {
		uv_close((uv_handle_t *)w->finished, free_async);
		pthread_cond_destroy(&w->work);
		pthread_mutex_destroy(&w->lock);
		free(w);
		return rc;
	}
	*ret_worker = w;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	BUG_IF(w->is_telling);
	pthread_mutex_lock(&w->lock);
	w->is_closing = true;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	tell_finished(w);
	uv_close((uv_handle_t *)w->finished, free_async);
	pthread_cond_destroy(&w->work);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

bool worker_submit(struct worker *w, loop_fn *run, loop_fn *done, void *data)
{
	bool is_taken;

	pthread_mutex_lock(&w->lock);
	is_taken = w->submitted - w->told < w->cap && !w->is_closing;
	if (is_taken) {
		w->ring[w->submitted % w->cap] =
		        (struct job){.run = run, .done = done, .data = data};
		w->submitted++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	if (is_taken)
		uv_ref((uv_handle_t *)w->finished);
	return is_taken;
}

size_t worker_queued(const struct worker *w)
{
	return (size_t)(w->submitted - w->told);
}
