#include "keeper/children.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "keeper/limits.h"

struct spool_name *spool_name_new(const char *path)
{
	struct spool_name *s = mem_zalloc(sizeof(*s) + strlen(path) + 1);

	s->n_users = 1;
	memcpy(s->path, path, strlen(path));
	return s;
}

void spool_name_drop(struct spool_name *s)
{
	if (--s->n_users == 0)
		free(s);
}

/* What a later removal needs of the message, in memory of its own. */
static struct launch *keep_workdir(const struct launch *l)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	struct launch small = {
	        .kind = LAUNCH_SWEEP,
	        .cwd = l->cwd,
	        .make_cwd = true,
	        .has_account = l->has_account,
	        .uid = l->uid,
	        .gid = l->gid,
	        .groups = l->groups,
	        .n_groups = l->n_groups,
	};
	struct launch *kept = mem_zalloc(sizeof(*kept));
	struct err err;

	launch_encode(&small, &b);
	BUG_IF(b.overflow || launch_decode(b.data + 4, b.len - 4, kept, &err) < 0);
	return kept;
}

struct child *children_add(struct children *t, pid_t pid, enum child_role role,
        const struct launch *l, struct spool_name *spool)
{
	struct child *c = mem_zalloc(sizeof(*c));

	*c = (struct child){
	        .pid = pid,
	        .role = role,
	        .group = LIMITS_NONE,
	        .cause = role == CHILD_SWEEP ? l->stop_cause : 0,
	        .id = {.job = l->job, .task = l->task, .attempt = l->attempt, .epoch = l->epoch},
	        .spool = spool,
	        .workdir = l->make_cwd && l->cwd && role != CHILD_EXEC ? keep_workdir(l) : NULL,
	};
	spool->n_users++;
	LIST_INSERT_HEAD(&t->by_pid[(size_t)pid % ARRAY_LEN(t->by_pid)], c, entry);
	t->n++;
	return c;
}

struct child *children_find(struct children *t, pid_t pid)
{
	struct child *c;

	LIST_FOREACH (c, &t->by_pid[(size_t)pid % ARRAY_LEN(t->by_pid)], entry)
		if (c->pid == pid)
			return c;
	return NULL;
}

struct child *children_find_epoch(struct children *t, uint64_t epoch)
{
	struct child *c;

	for (size_t i = 0; i < ARRAY_LEN(t->by_pid); i++)
		LIST_FOREACH (c, &t->by_pid[i], entry)
			if (c->id.epoch == epoch &&
			        (c->role == CHILD_ATTEMPT || c->role == CHILD_SWEEP))
				return c;
	return NULL;
}

void children_move(struct children *t, struct child *c, pid_t pid, enum child_role role)
{
	LIST_REMOVE(c, entry);
	c->pid = pid;
	c->role = role;
	LIST_INSERT_HEAD(&t->by_pid[(size_t)pid % ARRAY_LEN(t->by_pid)], c, entry);
}

void children_remove(struct children *t, struct child *c)
{
	LIST_REMOVE(c, entry);
	t->n--;
	spool_name_drop(c->spool);
	if (c->workdir)
		launch_done(c->workdir);
	free(c->workdir);
	free(c);
}

void children_done(struct children *t)
{
	for (size_t i = 0; i < ARRAY_LEN(t->by_pid); i++)
		while (!LIST_EMPTY(&t->by_pid[i]))
			children_remove(t, LIST_FIRST(&t->by_pid[i]));
}
