/*
 * What the store keeps, as bytes: jobs (with their request), nodes, queues, tokens, blobs, counters.
 * Encoders append to the caller's buf. Decoders make what they return (owner: the caller) and refuse with CORRUPT what
 * contradicts itself. Fields may be added; the tags of one that went are never used again. Pure; any thread.
 */
#pragma once

#include "core/apply.h"
#include "wire/codec.h"

#define RECORD_MAX      (8 * MIB) /* of one record */
#define RECORD_DEPS_MAX 1024      /* dependencies of one job */

void record_put_job(struct buf *b, const struct job *j);
/* For world_adopt_job(). A task's request is the one of its parent, which must be passed; else parent is NULL. */
MUST_CHECK int record_get_job(const void *data, size_t len, const struct job *parent,
        struct job **ret_job, struct err *err);

/* Of a row that goes: who it is, its request (NULL: it has none, or one that cannot be read) and its attempts; the rest is not
 * looked at, so no other call takes it but world_job_free(). */
MUST_CHECK int record_get_attempts(
        const void *data, size_t len, struct job **ret_job, struct err *err);

void record_put_node(struct buf *b, const struct node *n);
/* Fills *ret_node (no devices in it) and the devices, for EVENT_NODE_UP; these hang on ctx. */
MUST_CHECK int record_get_node(const void *data, size_t len, void *ctx, struct node *ret_node,
        struct device_info **ret_devices, uint32_t *ret_n, struct err *err);

/* Of a queue only what commands changed is kept; the rest is configuration. Its overlay hangs on ctx. */
void record_put_queue(struct buf *b, const struct queue *q);
MUST_CHECK int record_get_queue(
        const void *data, size_t len, void *ctx, struct queue *ret_queue, struct err *err);

void record_put_token(struct buf *b, const struct token *t);
MUST_CHECK int record_get_token(
        const void *data, size_t len, struct token *ret_token, struct err *err);

struct record_blob {
	const uint8_t *hash; /* 16 bytes; borrowed */
	int64_t used_ms;
	const uint8_t *data; /* borrowed */
	size_t len;
};
void record_put_blob(struct buf *b, const struct record_blob *r);
MUST_CHECK int record_get_blob(
        const void *data, size_t len, struct record_blob *ret_blob, struct err *err);

/* Counters of the world that only grow. */
void record_put_meta(struct buf *b, const struct world *w);
MUST_CHECK int record_get_meta(const void *data, size_t len, struct world *w, struct err *err);

/* One line of the journal: what happened to a job. */
void record_put_history(struct buf *b, const struct job *j);
