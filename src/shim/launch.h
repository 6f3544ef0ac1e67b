/*
 * The places where work is handed to a device, and where it is known to have ended. Pacing is called from here and from nowhere else.
 * Any thread, on the path of every launch: what happens here counts in nanoseconds.
 * No lock of the interposer is held, and the driver is called right after a gate.
 * Nothing here fails: a launch is held back, never refused.
 */
#pragma once

#include "shim/charge.h"

/*
 * Before a launch. `what` names the work, `units` is its size (blocks; 1 for a graph); `stream` is as the program gave it, and
 * is_per_thread says what its NULL means.
 */
static inline void launch_gate(
        const void *what, uint64_t units, struct cu_stream *stream, bool is_per_thread)
{
	(void)what;
	(void)units;
	(void)stream;
	(void)is_per_thread;
}

/* The work of that name is not what it was. */
static inline void launch_changed(const void *what)
{
	(void)what;
}

/* What was launched before, on one stream or on all, has ended. */
static inline void launch_drained(void)
{
}
