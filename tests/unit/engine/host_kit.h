/*
 * The host engine with a spool of its own and a keepers' parent that only listens, for tests. All of it stands in `t`, and
 * goes with host_kit_end. One thread. What goes wrong, or does not come, fails the test.
 */
#pragma once

#include "engine/host_priv.h"
#include "kit.h"

#define MESSAGES_MAX 256
#define REPORTS_MAX  64
#define WAIT_MS      10000

struct host_kit {
	struct loop *loop;
	struct loop_timer *timer;
	struct engine *engine;
	struct host *host; /* the same */
	struct spool_record reports[REPORTS_MAX];
	size_t n_reports;
	unsigned n_lost, n_with_machine;
	/* The parent */
	int listen_fd, conn_fd;
	struct loop_poll *listen_poll, *conn_poll;
	struct buf in;
	struct launch messages[MESSAGES_MAX];
	size_t n_messages;
	unsigned n_ups, n_downs;
	/* Waiting */
	bool (*is_there)(uint64_t arg);
	uint64_t arg, deadline_ms;
	bool has_come;
};
extern struct host_kit t;

int host_kit_begin(void **state);
int host_kit_begin_alone(void **state); /* nobody listens yet */
int host_kit_end(void **state);
/* Another engine over the same spool, after engine_close. */
void kit_open(bool is_rebooted);

/* The parent */
void kit_listen(void);
void kit_die(void);
size_t count_messages(enum launch_kind kind, uint64_t epoch);             /* epoch 0: any */
const struct launch *find_message(enum launch_kind kind, uint64_t epoch); /* the last; NULL */

/* The caller */
struct link_start a_start(uint64_t epoch);
void prepare(uint64_t epoch);
void start(uint64_t epoch); /* prepares it, too */
void stop(uint64_t epoch, bool force);
/* So many reports of that kind and epoch; *ret is the last. */
size_t told(enum spool_kind kind, uint64_t epoch, struct spool_record *ret);
bool is_in(uint64_t epoch, enum host_state state);

/* A keeper writes, and it is read. */
void say(enum spool_kind kind, uint64_t epoch);

/* Runs the loop until that is so. */
void until(bool (*is_there)(uint64_t arg), uint64_t arg);
bool is_up(uint64_t times);
bool is_down(uint64_t times);
bool has_start(uint64_t epoch);
bool has_stop(uint64_t epoch);
bool has_sweep(uint64_t epoch);
bool has_rotate(uint64_t times);
bool turns(uint64_t unused); /* whatever was sent has arrived */
