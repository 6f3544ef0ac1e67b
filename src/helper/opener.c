#include "helper/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "plat/usock.h"

#define FUSE_MAGIC 0x65735546
#define CONN_FD    3

static void answer(int conn, int fd, const struct err *why)
{
	char bytes[1 + sizeof(why->text)] = {why ? (char)why->kind : 0};
	size_t len = why ? strlen(why->text) : 0;

	if (why)
		memcpy(bytes + 1, why->text, len);
	/* Whoever does not wait for it any more is no loss. */
	(void)!usock_send_fd(conn, fd, bytes, 1 + len);
}

void opener_accept(int conn)
{
	answer(conn, -1, NULL);
}

void opener_refuse(int conn, const struct err *why)
{
	answer(conn, -1, why);
}

bool opener_give(int conn, int fd, const char *word)
{
	char bytes[1 + OPENER_WORD];
	int n = snprintf(bytes, sizeof(bytes), "%c%s", 0, word);

	return n < (int)sizeof(bytes) && usock_send_fd(conn, fd, bytes, (size_t)n) == 0;
}

/* Of a file system in user space: whether it is an account's own, which could let its reader wait for ever. */
static bool is_of_users(dev_t dev)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[4096], want[32];
	bool is_roots = false;

	snprintf(want, sizeof(want), " %u:%u ", major(dev), minor(dev));
	while (mounts && !is_roots && fgets(line, sizeof(line), mounts))
		is_roots = strstr(line, want) && strstr(line, "user_id=0,");
	if (mounts)
		fclose(mounts);
	return !is_roots;
}

static int check_file(int fd, const struct launch *l, struct err *err)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return err_sys(err, errno, "looking at the output");
	if (!S_ISREG(st.st_mode) || st.st_uid != l->uid)
		return err_set(
		        err, ERR_CONFLICT, "the output is not kept in a file of the job's account");
	if (fs.f_type == FUSE_MAGIC && is_of_users(st.st_dev))
		return err_set(err, ERR_CONFLICT,
		        "the output is on a file system that an account mounted itself");
	return 0;
}

int opener_become(const struct launch *l, struct err *err)
{
	if (setgroups(l->n_groups, l->groups) < 0 || setresgid(l->gid, l->gid, l->gid) < 0 ||
	        setresuid(l->uid, l->uid, l->uid) < 0)
		return err_sys(err, errno, "becoming account %u", (unsigned)l->uid);
	return 0;
}

static int open_as(const struct launch *l, int *ret_fd, struct err *err)
{
	int rc = opener_become(l, err);

	if (rc < 0)
		return rc;
	*ret_fd = open(l->out_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*ret_fd < 0)
		return err_sys(err, errno, "opening the output");
	return check_file(*ret_fd, l, err);
}

static void open_file(int conn, const struct launch *l, const void *data)
{
	struct err err;
	int fd = -1;

	if (open_as(l, &fd, &err) < 0)
		answer(conn, -1, &err);
	else
		answer(conn, fd, NULL);
}

void opener_begin(struct openers *o, int conn, const struct launch *l)
{
	opener_fork(o, conn, l, open_file, NULL);
}

/* No descriptor of root's must be there when the rights are gone. */
static int keep_only(int conn)
{
	sigset_t none;

	if (conn != CONN_FD)
		dup2(conn, CONN_FD);
	fcntl(CONN_FD, F_SETFD, FD_CLOEXEC);
	close_range(CONN_FD + 1, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return CONN_FD;
}

void opener_fork(struct openers *o, int conn, const struct launch *l,
        void (*do_it)(int conn, const struct launch *l, const void *data), const void *data)
{
	struct err err;
	size_t same = 0;
	pid_t pid;

	for (size_t i = 0; i < o->n; i++)
		same += o->v[i].uid == l->uid;
	if (o->n == OPENER_CHILDREN || same >= OPENER_PER_ACCOUNT) {
		(void)!err_set(&err, ERR_TIMEOUT,
		        "earlier ones of this account are waited for, which do not answer");
		opener_refuse(conn, &err);
		return;
	}
	pid = fork();
	if (pid == 0) {
		do_it(keep_only(conn), l, data);
		_exit(0);
	}
	if (pid > 0) {
		o->v[o->n].pid = pid;
		o->v[o->n++].uid = l->uid;
		return;
	}
	(void)!err_sys(&err, errno, "fork");
	opener_refuse(conn, &err);
}

bool opener_reap(struct openers *o, pid_t pid)
{
	for (size_t i = 0; i < o->n; i++) {
		if (o->v[i].pid != pid)
			continue;
		o->v[i] = o->v[--o->n];
		return true;
	}
	return false;
}
