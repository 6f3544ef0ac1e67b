/*
 * The account that server and agent run as when root starts Berth: making it, and what it can reach.
 * Nothing is owned. One thread; each call is a child process and waits for it. Only for root.
 * An account that cannot be made is an error with what the system's own tool said.
 */
#pragma once

#include <pwd.h>

#include "base/err.h"

/* A system account that nobody can log in to; one that is there, or that somebody else makes meanwhile, will do. Says so on stderr. */
MUST_CHECK int account_make(const char *name, struct err *err);

/* Whether access(path, mode) says yes to that account and its groups. */
bool account_reaches(const struct passwd *pw, const char *path, int mode);
/* The first directory on the way to path, itself included, that the account cannot enter; false: there is none. */
bool account_find_closed(const struct passwd *pw, const char *path, char out_dir[4096]);
