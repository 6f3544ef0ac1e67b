/*
 * How often somebody may: a bucket for each, which fills steadily and from which each time takes one. The caller owns the table;
 * time is handed in, monotonic, in ms. Loop thread. Nothing fails: of too many names the one not heard of for longest is forgotten.
 */
#pragma once

#include "base/cc.h"

#include <stdint.h>

struct rate;

#define RATE_NAME_MAX 64

/* per_min: how fast a bucket fills; burst: how much it holds, and is full of at first; max: names at once. */
struct rate *rate_new(uint32_t per_min, uint32_t burst, uint32_t max);
void rate_free(struct rate *r); /* NULL is fine */
/* False: the bucket is empty; one more is in it after *ret_wait_ms. name: of less than RATE_NAME_MAX bytes. */
bool rate_take(struct rate *r, const char *name, int64_t now_ms, int64_t *ret_wait_ms);
/* n more were taken, whether they were there or not: later ones wait for it. */
void rate_charge(struct rate *r, const char *name, int64_t now_ms, uint32_t n);
