/*
 * A call for the first time by two threads: one in the constructor of a library, which has the loader's lock, and one that needs
 * that lock for the call. The test ends by a signal when they wait for each other.
 */
#pragma once

#include "shim_box.h"

#include <pthread.h>
#include <time.h>

static void (*first_call)(void);
static bool is_constructing, is_calling;

static inline void wait_for(const bool *it)
{
	while (!__atomic_load_n(it, __ATOMIC_ACQUIRE))
		sched_yield();
}

static inline void in_constructor(void)
{
	struct timespec until_the_other_waits = {.tv_nsec = 100000000};
	__atomic_store_n(&is_constructing, true, __ATOMIC_RELEASE);
	wait_for(&is_calling);
	nanosleep(&until_the_other_waits, NULL);
	first_call();
}

static inline void *construct(void *path)
{
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static inline void call_while_constructing(void (*call)(void))
{
	char text[32], path[512];
	pthread_t thread;
	void *library;
	first_call = call;
	snprintf(text, sizeof text, "%p", (void *)in_constructor);
	setenv("BERTH_TEST_CONSTRUCTOR", text, 1);
	alarm(20);
	assert_int_equal(pthread_create(&thread, NULL, construct,
	                         (void *)(uintptr_t)fixture_built(
	                                 "tests/shim/libshim_constructor.so", path)),
	        0);
	wait_for(&is_constructing);
	__atomic_store_n(&is_calling, true, __ATOMIC_RELEASE);
	call();
	pthread_join(thread, &library);
	alarm(0);
	unsetenv("BERTH_TEST_CONSTRUCTOR");
	assert_non_null(library);
}
