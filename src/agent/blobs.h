/*
 * What the server sent once and names in STARTs: environments. Owns copies of the bytes. Loop thread. Kept for the life
 * of the link, but for the oldest when there is too much: a START that names one of those breaks the link, and with the
 * next the server sends what it names again.
 */
#pragma once

#include "base/cc.h"

#define BLOBS_MAX_BYTES (16 * MIB)

struct blobs;
struct agent_blob {
	uint64_t num;
	size_t len;
	const void *data;
};

struct blobs *blobs_new(void);
void blobs_free(struct blobs *b); /* NULL does nothing */

void blobs_put(struct blobs *b, uint64_t num, const void *data, size_t len);
void blobs_drop(struct blobs *b, uint64_t num); /* absent: nothing */
void blobs_clear(struct blobs *b);
/* NULL when it is not there (any more); valid until the next put. */
const struct agent_blob *blobs_find(const struct blobs *b, uint64_t num);
