/*
 * A console in the caller's terminal: what is typed goes there, what comes is written here, until one side ends.
 * Borrows the client; one thread; blocks. A lost connection is an error; letting go is not.
 */
#pragma once

#include "cli/client.h"

enum interact_end {
	INTERACT_EXITED, /* the other side has ended; exit_code says how */
	INTERACT_LET_GO, /* the caller has: Ctrl-C without a terminal, or the keys Ctrl-P Ctrl-Q in one */
};

struct interact {
	bool with_stdin;
	bool raw; /* the terminal is put into raw mode: keys go to the other side, Ctrl-C too */
	bool may_detach; /* the keys Ctrl-P Ctrl-Q let go */
};

MUST_CHECK int interact_run(struct client *c, const char *path, const struct interact *how,
        enum interact_end *ret_end, int *ret_exit_code, struct err *err);
