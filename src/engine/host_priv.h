/*
 * Inside of the host engine, for host.c (its table of functions), host_attempts.c (what becomes of an attempt), host_look.c
 * (what is said to the keepers' parent, and whom nothing is heard of), host_console.c and host_exec.c (who attaches).
 * Ownership, thread and failures: as engine.h says. Nothing here is state that must last: it is all rebuilt from the spool.
 *
 * DESIGN. An attempt is in one of five lists, and one function moves it:
 *   PREPARED  its message is made, and nobody wants it started yet
 *   WAITING   to be started, as soon as there is a connection that takes the message
 *   SENT      to the keepers' parent, nothing heard
 *   LIVING    its STARTED was read
 *   ENDED     its ENDED was read, or it had none to come
 * An attempt whose keeper was killed is seen by its byte, which nobody holds then; reading the spool to its end after
 * that look says whether it ended properly, and if not it is swept.
 */
#pragma once

#include "engine/host.h"
#include "engine/host_launcher.h"
#include "engine/host_prepare.h"
#include "engine/host_spools.h"

#include <bsd/sys/queue.h>
#include <uthash.h>

enum host_state { HOST_PREPARED, HOST_WAITING, HOST_SENT, HOST_LIVING, HOST_ENDED, HOST_STATES };

struct host_attempt {
	uint64_t epoch;
	struct job_id id;
	uint32_t n; /* which attempt of its job */
	enum host_state state;
	uint32_t file;   /* spool file that it holds, 0: none */
	uint8_t *launch; /* its START as encoded, until its end; NULL: an earlier engine's */
	size_t launch_len;
	uint64_t place;    /* of the START at the launcher */
	uint64_t since_ms; /* monotonic: sent, or swept; 0: neither */
	bool in_doubt;     /* its START may have been lost with a connection */
	bool has_console;
	bool is_lost;  /* this was reported */
	bool is_swept; /* of one that nobody here has started: because nothing was heard of it */
	bool stop_wanted, stop_force;
	enum spool_cause stop_cause;
	uint32_t keeper_pid, pid; /* as STARTED said */
	int64_t started_ms;
	TAILQ_ENTRY(host_attempt) link;
	UT_hash_handle hh;
};

/* Of an attempt that is forgotten. */
struct host_left {
	struct job_id id;
	uint32_t n;
	uint64_t epoch;
};

TAILQ_HEAD(host_list, host_attempt);
LIST_HEAD(host_attachments, engine_attachment);

struct host {
	struct engine base;
	struct engine_options o;
	struct prepare prepare;
	struct spools *spools;
	struct loop_poll *spool_poll;
	struct launcher *launcher;
	char *socket_path;
	struct loop_timer *look;
	struct host_attempt *by_epoch;
	struct host_list lists[HOST_STATES];
	struct host_left *left; /* directories to be removed, once there is somebody to ask */
	size_t n_left, cap_left;
	uint32_t counts[HOST_STATES];
	struct host_attachments attachments;
	bool is_reading;
};

static inline struct host *host_of(struct engine *e)
{
	return (struct host *)e;
}

PRINTF_LIKE(4, 5)
void host_news(struct host *h, enum log_level level, const char *event, const char *fmt, ...);

/* host_attempts.c */
struct host_attempt *host_add(
        struct host *h, uint64_t epoch, struct job_id id, uint32_t n, enum host_state state);
struct host_attempt *host_find(const struct host *h, uint64_t epoch); /* or NULL */
/* The only one that moves an attempt between the lists, at the end of its new one. */
void host_set_state(struct host *h, struct host_attempt *a, enum host_state state);
/* The spool file that its records are in, 0: none. */
void host_hold_file(struct host *h, struct host_attempt *a, uint32_t file);
void host_forget(struct host *h, struct host_attempt *a);
/* Asks its keeper to end it; one that no keeper has yet ends at once. */
void host_end(struct host *h, struct host_attempt *a, enum spool_cause cause, bool force);
/* An end that no keeper wrote, because none ever had it. */
void host_end_without_keeper(
        struct host *h, struct host_attempt *a, enum spool_cause cause, const char *text);
/* The machine was started anew: whatever has no end has ended with it. */
void host_end_with_machine(struct host *h);
/* Takes up what is new in the spool; does nothing from inside a report of it. */
void host_read(struct host *h);
/* A spool file that nothing is in any more, and that is large, is left behind. */
void host_rotate_quiet(struct host *h);

/* host_look.c. now_ms: monotonic. */
/* Sends what waits, where there is a connection. */
void host_pump(struct host *h);
/* Of an attempt that has ended: a directory of its own that is still there goes. */
void host_sweep_directory(struct host *h, const struct host_attempt *a);
void host_send_stop(struct host *h, struct host_attempt *a);
void host_send_rotate(struct host *h);
/* Of a message about an attempt that was started, such as an EXEC: false when it could not be sent. */
bool host_send(struct host *h, const struct host_attempt *a, struct launch *message);
/* Looks after those that nothing is heard of; in the loop it is called by itself. */
void host_look(struct host *h, uint64_t now_ms);
void host_on_look(void *host);
void host_on_launcher_up(void *host);
void host_on_launcher_down(void *host);

/* host_console.c: of the table. */
int host_attach(struct engine *e, const struct engine_attach *a,
        struct engine_attachment **ret_attachment, struct err *err);
void host_detach(struct engine *e, struct engine_attachment *at);

/* host_inspect.c: of the table. */
int host_inspect(struct engine *e, void *ctx, uint64_t epoch, struct engine_state *ret_state,
        struct err *err);
