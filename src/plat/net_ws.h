/*
 * A WebSocket on a connection whose handshake is done, either end. For net*.c only.
 * A struct net_ws belongs to its connection from ws_open on, to whoever made it before; it ends in ws_gone.
 * Loop thread only. What goes wrong ends the connection and arrives as on_close.
 */
#pragma once

#include "plat/net_priv.h"

struct ws_options {
	size_t message_bytes;
	size_t send_bytes;
	unsigned ping_ms;
	bool is_client;
};

extern const struct conn_ops ws_ops;

MUST_CHECK struct net_ws *ws_new(
        struct conn *c, const struct ws_options *o, const struct net_ws_handlers *h, void *data);
void ws_open(struct net_ws *ws);   /* it speaks over its connection from now on */
void ws_opened(struct net_ws *ws); /* calls on_open */
void ws_gone(struct net_ws *ws,
        const struct err *why); /* calls on_close and frees; NULL: in good order */
void ws_stop(
        struct net_ws *ws, const struct err *why); /* says 1001 to the peer and closes at once */
