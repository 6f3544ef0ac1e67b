#include "server/calibrator.h"
#include "server/recorder.h"
#include "base/mem.h"
#include "plat/clock.h"
#include "sched/calibrate.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define INTERVAL_MS (60 * 60 * 1000)
#define STEP        200 /* requests between looks at the clock: tens of milliseconds */
#define LEAST_NICE  19

struct calibrator {
	struct server *s;
	struct worker *worker;
	struct calibration *latest; /* its thread's while is_running; NULL: there was none */
	uint64_t budget_ns;
	int64_t after_ms; /* monotonic; not again before */
	uint64_t n_adopted;
	bool is_running;
	atomic_bool is_cancelled;
};

/* The calibrating thread. */
static void run(void *data)
{
	struct calibrator *k = data;
	uint64_t end_ns = clock_thread_ns() + k->budget_ns;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), LEAST_NICE);
	while (!atomic_load(&k->is_cancelled) && clock_thread_ns() < end_ns &&
	        calibration_step(k->latest, STEP))
		;
}

static void adopt(struct calibrator *k, const struct calibrated *found)
{
	struct server *s = k->s;

	BUG_IF(!sched_adopt(s->sched, s->world, &found->settings));
	recorder_adopt(s->recorder, server_now(s).wall_ms, found->settings.v, SCHED_SETTINGS);
	log_info("sched.adopted", "number=%llu share=%.4f usual_share=%.4f",
	        (unsigned long long)++k->n_adopted, found->share, found->usual_share);
}

static void on_done(void *data)
{
	struct calibrator *k = data;
	struct calibrated found;

	k->is_running = false;
	if (atomic_load(&k->is_cancelled))
		return;
	if (calibration_result(k->latest, &found))
		adopt(k, &found);
	else
		log_info(
		        "sched.calibrate", "text=\"sched.calibrate is too short to try anything\"");
}

static int open_calibrator(struct server *s, struct err *err)
{
	struct calibrator *k;
	struct worker *worker;
	int rc = worker_new(s->loop, "calibrator", 1, &worker, err);

	if (rc)
		return rc;
	k = s->calibrator = mem_zalloc(sizeof(*k));
	k->s = s;
	k->worker = worker;
	k->budget_ns = s->conf->sched_calibrate_ms * 1000000;
	return 0;
}

void calibrator_begin(struct server *s)
{
	int64_t now_ms = server_now(s).mono_ms;
	struct calibration *next;
	struct calibrator *k;
	struct err err;

	if (!s->conf->sched_calibrate_ms)
		return;
	if (!s->calibrator && open_calibrator(s, &err)) {
		log_warn("sched.calibrate", "text=\"%s\"", err.text);
		return;
	}
	k = s->calibrator;
	if (k->is_running || now_ms < k->after_ms || atomic_load(&k->is_cancelled))
		return;
	next = sched_calibrate(s->sched, k->latest);
	if (!next)
		return;
	calibration_free(k->latest);
	k->latest = next;
	k->after_ms = now_ms + INTERVAL_MS;
	k->is_running = worker_submit(k->worker, run, on_done, k);
}

void calibrator_cancel(struct server *s)
{
	if (s->calibrator)
		atomic_store(&s->calibrator->is_cancelled, true);
}

void calibrator_free(struct server *s)
{
	struct calibrator *k = STEAL(s->calibrator);

	if (!k)
		return;
	atomic_store(&k->is_cancelled, true);
	worker_free(k->worker);
	calibration_free(k->latest);
	free(k);
}
