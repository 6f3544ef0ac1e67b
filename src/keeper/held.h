/*
 * A start that hangs in the kernel, because a file system does not answer: at the directory or the program of the job, where the
 * keeper sleeps until its child has exec'ed, or at its output file, which the keeper itself opens. Signals reach neither then.
 * Nothing is owned. One thread. What is in a sleep that not even KILL ends is gone when its file system is, or answers.
 */
#pragma once

#include <sys/types.h>

#include "base/cc.h"

/* The child that this keeper has made and that has not exec'ed; 0: none, or the keeper is awake. */
pid_t held_child(pid_t keeper);
/* Whether it sleeps without a child. Of one that has not begun: in its files. */
bool held_alone(pid_t keeper);
