/*
 * STARTs of attempts that cannot begin yet, because something that they need is being started: nobody else knows them
 * meanwhile. Owns copies of the messages. Loop thread. They last as long as the link: the server sends them again with the next.
 */
#pragma once

#include "wire/link.h"

struct waiting;

/* again: takes one that is not waiting any more, and may put it back. */
struct waiting *waiting_new(void (*again)(void *data, const struct link_start *m), void *data);
void waiting_free(struct waiting *w); /* NULL does nothing */

void waiting_put(struct waiting *w, const struct link_start *m);
void waiting_retry(struct waiting *w); /* all that are there now, in their order */
void waiting_clear(struct waiting *w);
