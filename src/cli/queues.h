/*
 * Verbs of `berth queues`, which is a listing without them. They have the form of struct args_sub: the caller owns argv,
 * one thread, and the exit code comes back with what failed already said.
 */
#pragma once

#include "cli/cli.h"

int queues_set(struct cli *cli, int argc, char **argv);
int queues_rm(struct cli *cli, int argc, char **argv);
