/*
 * The spool files of this node (wire/spool.h): which there are, what is new in them, which can go.
 * The set owns its files' descriptors and file names; records are given to the reader by value. Loop thread.
 * Files are numbered upwards from 1; a number is never used again while a later file is there. The newest is in use.
 * A file that cannot be read fails the call and is tried again with the next; damaged bytes are passed over and counted.
 */
#pragma once

#include "wire/spool.h"

#include <sys/types.h>

#define SPOOLS_FILE_MAX (4 * MIB) /* from this size on another file shall be used */

struct spools;

typedef void spools_record_fn(void *data, const struct spool_record *r, uint32_t file);

/* Life. DIR is made; when it holds no file, or is_new, a file is made and becomes the one in use. */
MUST_CHECK int spools_open(
        const char *dir, bool is_new, struct spools **ret_spools, struct err *err);
void spools_close(struct spools *s); /* NULL does nothing */

/* What was appended to any file since the last call, in each file in its order, older files first. */
MUST_CHECK int spools_read(struct spools *s, spools_record_fn *fn, void *data, struct err *err);
/* Another file, in use from now on; tell the keepers' parent. Never fails half: the old one stays in use then. */
MUST_CHECK int spools_rotate(struct spools *s, struct err *err);
/* Something still refers to the file, or no longer does. A file that is not in use goes when nothing refers to it and no keeper lives
 * that could write to it. */
void spools_hold(struct spools *s, uint32_t file);
void spools_release(struct spools *s, uint32_t file);

uint32_t spools_current(const struct spools *s);
const char *spools_path(
        const struct spools *s, uint32_t file); /* must be there; valid until it goes */
uint64_t spools_size(const struct spools *s);   /* of the file in use */
size_t spools_count(const struct spools *s);
uint64_t spools_damaged_bytes(const struct spools *s);
/* The process that holds the byte of this epoch, whichever file it stands in; 0: nobody. */
pid_t spools_holder(const struct spools *s, uint64_t epoch);
/* Readable when something may have been appended; take it up with spools_read. Stays the set's. */
int spools_fd(const struct spools *s);
