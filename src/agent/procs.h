/*
 * Whose a process is: the attempt whose keeper it descends from. Keepers adopt the orphans of their tree, so everything
 * that an attempt started is below its keeper. Owns a list of keepers, borrows the attempts. Loop thread; reads /proc.
 * A process that ends meanwhile is nobody's.
 */
#pragma once

#include "agent/attempts.h"

struct procs;

struct procs *procs_new(const struct attempts *at);
void procs_free(struct procs *p); /* NULL does nothing */

void procs_refresh(struct procs *p); /* which keepers live; before a series of questions */
uint64_t procs_owner(const struct procs *p, pid_t pid); /* epoch of its attempt, 0: none of ours */
/*
 * The slices of an attempt that an earlier agent started, from the environment that its first process was given. Where
 * that cannot be read they stay unknown. What it may use of each of several devices is not known, and then not bounded.
 */
void procs_find_slices(struct known_attempt *a);
