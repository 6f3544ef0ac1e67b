#include "keeper/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "keeper/rights.h"
#include "plat/log.h"
#include "plat/mounts.h"
#include "plat/proc.h"

enum {
	NUMBERS = 4096,
	NVIDIA_MAJOR = 195, /* of GPUs; 254 and 255 are for the control of all */
	NVIDIA_LAST = 253,
};

_Static_assert(
        (int)CGROUP_MEMORY == SPOOL_HOLD_MEMORY && (int)CGROUP_PIDS == SPOOL_HOLD_PROCESSES &&
                (int)CGROUP_CPU == SPOOL_HOLD_CPU && (int)CGROUP_IO == SPOOL_HOLD_IO &&
                (int)CGROUP_DEVICES == SPOOL_HOLD_DEVICES && (int)CGROUP_KILL == SPOOL_HOLD_KILL &&
                (int)CGROUP_GPU == SPOOL_HOLD_GPU_MEMORY,
        "what control groups can, and what is said of it");

struct limits_pool {
	const struct keeper_base *base;
	bool is_made;
	bool has_mounts;          /* in place of a device filter */
	char note[CGROUP_PATH];   /* path of run/cgroup */
	char parent[CGROUP_PATH]; /* cgroup.parent, as it was when the tree was made */
	char name[64];
	struct cgroup_tree tree;
	struct cgroup_memo memos[NUMBERS];
	bool is_used[NUMBERS]; /* the parent's own */
};

static bool is_path(const char *parent)
{
	return *parent == '/' && strlen(parent) <= 300 && !strstr(parent, "/.");
}

/* For the parent that comes after us. */
static void remember(const struct limits_pool *p)
{
	rights_as_server(p->base);
	unlink(p->note);
	if (symlink(*p->parent ? p->parent : "/", p->note) < 0)
		log_warn("keeper.limits", "path=\"%s\" error=\"%s\"", p->note, strerror(errno));
	rights_back(p->base);
}

static void tell(const struct limits_pool *p)
{
	unsigned can = p->tree.can | (p->has_mounts ? CGROUP_DEVICES : 0);
	char held[96], rest[96];

	if ((can & CGROUP_ALL) == CGROUP_ALL)
		log_info("keeper.limits", "held_by=\"control groups\" group=\"%s\"",
		        p->tree.dirs[0].path);
	else
		log_warn("keeper.limits",
		        "held_by=\"control groups\" held=\"%s\" not_held=\"%s\" why=\"%s\"",
		        cgroup_names(can, held), cgroup_names(CGROUP_ALL & ~can, rest),
		        p->tree.why_not);
}

static void find(struct limits_pool *p, const char *parent)
{
	if (p->is_made)
		cgroup_tree_remove(&p->tree);
	memset(p->memos, 0, sizeof(p->memos));
	snprintf(p->parent, sizeof(p->parent), "%.300s", parent);
	cgroup_tree_make(is_path(parent) ? parent : "", p->name,
	        CGROUP_ALL | (cgroup_dmem_is_there() ? CGROUP_GPU : 0), 0, &p->tree);
	p->has_mounts = !(p->tree.can & CGROUP_DEVICES) && p->base->is_root && mounts_work();
	p->is_made = true;
	tell(p);
	if (p->tree.n)
		remember(p);
}

struct limits_pool *limits_pool_new(const struct keeper_base *base, const char *data)
{
	struct limits_pool *p =
	        mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *mark = strchr(base->mark, '=');
	char parent[CGROUP_PATH];
	ssize_t len;

	BUG_IF(p == MAP_FAILED || !mark);
	p->base = base;
	/* The directory of this Berth, as in the mark, without its last dash. */
	snprintf(p->name, sizeof(p->name), "berth-%.*s", (int)strlen(mark) - 2, mark + 1);
	snprintf(p->note, sizeof(p->note), "%s/run/cgroup", data);
	len = readlink(p->note, parent, sizeof(parent) - 1);
	if (len > 0) {
		parent[len] = '\0';
		find(p, strcmp(parent, "/") == 0 ? "" : parent);
	}
	return p;
}

unsigned limits_pool_number(struct limits_pool *p, const struct launch *l)
{
	const char *parent = l->group_parent ? l->group_parent : "";

	if (!p->is_made || strcmp(parent, p->parent) != 0)
		find(p, parent);
	if (!p->tree.n)
		return LIMITS_NONE;
	for (unsigned i = 0; i < NUMBERS; i++) {
		if (p->is_used[i])
			continue;
		p->is_used[i] = true;
		return i;
	}
	return NUMBERS;
}

void limits_pool_free_number(struct limits_pool *p, unsigned number)
{
	if (number < NUMBERS)
		p->is_used[number] = false;
}

void limits_pool_close(struct limits_pool *p)
{
	if (p->is_made && cgroup_tree_remove(&p->tree)) {
		rights_as_server(p->base);
		unlink(p->note);
		rights_back(p->base);
	}
	munmap(p, sizeof(*p));
}

/* What is asked for, whether it can be had or not. */
static unsigned wanted(const struct launch *l)
{
	unsigned set = CGROUP_KILL;

	set |= l->mem_bytes ? CGROUP_MEMORY : 0;
	set |= l->max_processes ? CGROUP_PIDS : 0;
	set |= l->cpu_weight != 0 && l->cpu_weight != 100 ? CGROUP_CPU : 0;
	set |= l->cpu_max_milli ? CGROUP_CPU : 0;
	set |= l->io_weight && l->io_weight != 100 ? CGROUP_IO : 0;
	set |= l->hold_devices ? CGROUP_DEVICES : 0;
	set |= l->gpu_limits ? CGROUP_GPU : 0;
	return set;
}

static struct cgroup_limits limits_of(const struct launch *l)
{
	struct cgroup_limits c = {
	        .mem_bytes = l->mem_bytes,
	        .pids = l->max_processes,
	        .cpu_weight = l->cpu_weight == 100 ? 0 : l->cpu_weight,
	        .cpu_max_milli = l->cpu_max_milli,
	        .io_weight = l->io_weight == 100 ? 0 : l->io_weight,
	        .device_major = NVIDIA_MAJOR,
	        .device_last = NVIDIA_LAST,
	        .has_devices = l->hold_devices,
	};

	_Static_assert(sizeof(c.minors) == sizeof(l->minors), "devices of a group and of a launch");
	_Static_assert(sizeof(c.caps) == sizeof(l->caps), "files of MIG instances");
	memcpy(c.minors, l->minors, sizeof(c.minors));
	c.caps_major = l->caps_major;
	memcpy(c.caps, l->caps, sizeof(c.caps));
	return c;
}

static bool take_group(
        struct limits *m, struct limits_pool *p, const struct launch *l, unsigned number)
{
	struct cgroup_limits c = limits_of(l);
	struct err err;

	if (number == LIMITS_NONE ||
	        cgroup_take(&p->tree, number, p->memos, NUMBERS, &m->group, &err) < 0)
		return false;
	cgroup_limit(&m->group, &c);
	if (l->gpu_limits && !cgroup_dmem_set(&m->group, l->gpu_limits))
		log_warn("keeper.gpu_memory", "error=\"%s\" limits=\"%s\"", strerror(errno),
		        l->gpu_limits);
	if (cgroup_open(&m->group, &err) == 0)
		return true;
	cgroup_leave(&m->group, NULL);
	return false;
}

/* Of the files that are there, so that a start makes no more mounts than it needs. */
static bool refuse_others(
        const char *path, const char *prefix, unsigned last, const uint64_t *may, uint64_t *refused)
{
	DIR *dir = opendir(path);
	size_t len = strlen(prefix);
	struct dirent *e;
	unsigned minor;
	char rest;

	if (!dir)
		return false;
	while ((e = readdir(dir)))
		if (strncmp(e->d_name, prefix, len) == 0 &&
		        sscanf(e->d_name + len, "%4u%c", &minor, &rest) == 1 && minor <= last)
			refused[minor / 64] |= ~may[minor / 64] & 1ull << minor % 64;
	closedir(dir);
	return true;
}

static void choose_refused(struct limits *m, const struct launch *l)
{
	if (!refuse_others("/dev", "nvidia", NVIDIA_LAST, l->minors, m->refused))
		return;
	if (l->caps_major)
		(void)refuse_others("/dev/nvidia-caps", "nvidia-cap", LAUNCH_CAPS - 1, l->caps,
		        m->refused_caps);
	m->has_refused = true;
	m->held |= CGROUP_DEVICES | SPOOL_HOLD_BY_MOUNT;
}

void limits_take(
        struct limits *m, const struct keeper_base *base, const struct launch *l, unsigned number)
{
	unsigned set = wanted(l);

	*m = (struct limits){.is_taken = true, .mounts_fd = -1, .root_fd = -1};
	if (take_group(m, base->pool, l, number)) {
		m->held = m->group.held & set;
		if (m->held & CGROUP_DEVICES && base->pool->tree.has_v2_devices)
			m->held |= SPOOL_HOLD_BY_FILTER;
	} else {
		m->group.tree = NULL;
	}
	if (set & ~m->held & CGROUP_DEVICES && base->pool->has_mounts)
		choose_refused(m, l);
	m->not_held = set & ~m->held;
	if (m->not_held & CGROUP_MEMORY)
		m->data_bytes = l->mem_bytes;
	if (m->not_held & CGROUP_PIDS)
		m->max_processes = l->max_processes;
}

/* Only where it is another than ours. */
static void open_mounts(struct limits *m, const struct keeper_base *base, pid_t pid)
{
	char path[64];
	struct stat ours, theirs;
	int ns_fd, root_fd;

	if (!base->is_root)
		return;
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	ns_fd = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ns_fd >= 0 && root_fd >= 0 && fstat(ns_fd, &theirs) == 0 &&
	        stat("/proc/self/ns/mnt", &ours) == 0 &&
	        (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev)) {
		m->mounts_fd = ns_fd;
		m->root_fd = root_fd;
		return;
	}
	if (ns_fd >= 0)
		close(ns_fd);
	if (root_fd >= 0)
		close(root_fd);
}

void limits_take_beside(struct limits *m, const struct keeper_base *base, pid_t keeper)
{
	const struct cgroup_tree *t = &base->pool->tree;
	struct proc_list below = {0};
	unsigned number;
	struct err err;

	*m = (struct limits){.mounts_fd = -1, .root_fd = -1};
	if (proc_list_below(&below, keeper) < 0)
		return;
	if (below.n)
		open_mounts(m, base, below.items[0].pid);
	for (size_t i = 0; i < below.n; i++) {
		if (!cgroup_of(t, below.items[i].pid, &number))
			continue;
		cgroup_beside(t, number, &m->group);
		if (cgroup_open(&m->group, &err) < 0)
			m->group.tree = NULL;
		break;
	}
	proc_list_done(&below);
}

static bool limit_process(enum __rlimit_resource what, uint64_t value)
{
	struct rlimit limit;

	if (!value)
		return true;
	if (getrlimit(what, &limit) < 0)
		return false;
	limit.rlim_cur = MIN((rlim_t)value, limit.rlim_max);
	limit.rlim_max = limit.rlim_cur;
	return setrlimit(what, &limit) == 0;
}

pid_t limits_fork(const struct limits *m)
{
	if (m->group.tree)
		return cgroup_fork(&m->group);
	errno = ENOSYS;
	return -1;
}

static bool refuse_all(const char *before, unsigned last, const uint64_t *refused)
{
	char path[48];

	for (unsigned i = 0; i <= last; i++) {
		if (!(refused[i / 64] >> i % 64 & 1))
			continue;
		snprintf(path, sizeof(path), "%s%u", before, i);
		if (!mounts_refuse_device(path))
			return false;
	}
	return true;
}

bool limits_hide_devices(const struct limits *m)
{
	if (m->mounts_fd >= 0)
		return mounts_enter(m->mounts_fd, m->root_fd);
	if (!m->has_refused)
		return true;
	if (!mounts_begin())
		return false;
	return refuse_all("/dev/nvidia", NVIDIA_LAST, m->refused) &&
	       refuse_all("/dev/nvidia-caps/nvidia-cap", LAUNCH_CAPS - 1, m->refused_caps);
}

bool limits_join(const struct limits *m, bool is_forked_into)
{
	if (m->group.tree && !cgroup_join(&m->group, is_forked_into))
		return false;
	return limit_process(RLIMIT_DATA, m->data_bytes) &&
	       limit_process(RLIMIT_NPROC, m->max_processes);
}

void limits_let_go(struct limits *m)
{
	if (m->group.tree)
		cgroup_close(&m->group);
	if (m->mounts_fd >= 0) {
		close(m->mounts_fd);
		close(m->root_fd);
	}
	m->mounts_fd = m->root_fd = -1;
}

bool limits_kill(const struct limits *m)
{
	return m->group.tree && m->is_taken && cgroup_kill(&m->group);
}

/* The first process may have ended by itself, for want of one that the kernel ended. */
static bool is_failure(int status)
{
	return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

void limits_end(struct limits *m, const struct launch *l, struct spool_record *r)
{
	struct cgroup_usage u;
	char size[24];

	if (!m->group.tree)
		return;
	cgroup_read(&m->group, &u);
	r->peak_mem_bytes = MAX(r->peak_mem_bytes, u.peak_bytes);
	if (u.oom_kills && r->cause == SPOOL_EXIT && is_failure(r->wait_status)) {
		r->cause = SPOOL_OOM;
		if (l->mem_bytes)
			snprintf(r->text, sizeof(r->text), "it needed more than its %s of memory",
			        num_format_size(l->mem_bytes, size));
	}
	cgroup_leave(&m->group, &u);
	m->group.tree = NULL;
}

size_t limits_kill_orphans(const struct keeper_base *base)
{
	return cgroup_kill_unheld(&base->pool->tree);
}
