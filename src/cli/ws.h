/*
 * A WebSocket as client, over the connection of an http exchange: messages of src/wire/console.h, one frame each.
 * The maker owns a struct ws; it owns the http whose connection it took. One thread; nothing blocks: who waits polls
 * ws_fd() for what ws_events() says, then calls ws_move(). A failure means that it is over.
 */
#pragma once

#include "cli/client.h"
#include "wire/console.h"

struct ws;

/* Asks for path and waits for the answer; what the server refuses is its own error. */
MUST_CHECK int ws_open(struct client *c, const char *path, const char *protocol, struct ws **ret_ws,
        struct err *err);
void ws_free(struct ws *w); /* NULL is fine; says goodbye if it still can */

MUST_CHECK int ws_send(
        struct ws *w, enum console_frame type, const void *data, size_t len, struct err *err);
/* Moves what can be moved; on_frame is called for each message. 1: something moved, 0: nothing, negative. */
MUST_CHECK int ws_move(struct ws *w,
        void (*on_frame)(void *data, enum console_frame type, const uint8_t *payload, size_t len),
        void *data, struct err *err);

int ws_fd(const struct ws *w);
short ws_events(const struct ws *w); /* of poll */
size_t ws_unsent(const struct ws *w);
