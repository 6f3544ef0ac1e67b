/*
 * A server in the test's own process, on a directory of its own, with real HTTP over its socket and an agent's end of the link
 * that does what the test says. The test owns the struct; rig_end closes everything and removes the directory.
 * One thread (and the server's store thread). What is waited for and does not come within a guard of 20 s fails the test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/server.h"
#include "wire/link.h"

#include <jansson.h>

struct rig;

/* One HTTP exchange. */
struct ask {
	struct rig *rig;
	int fd; /* -1: closed */
	struct loop_poll *poll;
	struct buf out, in;
	size_t n_sent;
	bool is_over; /* the server has closed */
	/* once over */
	int status;
	struct buf body; /* without its chunks */
	bool is_whole;   /* as long as its head says, or with its last chunk */
	json_t *json;    /* NULL: none */
};

struct rig {
	char dir[64];
	bool listens;         /* TCP, on a free port of loopback */
	const char *tcp_head; /* of requests over TCP, NULL: "Host: localhost" and CR LF */
	struct server *s;
	/* the agent */
	char *node_key; /* what HELLO says of it */
	struct net_ws *ws;
	bool is_linked;  /* open */
	bool was_closed; /* by the server */
	struct buf log; /* what came, a line each: "START 1 e1", "STOP 1 e1 force", "ACK e1", ... */
	size_t log_at;  /* what is before it was expected already */
	struct buf data; /* of streams */
	uint64_t last_stream;
	uint64_t bytes_given;    /* windows */
	struct link_start start; /* the last one; strings as long as the agent */
	void *ctx;
	struct ask one; /* of rig_do */
	/* what is waited for */
	bool (*is_there)(struct rig *g, void *arg);
	void *arg;
	bool has_come, is_late;
	void (*on_turn)(struct rig *g); /* at each turn's end, or NULL */
};

void rig_begin(struct rig *g); /* a directory and an open server */
void rig_end(struct rig *g);
void rig_open(struct rig *g); /* the server again, after rig_close */
void rig_close(struct rig *g);
void rig_set(
        const char *key, const char *value); /* a setting, until rig_end: "SERVER_KEEP_ENDED" */

#define rig_until(g, what, arg) rig_until_at((g), (what), (arg), #what, __FILE__, __LINE__)
void rig_until_at(struct rig *g, bool (*is_there)(struct rig *g, void *arg), void *arg,
        const char *what, const char *file, int line);
bool is_stopped(struct rig *g, void *unused); /* the server wants to end */
bool is_idle(struct rig *g, void *unused);    /* everything is durable */
bool is_unlinked(struct rig *g, void *unused);

/* HTTP. token NULL: over the socket by peer credentials; else over TCP, plain. */
void ask_begin(struct rig *g, struct ask *a, const char *method, const char *path,
        const char *headers, const void *body, size_t len);
void ask_begin_tcp(struct rig *g, struct ask *a, const char *method, const char *path,
        const char *token, const char *body);
void ask_end(struct ask *a); /* closes it, whole or not */
#define ask_wait(a) rig_until((a)->rig, is_over, (a))
bool is_over(struct rig *g, void *ask);
/* The whole exchange; the status. What came stays in g->one until the next. */
int rig_do(struct rig *g, const char *method, const char *path, const char *body);
int rig_do_tcp(
        struct rig *g, const char *method, const char *path, const char *token, const char *body);
/* The same, and checks the status and, unless it is NULL, the error's code. */
void rig_refused(struct rig *g, const char *method, const char *path, const char *body, int status,
        const char *code);
/* A value by its path, "jobs.0.id", as text ("null", "true", "17", JSON of objects); good until the next call but 7. */
const char *json_at(const json_t *json, const char *path);
#define rig_at(g, path)          json_at((g)->one.json, (path))
#define assert_at(g, path, want) assert_string_equal(rig_at((g), (path)), (want))
/* POST /v1/jobs, checked to be 201; its number. */
uint64_t rig_submit(struct rig *g, const char *job);
const char *rig_state(struct rig *g, const char *id);

/* The agent */
struct link_attempt;            /* of HELLO */
void agent_link(struct rig *g); /* connects and says HELLO: node n1, 8 CPUs, two devices of 8 GiB */
void agent_link_with(struct rig *g, const char *boot_id, const struct link_attempt *v, uint32_t n);
/* Over TCP, as this node; true: it was welcomed, false: the server closed. The link stays g->ws. */
bool agent_join(struct rig *g, const char *token, const char *name);
void agent_drop(struct rig *g);                /* the link breaks */
void agent_send(struct rig *g, struct buf *b); /* and empties it */
void agent_started(struct rig *g, uint64_t job, int64_t task, uint64_t epoch);
void agent_ended(struct rig *g, uint64_t job, int64_t task, uint64_t epoch, int wait_status);
void agent_ended_by_rank(
        struct rig *g, uint64_t job, uint64_t epoch, int wait_status, uint32_t rank);
void agent_ended_by(
        struct rig *g, uint64_t job, uint64_t epoch, enum spool_cause cause, int wait_status);
void agent_had_no_disk(struct rig *g, uint64_t job, uint64_t epoch); /* to start it on */
void agent_expect(struct rig *g,
        const char
                *line); /* the log's next line that begins so; what is before it is passed over */
bool agent_has(const struct rig *g, const char *line); /* in all that came since it was linked */
void agent_stream_data(
        struct rig *g, uint64_t stream, enum console_frame frame, const void *p, size_t len);
void agent_stream_close(struct rig *g, uint64_t stream, enum err_kind kind, const char *text);
/* Submits `job`, starts and ends it. */
uint64_t rig_run(struct rig *g, const char *job, int wait_status);
