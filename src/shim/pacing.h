/*
 * Turns as this process takes them on each of its devices: the pages, the clock, the helper threads, and marks by events of
 * the driver. One struct pacing for each slice, made at the first launch on it, and never taken down; a forked child begins anew.
 * Any thread. A launch may wait here for its turn; it holds no lock meanwhile. Nothing else waits.
 * Nothing fails: a page that is missing or is none, or has no room, is a device on which nobody is held.
 */
#pragma once

#include "shim/pace.h"
#include "shim/shim.h"

struct pacing;

/* Of a slice that holds compute; NULL: nobody is held. */
struct pacing *pacing_of(struct ledger *ledger);
/* Waits until l may go. `stream` is a handle that cuEventRecord takes, also where it stands for a default stream. */
void pacing_wait(struct pacing *g, struct pace_launch *l, void *stream);
void pacing_done(struct pacing *g, struct pace_launch *l, void *stream);
struct pace *pacing_core(struct pacing *g);
/* Whether some device of this process is paced: else nothing of this need be called. */
bool pacing_is_used(void);
/* The slices that are paced, one after the other: from NULL to NULL. */
struct pacing *pacing_next(struct pacing *g);
/* Marks stay away while this is not 0. */
extern uint32_t pacing_captures;

void pacing_forked(void);

/* -- for pacing.c: marks by events -- */
struct marks;
struct marks *marks_of(unsigned slice);
/* A launch on a default stream: of this context. */
void marks_context(struct marks *m, struct cu_ctx *ctx);
struct cu_ctx *marks_last_context(const struct marks *m);
void marks_record(struct marks *m, unsigned mark, void *const *streams, unsigned n);
bool marks_query(struct marks *m, unsigned mark, uint64_t *ret_ns);
void marks_forget(struct marks *m);
