/*
 * Connecting to a Unix stream socket by a path of any length.
 * The descriptor belongs to the caller; it does not block and closes on exec. Any thread.
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>

/* UNAVAILABLE or NOT_FOUND when nobody listens (yet). */
MUST_CHECK int sock_connect(const char *path, int *ret_fd, struct err *err);
/* Process at the other end as it was when it began to listen; 0 when unknown. */
pid_t sock_peer_pid(int fd);
