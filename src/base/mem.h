/*
 * Memory that is there or the process ends: Berth's programs restart from the store, they do not limp (doc/adr).
 * Plain malloc blocks, freed with free(). Every buffer that a peer can fill has a ceiling elsewhere. Any thread.
 */
#pragma once

#include "base/cc.h"

void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t n, size_t size); /* n elements; overflow ends the process */
char *mem_strdup(const char *s);                   /* NULL stays NULL */
void *mem_dup(const void *p, size_t size);

/* Room for one more element at the end of a growing array of n elements (doubling). */
#define MEM_GROW(array, n, cap)                                                  \
	do {                                                                     \
		if ((n) == (cap)) {                                              \
			(cap) = (cap) ? (cap)*2 : 8;                             \
			(array) = mem_realloc((array), (cap), sizeof(*(array))); \
		}                                                                \
	} while (0)
