/*
 * What `fragment` is set to, tried anew beside the loop: a calibration of what sched_learn() has just learned, on a copy, by a thread
 * of its own that runs when nobody else wants to. Its result is taken over between two plans, and recorded: plans depend on it,
 * not on when it came. Owned by the server; loop thread. Off unless sched.calibrate says for how long. What fails is logged, and the settings stay.
 */
#pragma once

#include "server/server.h"

struct calibrator;

/* The mix was learned: begins, if the latest began an hour ago and the mix or the nodes are not much as they were then. */
void calibrator_begin(struct server *s);
/* What is under way ends soon, and its result is not taken over. */
void calibrator_cancel(struct server *s);
void calibrator_free(struct server *s); /* waits for its thread */
