/*
 * A log file that never grows beyond two times ROTLOG_MAX: FILE and FILE.1. The last lines are kept in memory, for
 * messages. The owner opens and closes it; one thread. What cannot be written (a full disk) is written as soon as that
 * can be, as far as it is among these last lines; a line says how much is missing.
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
	size_t unsaved; /* bytes at the end of tail that the file has not */
	uint64_t lost;  /* bytes before them that it will never have */
};

MUST_CHECK int rotlog_open(struct rotlog *l, const char *path, struct err *err);
void rotlog_close(struct rotlog *l);
void rotlog_write(struct rotlog *l, const char *data, size_t len);
PRINTF_LIKE(2, 3)
void rotlog_say(
        struct rotlog *l, const char *fmt, ...); /* a line of our own, as plat/log writes them */
/* The last whole lines, at most n of them. */
const char *rotlog_last_lines(const struct rotlog *l, unsigned n, size_t *ret_len);
