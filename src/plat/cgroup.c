#include "plat/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plat/cgroup_priv.h"

enum {
	TRIES = 4096, /* numbers looked at, from the wanted one on */
	DEPTH = 16,   /* of groups that jobs made in theirs */
	FREEZE_TRIES = 16,
	QUIET_BYTES =
	        16 << 20, /* a group that had more than this may still be charged for some of it */
};

/* Files */

bool cgroup_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), sys;
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	sys = errno;
	close(fd);
	errno = sys;
	return n == (ssize_t)strlen(text);
}

bool cgroup_read_file(const char *path, char *room, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, room, size - 1);

	if (fd >= 0)
		close(fd);
	room[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

bool cgroup_read_number(const char *path, const char *key, uint64_t *ret)
{
	char room[1024], *at = room, *end;

	if (!cgroup_read_file(path, room, sizeof(room)))
		return false;
	while (at && *key && (strncmp(at, key, strlen(key)) != 0 || at[strlen(key)] != ' ')) {
		at = strchr(at, '\n');
		at += at != NULL;
	}
	if (!at)
		return false;
	at += strlen(key);
	*ret = strtoull(at, &end, 10);
	return end != at;
}

const struct cgroup_dir *cgroup_dir_of(const struct cgroup_tree *t, enum cgroup_can what)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->dirs[i].serves & what)
			return &t->dirs[i];
	return NULL;
}

void cgroup_file(
        const struct cgroup_dir *d, unsigned number, const char *file, char path[CGROUP_FILE])
{
	snprintf(path, CGROUP_FILE, "%s/%u%s%s", d->path, number, *file ? "/" : "", file);
}

/* Life of a group */

/* What a job has made below its own group goes first. Deepest first; false when something is left. */
static bool remove_below(const char *path, unsigned depth)
{
	char below[CGROUP_FILE];
	struct dirent *e;
	DIR *dir;

	if (rmdir(path) == 0 || errno == ENOENT)
		return true;
	dir = depth ? opendir(path) : NULL;
	while (dir && (e = readdir(dir)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
		        snprintf(below, sizeof(below), "%s/%s", path, e->d_name) <
		                (int)sizeof(below))
			remove_below(below, depth - 1);
	if (dir)
		closedir(dir);
	return rmdir(path) == 0 || errno == ENOENT;
}

/* The lock of a group that is there; -1: somebody has it, or it went away meanwhile. */
static int lock_group(const struct cgroup_tree *t, unsigned number)
{
	char path[CGROUP_FILE];
	struct stat ours, theirs;
	int fd;

	cgroup_file(&t->dirs[0], number, "", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 &&
	        stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino)
		return fd;
	close(fd);
	return -1;
}

/* In place of what somebody left there, if nobody runs in it; false with errno when it cannot be had. */
static bool make_fresh(const struct cgroup_tree *t, unsigned number)
{
	char path[CGROUP_FILE];

	for (size_t i = t->n; i-- > 0;) {
		cgroup_file(&t->dirs[i], number, "", path);
		if (!remove_below(path, DEPTH))
			return false;
	}
	for (size_t i = t->n; i-- > 0;) {
		cgroup_file(&t->dirs[i], number, "", path);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return false;
	}
	return true;
}

/* The lock, or -1 with errno: EBUSY when this number is somebody's. */
static int take_number(const struct cgroup_tree *t, unsigned number, bool is_clean)
{
	char path[CGROUP_FILE];
	int fd, sys;

	cgroup_file(&t->dirs[0], number, "", path);
	if (!is_clean && mkdir(path, 0755) < 0 && errno != EEXIST)
		return -1;
	fd = lock_group(t, number);
	if (fd < 0) {
		errno = EBUSY;
		return -1;
	}
	if (is_clean)
		return fd;
	if (make_fresh(t, number)) {
		close(fd);
		fd = lock_group(t, number);
		if (fd < 0)
			errno = EBUSY;
		return fd;
	}
	sys = errno;
	close(fd);
	errno = sys;
	return -1;
}

static struct cgroup empty_group(const struct cgroup_tree *t, unsigned number)
{
	return (struct cgroup){
	        .tree = t, .number = number, .lock_fd = -1, .kill_fd = -1, .v2_fd = -1};
}

int cgroup_take(const struct cgroup_tree *t, unsigned number, struct cgroup_memo *memos,
        size_t n_memos, struct cgroup *ret_group, struct err *err)
{
	int fd = -1;

	if (!t->n)
		return err_set(err, ERR_UNAVAILABLE, "no control groups");
	for (unsigned last = number + TRIES; number < last; number++) {
		struct cgroup_memo *memo = number < n_memos ? &memos[number] : NULL;

		fd = take_number(t, number, memo && memo->is_clean);
		if (fd < 0 && (errno == EBUSY || errno == ENOTEMPTY))
			continue;
		if (fd < 0)
			break;
		*ret_group = empty_group(t, number);
		ret_group->lock_fd = fd;
		ret_group->memo = memo;
		if (memo && !memo->is_clean)
			*memo = (struct cgroup_memo){0};
		if (memo)
			memo->is_clean = false;
		ret_group->peak_before = memo ? memo->peak_bytes : 0;
		return 0;
	}
	return err_sys(err, errno, "making a control group in '%.200s'", t->dirs[0].path);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void cgroup_leave(struct cgroup *g, const struct cgroup_usage *u)
{
	if (g->memo && u) {
		g->memo->peak_bytes = MAX(g->peak_before, u->peak_bytes);
		g->memo->is_clean = !g->mem_bytes && !g->is_spent && !u->oom_kills &&
		                    g->memo->peak_bytes < QUIET_BYTES;
	}
	cgroup_close(g);
	close_fd(&g->kill_fd);
	close_fd(&g->lock_fd);
}

/* Calls `what` for each group that nobody has taken, while we have it; the sum of its answers. */
static size_t each_unheld(
        const struct cgroup_tree *t, size_t (*what)(const struct cgroup_tree *t, unsigned number))
{
	struct dirent *e;
	DIR *dir = t->n ? opendir(t->dirs[0].path) : NULL;
	size_t sum = 0;
	char *end;

	while (dir && (e = readdir(dir))) {
		unsigned number = (unsigned)strtoul(e->d_name, &end, 10);
		int fd = *end ? -1 : lock_group(t, number);

		if (fd >= 0)
			sum += what(t, number);
		close_fd(&fd);
	}
	if (dir)
		closedir(dir);
	return sum;
}

static size_t remove_group(const struct cgroup_tree *t, unsigned number)
{
	char path[CGROUP_FILE];

	for (size_t i = t->n; i-- > 0;) {
		cgroup_file(&t->dirs[i], number, "", path);
		if (!remove_below(path, DEPTH))
			return 0;
	}
	return 1;
}

/* Whoever is killed while he makes a group leaves a part of it; with the directory that carries the lock it is one again. */
static void complete_groups(const struct cgroup_tree *t, const struct cgroup_dir *d)
{
	char path[CGROUP_FILE];
	struct dirent *e;
	DIR *dir = opendir(d->path);
	char *end;

	while (dir && (e = readdir(dir))) {
		unsigned number = (unsigned)strtoul(e->d_name, &end, 10);

		if (*end)
			continue;
		cgroup_file(&t->dirs[0], number, "", path);
		mkdir(path, 0755);
	}
	if (dir)
		closedir(dir);
}

bool cgroup_tree_remove(const struct cgroup_tree *t)
{
	bool is_gone = true;

	for (size_t i = 1; i < t->n; i++)
		complete_groups(t, &t->dirs[i]);
	each_unheld(t, remove_group);
	for (size_t i = 0; i < t->n; i++)
		is_gone &= rmdir(t->dirs[i].path) == 0 || errno == ENOENT;
	return is_gone;
}

void cgroup_beside(const struct cgroup_tree *t, unsigned number, struct cgroup *ret_group)
{
	*ret_group = empty_group(t, number);
}

/* Whoever joins */

static int open_to_join(struct cgroup *g, const struct cgroup_dir *d, struct err *err)
{
	char path[CGROUP_FILE];
	int *fd = d->is_v2 ? &g->v2_fd : &g->join_fds[g->n_join];

	/* One thread alone moves faster than a process, and those that join have one. */
	cgroup_file(d, g->number, d->is_v2 ? "" : "tasks", path);
	*fd = open(path, (d->is_v2 ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(err, errno, "opening control group '%.200s'", path);
	g->n_join += !d->is_v2;
	return 0;
}

static void open_to_kill(struct cgroup *g)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, CGROUP_KILL);
	char path[CGROUP_FILE];

	if (!d || g->kill_fd >= 0)
		return;
	g->has_kill_file = d->is_v2;
	cgroup_file(d, g->number, d->is_v2 ? "cgroup.kill" : "freezer.state", path);
	g->kill_fd = open(path, (d->is_v2 ? O_WRONLY : O_RDWR) | O_CLOEXEC);
}

int cgroup_open(struct cgroup *g, struct err *err)
{
	for (size_t i = 0; i < g->tree->n; i++) {
		int rc = open_to_join(g, &g->tree->dirs[i], err);

		if (rc < 0) {
			cgroup_close(g);
			return rc;
		}
	}
	open_to_kill(g);
	return 0;
}

pid_t cgroup_fork(const struct cgroup *g)
{
	struct clone_args a = {
	        .flags = CLONE_VFORK | CLONE_INTO_CGROUP,
	        .exit_signal = SIGCHLD,
	        .cgroup = (uint64_t)(unsigned)g->v2_fd,
	};
	long pid = -1;

	if (g->v2_fd >= 0)
		pid = syscall(SYS_clone3, &a, sizeof(a));
	if (pid < 0 && errno != EAGAIN && errno != ENOMEM)
		errno = ENOSYS;
	return (pid_t)pid;
}

static bool move_to_v2(const struct cgroup *g)
{
	int fd = openat(g->v2_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "0", 1) == 1;
}

bool cgroup_join(const struct cgroup *g, bool is_born_in_v2)
{
	for (size_t i = 0; i < g->n_join; i++)
		if (write(g->join_fds[i], "0", 1) != 1)
			return false;
	return g->v2_fd < 0 || is_born_in_v2 || move_to_v2(g);
}

void cgroup_close(struct cgroup *g)
{
	while (g->n_join)
		close(g->join_fds[--g->n_join]);
	close_fd(&g->v2_fd);
}

/* Who runs there, as version 1 says it: one number a line. */
static bool kill_listed(const struct cgroup *g)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, CGROUP_KILL);
	char path[CGROUP_FILE], line[32];
	bool is_any = false;
	FILE *f;

	cgroup_file(d, g->number, "cgroup.procs", path);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		is_any |= pid > 1 && kill(pid, SIGKILL) == 0;
	}
	if (f)
		fclose(f);
	return is_any;
}

static bool is_frozen(const struct cgroup *g)
{
	char state[16];

	return pread(g->kill_fd, state, 6, 0) == 6 && memcmp(state, "FROZEN", 6) == 0;
}

/* As version 2 says it: of the group and all below. */
static bool is_populated(const struct cgroup *g)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, CGROUP_KILL);
	char path[CGROUP_FILE];
	uint64_t is_any = 0;

	cgroup_file(d, g->number, "cgroup.events", path);
	return cgroup_read_number(path, "populated", &is_any) && is_any;
}

bool cgroup_kill(const struct cgroup *g)
{
	bool is_any;

	if (g->kill_fd < 0)
		return false;
	if (g->has_kill_file)
		return is_populated(g) && write(g->kill_fd, "1", 1) == 1;
	/* What is frozen forks no more, and dies when it thaws; freezing takes its time. */
	if (write(g->kill_fd, "FROZEN", 6) < 0)
		errno = 0;
	is_any = kill_listed(g);
	for (size_t i = 0; is_any && i < FREEZE_TRIES && !is_frozen(g); i++)
		kill_listed(g);
	if (is_any)
		kill_listed(g);
	if (write(g->kill_fd, "THAWED", 6) < 0)
		errno = 0;
	return is_any;
}

static size_t kill_group(const struct cgroup_tree *t, unsigned number)
{
	struct cgroup g = empty_group(t, number);
	bool is_any;

	open_to_kill(&g);
	is_any = cgroup_kill(&g);
	close_fd(&g.kill_fd);
	return is_any;
}

size_t cgroup_kill_unheld(const struct cgroup_tree *t)
{
	return each_unheld(t, kill_group);
}

/* Queries */

void cgroup_read(struct cgroup *g, struct cgroup_usage *ret_usage)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, CGROUP_MEMORY);
	char path[CGROUP_FILE];
	uint64_t peak;

	*ret_usage = (struct cgroup_usage){0};
	if (!d)
		return;
	cgroup_file(d, g->number, d->is_v2 ? "memory.peak" : "memory.max_usage_in_bytes", path);
	if (cgroup_read_number(path, "", &peak) && peak > g->peak_before)
		ret_usage->peak_bytes = peak;
	cgroup_file(d, g->number, d->is_v2 ? "memory.events" : "memory.oom_control", path);
	if (!cgroup_read_number(path, "oom_kill", &ret_usage->oom_kills))
		ret_usage->oom_kills = 0;
}

bool cgroup_of(const struct cgroup_tree *t, pid_t pid, unsigned *ret_number)
{
	const char *ours = t->n ? strrchr(t->dirs[0].path, '/') : NULL;
	char path[64], text[4096], *at, *end;

	if (!ours)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (!cgroup_read_file(path, text, sizeof(text)))
		return false;
	for (at = text; (at = strstr(at, ours)); at++) {
		char *number = at + strlen(ours);

		if (*number++ != '/')
			continue;
		*ret_number = (unsigned)strtoul(number, &end, 10);
		if (end != number && (*end == '\n' || *end == '/' || !*end))
			return true;
	}
	return false;
}
