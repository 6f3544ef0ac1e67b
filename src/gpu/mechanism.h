/*
 * What holds a fraction of a device inside its job: one choice for each device, by what the device is, what this machine
 * has, and what the administrator wants. Pure; any thread. There is always an answer: HELD_BY_NONE where nothing can.
 */
#pragma once

#include "core/node.h"

enum mechanism_wish { MECHANISM_AUTO, MECHANISM_INTERPOSER, MECHANISM_NONE };

/* What this machine has. */
struct mechanism_parts {
	bool has_interposer; /* our own library */
	bool has_driver;     /* a libcuda.so.1 behind it */
};

/* *ret_why: of HELD_BY_NONE, in words; else "". Static. */
enum held_by mechanism_choose(const struct device_info *d, enum mechanism_wish wish,
        const struct mechanism_parts *parts, const char **ret_why);
