/*
 * What must stand before a Berth can be started in a directory: the directory itself, and nobody left of an earlier one.
 * Borrows everything; one thread; blocks. A wrong directory is named, with what mends it.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Makes the directory and what the supervisor needs in it. */
MUST_CHECK int setup_data_dir(const char *data_dir, struct err *err);
/* Parts of a supervisor that was killed are on their way out; CONFLICT when they do not go. */
MUST_CHECK int setup_wait_for_old(const char *data_dir, struct err *err);
/* As its lock says, dead or alive; 0: there was none. */
pid_t setup_find_keepers_parent(const char *data_dir);
/* Ends the keepers' parent of the directory, if there is one, once no agent is left there; its keepers live on. At most a second. */
void setup_end_keepers_parent(const char *data_dir);
