/*
 * The places where work is handed to a device, and where it is known to have ended. Pacing is called from here and from nowhere else.
 * Any thread, on the path of every launch: what happens here counts in nanoseconds.
 * No lock of the interposer is held, and the driver is called between launch_gate and launch_end.
 * Nothing here fails: a launch is held back, never refused. What a stream captures is neither held back nor counted.
 */
#pragma once

#include "shim/charge.h"
#include "shim/pacing.h"

struct launch {
	struct pacing *on; /* NULL: not held */
	void *stream;
	struct pace_launch one;
};

struct launch_rest {
	struct pacing *on;
	struct pace_sync sync;
};

/* The slow ways. */
void launch_wait(struct launch *l, const void *what, uint64_t units, struct cu_stream *stream,
        bool is_per_thread);
void launch_forget(const void *what);
void launch_sync_begin(
        struct launch_rest *r, struct cu_stream *stream, bool is_per_thread, bool all);
void launch_sync_end(struct launch_rest *r, bool is_done);

/*
 * Before a launch. `what` names the work, `units` is its size (blocks; 1 for a graph); `stream` is as the program gave it, and
 * is_per_thread says what its NULL means.
 */
static inline void launch_gate(struct launch *l, const void *what, uint64_t units,
        struct cu_stream *stream, bool is_per_thread)
{
	l->on = NULL;
	if (shim.is_paced)
		launch_wait(l, what, units, stream, is_per_thread);
}

/* After the driver's call, whatever it answered. */
static inline enum cu_result launch_end(struct launch *l, enum cu_result rc)
{
	if (l->on != NULL)
		pacing_done(l->on, &l->one, l->stream);
	return rc;
}

/* The work of that name is not what it was. */
static inline void launch_changed(const void *what)
{
	if (pacing_is_used())
		launch_forget(what);
}
