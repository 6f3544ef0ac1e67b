#include "plat/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plat/cgroup_priv.h"

enum {
	TRIES = 4096,      /* numbers looked at, from the wanted one on */
	DEPTH = 16,        /* of groups that jobs made in theirs */
	QUOTA_US = 100000, /* the period of a CPU limit */
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
	return (struct cgroup){.tree = t, .number = number, .lock_fd = -1, .kill_fd = -1};
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
		g->memo->is_clean =
		        !g->mem_bytes && !u->oom_kills && g->memo->peak_bytes < QUIET_BYTES;
	}
	cgroup_close(g);
	close_fd(&g->kill_fd);
	close_fd(&g->lock_fd);
}

void cgroup_tree_remove(const struct cgroup_tree *t)
{
	struct dirent *e;
	DIR *dir = t->n ? opendir(t->dirs[0].path) : NULL;
	char path[CGROUP_FILE], *end;

	while (dir && (e = readdir(dir))) {
		unsigned number = (unsigned)strtoul(e->d_name, &end, 10);
		int fd = *end ? -1 : lock_group(t, number);

		for (size_t i = t->n; fd >= 0 && i-- > 0;) {
			cgroup_file(&t->dirs[i], number, "", path);
			if (!remove_below(path, DEPTH))
				break;
		}
		close_fd(&fd);
	}
	if (dir)
		closedir(dir);
	for (size_t i = 0; i < t->n; i++)
		rmdir(t->dirs[i].path);
}

void cgroup_beside(const struct cgroup_tree *t, unsigned number, struct cgroup *ret_group)
{
	*ret_group = empty_group(t, number);
}

/* Limits */

static bool set(const struct cgroup *g, enum cgroup_can what, const char *file, const char *value)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, what);
	char path[CGROUP_FILE];

	if (!d)
		return false;
	cgroup_file(d, g->number, file, path);
	return cgroup_write(path, value);
}

static bool set_number(
        const struct cgroup *g, enum cgroup_can what, const char *file, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
	return set(g, what, file, text);
}

static bool is_v2(const struct cgroup *g, enum cgroup_can what)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, what);

	return d && d->is_v2;
}

/* Always of a fresh group: none that had a limit is used again. Where swap is not counted, it is not limited. */
static bool set_memory(const struct cgroup *g, uint64_t bytes)
{
	bool v2 = is_v2(g, CGROUP_MEMORY);

	if (!set_number(g, CGROUP_MEMORY, v2 ? "memory.max" : "memory.limit_in_bytes", bytes))
		return false;
	if (v2 && (!set(g, CGROUP_MEMORY, "memory.swap.max", "0") ||
	                  !set(g, CGROUP_MEMORY, "memory.oom.group", "1")))
		errno = 0;
	if (!v2 && !set_number(g, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", bytes))
		errno = 0;
	return true;
}

static bool set_cpu(const struct cgroup *g, const struct cgroup_limits *l)
{
	bool v2 = is_v2(g, CGROUP_CPU);
	uint64_t weight = l->cpu_weight ? l->cpu_weight : 100;
	uint64_t quota = (uint64_t)l->cpu_max_milli * QUOTA_US / 1000;
	char text[48];

	if (v2 && !set_number(g, CGROUP_CPU, "cpu.weight", MIN(weight, 10000u)))
		return false;
	if (!v2 && !set_number(
	                   g, CGROUP_CPU, "cpu.shares", MIN(MAX(weight * 1024 / 100, 2u), 262144u)))
		return false;
	if (!v2)
		return quota ? set_number(g, CGROUP_CPU, "cpu.cfs_quota_us", quota)
		             : set(g, CGROUP_CPU, "cpu.cfs_quota_us", "-1");
	if (quota)
		snprintf(text, sizeof(text), "%ju %d", (uintmax_t)quota, QUOTA_US);
	else
		snprintf(text, sizeof(text), "max %d", QUOTA_US);
	return set(g, CGROUP_CPU, "cpu.max", text);
}

static bool set_io(const struct cgroup *g, uint32_t weight)
{
	weight = weight ? weight : 100;
	if (is_v2(g, CGROUP_IO))
		return set_number(g, CGROUP_IO, "io.weight", weight);
	return set_number(g, CGROUP_IO, "blkio.bfq.weight", weight) ||
	       /* Whose default is 500, and whose least is 10. */
	       set_number(g, CGROUP_IO, "blkio.weight", MIN(MAX(weight * 5, 10u), 1000u));
}

static bool set_pids(const struct cgroup *g, uint64_t pids)
{
	return pids ? set_number(g, CGROUP_PIDS, "pids.max", pids)
	            : set(g, CGROUP_PIDS, "pids.max", "max");
}

static bool has_same_devices(const struct cgroup_limits *a, const struct cgroup_limits *b)
{
	return a->has_devices == b->has_devices && a->device_major == b->device_major &&
	       a->device_last == b->device_last &&
	       memcmp(a->minors, b->minors, sizeof(a->minors)) == 0;
}

static void mark(struct cgroup *g, enum cgroup_can what, bool is_held)
{
	g->held = is_held ? g->held | what : g->held & ~(unsigned)what;
}

static void allow_all(struct cgroup *g, const struct cgroup_limits *before)
{
	struct cgroup_limits all = *before;

	memset(all.minors, 0xff, sizeof(all.minors));
	if (!cgroup_devices_set(g->tree, g->number, &all, before))
		errno = 0;
	mark(g, CGROUP_DEVICES, false);
}

void cgroup_limit(struct cgroup *g, const struct cgroup_limits *l)
{
	static const struct cgroup_limits none;
	const struct cgroup_limits *before = g->memo ? &g->memo->limits : &none;

	g->held = g->memo ? g->memo->held : 0;
	mark(g, CGROUP_KILL, g->tree->can & CGROUP_KILL);
	g->mem_bytes = l->mem_bytes;
	if (l->mem_bytes != before->mem_bytes)
		mark(g, CGROUP_MEMORY, set_memory(g, l->mem_bytes));
	if (l->pids != before->pids)
		mark(g, CGROUP_PIDS, set_pids(g, l->pids));
	if (l->cpu_weight != before->cpu_weight || l->cpu_max_milli != before->cpu_max_milli)
		mark(g, CGROUP_CPU, set_cpu(g, l));
	if (l->io_weight != before->io_weight)
		mark(g, CGROUP_IO, set_io(g, l->io_weight));
	if (l->has_devices && !has_same_devices(l, before))
		mark(g, CGROUP_DEVICES, cgroup_devices_set(g->tree, g->number, l, before));
	else if (!l->has_devices && before->has_devices)
		allow_all(g, before);
	if (!g->memo)
		return;
	g->memo->limits = *l;
	g->memo->held = g->held;
}

/* Whoever joins */

int cgroup_open(struct cgroup *g, struct err *err)
{
	const struct cgroup_dir *killer = cgroup_dir_of(g->tree, CGROUP_KILL);
	char path[CGROUP_FILE];

	for (size_t i = 0; i < g->tree->n; i++) {
		const struct cgroup_dir *d = &g->tree->dirs[i];
		int fd;

		/* One thread alone moves faster than a process, and those that join have one. */
		cgroup_file(d, g->number, d->is_v2 ? "cgroup.procs" : "tasks", path);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0) {
			int rc = err_sys(err, errno, "opening control group '%.200s'", path);

			cgroup_close(g);
			return rc;
		}
		g->join_fds[g->n_join++] = fd;
	}
	if (!killer || g->kill_fd >= 0)
		return 0;
	g->has_kill_file = killer->is_v2;
	cgroup_file(killer, g->number, killer->is_v2 ? "cgroup.kill" : "freezer.state", path);
	g->kill_fd = open(path, O_WRONLY | O_CLOEXEC);
	return 0;
}

bool cgroup_join(const struct cgroup *g)
{
	for (size_t i = 0; i < g->n_join; i++)
		if (write(g->join_fds[i], "0", 1) != 1)
			return false;
	return true;
}

void cgroup_close(struct cgroup *g)
{
	while (g->n_join)
		close(g->join_fds[--g->n_join]);
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

bool cgroup_kill(const struct cgroup *g)
{
	bool is_any;

	if (g->kill_fd < 0)
		return false;
	if (g->has_kill_file)
		return write(g->kill_fd, "1", 1) == 1;
	/* What is frozen forks no more, and dies when it thaws. */
	if (write(g->kill_fd, "FROZEN", 6) < 0)
		errno = 0;
	is_any = kill_listed(g);
	if (write(g->kill_fd, "THAWED", 6) < 0)
		errno = 0;
	return is_any;
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
