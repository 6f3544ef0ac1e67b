/*
 * Inside of attempts.h, for attempts.c (what becomes of an attempt) and attempts_launch.c (what is said to the keepers'
 * parent, and whom nothing is heard of). Ownership, thread and failures: as there.
 */
#pragma once

#include "agent/attempts.h"

#define ATTEMPTS_BURST 4

TAILQ_HEAD(attempt_list, known_attempt);

struct attempts {
	struct attempts_options o;
	struct launcher *launcher; /* NULL: not yet */
	struct loop_timer *look;
	struct known_attempt *by_epoch;
	struct attempt_list lists[ATTEMPT_STATES];
	uint32_t counts[ATTEMPT_STATES];
	uint32_t burst;
	bool is_shutdown;
};

/* The only one that moves an attempt between the lists, at the end of its new one. */
void attempts_set_state(struct attempts *at, struct known_attempt *a, enum attempt_state state);
/* The spool file that its records are in, 0: none. */
void attempts_hold_file(struct attempts *at, struct known_attempt *a, uint32_t file);
/* An end that no keeper wrote, because none ever had it. */
void attempts_end_without_keeper(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text);

/* Starts as many as may start at the same moment; the rest a moment later, when one of them was heard of. */
void attempts_pump(struct attempts *at);
void attempts_send_stop(struct attempts *at, struct known_attempt *a);
void attempts_send_rotate(struct attempts *at);
void attempts_on_look(void *attempts);
