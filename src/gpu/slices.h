/*
 * The files of shared memory by which the processes of attempts hold themselves to their slices (berth/slice.h): made before
 * an attempt starts, read while it runs, removed after it. They lie in one directory for each attempt, in memory, by a name
 * that nobody can list or guess; to other accounts it is mounted, or the directory above is opened, by their keeper.
 * A struct slices belongs to its opener, and all of its directories to one data directory, which a link in it names; only its
 * user writes there. One thread. Files are read and never mapped; whatever a job does to them is at most an error.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

#define SLICES_PATH       192 /* of a directory, with its NUL */
#define SLICES_MAX        64  /* of one attempt */
#define SLICES_LIVING_MAX 1024

struct slices;

enum slices_flag {
	SLICES_HOLDS_MEMORY = 1,
	SLICES_HOLDS_COMPUTE = 2,
	SLICES_IS_CAPPED = 4,
	SLICES_BY_MPS = 8,
	SLICES_BY_KERNEL = 16
};

/* What the interposer is to hold: struct slice_grant says what each is. */
struct slices_grant {
	char uuid[96];
	uint64_t limit_bytes, granule_bytes, context_bytes;
	uint32_t share_milli, flags;
};

/* What stands in a ledger: to be believed by nobody, only compared; but for who has a slot, which is the kernel's word. */
struct slices_process {
	uint32_t slot;
	uint32_t pid; /* as it says itself, in its own namespace */
	pid_t holder; /* of has_holders, in our namespace; 0: nobody who signed */
	uint64_t started;
	uint64_t bytes; /* with what it has reserved */
};

struct slices_state {
	struct slices_grant grant; /* as it was made: not from the file */
	uint64_t overhead_bytes;   /* as slices_watch said */
	uint64_t used_bytes;       /* as the ledger says */
	uint64_t peak_bytes, n_refused, n_recovered;
	uint64_t living_bytes; /* of all slots whose process lives */
	bool has_holders;      /* false: it is of an agent before there was a who-N */
	uint32_t n_living;
	struct slices_process living[SLICES_LIVING_MAX];
};

/* -- life cycle -- */
/*
 * memory: a tmpfs; NULL: /dev/shm. is_one_account: all jobs are of ours. Nothing is made before there is something to hold; what
 * an earlier one left is there again.
 */
MUST_CHECK int slices_open(const char *data_dir, const char *memory, bool is_one_account,
        struct slices **ret, struct err *err);
/* Attempts that have files keep them. Without any, nothing is left. NULL does nothing. */
void slices_close(struct slices *s);

/* -- commands -- */
/*
 * The directory of an attempt, with slice-0 and so on, each at its full size: what memory lacks is NO_SPACE here, and no
 * signal later. One that is there already is made anew. Attempts take turns on a device, where their grants hold compute and there
 * is room on its page: slices_holds_compute says.
 */
MUST_CHECK int slices_make(struct slices *s, uint64_t epoch, const struct slices_grant *grants,
        uint32_t n, char ret_path[SLICES_PATH], struct err *err);
void slices_remove(struct slices *s, uint64_t epoch); /* nothing, where there is none */
/* Removes those of which is_wanted says false. */
void slices_sweep(struct slices *s, bool (*is_wanted)(void *data, uint64_t epoch), void *data);
/* What the driver says that the job uses beyond its ledger. */
MUST_CHECK int slices_watch(struct slices *s, uint64_t epoch, uint32_t place,
        uint64_t overhead_bytes, uint64_t mono_ns, struct err *err);

/* -- queries -- */
/* Of slice `place` of the attempt. NOT_FOUND: it has none; CORRUPT: the job has spoilt it. */
MUST_CHECK int slices_read(struct slices *s, uint64_t epoch, uint32_t place,
        struct slices_state *ret, struct err *err);
/* Where its files are; false: it has none. */
bool slices_path(const struct slices *s, uint64_t epoch, char ret_path[SLICES_PATH]);
uint32_t slices_count(const struct slices *s, uint64_t epoch); /* grants of the attempt; 0: none */
/* Whether slice `place`, which is there, takes turns with others. */
bool slices_holds_compute(const struct slices *s, uint64_t epoch, uint32_t place);
uint32_t slices_flags(
        const struct slices *s, uint64_t epoch, uint32_t place); /* the same: as granted */
/* The device of slice `place`, which is there. */
const char *slices_device(const struct slices *s, uint64_t epoch, uint32_t place);
