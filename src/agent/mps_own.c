/* Daemons of our own account: children that go into the background. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/mps_priv.h"
#include "base/mem.h"
#include "plat/fs.h"
#include "plat/proc.h"

#define OURS 5

extern char **environ;

/* A daemon's words, and what they hang on. */
struct words {
	struct background b;
	char *ours[OURS];
	char **env;
	char pid_path[MPS_PATH + 32], log_path[MPS_PATH + 16];
};

static bool is_ours(const char *entry)
{
	static const char *const names[] = {"CUDA_MPS_PIPE_DIRECTORY=", "CUDA_MPS_LOG_DIRECTORY=",
	        "CUDA_VISIBLE_DEVICES=", "BERTH_FAKE_GPUS=", MPS_VARIABLE "="};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Our own environment, but for what tells it its device and its place. */
static void set_environment(struct words *w, const struct daemon *d)
{
	const char *fake = d->of->o.fake_gpus;
	size_t n = 0;

	BUG_IF(asprintf(&w->ours[0], MPS_VARIABLE "=%s", d->dir) < 0 ||
	        asprintf(&w->ours[1], "CUDA_MPS_PIPE_DIRECTORY=%s", d->place.pipes) < 0 ||
	        asprintf(&w->ours[2], "CUDA_MPS_LOG_DIRECTORY=%s", d->place.logs) < 0 ||
	        asprintf(&w->ours[3], "CUDA_VISIBLE_DEVICES=%s", d->uuid) < 0 ||
	        asprintf(&w->ours[4], "BERTH_FAKE_GPUS=%s", fake ? fake : "") < 0);
	while (environ[n])
		n++;
	w->env = mem_zalloc((n + OURS + 1) * sizeof(*w->env));
	n = 0;
	for (char *const *e = environ; *e; e++)
		if (!is_ours(*e))
			w->env[n++] = *e;
	for (size_t i = 0; i < (fake ? OURS : OURS - 1U); i++)
		w->env[n++] = w->ours[i];
}

static void words_init(struct words *w, struct daemon *d)
{
	mps_place_at(d->dir, &d->place);
	snprintf(w->pid_path, sizeof(w->pid_path), "%s/" MPS_PROGRAM ".pid", d->place.pipes);
	snprintf(w->log_path, sizeof(w->log_path), "%s/start.log", d->place.logs);
	set_environment(w, d);
	w->b = (struct background){.program = d->of->program,
	        .name = MPS_PROGRAM,
	        .env = w->env,
	        .mark = w->ours[0],
	        .pid_path = w->pid_path,
	        .log_path = w->log_path};
}

static void words_done(struct words *w)
{
	for (size_t i = 0; i < OURS; i++)
		free(w->ours[i]);
	free(w->env);
}

static void reap(struct daemon *d, int *ret_status)
{
	*ret_status = 0;
	while (d->child && waitpid(d->child, ret_status, 0) < 0 && errno == EINTR)
		;
	d->child = 0;
}

static int find(struct daemon *d, int *ret_fd, struct err *err)
{
	struct words w;

	words_init(&w, d);
	*ret_fd = background_find(&w.b);
	words_done(&w);
	return *ret_fd < 0 ? err_set(err, ERR_NOT_FOUND, "it does not run") : 0;
}

/* The first process ends when the one in the background listens. */
static int start(struct daemon *d, int *ret_fd, struct err *err)
{
	struct words w;
	int rc, sys = 0;

	words_init(&w, d);
	rc = fs_mkdir_p(d->place.pipes, 0700, err);
	if (rc == 0)
		rc = fs_mkdir_p(d->place.logs, 0700, err);
	if (rc == 0)
		sys = background_start(&w.b, &d->child);
	words_done(&w);
	if (sys) {
		d->child = 0;
		return err_sys(err, sys, "starting '%s'", d->of->program);
	}
	if (rc < 0)
		return rc;
	*ret_fd = proc_open(d->child);
	BUG_IF(*ret_fd < 0); /* nobody else waits for it */
	return 1;
}

static int take(struct daemon *d, bool is_late, int *ret_fd, struct err *err)
{
	struct words w;
	int status;

	words_init(&w, d);
	if (is_late) {
		kill(d->child, SIGKILL); /* which may have cleared its environment */
		background_kill(&w.b);
	}
	reap(d, &status);
	*ret_fd = status ? -1 : background_find(&w.b);
	if (*ret_fd < 0)
		background_kill(&w.b);
	words_done(&w);
	if (status)
		return err_set(err, ERR_UNAVAILABLE,
		        MPS_PROGRAM " did not come up (status 0x%x): %s/log says why",
		        (unsigned)status, d->dir);
	return *ret_fd < 0 ? err_set(err, ERR_UNAVAILABLE,
	                             MPS_PROGRAM " came up, but is not there: %s/log", d->dir)
	                   : 0;
}

static void tell(struct daemon *d)
{
	struct words w;

	if (d->child)
		return;
	words_init(&w, d);
	if (background_tell(&w.b, "quit\n", &d->child) != 0)
		d->child = 0;
	words_done(&w);
}

/* With whom we have told it: nobody answers him any more. */
static void kill_all(struct daemon *d)
{
	struct words w;
	int status;

	words_init(&w, d);
	background_kill(&w.b);
	words_done(&w);
	if (d->child)
		kill(d->child, SIGKILL);
	reap(d, &status);
}

const struct mps_way mps_own = {.find = find,
        .start = start,
        .take = take,
        .tell = tell,
        .kill = kill_all,
        .clean = kill_all,
        .start_ms = 5000};
