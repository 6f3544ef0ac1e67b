/*
 * That the work outlives its caller: another engine on the same directory knows all of it.
 */
#include "engine_scene.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

#include "leftovers.h"

#define UNTIL_GO "while [ ! -e go ]; do sleep 0.02; done; "

static void reopen(struct scene *s)
{
	scene_close(s);
	scene_open(s, false);
}

void case_reopened(void **state)
{
	static struct slice_record slice = {
	        .device = "GPU-1", .mem_bytes = GIB, .share_milli = 100};
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "echo one; " UNTIL_GO "echo two; exit 6");
	struct engine_state before, now;

	m.slices = &slice;
	m.n_slices = 1;
	scene_start(s, &m);
	scene_sh(s, 2, "trap 'exit 4' TERM; touch ready; while :; do sleep 0.02; done");
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	scene_wait_file(s, "ready");
	before = scene_state(s, 1);
	reopen(s);
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	now = scene_state(s, 1);
	assert_int_equal(now.phase, ENGINE_LIVING);
	assert_int_equal(now.started_ms, before.started_ms);
	assert_int_equal(now.pid, before.pid);
	assert_int_equal(now.root_pid, before.root_pid);
	assert_true(now.slices_known);
	assert_string_equal(now.slices[0].device, "GPU-1");
	assert_int_equal(now.slices[0].mem_bytes, GIB);
	scene_signal(s, 2, SPOOL_STOPPED, false);
	assert_int_equal(scene_code(s, 2), 4);
	assert_int_equal(scene_record(s, 2, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 1), 6);
	assert_string_equal(scene_output(s, 1, true, true), "one\ntwo\n");
	assert_int_equal(s->n_records, 4);
	assert_int_equal(s->n_lost, 0);
	scene_clean(s, 1);
}

void case_ended_meanwhile(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, UNTIL_GO "exit 6");
	scene_sh(s, 2, "exit 5");
	scene_until(s, has_started, 1);
	assert_int_equal(scene_code(s, 2), 5);
	scene_close(s);
	scene_make_file(s, "go");
	while (is_running((pid_t)scene_record(s, 1, SPOOL_STARTED)->pid))
		usleep(10000);
	scene_open(s, false);
	assert_int_equal(scene_code(s, 1), 6);
	/* What was reported and not cleaned is reported again. */
	assert_int_equal(scene_code(s, 2), 5);
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		assert_int_equal(scene_count(s, epoch, SPOOL_STARTED), 1);
		assert_int_equal(scene_count(s, epoch, SPOOL_ENDED), 1);
		assert_int_equal(scene_state(s, epoch).phase, ENGINE_ENDED);
		scene_clean(s, epoch);
	}
}

void case_prepared_is_forgotten(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "exit 2");
	struct engine_state now;

	assert_int_equal(scene_prepare(s, &m), 0);
	reopen(s);
	scene_run(s, 100);
	assert_int_equal(s->n_records, 0);
	assert_int_equal(engine_inspect(s->e, s->ctx, 1, &now, &s->err), -ERR_NOT_FOUND);
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 1), 2);
}

/* A caller of its own, which starts two attempts and is killed when one of them lives. */
static void be_killed(struct scene *s)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (loop_new(&s->loop, &s->err) < 0)
			_exit(1);
		/* What the parent has open is the parent's. */
		s->timer = loop_timer_new(s->loop, NULL, NULL);
		scene_open(s, false);
		scene_sh(s, 1, "echo one; " UNTIL_GO "echo two; exit 6");
		scene_sh(s, 2, "while [ ! -e go2 ]; do sleep 0.02; done; exit 7");
		for (;;)
			loop_run(s->loop);
	}
	scene_run(s, 1);
	for (int i = 0; i < 1000 && access(scene_path(s, "logs/0/1.1.out"), F_OK) < 0; i++)
		usleep(10000);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

void case_caller_killed(void **state)
{
	struct scene *s = *state;
	struct link_start m;
	struct engine_request r = {.start = &m, .grace_ms = GRACE_MS, .again = true};

	scene_close(s);
	be_killed(s);
	scene_open(s, false);
	scene_until(s, has_started, 1);
	/* Whether the other had begun, nobody knows: it is given again, and runs once. */
	m = scene_job(s, 2, "while [ ! -e go2 ]; do sleep 0.02; done; exit 7");
	if (engine_prepare(s->e, &r, &s->err) < 0)
		assert_int_equal(s->err.kind, ERR_CONFLICT);
	else
		assert_int_equal(engine_start(s->e, 2, &s->err), 0);
	scene_until(s, has_started, 2);
	scene_make_file(s, "go");
	scene_make_file(s, "go2");
	assert_int_equal(scene_code(s, 1), 6);
	assert_string_equal(scene_output(s, 1, true, true), "one\ntwo\n");
	assert_int_equal(scene_code(s, 2), 7);
	assert_int_equal(scene_count(s, 2, SPOOL_STARTED), 1);
	assert_int_equal(scene_count(s, 2, SPOOL_ENDED), 1);
}

/* Given again to an engine that finds it living, it is not begun anew. */
void case_again(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "echo x >>runs; " UNTIL_GO);
	struct engine_request r = {.start = &m, .again = true};

	scene_start(s, &m);
	scene_until(s, has_started, 1);
	reopen(s);
	assert_int_equal(engine_prepare(s->e, &r, &s->err), -ERR_CONFLICT);
	assert_int_equal(scene_count(s, 1, SPOOL_STARTED), 1);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 1), 0);
	assert_int_equal(engine_prepare(s->e, &r, &s->err), -ERR_CONFLICT);
}

/* Given again, and nothing of it was ever here: it starts like any other. */
void case_again_is_new(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "exit 8");
	struct engine_request r = {.start = &m, .output_max = MIB, .again = true};

	assert_int_equal(engine_prepare(s->e, &r, &s->err), 0);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	assert_int_equal(scene_code(s, 1), 8);
}

/* Nothing that lived can live on; what had ended keeps its end. */
void case_rebooted(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, UNTIL_GO);
	scene_sh(s, 2, "exit 5");
	scene_until(s, has_started, 1);
	assert_int_equal(scene_code(s, 2), 5);
	scene_close(s);
	assert_true(leftovers_kill(s->dir) > 0);
	while (leftovers_count(s->dir))
		usleep(10000);
	scene_open(s, true);
	assert_int_equal(scene_end(s, 1)->cause, SPOOL_KEEPER_KILLED);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "restarted"));
	assert_int_equal(scene_code(s, 2), 5);
	assert_int_equal(scene_record(s, 2, SPOOL_ENDED)->cause, SPOOL_EXIT);
	assert_int_equal(s->n_with_machine, 1);
	/* And it works. */
	scene_sh(s, 3, "exit 9");
	assert_int_equal(scene_code(s, 3), 9);
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 1);
	scene_clean(s, 1);
}

/* Whoever looked after it is killed: what is left is ended, and that is its end. */
void case_lost(void **state)
{
	struct scene *s = *state;
	struct engine_state now;

	scene_sh(s, 1, UNTIL_GO);
	scene_sh(s, 2, UNTIL_GO "exit 3");
	scene_until(s, has_started, 1);
	scene_until(s, has_started, 2);
	now = scene_state(s, 1);
	/* An engine whose work is elsewhere has nobody here to lose. */
	if (!now.root_pid)
		skip();
	assert_int_equal(kill(now.root_pid, SIGKILL), 0);
	assert_int_equal(scene_end(s, 1)->cause, SPOOL_KEEPER_KILLED);
	/* Where its end can be told at once there is no need to say first that it will come. */
	assert_int_equal(s->n_lost, has_lost(s, 1));
	assert_false(is_running(now.pid));
	assert_int_equal(scene_count(s, 1, SPOOL_ENDED), 1);
	scene_clean(s, 1);
	assert_false(has_ended(s, 2));
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 2), 3);
}
