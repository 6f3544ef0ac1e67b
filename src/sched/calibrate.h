/*
 * Calibration: which settings suit a mix, found by trying them. Streams of requests are made up from the types that a place
 * has counted, placed on a copy of its nodes as they are when empty, and the settings that give out most are kept. Owned by
 * the caller, apart from the place that it began with. Any one thread, pure; the same place gives the same settings, since
 * work is counted and no clock is asked. Nothing fails.
 */
#pragma once

#include "sched/place.h"

struct calibration;

/* Life cycle. Streams demand `demand` times what all devices give. */
struct calibration *calibration_new(const struct place *p, double demand, uint32_t n_streams);
void calibration_free(struct calibration *c);

/* Commands. */
/* Decides about so many more requests. False: all is tried. */
bool calibration_step(struct calibration *c, uint32_t n_requests);
/* The best settings of those that were tried to the end are the place's; with its mix learned anew. */
void calibration_adopt(const struct calibration *c, struct place *p);
