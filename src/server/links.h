/*
 * The server's end of the links: one `struct uplink` per connected agent. Turns effects into messages and reports into
 * events. Loop thread. A link that breaks takes its streams with it; the node stays, and is told from a silent one by time.
 */
#pragma once

#include "server/api.h"
#include "wire/link.h"

/* GET /v1/link: takes the request over; false: it did not, and has answered it. */
MUST_CHECK bool links_accept(struct server *s, struct net_request *r, const struct caller *who);
void links_drop_token(
        struct server *s, uint64_t token, const char *why); /* closes those that came with it */
void links_close_all(struct server *s);
/* Released by the barrier. */
void links_carry_out(struct server *s, const struct effect *fx);
/* End of a turn: what gathered for each agent goes out as one message. */
void links_flush(struct server *s);
/* Nodes silent for too long are lost (never the local one). */
void links_check_silence(struct server *s);
bool links_has_node(const struct server *s, uint64_t node);
bool links_has_local(const struct server *s);
/* Every attempt on the local node ends with cause SHUTDOWN; the agent says BYE, and server_stop() follows. */
void links_shutdown_local(struct server *s);
/* Unless the node is away, or has not answered the last one. */
void links_remove(struct server *s, uint64_t node, const struct link_remove *m);
/* Whoever has it may forget it. */
void links_drop_blob(struct server *s, uint64_t num);

/* The streams of a node's link, NULL when it is not connected. */
struct stream_set;
struct stream_set *links_streams(const struct server *s, uint64_t node);
