/*
 * The event loop: timers, signals, file descriptors, and a hook at the end of each turn.
 * Whoever makes an object frees it; what the callbacks get as `data` stays theirs. Freeing is allowed from inside any callback
 * (the object's own, too), and afterwards it is never called again. Everything is freed before loop_free.
 * One thread: the one that runs the loop; only loop_wake may be called from others. What can fail says so through err.
 */
#pragma once

#include "base/err.h"

struct loop;
struct loop_timer;
struct loop_signal;
struct loop_poll;

typedef void loop_fn(void *data);

MUST_CHECK int loop_new(struct loop **ret_loop, struct err *err);
void loop_free(struct loop *loop); /* NULL does nothing */

/* Until loop_stop, or until nothing is left that could call back. May be run again afterwards. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* after this turn */
/* Another turn begins soon, with its end hooks. From any thread; many wakes may make one turn. Does not keep loop_run from returning. */
void loop_wake(struct loop *loop);

/* Called once in every turn, after its callbacks and before the loop sleeps, and once more when loop_run returns: the place to gather
 * what a turn did. At most 8 hooks, called in the order in which they came. */
void loop_on_turn_end(struct loop *loop, loop_fn *fn, void *data);
void loop_off_turn_end(struct loop *loop, loop_fn *fn, void *data);

/* As of the start of this turn, or of the last timer start in it. */
uint64_t loop_mono_ms(const struct loop *loop);

/* Timers. repeat_ms 0: once. Starting again moves it. A timer never fires early; one that is late by several periods fires once. */
MUST_CHECK struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *data);
void loop_timer_start(struct loop_timer *t, uint64_t in_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_is_running(const struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL does nothing */

/* Signals, called on the loop's thread; several of one kind may become one call. They do not keep loop_run from returning. */
typedef void loop_signal_fn(void *data, int signo);
MUST_CHECK int loop_signal_new(struct loop *loop, int signo, loop_signal_fn *fn, void *data,
        struct loop_signal **ret_signal, struct err *err);
/* NULL does nothing; afterwards the signal's default action is back. */
void loop_signal_free(struct loop_signal *s);

/* Readiness of a descriptor, which stays the caller's and stays open until the poll is freed. Level triggered.
 * On an error of the descriptor the callback gets LOOP_READ | LOOP_WRITE | LOOP_ERROR and watching stops: read or write tells which. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_ERROR = 4 };
typedef void loop_poll_fn(void *data, int events);
MUST_CHECK int loop_poll_new(struct loop *loop, int fd, int events, loop_poll_fn *fn, void *data,
        struct loop_poll **ret_poll, struct err *err);
void loop_poll_set(struct loop_poll *p, int events); /* 0: watch nothing for now */
void loop_poll_free(struct loop_poll *p);            /* NULL does nothing */
