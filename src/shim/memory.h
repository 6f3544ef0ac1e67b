/*
 * Device memory with an address: which granules of the device it takes, and whose it is.
 * Pieces of at least a granule have granules of their own; smaller ones share, so a granule is charged when the first piece lies in it.
 * Any thread.
 * memory_take is CU_ERROR_OUT_OF_MEMORY when what the driver took does not fit: the caller frees it, and the charge is dropped.
 */
#pragma once

#include "shim/charge.h"

/* Begins the charge for a piece of that size; what fits into a granule that this process has already needs no room. */
enum cu_result memory_begin(struct charge *ret_charge, int device, uint64_t size);

/* The same on the device of the current context, which is noticed. */
enum cu_result memory_here(struct place *ret_place, struct charge *ret_charge, uint64_t size);

/* The driver gave it: ends the charge. */
enum cu_result memory_take(struct charge *charge, const struct place *place, enum slice_kind kind,
        cu_ptr pointer, uint64_t size);

/* With the entry's `extra`. */
enum cu_result memory_take_as(struct charge *charge, const struct place *place,
        enum slice_kind kind, cu_ptr pointer, uint64_t size, uint64_t extra);

/*
 * The driver was asked to take it back. The entry was taken out of have.pointers before: as soon as the driver has the memory,
 * it may give another thread the same address.
 */
void memory_freed(enum cu_result rc, const struct table_entry *entry);

/* Everything of the owners from first to last is gone, in one context. */
void memory_owners_gone(uint64_t first, uint64_t last);

void memory_forked(void);
