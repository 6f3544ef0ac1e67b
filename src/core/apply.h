/*
 * The only writer of the world: (world, event, now) -> world + effects. Pure and deterministic.
 * An event that does not fit (an unknown job, a wrong state) fails with an error and changes nothing.
 * Reports of attempts (STARTED, ENDED, LOST) with an epoch that is not the job's current one, or of a job that
 * holds nothing, change nothing and are no error: that attempt was given away, or it is a repeat.
 * Everything that must be stored afterwards is listed: world_take_dirty().
 */
#pragma once

#include "core/event.h"

/* What an event made. */
struct applied {
	struct job *job; /* SUBMIT: the new one; RETRY, CANCEL...: the one it was about */
	uint64_t num;    /* BLOB, NODE_UP, TOKEN_ADD */
	bool is_new;
};

MUST_CHECK int core_apply(struct world *w, const struct event *e, struct now now,
        struct effects *fx, struct applied *ret_applied, struct err *err);

/* Jobs changed since the last call, each once; the array stays valid until the next core_apply(). */
uint32_t world_take_dirty(struct world *w, struct job ***ret_jobs);
/* Drops ended jobs beyond policy.keep_ended from memory, oldest first, each told by EFFECT_FORGET. Never dirty ones. */
void world_trim(struct world *w, struct effects *fx);

/* A job that left the store leaves memory too. False: it is not final, or is still to be stored, and stays. */
bool world_forget(struct world *w, struct job *j);
/*
 * Blobs go by time: used_ms is at or after the last end of any job that the store has and that names it. Moves it to
 * now_ms + ahead_ms when it is behind now_ms; true: it was, and is to be stored.
 */
bool world_use_blob(struct world *w, uint64_t num, int64_t now_ms, int64_t ahead_ms);
void world_drop_blob(struct world *w, struct blob *b); /* that no job in memory names */

/*
 * Loading: a stored job takes its place in all indexes; ownership of j passes. Parents before their tasks, nodes before jobs.
 * CORRUPT when it contradicts itself or what is there already; after the last one, world_adopted() looks at the whole.
 */
MUST_CHECK int world_adopt_job(struct world *w, struct job *take_j, struct err *err);
MUST_CHECK int world_adopted(const struct world *w, struct err *err);
struct job *world_job_new(void);    /* zeroed, for a decoder to fill */
void world_job_free(struct job *j); /* of a job that was never adopted */
struct blob *world_adopt_blob(struct world *w, uint64_t num, const uint8_t hash[16],
        int64_t used_ms, const void *data, size_t len);
