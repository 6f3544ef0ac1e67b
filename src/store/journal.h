/*
 * The events of one batch as bytes, as every store keeps them: for each its time, key, sub and length, then its data.
 * Nothing is owned; decoded events are borrowed for the callback. Any thread. Bytes that do not fit are CORRUPT.
 */
#pragma once

#include "store/store.h"

/* Appends to b; passing b's ceiling: TOO_LARGE. */
MUST_CHECK int journal_encode(
        struct buf *b, const struct store_event *events, size_t n, struct err *err);
/* Calls fn for each event of batch seq, and says how many there were. fn may be NULL. */
MUST_CHECK int journal_decode(const void *data, size_t len, uint64_t seq, store_event_fn *fn,
        void *fn_data, size_t *ret_n, struct err *err);
int64_t journal_latest_ms(const struct store_event *events, size_t n);
