/*
 * What an attempt is given, what is heard of it, and what it leaves.
 */
#include "engine_scene.h"

#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <talloc.h>

#include "leftovers.h"

void case_life(void **state)
{
	struct scene *s = *state;
	struct link_start m =
	        scene_job(s, 5, "exec 2>&-; while [ ! -e go ]; do sleep 0.02; done; exit 7");
	struct engine_state now;
	const struct spool_record *r;

	assert_int_equal(scene_prepare(s, &m), 0);
	assert_int_equal(scene_state(s, 5).phase, ENGINE_PREPARED);
	scene_run(s, 100);
	assert_int_equal(s->n_records, 0);
	assert_int_equal(engine_start(s->e, 5, &s->err), 0);
	scene_until(s, has_started, 5);
	r = scene_record(s, 5, SPOOL_STARTED);
	assert_int_equal(r->job, 5);
	assert_int_equal(r->task, TASK_NONE);
	assert_int_equal(r->attempt, 1);
	now = scene_state(s, 5);
	assert_int_equal(now.phase, ENGINE_LIVING);
	assert_int_equal(now.started_ms, r->wall_ms);
	if (now.pid)
		assert_true(is_running(now.pid));
	if (now.root_pid)
		assert_true(is_running(now.root_pid));
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 5), 7);
	r = scene_record(s, 5, SPOOL_ENDED);
	assert_int_equal(r->cause, SPOOL_EXIT);
	assert_true(r->wall_ms >= now.started_ms);
	assert_false(is_running(now.pid));
	assert_int_equal(scene_state(s, 5).phase, ENGINE_ENDED);
	assert_int_equal(s->n_records, 2);
	scene_clean(s, 5);
	assert_int_equal(engine_inspect(s->e, s->ctx, 5, &now, &s->err), -ERR_NOT_FOUND);
}

void case_codes(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, "true");
	scene_sh(s, 2, "exit 255");
	scene_sh(s, 3, "kill -USR1 $$");
	assert_int_equal(scene_code(s, 1), 0);
	assert_int_equal(scene_code(s, 2), 255);
	assert_int_equal(scene_code(s, 3), 128 + SIGUSR1);
	for (uint64_t epoch = 1; epoch <= 3; epoch++)
		assert_int_equal(scene_record(s, epoch, SPOOL_ENDED)->cause, SPOOL_EXIT);
}

/* It has an end like any other, and the end says why. */
void case_no_such_command(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "");
	char *none[] = {"/no/such/command", NULL}, *not_a_program[] = {s->dir, NULL};

	m.argv = none;
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 1), 127);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_EXEC_FAILED);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "/no/such/command"));
	m = scene_job(s, 2, "");
	m.argv = not_a_program;
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 2), 126);
}

/* What can only be seen where it is started. */
void case_setup_fails(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "true");

	m.chdir = "/no/such/directory";
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 1), 125);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_SETUP_FAILED);
	assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "/no/such/directory"));
	assert_int_equal(scene_count(s, 1, SPOOL_STARTED), 0);
}

/* Held, or said not to be: an engine is never silent about a limit. What holds it tells its end from a kill. */
void case_memory(void **state)
{
	static const char script[] = "head -c 100M /dev/zero | tail -c 100M >/dev/null";
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, script);
	const struct spool_record *r;

	m.mem_bytes = 32 * MIB;
	scene_start(s, &m);
	(void)scene_end(s, 1);
	r = scene_record(s, 1, SPOOL_STARTED);
	assert_int_equal((r->held | r->not_held) & SPOOL_HOLD_MEMORY, SPOOL_HOLD_MEMORY);
	assert_int_equal(r->held & r->not_held, 0);
	if (r->held & SPOOL_HOLD_MEMORY) {
		assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->cause, SPOOL_OOM);
		assert_non_null(strstr(scene_record(s, 1, SPOOL_ENDED)->text, "32 MiB"));
	}
	m = scene_job(s, 2, "kill -9 $$");
	m.mem_bytes = 32 * MIB;
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 2), 128 + SIGKILL);
	assert_int_equal(scene_record(s, 2, SPOOL_ENDED)->cause, SPOOL_EXIT);
	/* The one before it leaves nothing that counts against it. */
	scene_sh(s, 3, script);
	assert_int_equal(scene_code(s, 3), 0);
}

void case_output(void **state)
{
	struct scene *s = *state;

	scene_sh(s, 1, "echo one; echo two >&2; sleep 0.1; echo three");
	(void)scene_end(s, 1);
	assert_string_equal(scene_output(s, 1, true, false), "one\nthree\n");
	assert_string_equal(scene_output(s, 1, false, true), "two\n");
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->output_bytes, 14);
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->dropped_bytes, 0);
}

static size_t len_at_end;

static void measure_output(struct scene *s, uint64_t epoch)
{
	len_at_end = strlen(scene_output(s, epoch, true, true));
}

void case_output_is_whole_at_the_end(void **state)
{
	struct scene *s = *state;

	s->on_ended = measure_output;
	scene_sh(s, 1, "head -c 3000000 /dev/zero | tr '\\0' x");
	assert_int_equal(scene_code(s, 1), 0);
	assert_int_equal(len_at_end, 3000000);
}

/* In a file of the submitter's it is found all the same. */
void case_output_elsewhere(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 3, "echo here; echo there >&2");
	struct stat st;

	m.output = "o.%j";
	m.error = "e.%x";
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 3), 0);
	assert_int_equal(stat(scene_path(s, "o.3"), &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(stat(scene_path(s, "e.test"), &st), 0);
	assert_string_equal(scene_output(s, 3, true, false), "here\n");
	assert_string_equal(scene_output(s, 3, false, true), "there\n");
	scene_clean(s, 3);
	engine_remove(s->e, m.id, 1);
	assert_int_equal(stat(scene_path(s, "o.3"), &st), 0);
}

void case_ceiling(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "seq 1 100000");
	struct engine_request r = {.start = &m, .grace_ms = GRACE_MS, .output_max = 64 * KIB};
	const char *output;

	assert_int_equal(engine_prepare(s->e, &r, &s->err), 0);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	assert_int_equal(scene_code(s, 1), 0);
	output = scene_output(s, 1, true, true);
	assert_true(strlen(output) <= 64 * KIB + 200);
	assert_memory_equal(output, "1\n2\n3\n", 6);
	assert_string_equal(output + strlen(output) - 7, "100000\n");
	assert_int_equal(scene_record(s, 1, SPOOL_ENDED)->output_bytes, 588895);
	assert_true(scene_record(s, 1, SPOOL_ENDED)->dropped_bytes > 500000);
}

void case_environment(void **state)
{
	static const char env[] = "OWN=a b\0BERTH_JOB_ID=99\0PATH=/bin:/usr/bin";
	struct scene *s = *state;
	struct link_start m = scene_job(s, 4,
	        "echo $OWN $BERTH_JOB_ID $BERTH_ATTEMPT $BERTH_EPOCH $BERTH_CPUS $PATH "
	        "[$CUDA_VISIBLE_DEVICES] ${TASK-no} ${BERTH_GPU_MEM_BYTES-none}");
	struct engine_request r = {
	        .start = &m, .env = env, .env_len = sizeof(env), .grace_ms = GRACE_MS};

	m.attempt = 1;
	m.id.num = 17;
	m.n_cpus = 3;
	assert_int_equal(engine_prepare(s->e, &r, &s->err), 0);
	assert_int_equal(engine_start(s->e, 4, &s->err), 0);
	assert_int_equal(scene_code(s, 4), 0);
	assert_string_equal(
	        scene_output(s, 17, true, true), "a b 17 1 4 3 /bin:/usr/bin [] no none\n");
}

static bool is_gone(struct scene *s, uint64_t path)
{
	return access((const char *)(uintptr_t)path, F_OK) < 0;
}

/* A job that names no directory has an empty one, until its end. */
void case_own_directory(void **state)
{
	struct scene *s = *state;
	struct link_start m =
	        scene_job(s, 1, "ls -A; pwd; echo x >file; mkdir -p a/b; touch a/b/c");
	char *dir, *end;

	m.chdir = NULL;
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 1), 0);
	dir = talloc_strdup(s->ctx, scene_output(s, 1, true, true));
	assert_int_equal(dir[0], '/');
	end = strchr(dir, '\n');
	assert_non_null(end);
	*end = '\0';
	/* Whoever has the power to remove it may do so a moment later. */
	scene_until(s, is_gone, (uintptr_t)dir);
}

static void check_slice(const struct slice_record *got, const struct slice_record *want)
{
	assert_string_equal(got->device, want->device);
	assert_int_equal(got->mem_bytes, want->mem_bytes);
	assert_int_equal(got->share_milli, want->share_milli);
}

void case_slices(void **state)
{
	static struct slice_record slices[] = {
	        {.device = "GPU-1", .mem_bytes = 3 * GIB, .share_milli = 500},
	        {.device = "GPU-2", .mem_bytes = 2 * GIB, .share_milli = 250},
	};
	static const char script[] =
	        "echo $CUDA_VISIBLE_DEVICES $BERTH_GPU_MEM_BYTES "
	        "$BERTH_GPU_SHARE_MILLI; touch on$BERTH_EPOCH; while :; do sleep 0.05; done";
	struct scene *s = *state;
	struct engine_state now;

	for (uint32_t n = 0; n <= 2; n++) {
		struct link_start m = scene_job(s, n + 1, script);

		m.slices = slices;
		m.n_slices = n;
		scene_start(s, &m);
		scene_until(s, has_started, n + 1);
	}
	scene_wait_file(s, "on3");
	now = scene_state(s, 1);
	assert_true(now.slices_known);
	assert_int_equal(now.n_slices, 0);
	now = scene_state(s, 2);
	assert_true(now.slices_known);
	assert_int_equal(now.n_slices, 1);
	check_slice(&now.slices[0], &slices[0]);
	now = scene_state(s, 3);
	assert_true(now.slices_known);
	assert_int_equal(now.n_slices, 2);
	assert_string_equal(now.slices[1].device, "GPU-2");
	assert_true(now.slices[1].mem_bytes == UINT64_MAX);
	scene_signal(s, 3, SPOOL_STOPPED, true);
	(void)scene_end(s, 3);
	assert_string_equal(scene_output(s, 3, true, true), "GPU-1,GPU-2 2147483648 250\n");
}

void case_cpus(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "grep ^Cpus_allowed_list: /proc/self/status");
	cpu_set_t ours;
	unsigned last = 0;
	char want[48];

	assert_int_equal(sched_getaffinity(0, sizeof(ours), &ours), 0);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &ours))
			last = cpu;
	cpu_set_add(&m.cpus, last);
	scene_start(s, &m);
	assert_int_equal(scene_code(s, 1), 0);
	snprintf(want, sizeof(want), "Cpus_allowed_list:\t%u\n", last);
	assert_string_equal(scene_output(s, 1, true, true), want);
}

/* Records name them as they were asked for; output of one is not that of another. */
void case_tasks_and_attempts(void **state)
{
	struct scene *s = *state;

	for (uint64_t epoch = 1; epoch <= 4; epoch++) {
		struct link_start m = scene_job(s, epoch, "echo $BERTH_TASK_ID.$BERTH_ATTEMPT");

		m.id.num = 9;
		m.id.task = (int64_t)(epoch % 2);
		m.attempt = (uint32_t)(1 + epoch / 3);
		scene_start(s, &m);
	}
	for (uint64_t epoch = 1; epoch <= 4; epoch++) {
		const struct spool_record *r = scene_end(s, epoch);
		struct stat st;
		char name[64];

		assert_int_equal(r->job, 9);
		assert_int_equal(r->task, epoch % 2);
		assert_int_equal(r->attempt, 1 + epoch / 3);
		snprintf(name, sizeof(name), "logs/0/9_%u.%u.out", (unsigned)r->task, r->attempt);
		assert_int_equal(stat(scene_path(s, name), &st), 0);
		assert_int_equal(st.st_size, 4);
	}
}

void case_time_limit(void **state)
{
	struct scene *s = *state;
	struct link_start m = scene_job(s, 1, "sleep 100");

	m.time_limit_ms = 200;
	scene_start(s, &m);
	assert_int_equal(scene_end(s, 1)->cause, SPOOL_TIMEOUT);
}

void case_many(void **state)
{
	struct scene *s = *state;

	for (uint64_t epoch = 1; epoch <= 60; epoch++)
		scene_sh(s, epoch, epoch % 2 ? "exit 1" : "sleep 0.05");
	for (uint64_t epoch = 1; epoch <= 60; epoch++)
		assert_int_equal(scene_code(s, epoch), epoch % 2);
	assert_int_equal(s->n_records, 120);
	for (uint64_t epoch = 1; epoch <= 60; epoch++) {
		assert_true(scene_record(s, epoch, SPOOL_STARTED) <
		            scene_record(s, epoch, SPOOL_ENDED));
		scene_clean(s, epoch);
	}
}

/* What a caller does when one ends: forgets it, and starts the next. */
static void start_next(struct scene *s, uint64_t epoch)
{
	struct link_start m = scene_job(s, epoch + 1, "true");

	assert_int_equal(scene_state(s, epoch).phase, ENGINE_ENDED);
	scene_clean(s, epoch);
	scene_signal(s, epoch + 100, SPOOL_STOPPED, false);
	if (epoch < 10)
		scene_start(s, &m);
}

void case_calls_inside_reports(void **state)
{
	struct scene *s = *state;

	s->on_ended = start_next;
	scene_sh(s, 1, "true");
	assert_int_equal(scene_code(s, 10), 0);
	assert_int_equal(engine_clean(s->e, 10, &s->err), -ERR_NOT_FOUND);
}

static size_t n_entries; /* of the scene's directory and all below */

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	n_entries++;
	return 0;
}

static bool has_entries(struct scene *s, uint64_t n)
{
	n_entries = 0;
	assert_int_equal(nftw(s->dir, count_entry, 16, FTW_PHYS), 0);
	return n_entries == n;
}

static bool has_nothing_left(struct scene *s, uint64_t unused)
{
	return leftovers_count(s->dir) == 0;
}

/* After clean and remove the second attempt has left nothing that the first had not made for all; after retire, nobody runs. */
void case_leaves_nothing(void **state)
{
	struct scene *s = *state;
	size_t before = 0;

	for (uint64_t epoch = 1; epoch <= 3; epoch++) {
		struct link_start m = scene_job(s, epoch, "echo x; echo y >file; exit 3");

		m.chdir = NULL;
		m.tty = true;
		scene_start(s, &m);
		assert_int_equal(scene_code(s, epoch), 3);
		assert_string_equal(scene_output(s, epoch, true, true), "x\r\n");
		scene_clean(s, epoch);
		engine_remove(s->e, m.id, m.attempt);
		if (epoch == 1) {
			scene_run(s, 500);
			(void)has_entries(s, 0);
			before = n_entries;
		}
		scene_until(s, has_entries, before);
	}
	engine_retire(s->e);
	scene_until(s, has_nothing_left, 0);
}
