/*
 * The turns that two tenants took, by the stamps of their kernels: lines of the begin and the end of each, in ns of the device's clock.
 * Nothing is kept. Pure; any thread. False: neither was between two turns of the other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct turns {
	size_t n;       /* whole ones: neither the first nor the last */
	double turn_ns; /* medians: of a turn, and of what lies between two */
	double gap_ns;
};

bool turns_parse(const char *one, const char *other, struct turns *ret);
