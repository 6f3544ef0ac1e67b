/*
 * Ends that wait for their devices: an attempt with slices is told as ended when a scan that began after its end shows
 * that none of its processes, and none that is dead, still holds memory of them; after five seconds it is told anyway,
 * and the memory that is missing shows as withheld. Owns the list of those that wait; loop thread. Cannot fail.
 */
#pragma once

#include "agent/attempts.h"
#include "agent/inventory.h"

#define RELEASE_MAX_MS 5000

struct releases;

struct releases *releases_new(struct loop *loop, struct attempts *at);
void releases_free(struct releases *r); /* NULL does nothing */
void releases_set_inventory(struct releases *r, struct inventory *inv);

/* The attempt has ended: it is told now, or when its devices are free. */
void releases_add(struct releases *r, const struct known_attempt *a, uint64_t now_ms);
void releases_on_scan(struct releases *r, const struct inventory_scan *s, uint64_t now_ms);
/* Tells those that have waited long enough, also when no scan ever ends; called by itself in the loop. */
void releases_look(struct releases *r, uint64_t now_ms);
