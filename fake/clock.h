/*
 * Time, as the threads of all processes that use the fake libcuda have it: the machine's, or a virtual clock that they share.
 *
 * The virtual clock makes runs exact and fast: one thread runs at a time, the one whose time is least; each call costs it
 * what the description says, and who waits lets the others run, or the clock jump. Nobody runs while another is due earlier.
 * A thread that has the turn and blocks elsewhere, or dies, holds the others up for a bounded time of the machine's: then it
 * counts as gone, and takes its turn again with its next call.
 * Any thread. Nothing here fails. No lock of this process may be held in a call that can wait.
 */
#pragma once

#include "share.h"

#include <semaphore.h>

/* -- the lock of the mapped file, which its holder's death does not keep -- */
void share_lock(void);
void share_unlock(void);
bool share_lives(uint32_t place);

/* -- the timeline, brought to now; between these two nothing waits -- */
struct tl *timeline_begin(void);
void timeline_end(void);
struct tl *timeline_of(void); /* with the lock held, as it stands */

/* -- this thread's time -- */
/* Takes the turn, which all below do by themselves; says so when others can see that it wants it. Of a virtual clock. */
void clock_enter(sem_t *seated);
uint64_t clock_now(void);
void clock_spend(uint64_t ns); /* a call costs that much; of the machine's clock nothing */
void clock_sleep(uint64_t ns);
/* Until the operation is done. */
void clock_wait_stream(unsigned card, uint32_t stream, uint64_t number);
void clock_wait_host(void);  /* until a host function of this process is to be called */
void clock_leave(void);      /* this process has no threads here any more */
void clock_after_fork(void); /* nor has this child */
