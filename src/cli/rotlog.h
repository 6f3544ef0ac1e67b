/*
 * A log file that never grows beyond two times ROTLOG_MAX: FILE and FILE.1. The last lines are kept in memory, for
 * messages. The owner opens and closes it; one thread. What cannot be written (a full disk) is dropped.
 */
#pragma once

#include "base/err.h"

#define ROTLOG_MAX  (8 * MIB)
#define ROTLOG_TAIL 4096

struct rotlog {
	char *path;
	const char *name; /* its last part */
	int fd;
	uint64_t size;
	char tail[ROTLOG_TAIL];
	size_t tail_len;
};

MUST_CHECK int rotlog_open(struct rotlog *l, const char *path, struct err *err);
void rotlog_close(struct rotlog *l);
void rotlog_write(struct rotlog *l, const char *data, size_t len);
PRINTF_LIKE(2, 3)
void rotlog_say(
        struct rotlog *l, const char *fmt, ...); /* a line of our own, as plat/log writes them */
/* The last whole lines, at most n of them. */
const char *rotlog_last_lines(const struct rotlog *l, unsigned n, size_t *ret_len);
