/*
 * What a test left running in its directory. Owns nothing; one thread. What goes wrong fails the test.
 */
#pragma once

#include <stddef.h>

/*
 * Kills whatever was started for this data directory, and only that: it carries the mark of its keepers, or is such a
 * keeper, and the directory is nobody else's. How many there were.
 */
size_t leftovers_kill(const char *dir);
size_t leftovers_count(const char *dir);
/* The control groups of what was killed so, as soon as nobody is in them. */
void leftovers_remove_groups(const char *dir);
/* The ledgers of an agent that did not end in order: in memory, where the directory's own removal does not reach. */
void leftovers_remove_ledgers(const char *dir);
