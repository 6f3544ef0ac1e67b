/*
 * The processes below this one, of which this is the subreaper: nothing that they fork can leave the tree.
 * Nothing is owned. One thread.
 */
#pragma once

#include "base/cc.h"

/* To each process below, then SIGCONT, so that a stopped one takes it. What is forked meanwhile may not get it. */
void tree_signal(int signo);
/* SIGKILL to everything below and to its process groups. To be repeated until waitpid says that there is nobody. */
void tree_kill(void);
