/*
 * From a device as the driver numbers it to the slice that pays, and what this process has had charged to it.
 * The tables are the process's; who puts an entry in takes it out again. A charge is caller's memory, begun once and ended once.
 * Any thread. No lock of a table or of the ledger is held while the driver is called.
 * What does not fit is CU_ERROR_OUT_OF_MEMORY, a device without a slice CU_ERROR_INVALID_DEVICE, a spoilt ledger
 * CU_ERROR_SYSTEM_NOT_READY; any other error is the driver's own.
 */
#pragma once

#include "shim/shim.h"
#include "shim/table.h"

/* owner: the context, as contexts_owner numbers it; bytes: charged as a whole; size: as asked for. What else an entry says stands beside its table. */
struct tables {
	struct table pointers; /* device memory with an address; extra: the pool */
	struct table granules; /* address / granule -> size: how many small pieces lie in it */
	struct table arrays;   /* arrays and mipmaps */
	struct table contexts; /* that were made; extra: the owner that they are */
	struct table greens;   /* green contexts */
	struct table pools;    /* see pools.c */
	struct table
	        objects; /* physical memory by a number of ours; size: handles and mappings that hold it */
	struct table
	        handles; /* of physical memory; extra: the object, size: how often it was handed out */
	struct table mappings;  /* by address; extra: the object */
	struct table execs;     /* graphs ready to run that have memory nodes */
	struct table externals; /* imported memory */
	struct table captures;  /* streams that record a graph; see captures.c */
};
extern struct tables have;

struct charge {
	struct ledger *ledger;
	int device;
	uint64_t reserved_bytes;
};

/* Where the calling thread's allocations go. */
struct place {
	int device;
	uint64_t owner;
};

/* Forgets all of it, in a forked child. */
void charge_forked(void);

/* CU_ERROR_INVALID_DEVICE for a device without a slice. */
enum cu_result charge_ledger(int device, struct ledger **ret_ledger);

/* The current context, which is noticed and charged when nobody did so yet. */
enum cu_result charge_place(struct place *ret_place);

/*
 * Reserves; waits for calls on their way that may hand back enough, and gives up caches of pools and graphs, before it says that
 * there is no room. `bytes` may be 0.
 */
enum cu_result charge_begin(struct charge *ret_charge, int device, uint64_t bytes);
/* As much again on top, without a wait: when the driver took more than was thought. */
enum cu_result charge_more(struct charge *charge, uint64_t bytes);
/* `bytes`, at most what is reserved, stay charged; 0 when the driver refused. */
void charge_end(struct charge *charge, enum slice_kind kind, uint64_t bytes);
void charge_return(int device, enum slice_kind kind, uint64_t bytes);

/* What an allocation of that size takes; UINT64_MAX when there is no such number. */
uint64_t charge_round(const struct ledger *ledger, uint64_t bytes);
uint64_t charge_granule(int device);

static inline uint64_t charge_product(uint64_t a, uint64_t b)
{
	uint64_t product;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}
