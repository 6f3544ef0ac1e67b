/*
 * The world as the store has it, for who only reads while nothing more becomes durable: memory is ahead then, and may not be shown.
 * Loaded when somebody asks first, by a thread and a handle of its own, so that a commit that hangs does not hold it up.
 * Belongs to the server until the store works again; who still uses it then keeps it with kept_hold. Loop thread.
 * What fails is told to those who asked, and tried again for the next one.
 */
#pragma once

#include "server/api.h"

struct kept;

/* Later, or at once: fn(c) with c->world as the store has it; or c is answered with why that is not possible now. */
void kept_ask(struct call *c, void (*fn)(struct call *c));
/* The store works again: who still waits to see it is let see memory. */
void kept_forget(struct server *s);

void kept_drop(struct kept *k); /* by a call that was given it; NULL is fine */
/* Its handle, for jobs of s->reader only, in whose thread it was opened. */
struct store *kept_store(struct kept *k);
