/*
 * The server's socket, given to a group: the server, which made it, may do that only for groups of its own account.
 * Nothing is owned; no state; one thread. It must be a socket of the server's, at its place: then which group may knock at
 * it is the server's affair, and gives that group nothing else.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

MUST_CHECK int door_give(const char *data, uid_t server_uid, gid_t gid, struct err *err);
