/*
 * Whose a process is: the attempt whose root it descends from (engine.h). Owns a list of roots, borrows the attempts. Loop
 * thread; reads /proc.
 * A process that ends meanwhile is nobody's.
 */
#pragma once

#include "agent/attempts.h"

struct procs;

struct procs *procs_new(const struct attempts *at);
void procs_free(struct procs *p); /* NULL does nothing */

void procs_refresh(struct procs *p); /* which attempts live; before a series of questions */
uint64_t procs_owner(const struct procs *p, pid_t pid); /* epoch of its attempt, 0: none of ours */
