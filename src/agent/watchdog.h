/*
 * What each attempt uses of its devices against its slices, and against its ledgers where the interposer holds them: what the driver says
 * beyond a ledger is written there, and who uses a device without standing in the ledger went around it.
 * Owns what it saw before; borrows the attempts and the ledgers. Loop thread. Says it in the log and in the text of the
 * attempt's end; ends the attempt where the server wants that.
 */
#pragma once

#include "agent/attempts.h"
#include "agent/inventory.h"
#include "gpu/slices.h"

struct watchdog;

/* ledgers: NULL when there are none */
struct watchdog *watchdog_new(struct attempts *at, struct slices *ledgers);
void watchdog_free(struct watchdog *w); /* NULL does nothing */
void watchdog_set_mode(struct watchdog *w, enum link_watchdog mode);

/* What the server was told of the use of slices, it is told again. */
void watchdog_say_again(struct watchdog *w);

/* Judges by a scan. An attempt whose slices are not known, and what the driver does not tell, is not judged. */
void watchdog_on_scan(struct watchdog *w, const struct inventory_scan *s, uint64_t now_ms);
