/*
 * attempts.h with a spool of its own and a keepers' parent that only listens, for tests. All of it stands in `t`, and goes
 * with attempts_end_kit. One thread. What goes wrong, or does not come, fails the test.
 */
#pragma once

#include "agent/attempts.h"
#include "kit.h"

#define MESSAGES_MAX 256
#define WAIT_MS      10000

/* The module, and a keepers' parent that only listens. */
struct attempts_kit {
	struct loop *loop;
	struct loop_timer *timer;
	struct outbox outbox;
	struct prepare prepare;
	struct spools *spools;
	struct attempts *attempts;
	struct launcher *launcher;
	void *ctx;
	int listen_fd, conn_fd;
	struct loop_poll *listen_poll, *conn_poll;
	struct buf in;
	struct launch messages[MESSAGES_MAX];
	size_t n_messages;
	bool (*is_there)(uint64_t arg);
	uint64_t arg, deadline_ms;
	unsigned n_ups, n_downs;
	bool has_come;
};
extern struct attempts_kit t;

int attempts_begin(void **state);
int attempts_begin_alone(void **state); /* nobody listens, and nobody connects, yet */
int attempts_end_kit(void **state);
void kit_make(void); /* another agent over the same spool, after kit_free */
void kit_free(void);
void kit_connect(void);

/* The parent */
void kit_listen(void);
void kit_die(void);
size_t count_messages(enum launch_kind kind, uint64_t epoch);             /* epoch 0: any */
const struct launch *find_message(enum launch_kind kind, uint64_t epoch); /* the last; NULL */

/* The server */
void start(uint64_t epoch);
struct link_start a_start(uint64_t epoch);
void stop(uint64_t epoch, bool force);
/* So many records of that type and epoch were told; *ret is the last. */
size_t told(enum link_type type, uint64_t epoch, struct spool_record *ret);

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
