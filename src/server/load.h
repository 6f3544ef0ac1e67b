/*
 * From the rows of a store to a world. The store and the configuration are borrowed; the world is new, and the caller's. Any thread, as
 * long as nobody else uses the three. CORRUPT when what is stored contradicts itself; the world is of no use then.
 */
#pragma once

#include "server/server.h"

/* All but what is still to be removed from nodes: of use for reading only. */
MUST_CHECK int load_world(
        struct store *store, const struct conf *conf, struct world *w, struct err *err);
