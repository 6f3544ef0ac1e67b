/*
 * Random numbers that are the same on every machine for the same seed (splitmix64). A value, owned by the caller.
 */
#pragma once

#include "base/cc.h"

struct dice {
	uint64_t state;
};

static inline uint64_t dice_u64(struct dice *d)
{
	uint64_t z = d->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* 0 to n - 1; n >= 1 */
static inline uint32_t dice_below(struct dice *d, uint32_t n)
{
	return (uint32_t)(dice_u64(d) % n);
}

static inline bool dice_one_in(struct dice *d, uint32_t n)
{
	return dice_below(d, n) == 0;
}
