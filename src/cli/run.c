#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/ending.h"
#include "cli/follow.h"
#include "cli/interact.h"
#include "cli/interrupt.h"
#include "cli/submission.h"
#include "plat/clock.h"
#include "plat/fs.h"

#define LOOK_FIRST_MS   1000
#define LOOK_AGAIN_MS   2000
#define LOOK_STARTED_MS 30000
#define ATTACH_FIRST_MS 5
#define ATTACH_MOST_MS  250

/*
 * DESIGN. One connection carries the output; a second one, opened only when it is needed, asks why the job waits and
 * cancels it. Everything that happens beside the output happens in on_idle(), which the first connection calls
 * whenever it has nothing to do or a signal came.
 */
struct run {
	const struct cli *cli;
	struct client *main;
	struct client *side; /* NULL until needed */
	char *id;
	char *path;            /* /v1/jobs/ID */
	uint64_t next_look_ms; /* when to ask again what it is doing */
	bool said_waiting;
	char *reason;          /* as last said, or NULL */
	unsigned n_interrupts; /* seen to */
	bool in_idle;
};

static int open_side(struct run *r, struct err *err)
{
	return r->side ? 0 : client_open(r->cli, &r->side, err);
}

/* The reason of a job that waits, when it is another than the one said last. */
static void look(struct run *r)
{
	CLEANUP_JSON json_t *job = NULL;
	struct err err;

	if (open_side(r, &err) || client_get(r->side, r->path, &job, &err))
		return; /* the output's own connection will say it */
	const char *state = json_string_value(json_object_get(job, "state"));
	const char *reason = ending_reason(job);
	bool waits = state && strcmp(state, "PENDING") == 0;

	r->next_look_ms = clock_mono_ms() + (waits ? LOOK_AGAIN_MS : LOOK_STARTED_MS);
	if (!waits) {
		const char *node = json_string_value(json_object_get(job, "node"));
		if (r->said_waiting && state && strcmp(state, "RUNNING") == 0)
			cli_say("job %s runs%s%s", r->id, node ? " on " : "", node ? node : "");
		r->said_waiting = false;
		free(STEAL(r->reason));
		return;
	}
	reason = reason ? reason : "no reason is known yet";
	r->said_waiting = true;
	if (r->reason && strcmp(reason, r->reason) == 0)
		return;
	cli_say("job %s waits: %s", r->id, reason);
	free(r->reason);
	r->reason = mem_strdup(reason);
}

static void cancel(struct run *r, bool force)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	CLEANUP_JSON json_t *body = json_pack("{s:b}", "force", force);
	struct client_call call = {.method = "POST", .body = body};
	struct err err;

	cli_say(force ? "ending job %s at once" : "cancelling job %s; once more ends it at once",
	        r->id);
	buf_addf(&path, "%s/cancel", r->path);
	call.path = buf_str(&path);
	if (open_side(r, &err) || client_call(r->side, &call, NULL, &err))
		if (err.kind != ERR_CONFLICT) /* it has ended meanwhile */
			cli_fail(r->cli, &err);
}

static void on_idle(void *data)
{
	struct run *r = data;

	if (r->in_idle)
		return;
	r->in_idle = true;
	while (r->n_interrupts < interrupt_count()) {
		r->n_interrupts++;
		if (r->n_interrupts > 2) {
			cli_say("job %s is left to itself", r->id);
			_exit(CLI_EXIT_INTERRUPTED);
		}
		cancel(r, r->n_interrupts == 2);
	}
	if (clock_mono_ms() >= r->next_look_ms)
		look(r);
	r->in_idle = false;
}

static int on_output(
        void *data, enum console_frame stream, const void *bytes, size_t len, struct err *err)
{
	int fd = stream == CONSOLE_STDERR ? STDERR_FILENO : STDOUT_FILENO;

	return fs_write_all(fd, bytes, len, err) ? err_wrap(err, "writing the job's output") : 0;
}

/* A terminal can be attached to once the job runs. Returns 1 when it ended before that. */
static int await_start(struct run *r, struct err *err)
{
	int delay_ms = ATTACH_FIRST_MS;

	for (;;) {
		CLEANUP_JSON json_t *job = NULL;
		int rc = client_get(r->main, r->path, &job, err);
		if (rc)
			return rc;
		const char *state = json_string_value(json_object_get(job, "state"));
		if (ending_is_final(job))
			return 1;
		if (state && strcmp(state, "RUNNING") == 0)
			return 0;
		interrupt_poll(NULL, 0, delay_ms);
		delay_ms = MIN(delay_ms * 2, ATTACH_MOST_MS);
		on_idle(r);
	}
}

/* Its end counts, not whether its output may be seen. */
static int follow_output(struct run *r, struct err *err)
{
	struct follow f = {.client = r->main, .id = r->id, .first = 1, .on_output = on_output};
	int rc = follow_run(&f, err);

	if (f.trouble.kind != ERR_NONE)
		cli_say("job %s: %s", r->id, f.trouble.text);
	return rc;
}

static int run_terminal(struct run *r, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	struct interact how = {.with_stdin = true, .raw = true};
	enum interact_end end;
	int code, rc = await_start(r, err);

	if (rc < 0)
		return rc;
	if (rc == 0) {
		buf_addf(&path, "%s/attach", r->path);
		rc = interact_run(r->main, buf_str(&path), &how, &end, &code, err);
	}
	if (rc == 0)
		return 0;
	if (rc < 0 && err->kind != ERR_CONFLICT)
		return rc;
	/* It ended before anybody was there: what it wrote is in its output. */
	return follow_output(r, err);
}

static int run_job(struct run *r, const json_t *submitted, bool tty, struct err *err)
{
	CLEANUP_JSON json_t *job = NULL;
	bool is_array = json_is_object(json_object_get(submitted, "array"));
	int rc = 0;

	client_be_patient(r->main);
	client_on_idle(r->main, on_idle, r);
	r->next_look_ms = clock_mono_ms() + LOOK_FIRST_MS;
	if (tty)
		rc = run_terminal(r, err);
	else if (!is_array)
		rc = follow_output(r, err);
	if (rc == 0)
		rc = ending_await(r->main, r->id, &job, err);
	if (rc)
		return err_wrap(err, "job %s is out of sight", r->id);
	ending_say(job);
	return ending_code(job);
}

static int start_run(struct run *r, struct jobspec *s)
{
	CLEANUP_JSON json_t *job = NULL;
	struct err err;

	interrupt_catch(false);
	if (submission_send(r->main, s, &job, &err)) {
		cli_fail(r->cli, &err);
		return CLI_EXIT_FAILED;
	}
	submission_say_resolved(job);
	if (s->dry_run) {
		submission_print_dry_run(r->cli, job);
		return 0;
	}
	r->id = mem_strdup(json_string_value(json_object_get(job, "id")));
	BUG_IF(!r->id || asprintf(&r->path, "/v1/jobs/%s", r->id) < 0);
	int rc = run_job(r, job, s->tty, &err);
	if (rc >= 0)
		return rc;
	cli_fail(r->cli, &err);
	return CLI_EXIT_FAILED;
}

int verb_run(struct cli *cli, int argc, char **argv)
{
	static const char *const rewrites[][2] = {{"-it", "--tty"}, {"-ti", "--tty"}, {NULL, NULL}};
	CLEANUP_JOBSPEC struct jobspec s;
	struct run r = {.cli = cli};
	struct args args = {
	        .options = jobspec_run_options,
	        .parse = jobspec_parse,
	        .input = &s,
	        .args_doc = "-- CMD...",
	        .doc = "Runs a command as a job: shows its output and ends with its exit code.",
	        .command_follows = true,
	        .rewrites = rewrites,
	};
	struct err err;

	jobspec_init(&s);
	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0 && s.tty && !isatty(STDIN_FILENO))
		rc = err_set(&err, ERR_INVALID,
		             "--tty needs a terminal, and standard input is none")
		             ? err_hint(&err, "leave --tty away: the output is shown all the same")
		             : 0;
	if (rc == 0)
		rc = client_open(cli, &r.main, &err);
	if (rc == 0)
		rc = jobspec_finish(&s, client_is_remote(r.main), &err);
	if (rc == 0) {
		rc = start_run(&r, &s);
	} else {
		cli_fail(cli, &err);
		rc = CLI_EXIT_FAILED;
	}
	client_close(r.main);
	client_close(r.side);
	free(r.id);
	free(r.path);
	free(r.reason);
	return rc;
}
