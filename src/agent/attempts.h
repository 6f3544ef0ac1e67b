/*
 * Every attempt that this node knows: from the server's START to the server's ACK of its end.
 * Owns the attempts, borrows engine and outbox. Loop thread. Nothing here is state that must last: the engine reports it
 * all again. What goes wrong with one attempt becomes its end.
 *
 * DESIGN. An attempt is in one of five lists, and one function moves it:
 *   QUEUED    told to start, and prepared; waits for its turn
 *   STARTING  given to the engine, nothing heard; few at a moment
 *   LIVING    the engine reported it as started
 *   ENDED     the engine reported it as ended; the server is told when its devices are free again
 *   TOLD      the server was told; forgotten with its ACK
 */
#pragma once

#include "agent/outbox.h"
#include "engine/engine.h"

#include <bsd/sys/queue.h>
#include <uthash.h>

enum attempt_state {
	ATTEMPT_QUEUED,
	ATTEMPT_STARTING,
	ATTEMPT_LIVING,
	ATTEMPT_ENDED,
	ATTEMPT_TOLD,
	ATTEMPT_STATES
};

struct known_attempt {
	uint64_t epoch;
	struct job_id id;
	uint32_t n; /* which attempt of its job */
	enum attempt_state state;
	bool was_rebooted; /* ended with the machine: the server sees that by the boot, if it is named as living */
	uint32_t root_pid,
	        pid; /* as STARTED said: what all of it descends from, and its first process */
	int64_t started_ms;
	uint32_t held, not_held;     /* the same: enum spool_hold */
	struct slice_record *slices; /* what it holds; NULL with n_slices > 0 never */
	uint32_t n_slices;
	bool slices_known; /* not after a restart of the agent, until somebody finds out */
	uint8_t *ended;    /* its end, as a spool record */
	size_t ended_len;
	char *note; /* for the text of its end, where that is empty */
	enum spool_cause note_cause;
	TAILQ_ENTRY(known_attempt) link;
	UT_hash_handle hh;
};

struct attempts;

struct attempts_options {
	struct outbox *outbox;
	uint32_t cores;
	uint64_t grace_ms, output_max; /* until the server says */
	/* The files of its devices; false: of one of them they are not known, and none can be kept from it. May be NULL: they are not. */
	bool (*files_of)(void *data, const struct link_start *m, struct engine_devices *ret);
	/* Makes what holds its slices, and names it in the request. May be NULL itself. */
	int (*hold)(
	        void *data, const struct link_start *m, struct engine_request *r, struct err *err);
	/* The end was read; answer with attempts_tell_end, now or later. NULL: it is told at once. */
	void (*on_ended)(void *data, struct known_attempt *a);
	void *data;
};

/* Life */
struct attempts *attempts_new(const struct attempts_options *o);
void attempts_free(struct attempts *at); /* NULL does nothing */
/* Before anything else: its reports go to attempts_on_started and attempts_on_ended. */
void attempts_set_engine(struct attempts *at, struct engine *e);

/* What the server says. `again`: the message may have been sent here before, to an agent that is no more. */
void attempts_start(struct attempts *at, const struct link_start *m, const void *blob,
        size_t blob_len, bool again);
void attempts_stop(struct attempts *at, const struct link_stop *m);
void attempts_ack(struct attempts *at, uint64_t epoch);
void attempts_set_burst(struct attempts *at, uint32_t per_core);
void attempts_set_limits(struct attempts *at, uint64_t grace_ms, uint64_t output_max);
void attempts_set_holds(struct attempts *at, const struct engine_holds *h);
void attempts_shutdown(
        struct attempts *at); /* stops everything with SPOOL_SHUTDOWN, what comes later too */

/* What the engine reports */
void attempts_on_started(struct attempts *at, const struct spool_record *r);
void attempts_on_ended(struct attempts *at, const struct spool_record *r, bool with_machine);

void attempts_look(struct attempts *at, uint64_t epoch); /* whatever has become of it is reported */
void attempts_end(struct attempts *at, struct known_attempt *a, enum spool_cause cause, bool force);
void attempts_tell_end(struct attempts *at, struct known_attempt *a);
/* What its slices are used for: for whoever looks at it. */
void attempts_use(
        struct attempts *at, const struct known_attempt *a, struct slice_record *v, uint32_t n);
/* Told the first time, and when it turns out to be GPU_AROUND, which stays; the last text goes with its end. */
void attempts_note(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text);
/* The slices of an attempt that an earlier agent started. Where nobody can tell they stay unknown. */
void attempts_find_slices(struct attempts *at, struct known_attempt *a);
/* STARTED and ENDED of everything that the server has not acknowledged, again. */
void attempts_resend(struct attempts *at);

/* Queries */
struct known_attempt *attempts_find(const struct attempts *at, uint64_t epoch);
struct known_attempt *attempts_first(const struct attempts *at, enum attempt_state state);
uint32_t attempts_count(const struct attempts *at, enum attempt_state state);
/* All of them for a HELLO; the array hangs on ctx. */
void attempts_list(
        const struct attempts *at, void *ctx, struct link_attempt **ret, uint32_t *ret_n);
