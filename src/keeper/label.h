/*
 * Output of several tasks in which each line is of one of them and says so: "RANK: ". A pipe for each task and stream; a line is
 * passed on when it is whole. One longer than LABEL_LINE_MAX comes in pieces, each a line of its own; one that its task leaves without an
 * end gets one. Belongs to the keeper, until its process ends. One thread. What cannot be read any more is over.
 */
#pragma once

#include "base/err.h"
#include "wire/spool.h"

#define LABEL_LINE_MAX (16 * KIB) /* without its rank and its end */

struct label;

typedef void label_put(void *ctx, enum spool_stream stream, const void *data, size_t len);

/* is_split: stderr has a pipe of its own. put: takes whole lines, of one stream at a time. */
MUST_CHECK int label_open(uint32_t n_ranks, bool is_split, label_put *put, void *ctx,
        struct label **ret_label, struct err *err);
/* The pipes of one task. Its ends are ours until label_let_go, which the caller owes before the next. */
MUST_CHECK int label_open_rank(
        struct label *l, uint32_t rank, int *ret_out, int *ret_err, struct err *err);
void label_let_go(struct label *l);
/* For poll: readable when a task has written, or has no one left who could. */
int label_fd(const struct label *l);
/* Reads once of some who have written; the number of bytes. */
size_t label_take(struct label *l);
/* What has no end gets one. */
void label_finish(struct label *l);
