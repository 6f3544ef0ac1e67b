/*
 * The agent's end of the link: connects, connects again, sends what one turn of the loop put into the outbox, and hands
 * over what the server says, message by message. Owns the connection, borrows the outbox. Loop thread.
 * Nothing here fails for its caller: a link that cannot be had is tried again for ever, and logged when the reason changes.
 */
#pragma once

#include "agent/outbox.h"
#include "plat/loop.h"

struct uplink;

struct uplink_options {
	const char *url;
	const char *token_file; /* read at each connect, so that it may be changed; NULL: none */
	const char *ca_path;
	const char *pin_hex;
	void (*on_open)(void *data); /* say HELLO */
	void (*on_message)(
	        void *data, const struct link_message *m); /* m lives as long as the call */
	void (*on_close)(void *data);
	void (*on_gone)(void *data); /* after uplink_finish, once */
	void *data;
};

/* Life: connects in the turns that follow. The strings of o are borrowed. */
struct uplink *uplink_new(struct loop *loop, struct outbox *outbox, const struct uplink_options *o);
void uplink_free(struct uplink *u); /* when it is gone; NULL does nothing */

void uplink_welcomed(
        struct uplink *u); /* the server knows us: the next attempt to connect is quick again */
void uplink_restart(struct uplink *u, const char *why); /* breaks the link, and connects again */
/* Sends what is in the outbox and closes in good order; there is no other connection after it. on_gone may come at once. */
void uplink_finish(struct uplink *u);

bool uplink_is_gone(
        const struct uplink *u); /* there is no connection, nor one that is being made */
