/*
 * Output that the store has forgotten and its node has not: what is still to be removed, durable until the node says that it
 * was. Owned by the server. Loop thread. One REMOVE at a time is on its way to a node; a node that was away gets its own
 * when it joins.
 */
#pragma once

#include "server/server.h"
#include "wire/link.h"

#define REMOVAL_MAX 1000 /* attempts in one */

void removals_init(struct server *s);
void removals_free(struct server *s);
/* A row of the store, at start. */
MUST_CHECK int removals_load(struct server *s, const struct store_row *row, struct err *err);

/* Joins the batch that gathers; the node is told when it is durable. n is at most REMOVAL_MAX. */
void removals_add(struct server *s, uint64_t node, const struct link_attempt *v, uint32_t n);
void removals_next(struct server *s, uint64_t node);                  /* it has joined */
void removals_done(struct server *s, uint64_t node, uint64_t number); /* it says REMOVED */
