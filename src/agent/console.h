/*
 * ATTACH and EXEC streams: frames between the server and the console sockets of keepers, with windows both ways.
 * Owns streams and their sockets, borrows attempts, engine and outbox. Loop thread. A console that fails closes its stream with
 * the error; the process behind it does not notice more than that somebody let go.
 */
#pragma once

#include "agent/attempts.h"

struct consoles;

struct consoles_options {
	struct loop *loop;
	struct outbox *outbox;
	const struct attempts *attempts;
	struct engine *engine;
	/* Directory of what holds the slices of an attempt; NULL: none. May be NULL itself. */
	const char *(*slices_of)(void *data, uint64_t epoch);
	void *data;
};

/* Life */
struct consoles *consoles_new(const struct consoles_options *o);
void consoles_free(struct consoles *cs); /* NULL does nothing */

/* What the server says; false: no such stream here. */
void consoles_open(struct consoles *cs, const struct link_stream_open *m);
bool consoles_data(struct consoles *cs, const struct link_stream_data *m);
bool consoles_window(struct consoles *cs, const struct link_stream_window *m);
bool consoles_close(struct consoles *cs, uint64_t stream);
void consoles_close_all(struct consoles *cs); /* the link is gone */

size_t consoles_count(const struct consoles *cs);
