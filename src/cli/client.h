/*
 * Calls to the server: connect, ask, decode, and come back after a restart. One connection, kept between calls.
 * The opener owns a client until client_close(); answers are the caller's json (json_decref). One thread; blocks.
 * What the server refuses arrives as the error that it named, with its hint. A call that may be repeated is, when the
 * server is away or something that it needs is (UNAVAILABLE): for CLIENT_RESTART_MS while a supervisor holds the
 * directory, for CLIENT_PATIENCE_MS when the client is patient.
 */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "cli/http.h"
#include "cli/target.h"

#define CLIENT_RESTART_MS  10000
#define CLIENT_PATIENCE_MS 60000

struct client;

struct client_call {
	const char *method;
	const char *path;            /* encoded */
	const json_t *body;          /* borrowed; NULL: none */
	const char *idempotency_key; /* makes any call repeatable */
	bool once;                   /* must not be sent again after the connection was lost */
	bool waits; /* the answer comes when something has come about: its silence says nothing of the server */
};

MUST_CHECK int client_open(const struct cli *cli, struct client **ret_client, struct err *err);
void client_close(struct client *c); /* NULL is fine */
void client_closep(struct client **c);
#define CLEANUP_CLIENT CLEANUP(client_closep)
/* Keep trying for CLIENT_PATIENCE_MS, whoever holds the directory: for what outlives a restart of the machine's Berth. */
void client_be_patient(struct client *c);
/* While a call waits, fn is called after every signal and at least twice a second; NULL: not any more. */
void client_on_idle(struct client *c, void (*fn)(void *data), void *data);

/* ret_json may be NULL, and gets NULL when the answer has no body. */
MUST_CHECK int client_call(
        struct client *c, const struct client_call *call, json_t **ret_json, struct err *err);
MUST_CHECK int client_get(struct client *c, const char *path, json_t **ret_json, struct err *err);
/* Asks and returns when the head of a good answer is in; the body comes by http_step(*ret_http). It may be repeated. */
MUST_CHECK int client_start(
        struct client *c, const struct client_call *call, struct http **ret_http, struct err *err);
/* Waits as client_call does: until something moved (1), or once with an idle call (0). */
MUST_CHECK int client_step(struct client *c, struct http *h, struct err *err);
/* A connection of its own for an upload or a WebSocket; owned by the caller. Waits for the server as calls do. */
MUST_CHECK int client_connect(struct client *c, struct http **ret_http, struct err *err);
MUST_CHECK int client_connect_now(struct client *c, struct http **ret_http, struct err *err);
/* For who tries again by himself: begins as {0}. */
struct client_wait {
	uint64_t since_ms;
	int delay_ms;
};
/* Waits a moment, and says so once it takes long; false: there is no point in trying again. what: the trouble, as the
 * server named it; NULL: it is away itself. */
MUST_CHECK bool client_wait(struct client *c, struct client_wait *w, const char *what);
/* The error in an answer whose status is not good. */
MUST_CHECK int client_refusal(struct http *h, struct err *err);

bool client_is_remote(const struct client *c); /* over a network: other machine, other accounts */
const struct target *client_target(const struct client *c);

/* Appends s as one segment of a path, or one value of a query. */
void client_add_encoded(struct buf *b, const char *s);
void client_json_decrefp(json_t **j);
#define CLEANUP_JSON CLEANUP(client_json_decrefp)
