/*
 * For links.c and links_hello.c only: one agent's link. Made by links_accept, freed when its WebSocket is closed.
 * Loop thread. A HELLO that cannot be taken closes the link.
 */
#pragma once

#include "server/links.h"

#include <uthash.h>

/* Blobs that this agent has. */
struct sent_blob {
	uint64_t num;
	UT_hash_handle hh;
};

struct uplink {
	struct server *s;
	struct net_ws *ws;
	uint64_t node; /* 0: HELLO has not come */
	char name[64];
	bool is_local;
	uint64_t token;    /* it came with, 0: over the socket */
	char only[64];     /* the name that its token is for, or "" */
	uint64_t removing; /* number of the REMOVE that is not answered yet, or 0 */
	struct buf out;
	struct stream_set *streams;
	struct sent_blob *blobs;
	struct uplink *next;
};

void links__hello(struct uplink *u, const struct link_hello *h);
