/*
 * What is refused, and that a refusal changes nothing.
 */
#include "engine_scene.h"

#define FOREVER "while :; do sleep 0.02; done"

void case_twice(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "echo x >>runs; " FOREVER), other;

	assert_int_equal(scene_prepare(s, &m), 0);
	other = scene_job(s, 1, "touch other");
	assert_int_equal(scene_prepare(s, &other), -ERR_CONFLICT);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_until(s, has_started, 1);
	assert_int_equal(scene_prepare(s, &other), -ERR_CONFLICT);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_wait_file(s, "runs");
	scene_signal(s, 1, SPOOL_STOPPED, true);
	(void)scene_end(s, 1);
	assert_int_equal(scene_prepare(s, &other), -ERR_CONFLICT);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_run(s, 200);
	assert_int_equal(s->n_records, 2);
	assert_int_equal(access(scene_path(s, "other"), F_OK), -1);
	assert_int_equal(scene_state(s, 1).phase, ENGINE_ENDED);
}

static void on_open(void *data, int fd, const struct err *why)
{
	fail_msg("attached to what must be refused");
}

void case_bad_values(void **state)
{
	static const enum spool_cause nobodys[] = {
	        SPOOL_EXIT, SPOOL_OOM, SPOOL_KEEPER_KILLED, SPOOL_CAUSE_MAX, (enum spool_cause)77};
	struct scene *s = *state;
	struct link_start m = scene_job(s, 0, "touch ran");
	struct engine_signal signal = {.epoch = 1};
	struct engine_attach attach = {.epoch = 1, .is_exec = true, .on_open = on_open};
	struct engine_attachment *at;
	struct engine_options o = {0};
	struct engine *e;
	char *none[] = {NULL};

	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	m.epoch = SPOOL_EPOCH_MAX + 1;
	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	m.epoch = 1;
	m.argv = none;
	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	m.argv = NULL;
	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	m = scene_job(s, 1, "touch ran");
	m.chdir = "relative";
	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	assert_non_null(strstr(s->err.text, "relative"));
	m.chdir = "";
	assert_int_equal(scene_prepare(s, &m), -ERR_INVALID);
	for (size_t i = 0; i < ARRAY_LEN(nobodys); i++) {
		signal.cause = nobodys[i];
		assert_int_equal(engine_signal(s->e, &signal, &s->err), -ERR_INVALID);
	}
	signal = (struct engine_signal){.epoch = 0, .cause = SPOOL_STOPPED};
	assert_int_equal(engine_signal(s->e, &signal, &s->err), -ERR_INVALID);
	assert_int_equal(engine_attach(s->e, &attach, &at, &s->err), -ERR_INVALID);
	attach.argv = none;
	assert_int_equal(engine_attach(s->e, &attach, &at, &s->err), -ERR_INVALID);
	o.loop = s->loop;
	assert_int_equal(engine_open(s->ops, &o, &e, &s->err), -ERR_INVALID);
	o.data_dir = "here";
	assert_int_equal(engine_open(s->ops, &o, &e, &s->err), -ERR_INVALID);
	scene_run(s, 1500);
	assert_int_equal(s->n_records, 0);
	assert_int_equal(access(scene_path(s, "ran"), F_OK), -1);
}

/* After any of them the same epoch can be prepared as it should have been. */
void case_not_to_be_prepared(void **state)
{
	static char big[MIB];
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "true");
	struct engine_state now;
	char *argv[12] = {"x"};

	m.user = "no-such-account-here";
	assert_int_equal(scene_prepare(s, &m), -ERR_NOT_FOUND);
	assert_non_null(strstr(s->err.text, "no-such-account-here"));
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 1; i < 11; i++)
		argv[i] = big;
	m = scene_job(s, 1, "true");
	m.argv = argv;
	assert_int_equal(scene_prepare(s, &m), -ERR_TOO_LARGE);
	assert_int_equal(engine_inspect(s->e, s->ctx, 1, &now, &s->err), -ERR_NOT_FOUND);
	assert_int_equal(s->n_records, 0);
	scene_sh(s, 1, "exit 2");
	assert_int_equal(scene_code(s, 1), 2);
}

void case_unknown(void **state)
{
	struct scene *s = *state;
	struct engine_attach attach = {.epoch = 8, .on_open = on_open};
	struct engine_attachment *at;
	struct engine_state now;

	assert_int_equal(engine_start(s->e, 8, &s->err), -ERR_NOT_FOUND);
	assert_int_equal(engine_clean(s->e, 8, &s->err), -ERR_NOT_FOUND);
	assert_int_equal(engine_inspect(s->e, s->ctx, 8, &now, &s->err), -ERR_NOT_FOUND);
	assert_int_equal(engine_attach(s->e, &attach, &at, &s->err), -ERR_NOT_FOUND);
	engine_remove(s->e, (struct job_id){.num = 8, .task = TASK_NONE}, 1);
	scene_run(s, 100);
	assert_int_equal(s->n_records, 0);
}

void case_clean_too_early(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, "while [ ! -e go ]; do sleep 0.02; done; exit 3");
	assert_int_equal(engine_clean(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_until(s, has_started, 1);
	assert_int_equal(engine_clean(s->e, 1, &s->err), -ERR_CONFLICT);
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 1), 3);
	scene_clean(s, 1);
	assert_int_equal(engine_clean(s->e, 1, &s->err), -ERR_NOT_FOUND);
}

void case_clean_of_the_prepared(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "touch ran");

	assert_int_equal(scene_prepare(s, &m), 0);
	scene_clean(s, 1);
	assert_int_equal(engine_start(s->e, 1, &s->err), -ERR_NOT_FOUND);
	scene_run(s, 200);
	assert_int_equal(s->n_records, 0);
	assert_int_equal(access(scene_path(s, "ran"), F_OK), -1);
}
