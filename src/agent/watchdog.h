/*
 * What each attempt uses of its devices against its slices. Owns nothing but when it spoke last; borrows the attempts.
 * Loop thread. Says it in the log and in the text of the attempt's end; ends the attempt where the server wants that.
 */
#pragma once

#include "agent/attempts.h"
#include "agent/inventory.h"

struct watchdog;

struct watchdog *watchdog_new(struct attempts *at);
void watchdog_free(struct watchdog *w); /* NULL does nothing */
void watchdog_set_mode(struct watchdog *w, enum link_watchdog mode);

/* Judges by a scan. An attempt whose slices are not known, and what the driver does not tell, is not judged. */
void watchdog_on_scan(struct watchdog *w, const struct inventory_scan *s, uint64_t now_ms);
