#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plat/cgroup_priv.h"

enum { QUOTA_US = 100000 }; /* the period of a CPU limit */

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

/*
 * Always of a fresh group: none that had a limit is used again. Where swap is not counted, it is not limited.
 * The kernel ends one process, not all (memory.oom.group): version 1 cannot do otherwise, and what a job survives is its own affair.
 */
static bool set_memory(const struct cgroup *g, uint64_t bytes)
{
	bool v2 = is_v2(g, CGROUP_MEMORY);

	if (!set_number(g, CGROUP_MEMORY, v2 ? "memory.max" : "memory.limit_in_bytes", bytes))
		return false;
	if (v2 && !set(g, CGROUP_MEMORY, "memory.swap.max", "0"))
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
	       memcmp(a->minors, b->minors, sizeof(a->minors)) == 0 &&
	       a->caps_major == b->caps_major && memcmp(a->caps, b->caps, sizeof(a->caps)) == 0;
}

static void mark(struct cgroup *g, enum cgroup_can what, bool is_held)
{
	g->held = is_held ? g->held | what : g->held & ~(unsigned)what;
}

static void allow_all(struct cgroup *g, const struct cgroup_limits *before)
{
	struct cgroup_limits all = *before;

	memset(all.minors, 0xff, sizeof(all.minors));
	memset(all.caps, 0xff, sizeof(all.caps));
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
