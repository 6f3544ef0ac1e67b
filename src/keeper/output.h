/*
 * Where the output of an attempt goes: one or two files with a ceiling, and the index beside them (wire/spool.h).
 * The caller owns the struct; its paths are borrowed from the message. One thread.
 * Nothing here stops a job: bytes that no file takes (disk full, ceiling) are counted, and writing resumes when it can.
 * Entries that the index does not take are written later, as one; what is of both streams then counts as stdout.
 *
 * What is kept inside the data directory leaves a twentieth of its file system free, at most 256 MiB: the store lives there, too.
 *
 * DESIGN. Up to its ceiling a file simply grows. Past it, the second half is a ring: head stays, tail is written over and
 * over. output_finish puts the ring in order in place, in a time that grows with the ceiling only, and writes one line
 * over its oldest bytes that says how many are left out.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/launch.h"
#include "wire/spool.h"

struct output_file {
	const char *path; /* NULL: nowhere */
	int fd;           /* -1: not made yet */
	bool is_internal;
	bool is_regular;  /* devices and pipes have no ceiling */
	uint64_t max;     /* 0: none */
	uint64_t head;    /* bytes before the ring */
	uint64_t n;       /* bytes that went in so far, our own lines too */
	uint64_t granted; /* size up to which there was room on the disk */
	uint64_t lost;    /* bytes that it did not take */
	uint64_t untold;  /* of them, those that no line in the file tells of yet */
	int lost_errno;
	struct spool_chunk owed; /* of it, what the disk did not take into the index so far */
};

struct output {
	struct output_file files[2]; /* stdout, and stderr where that has a file of its own */
	bool is_split;
	const char *index_path;
	int index_fd;
	uint64_t index_len;
	struct spool_chunk pending; /* gathers what is adjacent, until pending_due_ms */
	uint64_t pending_due_ms;    /* clock_mono_ms; of what is owed, too */
	uint64_t total;             /* bytes of the job */
};

/* Opens the files that are not internal, with the account's rights. */
MUST_CHECK int output_open(
        struct output *o, const struct keeper_base *base, const struct launch *l, struct err *err);
void output_write(struct output *o, enum spool_stream stream, const void *data, size_t len);
/* Milliseconds until output_flush should be called, -1: never. */
int output_flush_in(const struct output *o);
void output_flush(struct output *o);
void output_finish(struct output *o, uint64_t *ret_total, uint64_t *ret_dropped);
