/*
 * The control plane: one process, one loop thread that owns the world, one store thread. Shared by the files of this
 * folder; nobody else includes it. Loop thread unless said otherwise.
 *
 * DESIGN. Requests and agents' reports become events; server_apply() hands them to the core. At the end of a turn of the loop
 * the plan is made, and everything that changed becomes one batch (batch.h). What follows from it (answers, messages to
 * agents, wake-ups) is released when the store has committed that batch, never before. While a batch is on its way,
 * the next one gathers.
 */
#pragma once

#include "conf/conf.h"
#include "core/apply.h"
#include "plat/log.h"
#include "plat/loop.h"
#include "plat/net.h"
#include "plat/worker.h"
#include "sched/sched.h"
#include "store/store.h"

struct batch;
struct calibrator;
struct guard;
struct kept;
struct prune;
struct recorder;
struct removals;
struct uplink;
struct watch_set;

struct server {
	struct loop *loop;
	struct conf *conf;
	struct world *world;
	struct sched *sched;
	struct recorder *recorder;     /* NULL: nothing is recorded */
	uint64_t n_placed;             /* since it learned the mix */
	struct calibrator *calibrator; /* NULL: never needed so far */
	struct store *store;
	struct worker *worker; /* the store thread */
	struct net_server *net;
	char *data_dir;
	char *config_path; /* NULL: none */
	char *listen;      /* "127.0.0.1:7311" as it came out, or NULL */
	char tls_pin[65];
	struct guard *guard;
	int64_t started_ms;
	int64_t clock_offset_ms; /* of the wall clock to the monotonic one */
	int64_t prune_after_ms;  /* monotonic; not before, as the clock is doubted */
	uint32_t owner_uid;
	bool is_root_install; /* jobs may run as other accounts */

	/* batches */
	uint64_t store_epoch;
	uint64_t seq; /* of the last batch handed to the store */
	struct batch *gathering;
	struct batch *in_flight;
	struct loop_timer *pace_timer;  /* commits are not too close to each other */
	uint64_t pace_ms;               /* when the next one may begin */
	struct loop_timer *retry_timer; /* a batch that failed is tried again */
	bool reserve_is_out; /* store thread: the reserve file was given up for ends of jobs */
	enum err_kind store_trouble; /* ERR_NONE: the last commit succeeded */
	char store_trouble_text[200];
	struct loop_timer *patience_timer;
	uint64_t patience_ms;  /* a commit may take so long before who only reads is told */
	uint64_t answer_ms;    /* and who asked for a change waits no longer than that */
	bool store_is_slow;    /* it took longer, and is not back yet */
	struct kept *kept;     /* what readers see meanwhile, or NULL */
	struct worker *reader; /* the thread that reads it, or NULL: never needed so far */

	struct uplink *uplinks; /* connected agents */
	LIST_HEAD(, call) calls;
	LIST_HEAD(, console) consoles;
	struct watch_set *watches;
	struct removals *removals;
	struct prune *prune;           /* under way, or NULL */
	struct loop_timer *tick_timer; /* back-off, silence */
	struct loop_timer *prune_timer;
	struct loop_timer *expiry_timer; /* of tokens */
	bool shutting_down;
	bool shutdown_keep;
	bool stop_asked; /* stops after what is gathered, or when that cannot be kept */
	bool stopped;
	bool fenced; /* another server leads this store now */
};

struct now server_now(const struct server *s);
/* core_apply() with this server's world and effects; whatever changed joins the batch that gathers. */
MUST_CHECK int server_apply(
        struct server *s, const struct event *e, struct applied *ret_applied, struct err *err);
/* The same where failing can only be a bug or a report that came too late: logged, not returned. */
void server_apply_or_log(struct server *s, const struct event *e);
/* Nothing becomes durable now; err says why. False: all is well. */
bool server_is_stuck(const struct server *s, struct err *err);
void server_stop(struct server *s); /* after what is gathered is durable, or cannot be kept */
void server_arm_tick(struct server *s);

/* load.c: the world as the store has it. */
MUST_CHECK int server_load(struct server *s, struct err *err);
/* main.c's work in server.c */
MUST_CHECK int server_open(const char *data_dir, const char *config_path, const char *listen,
        bool insecure, bool has_helper, struct server **ret_server, struct err *err);
void server_close(struct server *s);
