/*
 * Where a shared library is: the file that the loader would take for a name, without loading it. Nothing is owned. libc
 * only, in static programs, too; any thread. What cannot be read is passed over, and not found is no failure.
 */
#pragma once

#include "base/cc.h"

#define LIBRARY_PATH 4096 /* as realpath wants it */

/*
 * The real path of `name` ("libcuda.so.1") for this machine's own programs: by LD_LIBRARY_PATH of this process, by the
 * loader's cache, then where drivers lie on machines without one. `root` stands before all paths but the first; "" as a rule.
 */
MUST_CHECK bool library_find(const char *name, const char *root, char ret_path[LIBRARY_PATH]);
