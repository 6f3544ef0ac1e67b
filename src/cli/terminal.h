/*
 * The terminal of the caller: raw mode, its size, whether to colour. Process-wide, one thread.
 * terminal_raw() is undone by terminal_restore(), which also runs when the process exits.
 */
#pragma once

#include "base/err.h"

struct terminal_size {
	uint16_t rows, columns;
};

MUST_CHECK int terminal_raw(struct
        err *err); /* standard input is put into raw mode; FAILED: INVALID when it is no terminal */
void terminal_restore(void);
struct terminal_size terminal_size(
        void); /* of standard output or input; 24 x 80 when neither is a terminal */
/* Standard output is a terminal, and NO_COLOR is not set. */
bool terminal_wants_colour(void);
