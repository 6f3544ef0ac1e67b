/*
 * Berth's processes of one data directory, found by their names in /proc: "berth server --data DIR".
 * Only processes of this account count, and for root those of the directory's owner: others may call themselves
 * anything. The caller owns the list. One thread. What vanishes meanwhile is passed over.
 */
#pragma once

#include <sys/types.h>

#include "base/cc.h"

enum procs_role { PROCS_UP, PROCS_SERVER, PROCS_AGENT, PROCS_HELPER, PROCS_KEEPER, PROCS_ROLE_MAX };

struct procs {
	struct proc {
		pid_t pid;
		enum procs_role role;
	} * v;
	size_t n, cap;
};

extern const char *const procs_role_names[PROCS_ROLE_MAX];

void procs_find(const char *data_dir, struct procs *ret_procs);
void procs_done(struct procs *p);
size_t procs_count(const struct procs *p, enum procs_role role);
