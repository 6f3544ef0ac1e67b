/*
 * The console of a keeper: a Unix socket that any number of clients attach to (wire/console.h), for the life of a process.
 * console_open allocates, console_end frees. One thread; never blocks, but for a moment in console_end.
 *
 * A client that does not read is dropped when its share is full; nothing is buffered without bound. The console of an exec
 * (`is_single`) waits instead: what it runs is held up while its client is slow, and told that nobody listens any more
 * when the client is gone.
 */
#pragma once

#include <poll.h>

#include "base/buf.h"
#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/console.h"

#define CONSOLE_CLIENTS 16
#define CONSOLE_POLLS   (CONSOLE_CLIENTS + 1)

struct console;

MUST_CHECK int console_open(const struct keeper_base *base, const char *path, bool is_single,
        bool has_history, struct console **ret_console, struct err *err);
/* Tells all clients the last frame, gives them a moment to take it, removes the socket. NULL does nothing. */
void console_end(struct console *c, enum console_frame type, const void *data, uint32_t len);
/* New clients are no longer let in. */
void console_close_door(struct console *c);

/* What to poll for; the number of entries. After the poll: */
size_t console_polls(struct console *c, struct pollfd fds[CONSOLE_POLLS]);
void console_on_polls(struct console *c, const struct pollfd *fds, size_t n);

/* To all clients; kept for later ones where the console has a history. */
void console_put_output(struct console *c, enum console_frame type, const void *data, uint32_t len);

/* What clients typed and the process has not taken yet: consume from its front. */
struct buf *console_input(struct console *c);
/* True once for an end of input that a client sent, when all before it is consumed. */
bool console_take_eof(struct console *c);
/* The size that a client asked for last; false when there is nothing new. */
bool console_take_size(struct console *c, uint32_t *ret_rows, uint32_t *ret_cols);

/* is_single: more output would have to be held: nobody has come yet, or the client is slow. */
bool console_is_full(const struct console *c);
/* is_single: there was a client and now there is none. */
bool console_is_deserted(const struct console *c);
