/*
 * A terminal of our own: the master side for the keeper, the slave side for the job.
 * Descriptors belong to the caller and are close-on-exec; the terminal is gone when the master is closed. Any thread.
 * libc only. Failures carry the errno.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* `owner` is who may open it by its name in /dev/pts; (uid_t)-1 leaves it to us. Zero rows or columns: 24 and 80. */
MUST_CHECK int pty_open(uint32_t rows, uint32_t cols, uid_t owner, int *ret_master, int *ret_slave,
        struct err *err);
/* Tells the processes on it by SIGWINCH. */
void pty_resize(int master, uint32_t rows, uint32_t cols);
/* The character that ends the input, as Ctrl-D does; 0 when the terminal does not gather lines. */
char pty_eof_char(int master);
