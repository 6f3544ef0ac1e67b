/*
 * What a job's first process gets as 0, 1 and 2, and the keeper's ends of it: pipes, or a terminal.
 * The descriptors belong to whoever holds the struct. One thread.
 */
#pragma once

#include "keeper/console.h"
#include "keeper/label.h"
#include "wire/launch.h"

struct streams {
	int job[3]; /* stay open here, too: see streams.c */
	int out_fd; /* what the job writes; of a terminal: the master. -1: nothing */
	int err_fd;
	int in_fd; /* what the job reads, where it has a console; of a terminal: the master again. -1: nothing, or closed */
	bool is_tty;
	struct label *
	        label; /* of tasks whose lines are told apart: it reads what they write, out_fd is its. NULL: none */
};

#define STREAMS_NONE ((struct streams){{-1, -1, -1}, -1, -1, -1, false, NULL})

/*
 * console: NULL when there is none. put and ctx: for lines of tasks that are told apart. What was opened before a failure stays
 * open: the process ends then.
 */
MUST_CHECK int streams_open(struct streams *io, const struct keeper_base *base,
        const struct launch *l, const struct console *console, label_put *put, void *ctx,
        struct err *err);
/* What the task with that rank gets: the input is of the first. The caller owes streams_let_go_rank before the next. */
MUST_CHECK int streams_of_rank(
        struct streams *io, uint32_t rank, int ret_stdio[3], struct err *err);
void streams_let_go_rank(struct streams *io);
/* After the start: the job alone reads its input, so that writing to it fails once nobody does. */
void streams_let_go(struct streams *io);
