/*
 * The keepers' parent: takes launch messages from its socket and forks a keeper for each, without exec.
 * Owns the listening socket and everything it makes; one thread, one poll loop. Ends on SIGTERM; keepers live on.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"

#define PARENT_UIDS 8

struct parent_options {
	int listen_fd;
	const char *spool_path;          /* what FD_SPOOL is */
	uid_t allowed_uids[PARENT_UIDS]; /* besides its own and root */
	size_t n_allowed_uids;
};

/* Until SIGTERM. */
void parent_run(const struct keeper_base *base, const struct parent_options *o);
