/*
 * Compiler words used everywhere, and the functions nobody may call.
 * No ownership, no threads, no failure: macros only. Include it first through any base header.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#define MUST_CHECK                    __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a)             __attribute__((format(printf, f, a)))
#define NORETURN                      __attribute__((noreturn))
#define UNUSED                        __attribute__((unused))
#define CLEANUP(fn)                   __attribute__((cleanup(fn)))
#define ARRAY_LEN(a)                  (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define MIN(a, b)                     ((a) < (b) ? (a) : (b))
#define MAX(a, b)                     ((a) > (b) ? (a) : (b))

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A bug in Berth itself; stays in release builds, ends the process with one line on stderr. */
#define BUG_IF(cond)                                       \
	do {                                               \
		if (__builtin_expect(!!(cond), 0))         \
			bug_at(__FILE__, __LINE__, #cond); \
	} while (0)

NORETURN void bug_at(const char *file, int line, const char *what);

/* Takes the pointer out of a variable that a cleanup attribute watches. */
#define STEAL(p)                           \
	__extension__({                    \
		__typeof__(p) *pp_ = &(p); \
		__typeof__(p) v_ = *pp_;   \
		*pp_ = NULL;               \
		v_;                        \
	})
