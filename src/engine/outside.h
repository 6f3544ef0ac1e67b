/*
 * Output that its submitter wanted in a file of his own, where this process is not root: the helper opens it with the
 * account's rights. The caller owns the descriptor. Any thread; waits for OUTSIDE_MS at most.
 * What the account may not read itself is the error that it would get; NOT_FOUND: there is no such file; UNAVAILABLE: the helper is
 * being started again; TIMEOUT: the file system does not answer.
 */
#pragma once

#include "core/ids.h"
#include "base/err.h"

#define OUTSIDE_MS 250

MUST_CHECK int outside_open(const char *helper_sock, const char *user, struct job_id id,
        const char *path, int *ret_fd, struct err *err);
