/*
 * The shared memory by which a job's processes hold themselves to their slices: what the agent writes, what the interposer
 * (src/shim) in each process of the job writes, and how they keep out of each other's way. Files:
 *   slice-N  the ledger of one grant on one device, N from 0; only that job's processes and the agent may open it
 *   pace-N   the page of that device, by which jobs take turns on it; pace.h says who writes it
 *   own-N         where the agent judges whose turn it is: what the job says for itself, and by which it asks
 *   who-N         an empty file: by locks on it the kernel tells the agent which process has which slot
 * They lie in one directory for each attempt, named by BERTH_SLICES; without that variable it is SLICE_DIR.
 * The agent owns the files: it makes them before the job starts, at their full size, in memory, and removes them after its end.
 * Nothing in them is to be believed by whoever reads them: a job may write anything into its own ledger, and spoils its own
 * accounts only. The agent reads with pread, never by mapping: a file that a job has cut short is an error, not a signal.
 *
 * DESIGN. All integers are little-endian, aligned, and read and written whole. What stands between processes:
 * - A process holds an OFD lock on byte SLICE_LOCK_BYTE + slot of the ledger's file from its registration to its end. The
 *   kernel lets go of it, whatever becomes of the process; whoever finds it free may clear the slot. Slots never move.
 * - It holds a lock of the process (F_SETLK, not OFD) on byte `slot` of who-N, too. What is in the slot a process says itself; of
 *   this lock the kernel tells whose it is (F_GETLK: l_pid), as whoever asks sees it from its PID namespace, until it ends or
 *   execs. A child has to take its own. Where there is no who-N, or another one has the byte, it goes on without.
 * - `lock` is a futex word: 0 free, else the holder's slot + 1, SLICE_LOCK_WAITED or'ed in while somebody sleeps on it. Who
 *   has waited for a millisecond looks whether the holder's byte is locked; if it is not, he takes the lock over by
 *   compare-and-swap, and adds `used_bytes` up anew. No libc's mutex is in here: they abort on what they did not write.
 * - Memory is reserved in `used_bytes` and in the slot under the lock, the driver is called without it, and what was not
 *   given is handed back under it. So at every moment used_bytes is the sum of all slots, and at most limit_bytes.
 * - The agent writes `overhead_bytes` alone, and only by itself: what the driver says that the job uses beyond used_bytes.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/slice_dir.h"

#define SLICE_MAGIC       UINT64_C(0x45434c5348545242) /* "BRTHSLCE" */
#define SLICE_ABI         1
#define SLICE_MAX         64   /* grants of one attempt */
#define SLICE_SLOTS       1024 /* processes of one attempt that use a device at the same time */
#define SLICE_LOCK_BYTE   (1 << 30)
#define SLICE_LOCK_WAITED UINT32_C(0x80000000)

/* What the interposer is to hold; what is not set it only counts. */
enum slice_flag {
	SLICE_HOLDS_MEMORY = 1,  /* else the kernel or the driver does */
	SLICE_HOLDS_COMPUTE = 2, /* takes turns by pace-N */
	SLICE_IS_CAPPED = 4,     /* gets no more than its share, also when nobody else wants it */
	/* What else holds it: for the agent that comes after; the interposer does the same. */
	SLICE_BY_MPS = 8,
	SLICE_BY_KERNEL = 16,
};

/* Kinds of memory in a slot; its total is their sum. */
enum slice_kind {
	SLICE_CONTEXT, /* contexts, with the modules, stacks and heaps in them */
	SLICE_MEMORY,  /* cuMemAlloc and what is like it, arrays too */
	SLICE_MANAGED,
	SLICE_POOL,     /* as the pools have it from the driver */
	SLICE_PHYSICAL, /* cuMemCreate */
	SLICE_GRAPH,    /* memory nodes of graphs */
	SLICE_EXTERNAL, /* imported from outside of CUDA */
	SLICE_KINDS
};

/* Written by the agent before the job starts, and never again. */
struct slice_grant {
	uint64_t magic;
	uint32_t abi;
	uint32_t n_slots; /* SLICE_SLOTS */
	char uuid[96];    /* of the device, as NVML writes it */
	uint64_t epoch;
	uint64_t limit_bytes; /* the card that the job sees is so large */
	uint64_t
	        granule_bytes; /* the driver hands memory out in blocks of this size: what is not a multiple takes more */
	uint64_t context_bytes; /* what a context is taken to need */
	uint32_t share_milli;
	uint32_t flags;  /* enum slice_flag */
	uint32_t tenant; /* its place among the tenants of pace-N */
	uint32_t reserved[11];
};

/* Written by the agent while the job runs. */
struct slice_watch {
	uint64_t overhead_bytes;
	uint64_t at_ns; /* CLOCK_MONOTONIC of the agent when it looked; 0: not yet */
};

/* Written by the job's processes, under the lock. */
struct slice_ledger {
	uint32_t lock;
	uint32_t top;        /* slots from here on have never been used */
	uint64_t used_bytes; /* of all slots together, with what is reserved */
	uint64_t peak_bytes;
	uint64_t n_refused;   /* requests that did not fit */
	uint64_t n_recovered; /* times that the lock, or a slot, was taken from the dead */
};

struct slice_slot {
	uint32_t pid;            /* as the process itself sees it; 0: free */
	uint32_t generation;     /* grows each time the slot is taken */
	uint64_t reserved_bytes; /* for calls on their way */
	uint64_t bytes[SLICE_KINDS];
	uint64_t started; /* field 22 of /proc/self/stat */
	uint64_t unused[6];
};

#define SLICE_WATCH_AT  512
#define SLICE_LEDGER_AT 1024
#define SLICE_SLOTS_AT  4096

struct slice {
	struct slice_grant grant;
	unsigned char pad0[SLICE_WATCH_AT - sizeof(struct slice_grant)];
	struct slice_watch watch;
	unsigned char pad1[SLICE_LEDGER_AT - SLICE_WATCH_AT - sizeof(struct slice_watch)];
	struct slice_ledger ledger;
	unsigned char pad2[SLICE_SLOTS_AT - SLICE_LEDGER_AT - sizeof(struct slice_ledger)];
	struct slice_slot slots[SLICE_SLOTS];
};

static_assert(sizeof(struct slice_grant) == 200, "slice_grant");
static_assert(sizeof(struct slice_slot) == 128, "slice_slot");
static_assert(offsetof(struct slice, watch) == SLICE_WATCH_AT, "slice.watch");
static_assert(offsetof(struct slice, ledger) == SLICE_LEDGER_AT, "slice.ledger");
static_assert(offsetof(struct slice, slots) == SLICE_SLOTS_AT, "slice.slots");
static_assert(sizeof(struct slice) == SLICE_SLOTS_AT + SLICE_SLOTS * 128, "slice");
