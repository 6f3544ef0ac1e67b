/*
 * Small file helpers: directories, whole small files, an exclusive lock file, how much a tree takes.
 * Descriptors handed out belong to the caller (fs_unlock closes a lock's); everything opened here is close-on-exec.
 * Any thread, but one writer per path. libc only. Failures name the path and carry the errno.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Makes what is missing of path; each directory made gets exactly this mode, whatever the umask. What is there is left as it is. */
MUST_CHECK int fs_mkdir_p(const char *path, mode_t mode, struct err *err);

/* The file is the old one or the whole new one, also after a power cut; durable when it returns. A crash may leave PATH.new behind,
 * which the next write takes over. */
MUST_CHECK int fs_write_atomic(
        const char *path, const void *data, size_t len, mode_t mode, struct err *err);

/* Appends all of the file to b; what does not fit under its ceiling: TOO_LARGE, and b is as it was. Files of /proc work, too. */
MUST_CHECK int fs_read(const char *path, struct buf *b, struct err *err);

/* All of it, however often the kernel takes less. */
MUST_CHECK int fs_write_all(int fd, const void *data, size_t len, struct err *err);

/* Names made or removed in this directory last from now on. */
MUST_CHECK int fs_sync_dir(const char *path, struct err *err);
/* The same for the directory that path stands in. */
MUST_CHECK int fs_sync_parent(const char *path, struct err *err);

/* The one holder of this file, which is made and stays. Held by somebody else, in this process too: CONFLICT, naming the process.
 * The kernel lets it go when the descriptor is closed, at the latest with the process (and what it forked without exec). */
MUST_CHECK int fs_lock(const char *path, int *ret_fd, struct err *err);
void fs_unlock(int fd);

/* What the tree takes on the disk: blocks, not lengths; links are not followed, files that vanish meanwhile are not counted. */
MUST_CHECK int fs_dir_size(const char *path, uint64_t *ret_bytes, struct err *err);
/* What this process may still write on the file system of path. */
MUST_CHECK int fs_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err);
/* How many files it may still make there; UINT64_MAX where the file system does not count them. */
MUST_CHECK int fs_free_files(const char *path, uint64_t *ret_n, struct err *err);
