#include "keeper/spawn.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "keeper/rights.h"

/*
 * DESIGN. The child is made by vfork: it shares our memory and we sleep until it has exec'ed or ended. So it costs no
 * copy of page tables. Where it is born in a control group that cannot be, but we sleep as well. Either way it reports a
 * failure by writing it into a struct that both see. Until exec it may only make system calls.
 */
enum step {
	STEP_EXEC,
	STEP_GROUP,
	STEP_SESSION,
	STEP_STDIO,
	STEP_CPUS,
	STEP_DEVICES,
	STEP_DRIVER,
	STEP_ACCOUNT,
	STEP_CWD
};

struct child {
	const struct spawn *s;
	pid_t keeper;
	cpu_set_t *cpus; /* NULL: not bound */
	size_t cpus_size;
	bool is_in_group; /* of version 2, by birth */
	volatile enum step step;
	volatile int sys; /* 0: exec has succeeded */
};

/* A keeper that dies takes its first process with it; if it died before that was asked for, the child has another parent. */
static bool tie_to_keeper(const struct child *c)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == c->keeper;
}

static bool take_stdio(const struct spawn *s)
{
	for (int i = 0; i < 3; i++)
		if (s->stdio[i] != i && dup2(s->stdio[i], i) < 0)
			return false;
	return !s->is_tty || ioctl(0, TIOCSCTTY, 0) == 0;
}

static bool take_cwd(const struct spawn *s)
{
	if (s->cwd_fd >= 0)
		return fchdir(s->cwd_fd) == 0;
	return chdir(s->l->cwd ? s->l->cwd : "/") == 0;
}

/* A change of account clears the tie, so it is made again. A directory of its own may lie where the account may not look. */
static bool prepare(struct child *c)
{
	const struct spawn *s = c->s;
	sigset_t none;

	c->step = STEP_GROUP;
	if (!limits_join(s->limits, c->is_in_group))
		return false;
	c->step = STEP_SESSION;
	if (!tie_to_keeper(c) || setsid() < 0)
		return false;
	c->step = STEP_STDIO;
	if (!take_stdio(s))
		return false;
	c->step = STEP_CPUS;
	if (c->cpus && sched_setaffinity(0, c->cpus_size, c->cpus) < 0)
		return false;
	c->step = STEP_CWD;
	if (s->cwd_fd >= 0 && !take_cwd(s))
		return false;
	c->step = STEP_DEVICES;
	if (!limits_hide_devices(s->limits))
		return false;
	c->step = STEP_DRIVER;
	if (!driver_mount(s->driver, s->limits->has_refused))
		return false;
	c->step = STEP_ACCOUNT;
	if (s->base->is_root && (!rights_drop_to_account(s->l) || !tie_to_keeper(c)))
		return false;
	c->step = STEP_CWD;
	if (s->cwd_fd < 0 && !take_cwd(s))
		return false;
	close_range(3, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	c->step = STEP_EXEC;
	return true;
}

static NORETURN void run_child(struct child *c)
{
	if (prepare(c))
		execvpe(c->s->l->argv[0], c->s->l->argv, c->s->l->env);
	c->sys = errno ? errno : ESRCH;
	_exit(127);
}

/* A macro, because who calls vfork must not return in the child. The thread sanitizer would make it a fork that does not wait. */
#ifdef __SANITIZE_THREAD__
#define FORK_UNTIL_EXEC() ((pid_t)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL))
#else
#define FORK_UNTIL_EXEC() vfork()
#endif

static pid_t start(struct child *c)
{
	pid_t pid = limits_fork(c->s->limits);

	c->is_in_group = pid == 0;
	if (pid < 0 && errno == ENOSYS) {
		errno = 0;
		pid = FORK_UNTIL_EXEC();
	}
	if (pid == 0)
		run_child(c);
	return pid;
}

void spawn_mark(const struct keeper_base *base, struct launch *l, char room[SPAWN_MARK])
{
	size_t len = strcspn(base->mark, "=") + 1;
	char **env = l->env;

	snprintf(room, SPAWN_MARK, "%s%ju", base->mark, (uintmax_t)l->epoch);
	/* One of an outer Berth gives way; else at the end there is room for one more and its NULL. */
	while (*env && strncmp(*env, base->mark, len) != 0)
		env++;
	*env = room;
}

static void bind_cpus(struct child *c, const struct launch *l)
{
	c->cpus = NULL;
	for (size_t i = 0; i < LAUNCH_CPUS; i++) {
		if (!(l->cpus[i / 64] >> i % 64 & 1))
			continue;
		if (!c->cpus) {
			c->cpus = CPU_ALLOC(LAUNCH_CPUS);
			BUG_IF(!c->cpus);
			c->cpus_size = CPU_ALLOC_SIZE(LAUNCH_CPUS);
			CPU_ZERO_S(c->cpus_size, c->cpus);
		}
		CPU_SET_S(i, c->cpus_size, c->cpus);
	}
}

static int explain(const struct child *c, struct spawn_failure *ret, struct err *err)
{
	const struct launch *l = c->s->l;

	*ret = (struct spawn_failure){.cause = SPOOL_SETUP_FAILED, .code = 125};
	switch (c->step) {
	case STEP_EXEC:
		ret->cause = SPOOL_EXEC_FAILED;
		ret->code = c->sys == ENOENT ? 127 : 126;
		return err_sys(err, c->sys, "running '%.100s'", l->argv[0]);
	case STEP_GROUP:
		return err_sys(err, c->sys, "joining its control group");
	case STEP_SESSION:
		return err_sys(err, c->sys, "starting a session");
	case STEP_STDIO:
		return err_sys(err, c->sys, "setting up input and output");
	case STEP_CPUS:
		return err_sys(err, c->sys, "binding to its CPUs");
	case STEP_DEVICES:
		return err_sys(err, c->sys, "hiding the devices of others");
	case STEP_DRIVER:
		return err_sys(err, c->sys, "putting the interposer before the GPU driver");
	case STEP_ACCOUNT:
		return err_sys(err, c->sys, "becoming account '%.100s'", l->user ? l->user : "");
	case STEP_CWD:
		break;
	}
	return err_sys(err, c->sys, "entering directory '%.150s'", l->cwd ? l->cwd : "/");
}

int spawn_run(
        const struct spawn *s, pid_t *ret_pid, struct spawn_failure *ret_failure, struct err *err)
{
	struct child *c =
	        mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int rc = 0;

	if (c == MAP_FAILED) {
		*ret_failure = (struct spawn_failure){.cause = SPOOL_SETUP_FAILED, .code = 125};
		return err_sys(err, errno, "making room for a process");
	}
	*c = (struct child){.s = s, .keeper = getpid()};
	bind_cpus(c, s->l);
	/* execvpe looks for PATH here; a keeper has no other use for its environment. */
	if (!strchr(s->l->argv[0], '/'))
		environ = s->l->env;
	errno = 0;
	pid = start(c);
	if (pid < 0) {
		*ret_failure = (struct spawn_failure){.cause = SPOOL_SETUP_FAILED, .code = 125};
		rc = err_sys(err, errno, "forking");
	} else if (c->sys) {
		waitpid(pid, NULL, 0);
		rc = explain(c, ret_failure, err);
	} else {
		*ret_pid = pid;
	}
	CPU_FREE(c->cpus);
	munmap(c, sizeof(*c));
	return rc;
}
