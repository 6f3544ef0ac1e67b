/*
 * What holds an attempt: its control group, and where there is none, what a process can be held by alone.
 * The pool belongs to the keepers' parent and lies in memory that its keepers share; a struct limits to its keeper. One thread each.
 * What cannot be held is no failure: STARTED says it, and the parent's log says it once.
 *
 * DESIGN. The parent looks for control groups when the first attempt comes, and hands each one a number, which is free
 * again when its process is gone; the number is a hint, the lock on the group decides. Groups are left in good order by most jobs, and then
 * used again as they are: starting one more job makes no group, and sets no limit that is there already.
 * Where they are is said by run/cgroup, a symbolic link, to the parent that comes after one that was killed: what runs in a group that
 * no keeper holds has lost its keeper, and is ended with all that a sweep finds otherwise.
 */
#pragma once

#include "keeper/keeper.h"
#include "plat/cgroup.h"
#include "wire/launch.h"
#include "wire/spool.h"

#define LIMITS_NONE (~0u)

struct limits_pool;

struct limits {
	struct cgroup group; /* tree is NULL: none */
	uint64_t refused[LAUNCH_MINORS /
	                 64]; /* of /dev/nvidiaN, by a mount: where no group does it */
	uint64_t refused_caps[LAUNCH_CAPS / 64]; /* the same of /dev/nvidia-caps/nvidia-capN */
	bool has_refused;
	int mounts_fd, root_fd; /* of an exec: namespace and root of the attempt, or both -1 */
	bool is_taken; /* by us; else it is the group of the attempt that an exec belongs to */
	uint64_t data_bytes;    /* 0, or what each process may have, where nothing holds them all */
	uint64_t max_processes; /* the same, of its account */
	unsigned held, not_held; /* enum spool_hold */
};

/* -- the parent -- */
/* data: the data directory. Finds what a parent before this one has left. */
struct limits_pool *limits_pool_new(const struct keeper_base *base, const char *data);
/* Before a fork for this message: finds the control groups, if it has not yet; a number for its own. */
unsigned limits_pool_number(struct limits_pool *p, const struct launch *l);
void limits_pool_free_number(struct limits_pool *p, unsigned number);
/* Groups that nobody is in are removed. */
void limits_pool_close(struct limits_pool *p);

/* -- a keeper, while it is root -- */
void limits_take(
        struct limits *m, const struct keeper_base *base, const struct launch *l, unsigned number);
/* Of an exec: the group of the attempt that `keeper` looks after. */
void limits_take_beside(struct limits *m, const struct keeper_base *base, pid_t keeper);
/* The keeper: forks into a group of version 2 and waits for exec, as cgroup_fork does; -1 with ENOSYS: fork otherwise. */
pid_t limits_fork(const struct limits *m);
/* The calling process; after vfork, too: only system calls. False with errno. */
MUST_CHECK bool limits_join(const struct limits *m, bool is_forked_into);
/* The same, when its standard streams and its inherited directory are taken; false when that is not held, then. */
MUST_CHECK bool limits_hide_devices(const struct limits *m);
void limits_let_go(struct limits *m); /* nobody else joins */

/* -- a keeper -- */
/* False: by descent, then. */
bool limits_kill(const struct limits *m);
/* Nobody runs any more: fills in what ENDED says of memory, and whether its lack ended the attempt. */
void limits_end(struct limits *m, const struct launch *l, struct spool_record *r);

/* -- a sweep: everything in groups whose keeper is no more; in how many there was somebody -- */
size_t limits_kill_orphans(const struct keeper_base *base);
