/*
 * Gangs: tenants with PACE_MULTI, whose kernels wait for each other on several devices, each of which has a judge who sees no
 * other one. So that judges choose the same gang at the same time, gangs take turns by a timetable of the clock.
 * For pace_judge.c. Nothing is owned or kept; a function of what was seen and of the time. Any thread. Nothing fails.
 */
#pragma once

#include "shim/pace_judge.h"

/* Of the timetable, now. */
struct pace_slot {
	bool is_there;
	unsigned gang;   /* a tenant; PACE_NOBODY: those who are no gangs */
	uint64_t end_ns; /* PACE_NEVER where there is none */
};

struct pace_slot pace_slot_now(const struct pace_case *c, const struct pace_table *t);
bool pace_has_slot(const struct pace_case *c, const struct pace_slot *slot, unsigned i);
bool pace_is_gang(const struct pace_case *c, unsigned i);
uint32_t pace_weight(const struct pace_case *c, unsigned i); /* in range */
