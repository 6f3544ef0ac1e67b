/*
 * The keepers' end of the spool (wire/spool.h): append records to FD_SPOOL, and look for those of an attempt.
 * Nothing is owned. One thread. An ENDED waits, and its process with it, until the disk takes it.
 */
#pragma once

#include "keeper/keeper.h"
#include "wire/spool.h"

struct spool_record report_new(const struct attempt_id *id, enum spool_kind kind);
/* STARTED is tried once, ENDED until it is there. */
void report_append(const struct spool_record *r);
/* An attempt that never began: SPOOL_SETUP_FAILED with exit code 125, or SPOOL_EXEC_FAILED with 126 or 127. */
void report_failure(
        const struct attempt_id *id, enum spool_cause cause, int code, const struct err *why);

/* Reads the whole spool for what it says of an epoch. */
void report_find(uint64_t epoch, bool *ret_is_started, bool *ret_is_ended);

/*
 * A note that a command is about to be run, in a small file of its own (FD_BEGUN) that nobody watches, where it costs next
 * to nothing: a keeper that dies between exec and STARTED has left one. Good until some ten thousand epochs later.
 */
MUST_CHECK bool report_note_begun(uint64_t epoch); /* false with errno: then it must not be run */
bool report_has_begun(uint64_t epoch);
