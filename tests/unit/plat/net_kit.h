/*
 * For the tests of the network: a loop, a server with a few routes, and peers that speak raw bytes over real sockets.
 * The kit owns everything; kit_done closes it and checks that nothing is left on the loop. One thread.
 * What is waited for and does not come within a guard of ten seconds fails the test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plat/loop.h"
#include "plat/net.h"

struct kit {
	struct loop *loop;
	struct net_server *server;
	struct loop_timer *guard;
	bool (*is_done)(void *data);
	void *is_done_data;
	bool is_late;
	unsigned n_looks;
	char dir[64];
	char path[96]; /* of the socket */
	uint16_t port;

	/* What the routes saw and keep */
	struct net_request *late; /* of /late and /stream: answered by the test */
	unsigned n_requests;
	unsigned n_closed; /* on_close calls */
	unsigned n_drains;
	size_t n_bytes; /* of a streamed body */
	bool is_ended;  /* the streamed body */
	bool pauses;    /* /count pauses after each piece */
	struct net_peer peer;
	char saw[512];
	char authorization[64];
	/* WebSockets that /ws accepted */
	const struct net_ws_handlers *ws_handlers;
	void *ws_data;
	struct net_ws *ws;
	unsigned n_accepted;
};

struct peer {
	struct kit *kit;
	int fd;
	struct loop_poll *poll;
	struct buf in;
	bool is_eof;
};

void kit_init(struct kit *k, const struct net_limits *limits); /* serves a Unix socket */
void kit_listen_tcp(struct kit *k, const struct net_tcp_options *o);
void kit_done(struct kit *k);
/* Runs the loop until done says so. */
void kit_wait(struct kit *k, bool (*is_done)(void *data), void *data);
void kit_wait_count(struct kit *k, const unsigned *counter, unsigned n); /* until *counter >= n */
void kit_wait_true(struct kit *k, const bool *flag);
void kit_turns(
        struct kit *k, unsigned ms); /* lets the loop run for so long: for what must not happen */

void peer_open(struct peer *p, struct kit *k);
void peer_open_tcp(struct peer *p, struct kit *k);
void peer_close(struct peer *p);
void peer_say(struct peer *p, const char *text);
void peer_say_bytes(struct peer *p, const void *bytes, size_t len);
/* Until this text has come, at the front of what has not been expected yet or later; what is before it is dropped with it. */
void peer_expect(struct peer *p, const char *text);
void peer_expect_eof(struct peer *p);
void peer_stop_reading(struct peer *p);
void peer_read_again(struct peer *p);
/* Asks, and checks the status line. */
void peer_ask(struct peer *p, const char *request, const char *status);
