#include "helper/mps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/background.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "plat/proc.h"

#define PROGRAM  "nvidia-cuda-mps-control"
#define START_MS 5000 /* until it listens */
#define END_MS   2000 /* from the word to SIGKILL */
#define DEAD_MS  1000 /* from SIGKILL to the end */
#define CHILD_S  10   /* for all of it, whatever an account has put into its directory */

/* What a daemon is started, found and told with; its strings point into it. */
struct words {
	struct background b;
	char dir[OPENER_WORD], program[OPENER_WORD];
	char mark[OPENER_WORD + 32], pipes[OPENER_WORD + 64], logs[OPENER_WORD + 64], device[128],
	        fake[OPENER_WORD + 64];
	char *env[7];
	char pid_path[OPENER_WORD + 64], log_path[OPENER_WORD + 32];
};

/* The machine's own, in a place of root's: a file of root's that nobody else can write. */
static bool find_program(char path[OPENER_WORD])
{
	static const char *const dirs[] = {
	        "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		snprintf(path, OPENER_WORD, "%s/" PROGRAM, dirs[i]);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
		        !(st.st_mode & 022) && (st.st_mode & 0111))
			return true;
	}
	return false;
}

/* The simulated one was installed with us. */
static bool find_fake(char path[OPENER_WORD])
{
	ssize_t n = readlink("/proc/self/exe", path, OPENER_WORD - 48);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return false;
	snprintf(slash, 48, "/fake/" PROGRAM);
	return access(path, X_OK) == 0;
}

static int set_words(struct words *w, const char *data, const struct launch *l, struct err *err)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

	if (strlen(data) > OPENER_WORD - 64)
		return err_set(err, ERR_INVALID, "'%s' is too long for MPS", data);
	if (l->simulated ? !find_fake(w->program) : !find_program(w->program))
		return err_set(err, ERR_NOT_FOUND,
		        "there is no " PROGRAM " of root's where root's programs are");
	snprintf(w->dir, sizeof(w->dir), "%s/run/mps/%u/%u", data, l->place, l->uid);
	snprintf(w->mark, sizeof(w->mark), "BERTH_MPS=%s", w->dir);
	snprintf(w->pipes, sizeof(w->pipes), "CUDA_MPS_PIPE_DIRECTORY=%s/pipe", w->dir);
	snprintf(w->logs, sizeof(w->logs), "CUDA_MPS_LOG_DIRECTORY=%s/log", w->dir);
	snprintf(w->device, sizeof(w->device), "CUDA_VISIBLE_DEVICES=%s", l->device);
	snprintf(w->fake, sizeof(w->fake), "BERTH_FAKE_GPUS=%s/sim/gpus.sim", data);
	snprintf(w->pid_path, sizeof(w->pid_path), "%s/pipe/" PROGRAM ".pid", w->dir);
	snprintf(w->log_path, sizeof(w->log_path), "%s/log/start.log", w->dir);
	w->env[0] = path;
	w->env[1] = w->mark;
	w->env[2] = w->pipes;
	w->env[3] = w->logs;
	w->env[4] = w->device;
	w->env[5] = l->simulated ? w->fake : NULL;
	w->env[6] = NULL;
	w->b = (struct background){.program = w->program,
	        .name = PROGRAM,
	        .env = w->env,
	        .mark = w->mark,
	        .pid_path = w->pid_path,
	        .log_path = w->log_path};
	return 0;
}

static void as_server(const struct policy *p)
{
	BUG_IF(setegid(p->server_gid) < 0 || seteuid(p->server_uid) < 0);
}

static void as_root(void)
{
	BUG_IF(seteuid(0) < 0 || setegid(0) < 0);
}

/* Nothing but what the server has made itself is given away, wherever the path may lead. */
static int give_directory(
        const struct policy *p, const char *dir, const struct launch *l, struct err *err)
{
	int fd = -1, rc = 0, sys = 0;
	struct stat st;

	as_server(p);
	if (mkdir(dir, 0700) == 0 || errno == EEXIST)
		fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sys = errno;
	as_root();
	if (fd < 0)
		return err_sys(err, sys, "making directory '%s'", dir);
	if (fstat(fd, &st) < 0)
		rc = err_sys(err, errno, "looking at directory '%s'", dir);
	else if (st.st_uid != l->uid && st.st_uid != p->server_uid)
		rc = err_set(err, ERR_FORBIDDEN, "directory '%s' is of another account", dir);
	else if (st.st_uid != l->uid && fchownat(fd, "", l->uid, l->gid, AT_EMPTY_PATH) < 0)
		rc = err_sys(err, errno, "giving directory '%s' to its account", dir);
	close(fd);
	return rc;
}

/* What follows happens with the account's rights. */

static int make_directories(const struct words *w, struct err *err)
{
	const char *const paths[] = {strchr(w->pipes, '/'), strchr(w->logs, '/')};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(paths); i++)
		rc = fs_mkdir_p(paths[i], 0700, err);
	return rc;
}

/* The child's end, or its death when it takes too long. */
static int wait_for(pid_t pid, uint64_t wait_ms)
{
	int fd = proc_open(pid), status = 0;

	if (fd < 0 || !background_is_gone_within(fd, wait_ms))
		kill(pid, SIGKILL);
	if (fd >= 0)
		close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* A descriptor of its process, or an error. */
static int start(const struct words *w, struct err *err)
{
	int rc = make_directories(w, err), sys, fd, status;
	pid_t pid;

	if (rc < 0)
		return rc;
	fd = background_find(&w->b);
	if (fd >= 0)
		return fd;
	sys = background_start(&w->b, &pid);
	if (sys)
		return err_sys(err, sys, "starting '%s'", w->program);
	status = wait_for(pid, START_MS);
	fd = status ? -1 : background_find(&w->b);
	if (fd >= 0)
		return fd;
	background_kill(&w->b);
	return err_set(err, ERR_UNAVAILABLE, PROGRAM " did not come up (status 0x%x): %s says why",
	        (unsigned)status, w->log_path);
}

/* by_force: without a look into its directory, where an account can hold us up. */
static void end(const struct words *w, bool by_force)
{
	int fd = by_force ? -1 : background_find(&w->b);
	pid_t pid;

	if (fd >= 0 && background_tell(&w->b, "quit\n", &pid) == 0) {
		(void)!background_is_gone_within(fd, END_MS);
		(void)!wait_for(pid, 0);
	}
	background_kill(&w->b);
	if (fd < 0)
		return;
	(void)!background_is_gone_within(fd, DEAD_MS);
	unlink(w->pid_path);
	close(fd);
}

/* The agent that wanted it may be gone: then nobody does. */
static void give(int conn, int fd, const struct words *w)
{
	if (!opener_give(conn, fd, w->dir))
		end(w, false);
}

static void answer(int conn, const struct words *w, const struct launch *l)
{
	struct err err;
	int fd;

	switch (l->kind) {
	case LAUNCH_MPS_START:
		fd = start(w, &err);
		if (fd < 0)
			opener_refuse(conn, &err);
		else
			give(conn, fd, w);
		return;
	case LAUNCH_MPS_FIND:
		fd = background_find(&w->b);
		if (fd >= 0 && opener_give(conn, fd, w->dir))
			return;
		(void)!err_set(&err, ERR_NOT_FOUND, "it does not run");
		opener_refuse(conn, &err);
		return;
	default:
		end(w, l->force);
		opener_accept(conn);
		return;
	}
}

static void run(int conn, const struct launch *l, const void *data)
{
	const struct policy *p = data;
	struct words w;
	struct err err;
	int rc = set_words(&w, p->data, l, &err);

	umask(077);
	alarm(CHILD_S);
	if (rc == 0 && l->kind == LAUNCH_MPS_START)
		rc = give_directory(p, w.dir, l, &err);
	if (rc == 0)
		rc = opener_become(l, &err);
	if (rc < 0)
		opener_refuse(conn, &err);
	else
		answer(conn, &w, l);
}

void mps_begin(struct openers *o, int conn, const struct policy *p, const struct launch *l)
{
	log_info("helper.mps", "kind=%d uid=%u place=%u device=%s", (int)l->kind, (unsigned)l->uid,
	        l->place, l->device);
	opener_fork(o, conn, l, run, p);
}
