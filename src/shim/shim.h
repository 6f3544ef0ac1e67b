/*
 * How the interposer comes to life in a process: the real driver, the way from its functions to our wrappers, the slices.
 * One of each in a process, made at the first call of any wrapper, and never taken down; a forked child begins anew.
 * Any thread. What is looked at on every call is two words.
 * Without a driver or without slices the wrappers answer CU_ERROR_SYSTEM_NOT_READY: it fails closed.
 */
#pragma once

#include "shim/ledger.h"
#include "shim/real.h"

#define SHIM_DEVICES 64

enum shim_state { SHIM_ASLEEP, SHIM_HAS_DRIVER, SHIM_READY };

struct shim {
	int state;            /* enum shim_state; release and acquire */
	const uint32_t *mark; /* 1; 0 in a child however it was made, which has to begin anew */
	int n_ledgers;
	struct ledger *ledgers; /* n_ledgers of them */
	bool is_paced;          /* some slice holds compute */
	const char *why_not;    /* there are no slices; NULL: there are */
};

extern struct shim shim;

/* The slow way of shim_enter; `state` is the least that is wanted. */
enum cu_result shim_start(int state);

/* The text goes to standard error when BERTH_SHIM_LOG is 1, and nowhere else. */
void shim_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Asks the driver for what it does not export; when what it exports is filled in. */
void shim_route_complete(struct real *driver);

/* An answer of the ledger in the driver's words. */
enum cu_result shim_answer(int answer);

static inline enum cu_result shim_enter(int state)
{
	if (__builtin_expect(__atomic_load_n(&shim.state, __ATOMIC_ACQUIRE) >= state &&
	                             __atomic_load_n(shim.mark, __ATOMIC_RELAXED) != 0,
	            1))
		return CU_SUCCESS;
	return shim_start(state);
}

/* The head of every wrapper. */
#define ENTER_AT(symbol, state)                                   \
	do {                                                      \
		enum cu_result enter_rc_ = shim_enter(state);     \
		if (__builtin_expect(enter_rc_ != CU_SUCCESS, 0)) \
			return enter_rc_;                         \
		if (__builtin_expect(real.symbol == NULL, 0))     \
			return CU_ERROR_NOT_SUPPORTED;            \
	} while (0)
#define ENTER(symbol) ENTER_AT(symbol, SHIM_READY)
