/*
 * Signals of a blocking client: counted, never lost, and seen only while it waits in interrupt_poll().
 * Process-wide, one thread. Until interrupt_catch() signals act as usual.
 */
#pragma once

#include <poll.h>

#include "base/cc.h"

/* From now on INT, TERM and (with_winch) WINCH are counted instead of acting. */
void interrupt_catch(bool with_winch);
/* They act as usual again; those that wait do so at once. */
void interrupt_release(void);
unsigned interrupt_count(void);  /* INT and TERM since interrupt_catch */
bool interrupt_take_winch(void); /* the terminal was resized since the last call */
/* poll() during which caught signals arrive; one of them ends it with 0. */
int interrupt_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
