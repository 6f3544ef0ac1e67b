/*
 * Which GPU driver the processes of an attempt find: the machine's, the fake one of simulated devices, or where it holds a
 * fraction the interposer in front of either. The keepers' parent owns the paths, which its keepers inherit; a struct driver
 * belongs to its keeper. One thread each. Who has no devices never comes here.
 *
 * DESIGN. All paths are our own parts', the loader's or fixed; of the message only the directory of the ledgers is taken, and
 * that must be the server's own. Where root may make mounts, the interposer lies over the driver's own files in a namespace
 * of the attempt's, the driver in DRIVER_DIR and the ledgers in SLICE_DIR: no variable is needed then. Elsewhere variables
 * lead to DATA/run/driver: links to the same files under the same names.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/launch.h"

#define DRIVER_DIR "/run/berth/driver"

struct driver_paths;

struct driver {
	const struct driver_paths *paths; /* NULL: nothing is to be done */
	bool is_held;                     /* by the interposer: what STARTED says */
	bool is_mounted;
	const char *slices, *real[2];
	uint64_t device, inode; /* of `slices` */
	char **env;             /* NULL: as in the message */
};

/* -- the parent -- */
struct driver_paths *driver_paths_new(const struct keeper_base *base, const char *data);
/* Before a fork for this message: finds what it needs, if it has devices. */
void driver_look(struct driver_paths *p, const struct launch *l);

/* -- a keeper, while it is root -- */
/* The environment of l is replaced. is_inside: an exec that enters the namespace of its attempt. */
MUST_CHECK int driver_take(struct driver *d, const struct keeper_base *base, struct launch *l,
        bool is_exec, bool is_inside, struct err *err);
/* The calling process; after vfork, too: only system calls. has_begun: it has a namespace of its own already. False with errno. */
MUST_CHECK bool driver_mount(const struct driver *d, bool has_begun);
