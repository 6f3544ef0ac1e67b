/*
 * Opens output files of jobs for the agent, with the rights of their accounts: each in a child that gives up all others,
 * answers on the connection that asked, and ends; so the helper never waits for a file system of somebody else's.
 * The owner's struct, {0} at first; children that hang are counted, few for each account. One thread.
 * A refusal is told to who asked; what the child cannot do, it tells itself.
 */
#pragma once

#include <sys/types.h>

#include "wire/launch.h"

#define OPENER_CHILDREN    32
#define OPENER_PER_ACCOUNT 4

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
/* A child has ended; false: none of these. */
bool opener_reap(struct openers *o, pid_t pid);
