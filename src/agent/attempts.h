/*
 * Every attempt that this node knows: from the server's START to the server's ACK of its end.
 * Owns the attempts, borrows spools, launcher and outbox. Loop thread. Nothing here is state that must last: it is all
 * rebuilt from the spool. What goes wrong with one attempt becomes its end; what goes wrong with the spool is logged.
 *
 * DESIGN. An attempt is in one of five lists, and one function moves it:
 *   QUEUED    told to start; waits for the launcher, and for its turn
 *   STARTING  sent to the keepers' parent, nothing heard; few at a moment
 *   LIVING    its STARTED was read
 *   ENDED     its ENDED was read; the server is told when its devices are free again
 *   TOLD      the server was told; forgotten with its ACK
 * An attempt whose keeper was killed is seen by its byte, which nobody holds then; reading the spool to its end after
 * that look says whether it ended properly, and if not it is swept.
 */
#pragma once

#include "engine/host_launcher.h"
#include "agent/outbox.h"
#include "engine/host_prepare.h"
#include "engine/host_spools.h"

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
	uint32_t file;   /* spool file that it holds, 0: none */
	uint8_t *launch; /* its START as encoded, until its end; NULL: an earlier agent's */
	size_t launch_len;
	uint64_t place;    /* of the START at the launcher */
	uint64_t since_ms; /* monotonic: sent, or swept; 0: neither */
	bool was_rebooted; /* ended with the machine: the server sees that by the boot, if it is named as living */
	bool in_doubt; /* its START may have been lost with a connection */
	bool has_console;
	bool stop_wanted, stop_force;
	enum spool_cause stop_cause;
	uint32_t keeper_pid, pid; /* as STARTED said */
	int64_t started_ms;
	struct slice_record *slices; /* what it holds; NULL with n_slices > 0 never */
	uint32_t n_slices;
	bool slices_known; /* not after a restart of the agent, until somebody finds out */
	uint8_t *ended;    /* its end, as a spool record */
	size_t ended_len;
	char *note; /* for the text of its end, where that is empty */
	TAILQ_ENTRY(known_attempt) link;
	UT_hash_handle hh;
};

struct attempts;

struct attempts_options {
	struct loop *loop;
	struct spools *spools;
	struct outbox *outbox;
	struct prepare *prepare; /* borrowed; its settings may change */
	uint32_t cores;
	/* The end was read; answer with attempts_tell_end, now or later. NULL: it is told at once. */
	void (*on_ended)(void *data, struct known_attempt *a);
	void *data;
};

/* Life. Reads nothing yet. */
struct attempts *attempts_new(const struct attempts_options *o);
void attempts_free(struct attempts *at); /* NULL does nothing */
/* From now on: messages go there, on_up and on_down come from there. */
void attempts_set_launcher(struct attempts *at, struct launcher *l);
void attempts_on_launcher_up(struct attempts *at);
void attempts_on_launcher_down(struct attempts *at);

/* What the server says. `again`: the message may have been sent here before, to an agent that is no more. */
void attempts_start(struct attempts *at, const struct link_start *m, const void *blob,
        size_t blob_len, bool again);
void attempts_stop(struct attempts *at, const struct link_stop *m);
void attempts_ack(struct attempts *at, uint64_t epoch);
void attempts_set_burst(struct attempts *at, uint32_t per_core);
void attempts_shutdown(
        struct attempts *at); /* stops everything with SPOOL_SHUTDOWN, what comes later too */

/* What the spool says: takes up what is new. */
void attempts_read(struct attempts *at);
/* Looks after those that nothing is heard of; in the loop it is called by itself. now_ms: monotonic. */
void attempts_look(struct attempts *at, uint64_t now_ms);
/* The machine was started anew: whatever has no end has ended with it. */
void attempts_rebooted(struct attempts *at);
void attempts_end(struct attempts *at, struct known_attempt *a, enum spool_cause cause,
        bool force); /* asks its keeper */
void attempts_tell_end(struct attempts *at, struct known_attempt *a);
void attempts_note(struct known_attempt *a, const char *text);
/* STARTED and ENDED of everything that the server has not acknowledged, again. */
void attempts_resend(struct attempts *at);

/* Queries */
struct known_attempt *attempts_find(const struct attempts *at, uint64_t epoch);
struct known_attempt *attempts_first(const struct attempts *at, enum attempt_state state);
uint32_t attempts_count(const struct attempts *at, enum attempt_state state);
/* All of them for a HELLO; the array hangs on ctx. */
void attempts_list(
        const struct attempts *at, void *ctx, struct link_attempt **ret, uint32_t *ret_n);
/* A message about a living attempt, such as an EXEC; false when it could not be sent. */
bool attempts_send(struct attempts *at, const struct known_attempt *a, struct launch *message);
