#include "cli/supervisor_part.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/clock.h"

#define READ_SIZE (16 * KIB)

int part_init(struct part *p, const char *name, const char *data_dir, struct err *err)
{
	char *path = NULL, program[32];
	int rc;

	*p = (struct part){.name = name, .pipe = -1, .log.fd = -1};
	snprintf(program, sizeof(program), "berth-%s", name);
	rc = parts_find(program, &p->program, err);
	if (rc)
		return rc;
	BUG_IF(asprintf(&path, "%s/logs/%s.log", data_dir, name) < 0);
	rc = rotlog_open(&p->log, path, err);
	free(path);
	if (rc)
		return rc;
	snprintf(program, sizeof(program), "berth %s", name);
	parts_argv_add(&p->argv, program);
	parts_argv_add_option(&p->argv, "--data", data_dir);
	return 0;
}

void part_done(struct part *p)
{
	if (p->pipe >= 0)
		close(p->pipe);
	if (p->log.path)
		rotlog_close(&p->log);
	parts_argv_done(&p->argv);
	free(p->program);
	free(p->account);
}

/* Everything but the first three goes, and with by_descriptor the directory of the program takes the next place. */
static void choose_descriptors(const struct part *p)
{
	const char *slash = strrchr(p->program, '/');
	char dir[PATH_MAX];
	int fd;

	if (!p->by_descriptor) {
		close_range(3, ~0U, 0);
		return;
	}
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - p->program), p->program);
	fd = open(*dir ? dir : "/", O_PATH | O_DIRECTORY);
	if (fd >= 0 && fd != PART_DIR_FD)
		dup2(fd, PART_DIR_FD);
	close_range(PART_DIR_FD + 1, ~0U, 0);
}

static void exec_program(const struct part *p)
{
	char path[PATH_MAX];

	if (p->by_descriptor)
		snprintf(path, sizeof(path), PART_DIR_PATH "%s", strrchr(p->program, '/'));
	execv(p->by_descriptor ? path : p->program, p->argv.v);
}

NORETURN static void become(const struct part *p, int out, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	choose_descriptors(p);
	if (p->drop_rights &&
	        (initgroups(p->account, p->gid) || setgid(p->gid) || setuid(p->uid))) {
		dprintf(STDERR_FILENO, "error up.account name=\"%s\" text=\"%s\"\n", p->account,
		        strerror(errno));
		_exit(1);
	}
	/* After the change of account, which clears it; the parent may be gone already. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	exec_program(p);
	dprintf(STDERR_FILENO, "error up.exec program=\"%s\" text=\"%s\"\n", p->program,
	        strerror(errno));
	_exit(1);
}

int part_start(struct part *p, struct err *err)
{
	pid_t parent = getpid();
	int pipe[2];

	if (p->pipe >= 0)
		close(p->pipe); /* what the one before left open: its children have it, but it is not theirs */
	p->pipe = -1;
	if (pipe2(pipe, O_CLOEXEC) < 0)
		return err_sys(err, errno, "starting the %s", p->name);
	p->pid = fork();
	if (p->pid == 0)
		become(p, pipe[1], parent);
	int sys = errno;
	close(pipe[1]);
	if (p->pid < 0) {
		p->pid = 0;
		close(pipe[0]);
		return err_sys(err, sys, "starting the %s", p->name);
	}
	fcntl(pipe[0], F_SETFL, O_NONBLOCK);
	p->pipe = pipe[0];
	p->started_ms = clock_mono_ms();
	p->restart_ms = 0;
	return 0;
}

void part_signal(const struct part *p, int sig)
{
	if (p->pid)
		kill(p->pid, sig);
}

/* It is not as the last time: what was held back is logged. */
static void let_go(struct part *p)
{
	if (!p->is_held)
		return;
	p->is_held = false;
	if (p->n_same)
		rotlog_say(&p->log, "warn up.restart part=%s text=\"the same, %u times more\"",
		        p->name, p->n_same);
	p->n_same = 0;
	rotlog_write(&p->log, p->said[1], p->n_said[1]);
}

/* More than there is room for is never the same. */
static void take(struct part *p, const char *data, size_t len)
{
	size_t n = p->n_said[1], k = MIN(len, PART_SAID - MIN(n, PART_SAID));

	if (p->is_held && (n + len > p->n_said[0] || memcmp(data, p->said[0] + n, len) != 0))
		let_go(p);
	memcpy(p->said[1] + MIN(n, PART_SAID), data, k);
	p->n_said[1] += k;
	if (k < len)
		p->n_said[1] = PART_SAID + 1;
	if (!p->is_held)
		rotlog_write(&p->log, data, len);
}

void part_read(struct part *p)
{
	char data[READ_SIZE];

	while (p->pipe >= 0) {
		ssize_t n = read(p->pipe, data, sizeof(data));
		if (n > 0) {
			take(p, data, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		close(p->pipe);
		p->pipe = -1;
	}
}

void part_describe_exit(int status, char out[64])
{
	if (WIFSIGNALED(status))
		snprintf(out, 64, "was ended by signal %d", WTERMSIG(status));
	else
		snprintf(out, 64, "ended with code %d", WEXITSTATUS(status));
}

void part_on_exit(struct part *p, int status, bool again)
{
	uint64_t now_ms = clock_mono_ms();
	char how[64];

	part_read(p);
	p->pid = 0;
	part_describe_exit(status, how);
	if (!again) {
		rotlog_say(&p->log, "info up.ended part=%s text=\"%s\"", p->name, how);
		p->restart_ms = 0;
		return;
	}
	if (!p->backoff_ms || now_ms - p->started_ms >= PART_WELL_MS)
		p->backoff_ms = PART_BACKOFF_FIRST_MS;
	/* Who says that all is done is not in a hurry: with the agent, the server may be about to say so too. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		p->backoff_ms = PART_BACKOFF_MOST_MS;
	p->restart_ms = now_ms + p->backoff_ms;
	if (p->is_held && p->n_said[1] == p->n_said[0] && status == p->last_status) {
		p->n_same++;
	} else {
		let_go(p);
		rotlog_say(&p->log, "warn up.restart part=%s text=\"%s\" wait_ms=%u", p->name, how,
		        p->backoff_ms);
	}
	p->is_held = now_ms - p->started_ms < PART_WELL_MS && p->n_said[1] <= PART_SAID;
	memcpy(p->said[0], p->said[1], PART_SAID);
	p->n_said[0] = p->n_said[1];
	p->n_said[1] = 0;
	p->last_status = status;
	p->backoff_ms = MIN(p->backoff_ms * 2, PART_BACKOFF_MOST_MS);
}
