/*
 * What a process sees of the file system, changed for it and its descendants alone. Needs CAP_SYS_ADMIN. libc only.
 * Nothing is owned: a namespace ends with its last process. One thread, between fork and exec, too: only system calls,
 * but for mounts_work. All answer false with errno.
 */
#pragma once

#include "base/cc.h"

/* Whether mounts_begin would do; in a process of its own. */
bool mounts_work(void);

/* A mount namespace of its own: mounts made outside later still appear in it, those made in it stay there. */
MUST_CHECK bool mounts_begin(void);
/* Nobody in it opens this device file: EACCES, for root, too. True when there is no such file. */
MUST_CHECK bool mounts_refuse_device(const char *path);
/* An empty directory in memory over this one, for a few names; mounts_seal when they are there. */
MUST_CHECK bool mounts_cover(const char *dir);
MUST_CHECK bool mounts_seal(const char *dir); /* nobody writes into it */
/* What is at `from` appears at `to`, too, which is there and of the same kind. */
MUST_CHECK bool mounts_bind_file(const char *from, const char *to);
/* The same of a directory with data: no device files, no programs. */
MUST_CHECK bool mounts_bind_data(const char *from, const char *to);
/*
 * Into the namespace of another process, and under its root, which may be another than that of the namespace; open as
 * /proc/PID/ns/mnt and, O_PATH, /proc/PID/root. The root becomes the working directory.
 */
MUST_CHECK bool mounts_enter(int ns_fd, int root_fd);
