/*
 * The output of a job, as it is or as it grows, through its retries and through restarts of the server: nothing twice,
 * nothing missing. Borrows everything; one thread; blocks, and calls the client's idle function meanwhile.
 */
#pragma once

#include "cli/client.h"
#include "wire/console.h"

struct follow {
	struct client *client; /* patient, if it is to survive more than a restart */
	const char *id;
	uint32_t attempt; /* only this one; 0: from `first` on, through retries */
	uint32_t first;   /* the attempt that the output begins with; 1 for a new job */
	bool as_it_is;    /* ends where the output ends now; `attempt` is named, if there is one */
	uint64_t tail_lines; /* 0: everything */
	const char *stream;  /* "stdout", "stderr"; with as_it_is or tail_lines only; NULL: both */
	/* stream: CONSOLE_STDOUT or CONSOLE_STDERR. A failure ends it. */
	int (*on_output)(void *data, enum console_frame stream, const void *bytes, size_t len,
	        struct err *err);
	void *data;
	uint64_t received; /* bytes so far, of all attempts */
	/* Of kind ERR_NONE, or why the output of an attempt could not be read, although everything else was done. */
	struct err trouble;
};

/* Returns when the job has ended and all of its output has come; with as_it_is, when that has come. */
MUST_CHECK int follow_run(struct follow *f, struct err *err);
