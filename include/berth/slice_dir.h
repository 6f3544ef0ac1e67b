/*
 * Where a job finds the files of its slices (slice.h): a directory, by this name in its environment.
 * Nothing is owned, and nothing runs here.
 */
#pragma once

#define SLICE_VARIABLE "BERTH_SLICES"
#define SLICE_DIR \
	"/run/berth/slices" /* without the variable: of a job with a mount namespace of its own */
