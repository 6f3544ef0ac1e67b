/*
 * The file below a ledger: its lock, its slots, and its sums. For ledger.c and tests of it alone.
 * The caller holds ledger->mutex throughout; the file's lock where it says so.
 * Several processes work on the file at the same time, and each may be killed between any two stores.
 * 0, or an enum ledger_answer.
 */
#pragma once

#include "shim/ledger.h"

/* The file is still the one that was mapped, whole, and this process has a slot in it: takes one if not. Needs no lock. */
int ledger_attend(struct ledger *ledger);

/* Closes who-N, if that is still open: the lock on it goes, when it is this process's. */
void ledger_unsign(struct ledger *ledger);

int ledger_lock(struct ledger *ledger);
void ledger_unlock(struct ledger *ledger);

/* Under the lock: copies what this process has into its slot, and into used_bytes. */
void ledger_publish(struct ledger *ledger);

/* Under the lock: whether used_bytes and the slot can be what this process has left there. */
bool ledger_is_sound(const struct ledger *ledger);

/* Under the lock: clears the slots of the dead, and adds used_bytes up anew. */
void ledger_recount(struct ledger *ledger);

/* Under the lock, after a recount: what calls on their way have reserved, of all processes together. */
uint64_t ledger_reserved(const struct ledger *ledger);

/* Without any lock: until used_bytes changes, about; a millisecond at the longest. */
void ledger_nap(const struct ledger *ledger);

uint64_t ledger_total(const struct ledger *ledger);
