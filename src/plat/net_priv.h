/*
 * For net*.c only: the hub (one per loop), the connection (a stream, with or without TLS) and what speaks over it.
 * A connection frees itself once its handle is closed; what speaks over it is freed in its on_gone. A hub lives while anything uses it.
 * Loop thread only. Peers' failures end the connection; `why` tells the one who speaks.
 *
 * DESIGN. In a turn of the loop callbacks only gather: bytes that arrived, output, wishes to close. Behind the descriptors of the same
 * turn the hub settles each connection that was touched: input that was held back goes on, finished exchanges end, output leaves in one
 * write, deadlines move. Nothing is freed and no on_close is called anywhere else, so a handler may call anything from any callback.
 */
#pragma once

#include "plat/net.h"

#include <sys/queue.h>
#include <uv.h>

#define NET_READ_BYTES 65536

struct conn;
struct tls;
struct tls_ctx;

TAILQ_HEAD(conn_list, conn);

struct net_hub {
	struct loop *loop;
	uv_loop_t *uv;
	unsigned n_users; /* the last one closes the handles */
	unsigned
	        n_refs; /* of users, handles, and connections being closed: the last one frees it */
	uv_check_t check;
	uv_idle_t idle;       /* runs while something is dirty: the loop does not sleep then */
	uv_timer_t timer;     /* at the earliest deadline, or before it */
	uint64_t timer_at_ms; /* 0: stopped */
	uint64_t lost_ms;     /* in which this process did not run */
	struct conn_list conns;
	struct conn_list dirty;
	LIST_HEAD(, net_server) servers; /* that are not closing */
	struct buf spare;                /* one output buffer, handed from turn to turn */
	uint8_t *read_bytes;
	int64_t date_s;
	char date[40];
};

MUST_CHECK struct net_hub *hub_use(struct loop *loop); /* a use and a reference */
void hub_leave(struct net_hub *hub);                   /* gives back the use */
void hub_unref(struct net_hub *hub);
/* For deadlines: stands still while this process is stopped or busy, because then it is not the peers who are silent. */
uint64_t hub_now_ms(const struct net_hub *hub);
const char *hub_date(struct net_hub *hub); /* for the header Date */
void hub_arm(struct net_hub *hub, uint64_t at_ms);
void hub_touch(struct net_hub *hub, struct conn *c); /* one that is not dirty */

/* What speaks over a connection. */
struct conn_ops {
	/* Returns how many were taken; 0: not now, or more are needed. The rest is held and comes again. */
	size_t (*on_bytes)(struct conn *c, const uint8_t *bytes, size_t len);
	/* End of a turn in which something happened. True: call again, there may be more to do. */
	bool (*on_settle)(struct conn *c);
	/* All held bytes have been offered and there will be no more. */
	void (*on_eof)(struct conn *c);
	void (*on_flushed)(
	        struct conn *c); /* after on_settle, when output has gone as far as it may */
	void (*on_deadline)(struct conn *c);
	void (*on_gone)(struct conn *c, const struct err *why); /* once, last */
};

/* What a connection of a server waits for: BUSY is waited for by its peer. */
enum conn_wait {
	CONN_BUSY,
	CONN_FRESH, /* no whole request since it came or began one; also with a body that nobody wants */
	CONN_IDLE,    /* kept alive, not a byte of a request */
	CONN_LEAVING, /* answered, and closed as soon as the peer has taken it */
	CONN_BODY,    /* of a body that is wanted some is missing */
	CONN_N_WAITS
};

struct listener;
struct peer_count;

struct conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_pipe_t pipe;
		uv_tcp_t tcp;
	} uv;
	struct net_hub *hub;
	struct net_server *server; /* NULL: we connected */
	const struct conn_ops *ops;
	void *up;
	struct tls *tls;
	struct tls_ctx *tls_ctx; /* until the first byte has decided; borrowed from the listener */
	struct buf held;         /* arrived, not yet taken: held.data[held_at..] */
	size_t held_at;
	size_t held_max;   /* above it nothing is read */
	struct buf out;    /* to be sent, as the one who speaks wrote it */
	struct buf flying; /* with the kernel's queue; not to be touched */
	uv_write_t write;
	size_t queue_seen;    /* of libuv, at the last look: for noticing progress */
	uint64_t deadline_ms; /* 0: none */
	uint64_t sent_ms;     /* when output last made progress */
	unsigned stall_ms;    /* how long it may make none */
	struct err *why;
	bool is_dirty;
	bool is_reading;
	bool is_writing;
	bool is_connecting;
	bool is_paused; /* by the one who speaks */
	bool is_eof;
	bool is_eof_told;
	bool is_ending;    /* nothing more is taken; closed when all is sent */
	bool is_lingering; /* all sent and said so; waits for the peer's end */
	bool wants_linger;
	bool is_closing; /* uv_close was called */
	bool is_plain_allowed;
	bool is_plain_refused; /* plain HTTP where only TLS is spoken */
	bool is_undecided;     /* TLS or plain: the first byte tells */
	bool is_tls_ended;
	bool is_socketless; /* fed by a test */
	enum conn_wait wait;
	uint64_t wait_ms;           /* since when */
	struct peer_count *counted; /* where it counts, or NULL */
	uint64_t since_turn;        /* of its server */
	TAILQ_ENTRY(conn) link;
	TAILQ_ENTRY(conn) dirty_link;
	TAILQ_ENTRY(conn) wait_link;
	struct net_peer peer;
};

/* Takes a use of the hub; the caller opens c->uv and then touches it. */
MUST_CHECK struct conn *conn_new(
        struct net_hub *hub, bool is_pipe, const struct conn_ops *ops, void *up);
void conn_speak(
        struct conn *c, const struct conn_ops *ops, void *up);    /* from now on somebody else */
void conn_feed(struct conn *c, const uint8_t *bytes, size_t len); /* they have arrived */
void conn_touch(struct conn *c);       /* settle it at the end of this turn */
void conn_settle(struct conn *c);      /* the hub does */
void conn_on_deadline(struct conn *c); /* the hub does */
/* Has output made progress since the last look, or within stall_ms? */
bool conn_is_sending(struct conn *c);
struct buf *conn_out(struct conn *c); /* append here; marks it touched */
size_t conn_unsent(const struct conn *c);
void conn_set_deadline(struct conn *c, uint64_t at_ms);
void conn_pause(struct conn *c, bool paused);
/* Closed when everything is sent; linger: reads on a little, so that the peer gets to see the answer. */
void conn_end(struct conn *c, bool linger);
/* Closed now; what is unsent gets one last try. why is copied, NULL: in good order. */
void conn_lose(struct conn *c, const struct err *why);

/* net.c: the part of a server that its connections need. */
struct net_server {
	struct net_hub *hub;
	struct net_limits limits; /* no zeros */
	struct net_handlers handlers;
	void *data;
	LIST_ENTRY(net_server) link;
	struct listener *listeners;
	struct conn_list waits[CONN_N_WAITS]; /* oldest first; none is BUSY */
	unsigned n_waits[CONN_N_WAITS];
	struct peer_count *peers;
	unsigned n_conns; /* that are not being closed */
	uint64_t turn;
	unsigned n_users; /* connections and listeners whose handles are not closed yet */
	bool is_paused;
	bool is_closing;
};
void server_conn_gone(struct conn *c);  /* is closed */
void server_turn(struct net_server *s); /* the hub does, at the end of each */
/* net_room.c. Nothing happens when it waits so already; else its age begins anew. */
void server_set_wait(struct conn *c, enum conn_wait wait);
void server_conn_lost(struct conn *c); /* is being closed */
/* A newcomer whose peer is known: may it stay? Another one may have gone for it. */
MUST_CHECK bool server_admit(struct conn *c, const char **ret_text);
/* So much more was just given to one of them. */
void server_bound_unsent(struct net_server *s, size_t bytes);
unsigned server_max_connections(const struct net_limits *limits);
/* Without a socket: conn_feed is its network, its answers vanish at the end of each turn. For fuzzing. */
MUST_CHECK struct conn *server_conn_new_socketless(struct net_server *s);

/* net_http.c */
extern const struct conn_ops http_ops;
void *http_new(struct conn *c);
