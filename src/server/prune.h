/*
 * What is older than server.retain goes: rows from the store, output from the nodes, environments that no job names any more.
 * One pass an hour, in pages; a page's rows and what is left to do about them are one batch. Owned by the server; loop thread.
 * A pass that fails is logged, and the next one begins anew. For a day after the clock was set far forward there is none.
 */
#pragma once

#include "server/server.h"

#define PRUNE_INTERVAL_MS (60 * 60 * 1000)
#define PRUNE_DOUBT_MS    (24 * 60 * 60 * 1000)

void prune_begin(void *server); /* callback of s->prune_timer */
void prune_free(struct server *s);
