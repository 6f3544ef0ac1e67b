#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "plat/worker.h"

#define JOBS_MAX 4096

struct scene {
	struct loop *loop;
	struct worker *worker;
	pthread_t loop_thread;
	size_t told;
	size_t want;
	pthread_mutex_t gate; /* held: no job gets through */
};

struct job {
	struct scene *scene;
	size_t number;
	size_t result;
	bool was_elsewhere;
	bool was_blocked;
};

static struct job jobs[JOBS_MAX];

static void begin(struct scene *s, size_t cap)
{
	struct err err;

	memset(s, 0, sizeof(*s));
	memset(jobs, 0, sizeof(jobs));
	for (size_t i = 0; i < JOBS_MAX; i++)
		jobs[i] = (struct job){.scene = s, .number = i};
	s->loop_thread = pthread_self();
	pthread_mutex_init(&s->gate, NULL);
	assert_int_equal(loop_new(&s->loop, &err), 0);
	assert_int_equal(worker_new(s->loop, "test", cap, &s->worker, &err), 0);
}

static void end(struct scene *s)
{
	worker_free(s->worker);
	loop_free(s->loop);
	pthread_mutex_destroy(&s->gate);
}

static void run_job(void *data)
{
	struct job *job = data;
	sigset_t mask;

	pthread_mutex_lock(&job->scene->gate);
	pthread_mutex_unlock(&job->scene->gate);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	job->was_blocked = sigismember(&mask, SIGTERM) == 1;
	job->was_elsewhere = !pthread_equal(pthread_self(), job->scene->loop_thread);
	job->result = job->number * 3;
}

static void done_job(void *data)
{
	struct job *job = data;
	struct scene *s = job->scene;

	/* In order, each once, on the loop's thread. */
	assert_true(pthread_equal(pthread_self(), s->loop_thread));
	assert_int_equal(job->number, s->told);
	assert_int_equal(job->result, job->number * 3);
	assert_true(job->was_elsewhere);
	assert_true(job->was_blocked);
	s->told++;
}

static void done_and_submit(void *data)
{
	struct scene *s = ((struct job *)data)->scene;

	done_job(data);
	if (s->told + worker_queued(s->worker) < s->want)
		assert_true(worker_submit(s->worker, run_job, done_and_submit,
		        &jobs[s->told + worker_queued(s->worker)]));
}

/* loop_run returns by itself when the last job is told. */
static void test_order(void **state)
{
	struct scene s;

	begin(&s, JOBS_MAX);
	for (size_t i = 0; i < JOBS_MAX; i++)
		assert_true(worker_submit(s.worker, run_job, done_job, &jobs[i]));
	loop_run(s.loop);
	assert_int_equal(s.told, JOBS_MAX);
	assert_int_equal(worker_queued(s.worker), 0);
	end(&s);
}

static void test_ends_coalesce(void **state)
{
	struct scene s;

	begin(&s, 64);
	for (size_t i = 0; i < 64; i++)
		assert_true(worker_submit(s.worker, run_job, done_job, &jobs[i]));
	/* All have run before the loop looks: freeing waits for them, and tells all in one go. */
	worker_free(s.worker);
	s.worker = NULL;
	assert_int_equal(s.told, 64);
	end(&s);
}

static void test_full(void **state)
{
	struct scene s;

	begin(&s, 2);
	pthread_mutex_lock(&s.gate);
	assert_true(worker_submit(s.worker, run_job, done_job, &jobs[0]));
	assert_true(worker_submit(s.worker, run_job, done_job, &jobs[1]));
	assert_false(worker_submit(s.worker, run_job, done_job, &jobs[2]));
	assert_int_equal(worker_queued(s.worker), 2);
	pthread_mutex_unlock(&s.gate);
	loop_run(s.loop);
	assert_int_equal(s.told, 2);
	assert_true(worker_submit(s.worker, run_job, done_job, &jobs[2]));
	loop_run(s.loop);
	assert_int_equal(s.told, 3);
	end(&s);
}

/* The ring goes round many times, refilled from its own callbacks. */
static void test_submit_from_done(void **state)
{
	struct scene s;

	begin(&s, 3);
	s.want = JOBS_MAX;
	for (size_t i = 0; i < 3; i++)
		assert_true(worker_submit(s.worker, run_job, done_and_submit, &jobs[i]));
	loop_run(s.loop);
	assert_int_equal(s.told, JOBS_MAX);
	end(&s);
}

static void done_and_refused(void *data)
{
	struct scene *s = ((struct job *)data)->scene;

	done_job(data);
	assert_false(worker_submit(s->worker, run_job, done_job, &jobs[s->told]));
}

static void test_no_submit_while_freeing(void **state)
{
	struct scene s;

	begin(&s, 8);
	assert_true(worker_submit(s.worker, run_job, done_and_refused, &jobs[0]));
	worker_free(s.worker);
	s.worker = NULL;
	assert_int_equal(s.told, 1);
	end(&s);
}

static void test_idle_free(void **state)
{
	struct scene s;

	begin(&s, 1);
	loop_run(s.loop);
	end(&s);
	worker_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_order),
	        cmocka_unit_test(test_ends_coalesce),
	        cmocka_unit_test(test_full),
	        cmocka_unit_test(test_submit_from_done),
	        cmocka_unit_test(test_no_submit_while_freeing),
	        cmocka_unit_test(test_idle_free),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
