/*
 * What stands in the file of a ledger (berth/slice.h), and which processes have its slots by the kernel's word.
 * Descriptors are the caller's. One thread. Files are read with pread, and their locks are asked for, never taken; a job that
 * has spoilt its file, or has set so many locks that asking takes long, is CORRUPT.
 */
#pragma once

#include "berth/slice.h"
#include "gpu/slices.h"

/*
 * who_fd: of who-N; -1: there is none. *ret has its grant already: what stands in the file must be `grant` still. On failure *ret
 * may be half full.
 */
MUST_CHECK int ledger_read(int fd, int who_fd, const struct slice_grant *grant,
        struct slices_state *ret, struct err *err);
