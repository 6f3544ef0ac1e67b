/*
 * Who may knock at the server's socket: its group, by name or number. Nothing is owned. Called once, at the start, which
 * it may hold up until the helper is there. What cannot be done is an error: a door is never left as it was in silence.
 */
#pragma once

#include "base/err.h"

/* *ret_gid is UINT32_MAX for "", which is the server's own. */
MUST_CHECK int door_find_group(const char *name, uint32_t *ret_gid, struct err *err);
/* By the helper of this directory, because the server is not root. */
MUST_CHECK int door_ask_helper(const char *data_dir, uint32_t gid, struct err *err);
