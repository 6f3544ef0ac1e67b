/*
 * What holds a fraction of a device inside its job: one choice for each device, by what the device is, what this machine
 * has, and what the administrator wants. Pure; any thread. There is always an answer: HELD_BY_NONE where nothing can.
 */
#pragma once

#include "core/node.h"

enum mechanism_wish {
	MECHANISM_AUTO,
	MECHANISM_INTERPOSER,
	MECHANISM_NONE,
	MECHANISM_MPS,
	MECHANISM_KERNEL
};

/* What this machine has for the device. */
struct mechanism_parts {
	bool has_interposer; /* our own library */
	bool has_driver;     /* a libcuda.so.1 behind it */
	/* Why it is not to be had here, static; NULL: it is */
	const char *no_mps;
	const char *no_kernel;
};

/*
 * A wish that cannot be had is what `auto` would take, so that a job is rather held by something else than by nothing.
 * *ret_why: why the wish is not met, or why nothing holds it, in words; else "". Static.
 */
enum held_by mechanism_choose(const struct device_info *d, enum mechanism_wish wish,
        const struct mechanism_parts *parts, const char **ret_why);
