/*
 * Unix sockets by paths of any length (a socket's own name holds 107 bytes only), and who is at the other end.
 * Descriptors belong to the caller and are close-on-exec. Any thread. libc only. Failures name the path and carry the errno.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Takes the place of a dead one; mode 0600, whatever the umask. Non-blocking. */
MUST_CHECK int usock_bind(const char *path, int *ret_fd, struct err *err);
/* The same, and listens: who connects sees the account that did that. */
MUST_CHECK int usock_listen(const char *path, int *ret_fd, struct err *err);
MUST_CHECK int usock_connect(const char *path, int *ret_fd, struct err *err);
/* Never waits, and makes a socket that never does: UNAVAILABLE when the listener's line is full. */
MUST_CHECK int usock_connect_now(const char *path, int *ret_fd, struct err *err);
/* len bytes, and fd unless that is -1, in one piece; what does not fit at once is an error. 0, or -1 with errno. */
MUST_CHECK int usock_send_fd(int sock, int fd, const void *data, size_t len);
/* What was sent so: as recv; *ret_fd is -1 where none came. */
MUST_CHECK ssize_t usock_recv_fd(int sock, int *ret_fd, void *data, size_t size);
/* Who was there when it was connected; false when it is no such socket. */
MUST_CHECK bool usock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid);
