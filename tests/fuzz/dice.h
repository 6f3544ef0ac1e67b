/*
 * Random numbers that are the same on every machine for the same seed (splitmix64), or that are read from bytes as long as
 * there are any: then a changed byte changes one throw, which is what a fuzzer can learn from. A value, owned by the caller;
 * the bytes are borrowed.
 */
#pragma once

#include "base/cc.h"

struct dice {
	uint64_t state;
	const uint8_t *bytes, *end; /* NULL: the seed alone */
};

static inline bool dice_has_bytes(const struct dice *d)
{
	return d->bytes != d->end;
}

static inline uint64_t dice_u64(struct dice *d)
{
	uint64_t z = 0;

	if (dice_has_bytes(d)) {
		for (int i = 0; i < 8 && dice_has_bytes(d); i++)
			z = z << 8 | *d->bytes++;
		return z;
	}
	z = d->state += 0x9e3779b97f4a7c15ULL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* 0 to n - 1; n >= 1 */
static inline uint32_t dice_below(struct dice *d, uint32_t n)
{
	if (n <= 256 && dice_has_bytes(d))
		return *d->bytes++ % n;
	return (uint32_t)(dice_u64(d) % n);
}

static inline bool dice_one_in(struct dice *d, uint32_t n)
{
	return dice_below(d, n) == 0;
}
