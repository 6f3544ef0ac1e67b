/*
 * What root itself allowed to run as root: one file for each submit, DATA/grants/KEY, written by root's client before the
 * submit, so that server and agent, who are not root, can neither make nor change it. KEY comes along with the launch.
 * Root's client, or the first start of a job, moves its file to DATA/grants/JOB/KEY; that of an exec is gone with its use.
 * Nothing is owned; no state but the files; one thread. What is not granted word for word is FORBIDDEN, and says what.
 */
#pragma once

#include "base/err.h"
#include "wire/launch.h"

/* l: of a start, an exec or an open that shall happen as root, whose home directory is home. */
MUST_CHECK int grants_check(
        const char *data, const struct launch *l, const char *home, struct err *err);
/* The job will not be started again. */
void grants_forget(const char *data, uint64_t job);

/* granted: as the client wrote it, with patterns in the paths of its output. */
MUST_CHECK int grants_compare(
        const struct launch *granted, const struct launch *l, const char *home, struct err *err);
bool grants_is_output(const char *pattern, const char *path);
