/*
 * Who was forked by the keepers' parent, by pid: what each is for, and what is to be done when it is gone.
 * A child's memory belongs to the table, until children_remove. One thread. Cannot fail.
 */
#pragma once

#include <sys/queue.h>
#include <sys/types.h>

#include "keeper/keeper.h"
#include "wire/launch.h"

enum child_role {
	CHILD_ATTEMPT,
	CHILD_EXEC,
	CHILD_SWEEP,
	CHILD_SWEEP_ORPHANS,
	CHILD_REMOVE, /* of a working directory, where only root can */
};

/* The name of a spool file, shared by all that were started with it. */
struct spool_name {
	unsigned n_users;
	char path[];
};

struct child {
	LIST_ENTRY(child) entry;
	pid_t pid;
	enum child_role role;
	unsigned
	        group; /* number of its control group, as far as the parent knows; LIMITS_NONE: none */
	unsigned tries; /* of a sweep that was killed itself */
	uint32_t cause; /* of a sweep that was asked for: stop_cause */
	struct attempt_id id;
	struct spool_name *spool;
	struct launch
	        *workdir; /* cwd and account, where it has a directory of its own; else NULL */
};

struct children {
	LIST_HEAD(, child)
	by_pid[256]; /* pids follow one another: their low bits spread them evenly */
	size_t n;
};

void children_done(struct children *t); /* forgets them all; they live on */

struct spool_name *spool_name_new(const char *path);
void spool_name_drop(struct spool_name *s);

/* spool: another user of it. */
struct child *children_add(struct children *t, pid_t pid, enum child_role role,
        const struct launch *l, struct spool_name *spool);
struct child *children_find(struct children *t, pid_t pid); /* NULL: none of ours */
/* The living keeper or sweep of an epoch; NULL when there is none. */
struct child *children_find_epoch(struct children *t, uint64_t epoch);
/* The same child goes on as another process. */
void children_move(struct children *t, struct child *c, pid_t pid, enum child_role role);
void children_remove(struct children *t, struct child *c);
