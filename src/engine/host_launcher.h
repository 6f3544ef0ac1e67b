/*
 * The connection to the keepers' parent (wire/launch.h), or to the helper before it: starts the parent where that is
 * our part, connects again when it dies, and knows of each message whether all of it went out.
 * Owns socket and process handle; the parent itself outlives us. Loop thread. Failing to connect is no error:
 * it is tried again, and messages are only taken while the connection stands.
 */
#pragma once

#include "plat/log.h"
#include "plat/loop.h"
#include "wire/launch.h"

#include <sys/types.h>

struct launcher;

struct launcher_options {
	const char *socket_path;
	/* The keepers' parent, started when nobody answers: `PROGRAM --data DIR --spool FILE`. NULL: somebody else starts it. */
	const char *program;
	const char *data_dir;
	const char *(*spool_path)(void *data); /* FILE, asked for at each start */
	void (*on_up)(void *data);             /* messages are taken from now on */
	void (*on_down)(void *data); /* launcher_is_sent() says of each message what became of it */
	void (*on_news)(void *data, enum log_level level, const char *event, const char *text);
	void *data;
};

/* Life: connects in the turns that follow. */
struct launcher *launcher_new(struct loop *loop, const struct launcher_options *o);
void launcher_free(struct launcher *l); /* the parent lives on; NULL does nothing */

/* Sent before the loop sleeps next. Returns the message's place for launcher_is_sent(); 0: not taken. */
uint64_t launcher_send(struct launcher *l, const struct launch *message);
uint64_t launcher_send_bytes(
        struct launcher *l, const void *data, size_t len); /* a message as launch_encode made it */
/* Asks the parent to end, when it is ours; its keepers live on. */
void launcher_end_parent(struct launcher *l);

bool launcher_is_up(const struct launcher *l);
/* The whole message went out; to be asked no later than in on_down. What went out when a connection broke may still be lost. */
bool launcher_is_sent(const struct launcher *l, uint64_t place);
