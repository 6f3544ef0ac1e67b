/*
 * What time it is, for those who must ask the machine; everything that decides is given the time as a value.
 * Nothing is owned. Any thread. Never fails.
 */
#pragma once

#include "base/cc.h"

int64_t clock_wall_ms(void); /* milliseconds since 1970; may jump */
/* Since the machine started, without suspend; never goes back; the clock of loop_mono_ms. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);   /* for measuring; the same origin */
uint64_t clock_thread_ns(void); /* processor time that the calling thread has had */
