/*
 * LOG streams: output of attempts on its way to the server, as far as each stream's window allows.
 * Owns streams and their readers, borrows the outbox. Loop thread. A stream that fails is closed with its error; the
 * others do not notice.
 */
#pragma once

#include "agent/outbox.h"
#include "plat/loop.h"

struct outputs;

struct outputs_options {
	struct loop *loop;
	struct outbox *outbox;
	const char *data_dir; /* borrowed */
	bool check_owner;     /* see reader.h */
	const char *helper;   /* see reader.h */
	bool (*is_over)(
	        void *data, uint64_t epoch); /* nothing is written by this attempt any more */
	void *data;
};

/* Life */
struct outputs *outputs_new(const struct outputs_options *o);
void outputs_free(struct outputs *os); /* NULL does nothing */

/* What the server says; false: no such stream here. */
void outputs_open(struct outputs *os, const struct link_stream_open *m);
bool outputs_window(struct outputs *os, const struct link_stream_window *m);
bool outputs_close(struct outputs *os, uint64_t stream);
void outputs_close_all(struct outputs *os); /* the link is gone */

/* The attempt is over: what is left of its output is sent before anything else, windows permitting. */
void outputs_on_ended(struct outputs *os, uint64_t epoch);

size_t outputs_count(const struct outputs *os);
