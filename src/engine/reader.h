/*
 * The output of one attempt as its bytes came, told apart by stream, from its files and the index beside them
 * (wire/spool.h): also while it is written, while its second half is a ring, and over the moment when that is put in order.
 * The reader owns its descriptors. Any one thread; reads block on the disk only. What the submitter's own file does (is
 * gone, is no file, belongs to somebody else) is an error of this reader alone.
 */
#pragma once

#include "core/ids.h"
#include "wire/console.h"
#include "wire/spool.h"

struct reader;

struct reader_options {
	const char *data_dir;
	struct job_id id;
	uint32_t attempt;
	bool want_stdout, want_stderr;
	uint64_t offset; /* bytes of what is wanted to pass over */
	uint64_t
	        tail_lines; /* 0: from the beginning; else only the last so many lines of what is there now */
	bool is_over;     /* nothing is written any more */
	bool check_owner; /* a file outside must belong to the owner of the link to it */
	/* Socket of the helper, which opens files outside as `user`; NULL: they are opened here. */
	const char *helper, *user;
};

MUST_CHECK int reader_open(
        const struct reader_options *o, struct reader **ret_reader, struct err *err);
void reader_close(struct reader *r); /* NULL does nothing */

/* Nothing is written any more: the files are as they will stay. */
void reader_set_over(struct reader *r);

/*
 * The next bytes, all of one stream: 1 and *ret_len > 0; 0 when there are none (for ever, when it is over);
 * negative on failure.
 */
MUST_CHECK int reader_next(struct reader *r, void *out, size_t max, enum console_frame *ret_frame,
        size_t *ret_len, struct err *err);
