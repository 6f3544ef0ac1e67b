/*
 * Calibration: which settings suit a mix, found by trying them. Streams of requests are made up from the types that a place
 * has counted, placed on a copy of its nodes as they are when empty, and the settings that give out most are kept. Owned by
 * the caller; nothing of the place that it began with is used later, so that another thread may step. One thread at a time, pure; the same
 * place and number of steps give the same settings, since work is counted and no clock is asked. Nothing fails.
 */
#pragma once

#include "sched/place.h"
#include "sched/sched.h"

struct calibration;

/* Life cycle. Streams demand `demand` times what all devices give. */
struct calibration *calibration_new(const struct place *p, double demand, uint32_t n_streams);
void calibration_free(struct calibration *c);

/* Commands. */
/* Decides about so many more requests. False: all is tried. */
bool calibration_step(struct calibration *c, uint32_t n_requests);
/* The best settings of those that were tried to the end are the place's; with its mix learned anew. */
void calibration_adopt(const struct calibration *c, struct place *p);

/* Queries. */
/* Whether there is anything to try: the policy has settings, there are devices, and somebody asks for some. */
bool calibration_is_of_use(const struct place *p);
/* The part, 0 to 1, of what is asked for now that was not when c began, or of the devices, whichever is more. */
double calibration_drift(const struct calibration *c, const struct place *p);
/* The best settings of those tried to the end. False: none was. The shares, 0 to 1, are what they and the usual ones gave out. */
struct calibrated {
	struct sched_settings settings;
	double share, usual_share;
};
bool calibration_result(const struct calibration *c, struct calibrated *ret);
