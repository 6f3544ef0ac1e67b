/*
 * Waiting until a Berth answers, and the one line that says what it found. Blocks; one thread. Not for the process
 * that holds the directory's lock: it looks who does.
 */
#pragma once

#include "cli/cli.h"

enum greet_result { GREET_READY, GREET_NOBODY, GREET_TOO_LATE };

/* NOBODY: the directory was let go of meanwhile. TOO_LATE: err says what the server said last. */
enum greet_result greet_wait(
        const struct cli *cli, const char *data_dir, int timeout_ms, struct err *err);
MUST_CHECK int greet_print(const struct cli *cli, struct err *err);
