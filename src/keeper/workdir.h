/*
 * A working directory of an attempt's own: made empty for its account, and removed with all that is in it.
 * Where the parent is root, it is the parent that removes (a keeper has no such power left). One thread.
 * Descriptors belong to the caller. What cannot be removed stays: it is the account's own doing.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/launch.h"

/* Makes it, or takes one that is there and empty; the account owns it. */
MUST_CHECK int workdir_make(
        const struct keeper_base *base, const struct launch *l, int *ret_fd, struct err *err);
/* With the account's rights, so that nothing beyond it can be meant by a name in it; no process of it may be left. */
void workdir_remove(const struct keeper_base *base, const struct launch *l);
