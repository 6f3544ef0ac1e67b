/*
 * What is older than server.retain goes: rows from the store, output from the nodes. Owned by the server; loop thread.
 */
#pragma once

#include "server/server.h"

#define PRUNE_INTERVAL_MS (60 * 60 * 1000)

void prune_begin(void *server); /* callback of s->prune_timer */
