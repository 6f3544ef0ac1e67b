/*
 * What the measurements of `berth bench` share: a directory of their own, and programs that they start; and those with a name.
 * A directory is its maker's until it is swept. One thread.
 */
#pragma once

#include <sys/types.h>

#include "cli/cli.h"

/* In TMPDIR, else where it is told. */
MUST_CHECK int bench_scratch(const char *where, char **ret, struct err *err);
/* Removes it with all that is in it, and frees the path; NULL does nothing. */
void bench_sweep(char *scratch);

/* With nothing to read, its output in that file, and no signal kept from it. */
MUST_CHECK int bench_spawn(const char *path, const char *const argv[], const char *out,
        pid_t *ret_pid, struct err *err);

int bench_place(struct cli *cli, int argc, char **argv);
int bench_replay(struct cli *cli, int argc, char **argv);
int bench_slice(struct cli *cli, int argc, char **argv);
