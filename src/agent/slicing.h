/*
 * How fractions of devices are held on this node: the mechanism of each device, and the ledgers of the attempts that one of
 * them holds. Owns both; borrows the attempts and the devices of the inventory. Loop thread. An attempt whose ledger cannot be made fails to
 * start; everything else here only makes what is said less, never wrong.
 *
 * DESIGN. A device never has two mechanisms at once: it keeps the one of what runs on it, also when the configuration
 * has changed, until nothing of that is left. A ledger goes when the end of its attempt was read; what a killed agent left goes a
 * while after the server has said what is to run here, because a start may be on its way to a keeper with its ledger.
 * Compute is held among the attempts on a device, which take turns by a page of it (gpu/pages.h); or by the MPS daemon of the
 * device, which runs from its first such attempt to the end of its last one, for one account: the server places no other's there.
 * A daemon takes its time to come up, which no loop waits for: an attempt that needs one is asked about again then.
 */
#pragma once

#include "agent/attempts.h"
#include "agent/mps.h"
#include "gpu/mechanism.h"
#include "gpu/slices.h"

/*
 * What a context is taken to need where the driver does not tell. The watchdog finds what it needs more; what it needs less is
 * the job's loss, not the device's. Not yet measured on hardware.
 */
#define SLICING_CONTEXT_BYTES (256 * MIB)
#define SLICING_KERNEL_DRIVER 615 /* from which on the kernel limits memory of devices */
#define SLICING_GRANULE_BYTES (2 * MIB)

struct slicing;

struct slicing_options {
	const char *data_dir;
	struct attempts *attempts;
	struct mps *mps; /* borrowed; NULL: none, and parts.no_mps says why */
	struct mechanism_parts parts;
	const char *cgroups; /* where version 2 is; NULL: where this machine has it */
	bool is_one_account; /* all jobs are of the agent's own account */
	/* The list of the inventory, as it is now. */
	const struct device_info *(*devices)(void *data, uint32_t *ret_n);
	void (*on_ready)(void *data); /* what was not ready may be now */
	void *data;
};

/* Life */
MUST_CHECK int slicing_new(
        const struct slicing_options *o, struct slicing **ret_slicing, struct err *err);
/* is_over: nothing runs here any more, and what is left in memory goes. NULL does nothing. */
void slicing_free(struct slicing *s, bool is_over);

/* What the server wants. cap_compute: of what begins from now on, no more than its share though nobody else wants the rest. */
void slicing_set_wish(struct slicing *s, enum link_mechanism all, const struct link_model *models,
        uint32_t n, bool cap_compute);

/* What an attempt is told of what holds it; valid until the next call. */
struct slicing_hold {
	const char *path;            /* of its ledgers; NULL: nothing is to hold it */
	const struct mps_place *mps; /* NULL: no MPS */
	const char *gpu_limits;      /* for the kernel, as engine_request has them; NULL: none */
};

/* Begins what must be there before the attempt begins; false: not yet, on_ready tells when to ask again. */
MUST_CHECK bool slicing_prepare(struct slicing *s, const struct link_start *m);
/* After that. */
MUST_CHECK int slicing_begin(struct slicing *s, const struct link_start *m,
        struct slicing_hold *ret_hold, struct err *err);
void slicing_end(struct slicing *s, uint64_t epoch);
/* Ledgers of attempts that are not known here, and MPS daemons that nobody needs. */
void slicing_sweep(struct slicing *s);
/* The MPS daemon of a device has died: its attempts are told. */
void slicing_on_mps_death(struct slicing *s, const char *uuid);
void slicing_on_mps_outcome(
        struct slicing *s, const char *uuid, const char *account, const struct err *why);

/* Queries */
/* What holds a fraction of this device that begins now. */
enum held_by slicing_held_by(struct slicing *s, const struct device_info *d);
const char *slicing_path(struct slicing *s, uint64_t epoch); /* NULL: none; until the next call */
struct slices *slicing_ledgers(struct slicing *s);
