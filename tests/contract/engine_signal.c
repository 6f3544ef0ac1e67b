/*
 * How an attempt is asked to end: TERM, grace, KILL, all of its tree, and in which state so ever it is.
 */
#include "engine_scene.h"

#include <fcntl.h>
#include <signal.h>

#include "plat/clock.h"

/* Its loop ends with it, whoever kills what. */
#define FOREVER "while :; do sleep 0.02; done"

void case_grace(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, "trap 'echo term; exit 4' TERM; touch ready; " FOREVER);
	scene_wait_file(s, "ready");
	scene_signal(s, 1, SPOOL_STOPPED, false);
	assert_int_equal(scene_code(s, 1), 4);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	assert_string_equal(scene_output(s, 1, true, false), "term\n");
}

void case_grace_is_over(void **state)
{
	struct scene *s = *state;
	uint64_t began_ms;

	scene_sh(s, 1, "trap '' TERM; touch ready; " FOREVER);
	scene_wait_file(s, "ready");
	began_ms = clock_mono_ms();
	scene_signal(s, 1, SPOOL_STOPPED, false);
	/* Said again, it is not over sooner, nor later, and for no other reason. */
	scene_run(s, GRACE_MS / 2);
	scene_signal(s, 1, SPOOL_SHUTDOWN, false);
	assert_int_equal(scene_code(s, 1), 128 + SIGKILL);
	assert_in_range(clock_mono_ms() - began_ms, GRACE_MS, GRACE_MS + 2000);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
}

void case_force(void **state)
{
	struct scene *s = *state;
	uint64_t began_ms = clock_mono_ms();
	struct link_start m = scene_job(s, 1, "trap '' TERM; touch ready; " FOREVER);
	struct engine_request r = {.start = &m, .grace_ms = 60000};

	assert_int_equal(engine_prepare(s->e, &r, &s->err), 0);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	scene_wait_file(s, "ready");
	/* Also when it was asked kindly before. */
	scene_signal(s, 1, SPOOL_STOPPED, false);
	scene_run(s, 50);
	assert_false(has_ended(s, 1));
	scene_signal(s, 1, SPOOL_STOPPED, true);
	assert_int_equal(scene_code(s, 1), 128 + SIGKILL);
	assert_true(clock_mono_ms() - began_ms < 30000);
}

void case_causes(void **state)
{
	static const enum spool_cause causes[] = {
	        SPOOL_STOPPED, SPOOL_TIMEOUT, SPOOL_SHUTDOWN, SPOOL_GPU_MEMORY, SPOOL_GPU_AROUND};
	struct scene *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(causes); i++)
		scene_sh(s, i + 1, FOREVER);
	for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
		scene_until(s, has_started, i + 1);
		scene_signal(s, i + 1, causes[i], i % 2);
	}
	for (size_t i = 0; i < ARRAY_LEN(causes); i++)
		assert_int_equal(scene_end(s, i + 1)->cause, causes[i]);
}

static pid_t pid_in(struct scene *s, const char *name)
{
	char text[32] = "";
	int fd;

	scene_wait_file(s, name);
	fd = open(scene_path(s, name), O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return (pid_t)strtol(text, NULL, 10);
}

/* What left its session and lost its parents ends, too, before the end is reported. */
void case_whole_tree(void **state)
{
	struct scene *s = *state;
	pid_t orphan;

	scene_sh(s, 1,
	        "setsid sh -c '(trap \"\" TERM; echo $$ >p; mv p pid; " FOREVER ") & wait' & "
	        "while [ ! -e pid ]; do sleep 0.02; done; " FOREVER);
	orphan = pid_in(s, "pid");
	assert_true(is_running(orphan));
	scene_signal(s, 1, SPOOL_STOPPED, false);
	(void)scene_end(s, 1);
	assert_false(is_running(orphan));
}

void case_signal_before_start(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "touch ran");

	assert_int_equal(scene_prepare(s, &m), 0);
	scene_signal(s, 1, SPOOL_SHUTDOWN, false);
	assert_int_equal(scene_end(s, 1)->cause, SPOOL_SHUTDOWN);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_run(s, 200);
	assert_int_equal(s->n_records, 1);
	assert_int_equal(access(scene_path(s, "ran"), F_OK), -1);
	scene_clean(s, 1);
}

/* Whether it had begun by then, nobody knows: it ends once, for that reason or by itself. */
void case_signal_at_once(void **state)
{
	struct scene *s = *state;

	for (uint64_t epoch = 1; epoch <= 8; epoch++) {
		scene_sh(s, epoch, FOREVER);
		scene_signal(s, epoch, SPOOL_STOPPED, epoch % 2);
	}
	for (uint64_t epoch = 1; epoch <= 8; epoch++) {
		assert_int_equal(scene_end(s, epoch)->cause, SPOOL_STOPPED);
		assert_int_equal(scene_count(s, epoch, SPOOL_ENDED), 1);
		assert_true(scene_count(s, epoch, SPOOL_STARTED) <= 1);
	}
}

void case_signal_of_the_ended(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, "exit 6");
	assert_int_equal(scene_code(s, 1), 6);
	scene_signal(s, 1, SPOOL_STOPPED, true);
	scene_run(s, 200);
	assert_int_equal(s->n_records, 2);
	assert_int_equal(scene_state(s, 1).phase, ENGINE_ENDED);
}

/* One that never comes is reported, so that whoever asked can go on; what it was named is told. */
void case_signal_of_a_stranger(void **state)
{
	struct scene *s = *state;

	scene_signal(s, 99, SPOOL_STOPPED, false);
	assert_int_equal(scene_end(s, 99)->cause, SPOOL_STOPPED);
	assert_int_equal(scene_record(s, 99, SPOOL_ENDED)->job, 99);
	assert_int_equal(scene_count(s, 99, SPOOL_STARTED), 0);
	scene_clean(s, 99);
}
