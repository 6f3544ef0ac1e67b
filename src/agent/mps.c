#include "agent/mps.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/node.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "plat/proc.h"

#define START_MS 5000 /* until it listens */
#define END_MS   5000 /* from the word to SIGKILL */
#define LEAVE_MS 3000 /* the same, when we end */
#define DEAD_MS  1000 /* from SIGKILL to the end */
#define LOOK_MS  250

extern char **environ;

struct daemon {
	struct mps *of;
	char uuid[96];
	char dir[MPS_PATH - 16];
	pid_t pid; /* 0: it does not run */
	int fd;    /* of its process */
	struct loop_poll *poll;
	uint64_t end_by_ms; /* it was told to end; 0: it was not */
	pid_t messenger;    /* a child that tells it so; 0: none */
};

struct mps {
	struct mps_options o;
	char *program;
	char root[MPS_PATH - 32];
	struct daemon daemons[NODE_DEVICES_MAX];
	uint32_t n;
	struct loop_timer *timer; /* while one is ending */
};

/* Places */

static void place_of(const struct daemon *d, struct mps_place *ret)
{
	snprintf(ret->pipes, sizeof(ret->pipes), "%s/pipe", d->dir);
	snprintf(ret->logs, sizeof(ret->logs), "%s/log", d->dir);
}

static void mark_of(const struct daemon *d, char mark[MPS_PATH])
{
	snprintf(mark, MPS_PATH, MPS_VARIABLE "=%s", d->dir);
}

static void pid_path_of(const struct daemon *d, char path[MPS_PATH + 32])
{
	struct mps_place place;

	place_of(d, &place);
	snprintf(path, MPS_PATH + 32, "%s/" MPS_PROGRAM ".pid", place.pipes);
}

static struct daemon *find(const struct mps *m, const char *uuid)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (strcmp(m->daemons[i].uuid, uuid) == 0)
			return (struct daemon *)(uintptr_t)&m->daemons[i];
	return NULL;
}

/* A number is a device's for as long as the data directory is there. */
static int add(struct mps *m, const char *uuid, struct daemon **ret, struct err *err)
{
	struct daemon *d = &m->daemons[m->n];
	struct mps_place place;
	char path[MPS_PATH];
	int rc;

	if (m->n == ARRAY_LEN(m->daemons))
		return err_set(err, ERR_LIMIT, "there are too many devices");
	*d = (struct daemon){.of = m, .fd = -1};
	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	snprintf(d->dir, sizeof(d->dir), "%s/%u", m->root, m->n);
	place_of(d, &place);
	rc = fs_mkdir_p(place.pipes, 0700, err);
	if (rc == 0)
		rc = fs_mkdir_p(place.logs, 0700, err);
	snprintf(path, sizeof(path), "%s/device", d->dir);
	if (rc == 0)
		rc = fs_write_atomic(path, uuid, strlen(uuid), 0600, err);
	if (rc < 0)
		return rc;
	m->n++;
	*ret = d;
	return 0;
}

/* Its process */

static void on_gone(void *daemon, int events);

/* By the pid that it has written; false when nobody is there, or somebody else. */
static bool adopt(struct daemon *d)
{
	CLEANUP_BUF struct buf text = BUF_INIT(64);
	char path[MPS_PATH + 32], mark[MPS_PATH];
	struct err err;

	pid_path_of(d, path);
	if (fs_read(path, &text, &err) < 0)
		return false;
	d->pid = (pid_t)strtol(buf_str(&text), NULL, 10);
	mark_of(d, mark);
	d->fd = d->pid > 1 ? proc_open(d->pid) : -1;
	if (d->fd >= 0 && proc_env_has(d->pid, mark) &&
	        loop_poll_new(d->of->o.loop, d->fd, LOOP_READ, on_gone, d, &d->poll, &err) == 0)
		return true;
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	d->pid = 0;
	return false;
}

/* Itself, and the server that it has started. */
static void kill_marked(const struct daemon *d)
{
	struct proc_list all = {0};
	char mark[MPS_PATH];

	mark_of(d, mark);
	if (proc_list_all(&all) == 0)
		for (size_t i = 0; i < all.n; i++)
			if (proc_env_has(all.items[i].pid, mark))
				kill(all.items[i].pid, SIGKILL);
	proc_list_done(&all);
}

static void reap_messenger(struct daemon *d)
{
	if (!d->messenger)
		return;
	/* Nobody answers it any more. */
	if (waitpid(d->messenger, NULL, WNOHANG) == 0) {
		kill(d->messenger, SIGKILL);
		(void)!waitpid(d->messenger, NULL, 0);
	}
	d->messenger = 0;
}

/* It is gone: nothing of it is left but its logs. */
static void forget(struct daemon *d)
{
	char path[MPS_PATH + 32];

	loop_poll_free(d->poll);
	d->poll = NULL;
	close(d->fd);
	d->fd = -1;
	d->pid = 0;
	d->end_by_ms = 0;
	reap_messenger(d);
	pid_path_of(d, path);
	unlink(path);
}

static void on_gone(void *daemon, int events)
{
	struct daemon *d = daemon;
	bool was_told = d->end_by_ms != 0;

	forget(d);
	if (was_told) {
		kill_marked(d);
		log_info("mps.end", "device=%s", d->uuid);
		return;
	}
	log_error("mps.died", "device=%s logs=\"%s/log\"", d->uuid, d->dir);
	d->of->o.on_death(d->of->o.data, d->uuid);
}

/* So long, or until it is gone. */
static bool is_gone_within(int fd, uint64_t wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, (int)wait_ms) > 0;
}

/* Programs */

static bool is_ours(const char *entry)
{
	static const char *const names[] = {"CUDA_MPS_PIPE_DIRECTORY=", "CUDA_MPS_LOG_DIRECTORY=",
	        "CUDA_VISIBLE_DEVICES=", "BERTH_FAKE_GPUS=", MPS_VARIABLE "="};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Our own environment, but for what tells it its device and its place. `ours` has room for 5 entries, to be freed. */
static char **environment_of(const struct daemon *d, char *ours[5])
{
	struct mps_place place;
	char **env;
	size_t n = 0;

	place_of(d, &place);
	BUG_IF(asprintf(&ours[0], "CUDA_MPS_PIPE_DIRECTORY=%s", place.pipes) < 0 ||
	        asprintf(&ours[1], "CUDA_MPS_LOG_DIRECTORY=%s", place.logs) < 0 ||
	        asprintf(&ours[2], "CUDA_VISIBLE_DEVICES=%s", d->uuid) < 0 ||
	        asprintf(&ours[3], MPS_VARIABLE "=%s", d->dir) < 0 ||
	        asprintf(&ours[4], "BERTH_FAKE_GPUS=%s",
	                d->of->o.fake_gpus ? d->of->o.fake_gpus : "") < 0);
	while (environ[n])
		n++;
	env = mem_zalloc((n + 6) * sizeof(*env));
	n = 0;
	for (char *const *e = environ; *e; e++)
		if (!is_ours(*e))
			env[n++] = *e;
	for (size_t i = 0; i < (d->of->o.fake_gpus ? 5U : 4U); i++)
		env[n++] = ours[i];
	return env;
}

/* in_fd: what it is told; -1: nothing. What it says goes into its logs. 0 or an errno. */
static int run(const struct daemon *d, const char *option, int in_fd, pid_t *ret_pid)
{
	char *argv[] = {(char *)(uintptr_t)MPS_PROGRAM, (char *)(uintptr_t)option, NULL};
	char *ours[5], **env = environment_of(d, ours), path[MPS_PATH + 16];
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	struct mps_place place;
	sigset_t none;
	int sys;

	place_of(d, &place);
	snprintf(path, sizeof(path), "%s/start.log", place.logs);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	if (in_fd < 0)
		posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	else
		posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
	posix_spawn_file_actions_addopen(
	        &files, STDOUT_FILENO, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	sys = posix_spawn(ret_pid, d->of->program, &files, &attr, argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		free(ours[i]);
	free(env);
	return sys;
}

/* The first process ends when the one in the background listens. */
static int start(struct daemon *d, struct err *err)
{
	int sys, status = 0, fd;
	pid_t pid;

	sys = run(d, "-d", -1, &pid);
	if (sys)
		return err_sys(err, sys, "starting '%s'", d->of->program);
	fd = proc_open(pid);
	if (fd >= 0 && !is_gone_within(fd, START_MS)) {
		kill(pid, SIGKILL); /* which may have cleared its environment */
		kill_marked(d);
	}
	if (fd >= 0)
		close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		return err_set(err, ERR_UNAVAILABLE,
		        MPS_PROGRAM " did not come up (status 0x%x): %s/log says why",
		        (unsigned)status, d->dir);
	if (adopt(d))
		return 0;
	kill_marked(d);
	return err_set(
	        err, ERR_UNAVAILABLE, MPS_PROGRAM " came up, but is not there: %s/log", d->dir);
}

static void send_quit(struct daemon *d)
{
	static const char word[] = "quit\n";
	int ends[2];

	if (d->messenger || pipe2(ends, O_CLOEXEC) < 0)
		return;
	if (write(ends[1], word, strlen(word)) < 0 || run(d, NULL, ends[0], &d->messenger) != 0)
		d->messenger = 0;
	close(ends[0]);
	close(ends[1]);
}

/* Ending */

static void on_timer(void *mps)
{
	struct mps *m = mps;
	bool is_any = false;

	for (uint32_t i = 0; i < m->n; i++) {
		struct daemon *d = &m->daemons[i];

		if (!d->pid || !d->end_by_ms)
			continue;
		is_any = true;
		if (clock_mono_ms() >= d->end_by_ms)
			kill_marked(d);
	}
	if (!is_any)
		loop_timer_stop(m->timer);
}

/* At once, whatever it does. */
static void end_now(struct daemon *d, uint64_t wait_ms)
{
	if (!is_gone_within(d->fd, wait_ms)) {
		kill_marked(d);
		(void)!is_gone_within(d->fd, DEAD_MS);
	}
	forget(d);
	kill_marked(d);
}

/* Life */

/* Those that are numbered, up to the first that is not there. */
static void find_daemons(struct mps *m)
{
	struct err err;

	while (m->n < ARRAY_LEN(m->daemons)) {
		CLEANUP_BUF struct buf uuid = BUF_INIT(sizeof(m->daemons[0].uuid));
		struct daemon *d = &m->daemons[m->n];
		char path[MPS_PATH];

		*d = (struct daemon){.of = m, .fd = -1};
		snprintf(d->dir, sizeof(d->dir), "%s/%u", m->root, m->n);
		snprintf(path, sizeof(path), "%s/device", d->dir);
		if (fs_read(path, &uuid, &err) < 0)
			return;
		snprintf(d->uuid, sizeof(d->uuid), "%s", buf_str(&uuid));
		m->n++;
		if (adopt(d))
			log_info("mps.found", "device=%s pid=%d", d->uuid, (int)d->pid);
	}
}

int mps_new(const struct mps_options *o, struct mps **ret_mps, struct err *err)
{
	struct mps *m;

	if (strlen(o->data_dir) + sizeof("/run/mps") > sizeof(m->root))
		return err_set(err, ERR_INVALID, "'%s' is too long", o->data_dir);
	m = mem_zalloc(sizeof(*m));
	m->o = *o;
	m->program = o->program ? mem_strdup(o->program) : NULL;
	snprintf(m->root, sizeof(m->root), "%s/run/mps", o->data_dir);
	m->timer = loop_timer_new(o->loop, on_timer, m);
	find_daemons(m);
	*ret_mps = m;
	return 0;
}

void mps_free(struct mps *m, bool is_over)
{
	uint64_t until_ms = clock_mono_ms() + LEAVE_MS;

	if (!m)
		return;
	for (uint32_t i = 0; is_over && i < m->n; i++)
		if (m->daemons[i].pid)
			send_quit(&m->daemons[i]);
	for (uint32_t i = 0; i < m->n; i++) {
		struct daemon *d = &m->daemons[i];
		uint64_t now_ms = clock_mono_ms();

		if (d->pid && is_over)
			end_now(d, until_ms > now_ms ? until_ms - now_ms : 0);
		loop_poll_free(d->poll);
		if (d->fd >= 0)
			close(d->fd);
		reap_messenger(d);
	}
	loop_timer_free(m->timer);
	free(m->program);
	free(m);
}

/* Commands */

int mps_need(struct mps *m, const char *uuid, struct mps_place *ret_place, struct err *err)
{
	struct daemon *d = find(m, uuid);
	int rc = 0;

	if (!m->program)
		return err_set(err, ERR_NOT_FOUND, "there is no " MPS_PROGRAM);
	if (!d)
		rc = add(m, uuid, &d, err);
	if (rc == 0 && d->pid && d->end_by_ms)
		end_now(d, 0);
	if (rc == 0 && !d->pid) {
		rc = start(d, err);
		if (rc == 0)
			log_info("mps.start", "device=%s pid=%d", uuid, (int)d->pid);
	}
	if (rc == 0)
		place_of(d, ret_place);
	return rc;
}

static void end(struct daemon *d)
{
	if (!d->pid || d->end_by_ms)
		return;
	d->end_by_ms = clock_mono_ms() + END_MS;
	send_quit(d);
	loop_timer_start(d->of->timer, LOOK_MS, LOOK_MS);
}

void mps_sweep(struct mps *m, bool (*is_wanted)(void *data, const char *uuid), void *data)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (!is_wanted(data, m->daemons[i].uuid))
			end(&m->daemons[i]);
}

/* Queries */

bool mps_is_alive(const struct mps *m, const char *uuid)
{
	const struct daemon *d = find(m, uuid);

	return d && d->pid && !d->end_by_ms;
}

bool mps_find_program(char ret_path[MPS_PATH])
{
	const char *at = getenv("PATH");

	for (size_t len; at && *at; at += len + (at[len] == ':')) {
		len = strcspn(at, ":");
		if (len &&
		        snprintf(ret_path, MPS_PATH, "%.*s/" MPS_PROGRAM, (int)MIN(len, MPS_PATH),
		                at) < MPS_PATH &&
		        access(ret_path, X_OK) == 0)
			return true;
	}
	return false;
}
