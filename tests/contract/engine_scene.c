#include "engine_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <talloc.h>

#include "leftovers.h"
#include "plat/clock.h"
#include "shared.h"

/* What an engine has to be given here, beside what all of them are given. A new engine has its lines in this one place. */
void scene_options(struct scene *s, struct engine_options *o)
{
	o->loop = s->loop;
	o->data_dir = s->dir;
	o->node_name = "n1";
	if (strcmp(s->ops->name, "host") == 0)
		o->program = talloc_strdup(s->ctx, shared_program("berth-keeper"));
	else
		fail_msg("nobody says how engine %s is tested", s->ops->name);
}

/* Reports */

static void check_wait(struct scene *s)
{
	if (s->is_there && s->is_there(s, s->arg)) {
		s->has_come = true;
		s->is_there = NULL;
		loop_stop(s->loop);
	}
}

static void take(struct scene *s, const struct spool_record *r)
{
	assert_true(s->n_records < SCENE_RECORDS);
	s->records[s->n_records++] = *r;
}

static void on_started(void *data, const struct spool_record *r)
{
	assert_int_equal(r->kind, SPOOL_STARTED);
	take(data, r);
}

static void on_ended(void *data, const struct spool_record *r, bool with_machine)
{
	struct scene *s = data;

	assert_int_equal(r->kind, SPOOL_ENDED);
	take(s, r);
	s->n_with_machine += with_machine;
	if (s->on_ended)
		s->on_ended(s, r->epoch);
}

static void on_lost(void *data, uint64_t epoch)
{
	struct scene *s = data;

	assert_true(s->n_lost < ARRAY_LEN(s->lost));
	s->lost[s->n_lost++] = epoch;
}

static void on_news(void *data, enum log_level level, const char *event, const char *text)
{
	if (getenv("BERTH_TEST_LOG"))
		fprintf(stderr, "%d %s %s\n", (int)level, event, text);
}

/* Life */

const char *scene_path(const struct scene *s, const char *name)
{
	return shared_path(s->dir, name);
}

static void on_timer(void *data)
{
	struct scene *s = data;

	check_wait(s);
	if (!s->has_come && clock_mono_ms() >= s->deadline_ms) {
		s->is_there = NULL;
		loop_stop(s->loop);
	}
}

void scene_open(struct scene *s, bool is_rebooted)
{
	struct engine_options o = {
	        .is_rebooted = is_rebooted,
	        .on_started = on_started,
	        .on_ended = on_ended,
	        .on_lost = on_lost,
	        .on_news = on_news,
	        .data = s,
	};

	scene_options(s, &o);
	s->n_records = s->n_with_machine = s->n_lost = 0;
	assert_int_equal(engine_open(s->ops, &o, &s->e, &s->err), 0);
	assert_int_equal(s->n_records, 0);
	engine_resume(s->e);
}

void scene_close(struct scene *s)
{
	engine_close(s->e);
	s->e = NULL;
}

int scene_setup(void **state)
{
	static struct scene scene;
	struct scene *s = &scene;

	memset(s, 0, sizeof(*s));
	s->ops = *state;
	snprintf(s->dir, sizeof(s->dir), "/tmp/berth-engine-test.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	chmod(s->dir, 0711);
	s->ctx = talloc_new(NULL);
	assert_int_equal(loop_new(&s->loop, &s->err), 0);
	s->timer = loop_timer_new(s->loop, on_timer, s);
	scene_open(s, false);
	*state = s;
	return 0;
}

int scene_teardown(void **state)
{
	struct scene *s = *state;

	scene_close(s);
	(void)leftovers_kill(s->dir);
	leftovers_remove_groups(s->dir);
	loop_timer_free(s->timer);
	loop_free(s->loop);
	talloc_free(s->ctx);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return shared_remove(s->dir);
}

/* Waiting */

static void wait_for(
        struct scene *s, bool (*is_there)(struct scene *s, uint64_t arg), uint64_t arg, uint64_t ms)
{
	s->is_there = is_there;
	s->arg = arg;
	s->has_come = false;
	s->deadline_ms = clock_mono_ms() + ms;
	loop_timer_start(s->timer, 0, 2);
	loop_run(s->loop);
	loop_timer_stop(s->timer);
}

static bool never(struct scene *s, uint64_t unused)
{
	return false;
}

void scene_run(struct scene *s, uint64_t ms)
{
	wait_for(s, never, 0, ms);
}

void scene_until(struct scene *s, bool (*is_there)(struct scene *s, uint64_t arg), uint64_t arg)
{
	wait_for(s, is_there, arg, SCENE_WAIT_MS);
	assert_true(s->has_come);
}

bool has_started(struct scene *s, uint64_t epoch)
{
	return scene_record(s, epoch, SPOOL_STARTED) != NULL;
}

bool has_ended(struct scene *s, uint64_t epoch)
{
	return scene_record(s, epoch, SPOOL_ENDED) != NULL;
}

bool has_lost(struct scene *s, uint64_t epoch)
{
	for (size_t i = 0; i < s->n_lost; i++)
		if (s->lost[i] == epoch)
			return true;
	return false;
}

static bool has_file(struct scene *s, uint64_t path)
{
	return access((const char *)(uintptr_t)path, F_OK) == 0;
}

void scene_wait_file(struct scene *s, const char *name)
{
	scene_until(s, has_file, (uintptr_t)scene_path(s, name));
}

void scene_make_file(struct scene *s, const char *name)
{
	int fd = open(scene_path(s, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

/* Asking */

struct link_start scene_job(const struct scene *s, uint64_t epoch, const char *script)
{
	return shared_job(epoch, script, s->dir);
}

int scene_prepare(struct scene *s, const struct link_start *m)
{
	struct engine_request r = {.start = m, .grace_ms = GRACE_MS, .output_max = GIB};

	return engine_prepare(s->e, &r, &s->err);
}

void scene_start(struct scene *s, const struct link_start *m)
{
	assert_int_equal(scene_prepare(s, m), 0);
	assert_int_equal(engine_start(s->e, m->epoch, &s->err), 0);
}

void scene_sh(struct scene *s, uint64_t epoch, const char *script)
{
	struct link_start m = scene_job(s, epoch, script);

	scene_start(s, &m);
}

void scene_signal(struct scene *s, uint64_t epoch, enum spool_cause cause, bool force)
{
	struct engine_signal signal = {
	        .id = {.num = epoch, .task = TASK_NONE},
	        .epoch = epoch,
	        .cause = cause,
	        .force = force,
	};

	assert_int_equal(engine_signal(s->e, &signal, &s->err), 0);
}

void scene_clean(struct scene *s, uint64_t epoch)
{
	assert_int_equal(engine_clean(s->e, epoch, &s->err), 0);
}

struct engine_state scene_state(struct scene *s, uint64_t epoch)
{
	struct engine_state state;

	assert_int_equal(engine_inspect(s->e, s->ctx, epoch, &state, &s->err), 0);
	return state;
}

/* Hearing */

const struct spool_record *scene_record(const struct scene *s, uint64_t epoch, enum spool_kind kind)
{
	return shared_record(s->records, s->n_records, epoch, kind);
}

size_t scene_count(const struct scene *s, uint64_t epoch, enum spool_kind kind)
{
	return shared_count(s->records, s->n_records, epoch, kind);
}

const struct spool_record *scene_end(struct scene *s, uint64_t epoch)
{
	scene_until(s, has_ended, epoch);
	return scene_record(s, epoch, SPOOL_ENDED);
}

int scene_code(struct scene *s, uint64_t epoch)
{
	int status = scene_end(s, epoch)->wait_status;

	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

const char *scene_output(struct scene *s, uint64_t epoch, bool want_stdout, bool want_stderr)
{
	struct reader_options o = {
	        .data_dir = s->dir,
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .want_stdout = want_stdout,
	        .want_stderr = want_stderr,
	        .is_over = true,
	};
	char *text = talloc_strdup(s->ctx, ""), bytes[8192];
	enum console_frame frame;
	struct reader *r;
	size_t len;
	int rc;

	assert_int_equal(reader_open(&o, &r, &s->err), 0);
	while ((rc = reader_next(r, bytes, sizeof(bytes), &frame, &len, &s->err)) > 0)
		text = talloc_strndup_append_buffer(text, bytes, len);
	assert_int_equal(rc, 0);
	reader_close(r);
	return text;
}

bool is_running(pid_t pid)
{
	char path[32], text[256];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pid <= 0 || fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}
