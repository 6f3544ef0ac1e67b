/*
 * What holds an attempt: its control group, and where there is none, what a process can be held by alone.
 * The pool belongs to the keepers' parent and lies in memory that its keepers share; a struct limits to its keeper. One thread each.
 * What cannot be held is no failure: STARTED says it, and the parent's log says it once.
 *
 * DESIGN. The parent looks for control groups when the first attempt comes, and hands each one a number, which is free
 * again when its process is gone; the number is a hint, the lock on the group decides. Groups are left in good order by most jobs, and then
 * used again as they are: starting one more job makes no group, and sets no limit that is there already.
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
	bool is_taken; /* by us; else it is the group of the attempt that an exec belongs to */
	uint64_t data_bytes;    /* 0, or what each process may have, where nothing holds them all */
	uint64_t max_processes; /* the same, of its account */
	unsigned held, not_held; /* enum spool_hold */
};

/* -- the parent -- */
struct limits_pool *limits_pool_new(const struct keeper_base *base);
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
/* The calling process; after vfork, too: only system calls. False with errno. */
MUST_CHECK bool limits_join(const struct limits *m);
void limits_let_go(struct limits *m); /* nobody else joins */

/* -- a keeper -- */
/* False: by descent, then. */
bool limits_kill(const struct limits *m);
/* Nobody runs any more: fills in what ENDED says of memory, and whether its lack ended the attempt. */
void limits_end(struct limits *m, const struct launch *l, struct spool_record *r);

/* -- a sweep: everything in the group that a process is in, if that is one of ours -- */
bool limits_kill_group_of(const struct keeper_base *base, pid_t pid);
