/*
 * What a store would hold: the record of every job, taken from the world's dirty list only. A job that changes without
 * being listed, or a record that does not bring back the same job, shows here.
 * The caller owns the struct; records hang on it. Fails with the first difference.
 */
#pragma once

#include "base/buf.h"
#include "core/apply.h"

struct shadow_row {
	struct job_id id;
	enum job_state state;
	bool is_array;
	int32_t code;       /* result code of an ended one */
	uint64_t ended_seq; /* grows with every end; 0: living */
	uint8_t *data;
	size_t len;
	UT_hash_handle hh;
};

struct shadow {
	struct shadow_row *rows;
	struct buf meta; /* counters, as they were when they were last said to have changed */
	uint64_t seq;
};

void shadow_done(struct shadow *s);
struct shadow_row *shadow_find(const struct shadow *s, struct job_id id);
/* Takes what is dirty. A job may leave a final state only when may_revive. */
MUST_CHECK int shadow_take(struct shadow *s, struct world *w, bool may_revive, struct err *err);
/* Every job in memory is as its record says, and every array counts its tasks right, in memory or not. */
MUST_CHECK int shadow_verify(const struct shadow *s, const struct world *w, struct err *err);
/* An ended job that left memory comes back, after its array. Nothing happens when it is there, or was never kept. */
MUST_CHECK int shadow_fetch(
        const struct shadow *s, struct world *w, struct job_id id, struct err *err);
/* A restart: a new world with everything that is stored, and of the ended jobs the latest n_ended. The old one is freed. */
MUST_CHECK int shadow_reload(
        const struct shadow *s, struct world **w, uint32_t n_ended, struct err *err);
