/*
 * What is done for the agent with the rights of an account: each time in a child that gives up all others, answers on the
 * connection that asked, and ends; so the helper never waits for anything of somebody else's. Here: opening output files of jobs.
 * The owner's struct, {0} at first; children that hang are counted, few for each account. One thread.
 * A refusal is told to who asked; what the child cannot do, it tells itself.
 */
#pragma once

#include <sys/types.h>

#include "wire/launch.h"

#define OPENER_CHILDREN    32
#define OPENER_PER_ACCOUNT 4
#define OPENER_WORD        512 /* with its NUL */

struct openers {
	struct {
		pid_t pid;
		uid_t uid;
	} v[OPENER_CHILDREN];
	size_t n;
};

/* l: checked, with its account. conn stays the caller's, who has no more to do with it. */
void opener_begin(struct openers *o, int conn, const struct launch *l);
void opener_refuse(int conn, const struct err *why);
void opener_accept(int conn); /* done, and there is no descriptor to give */
/* fd and a word with it; false: whoever asked is not there any more. */
MUST_CHECK bool opener_give(int conn, int fd, const char *word);

/*
 * A child for l, in which do_it is called with the connection as the only descriptor beyond 0, 1 and 2, and the rights that we have.
 * Where there can be none, that is told.
 */
void opener_fork(struct openers *o, int conn, const struct launch *l,
        void (*do_it)(int conn, const struct launch *l, const void *data), const void *data);
/* In it: nothing but the account's rights from now on. */
MUST_CHECK int opener_become(const struct launch *l, struct err *err);
/* A child has ended; false: none of these. */
bool opener_reap(struct openers *o, pid_t pid);
