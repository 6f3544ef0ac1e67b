/*
 * The supervisor's hold on a data directory: a POSIX lock on DIR/up.lock, so that the kernel says who holds it and lets
 * go with the process. The file tells what it was started with; it goes with an orderly end.
 * The taker owns a struct lock until lock_drop(). One thread. Neither fork nor exec takes the lock along, and the holder
 * must not look for itself: closing any descriptor of the file would let it go.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define LOCK_NAME     "up.lock"
#define LOCK_TEXT_MAX (64 * KIB)

struct lock {
	int fd;
	char *path;
};

struct lock_holder {
	pid_t pid; /* 0: of another pid namespace */
};

/* CONFLICT when somebody holds it. text: what it was started with. */
MUST_CHECK int lock_take(
        const char *data_dir, const char *text, struct lock *ret_lock, struct err *err);
void lock_drop(struct lock *l); /* removes the file, then lets go */

/* Does somebody hold the directory? */
bool lock_find_holder(const char *data_dir, struct lock_holder *ret_holder);
/* What its holder was started with, as this account or root wrote it; another's is FORBIDDEN. */
MUST_CHECK int lock_read_text(const char *data_dir, struct buf *b, struct err *err);
