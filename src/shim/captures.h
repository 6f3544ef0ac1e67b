/*
 * Which streams of this process record a graph. While any does, nothing of it is held back, marked or asked for, since that could
 * spoil the graph: pacing_captures is how many there are.
 * The table have.captures has them, each with its context; what the driver ends by itself is not forgotten here either.
 * Any thread. No lock is held while the driver is called.
 * Nothing here fails.
 */
#pragma once

#include "shim/charge.h"

/* Around the driver's call that begins one. */
void captures_begin(void);
enum cu_result captures_begun(enum cu_result rc, struct cu_stream *stream, bool is_per_thread);

/* After the call that ends one: it goes on when the driver says so. */
enum cu_result captures_ended(enum cu_result rc, struct cu_stream *stream, bool is_per_thread);

/* Around the end of a stream, whatever it does. */
bool captures_take(struct cu_stream *stream, struct table_entry *ret_entry);
enum cu_result captures_taken(enum cu_result rc, bool is_one, const struct table_entry *entry);

/* The contexts are gone, and their streams with them. */
void captures_owners_gone(uint64_t first, uint64_t last);
