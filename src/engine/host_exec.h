/*
 * The message that starts a command beside a living attempt: as its account, in its directory, on its CPUs, with its
 * environment and what is added to that. Strings of the result hang on the caller's talloc context or are borrowed.
 * Loop thread; reads /proc for attempts that an earlier engine started.
 */
#pragma once

#include "engine/host_priv.h"

MUST_CHECK int exec_prepare(void *ctx, const struct prepare *p, const struct host_attempt *a,
        const struct engine_attach *m, uint64_t now_ms, struct launch *ret_launch, struct err *err);
