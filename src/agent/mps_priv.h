/*
 * Inside of mps.h: its daemons, and the two ways to have one (mps_own.c: as our own children; mps_asked.c: by root's
 * helper). Ownership, thread and failures: as there.
 */
#pragma once

#include "agent/mps.h"
#include "core/node.h"
#include "plat/background.h"

#define MPS_LEAVE_MS 3000 /* from the word to SIGKILL, when we end */
#define MPS_DEAD_MS  1000 /* from SIGKILL to the end */

enum daemon_state { DAEMON_DOWN, DAEMON_FINDING, DAEMON_STARTING, DAEMON_UP, DAEMON_ENDING };

struct daemon {
	struct mps *of;
	char uuid[96];
	uint32_t number;
	char dir[MPS_PATH - 96]; /* ours; its own is below, or the same */
	char account[128];       /* that it serves, or served last; "": our own */
	enum daemon_state state;
	struct mps_place place; /* while it is UP */
	/* FINDING, STARTING: where its outcome comes, -1: nobody could be asked yet; UP, ENDING: of its process. */
	int fd;
	struct loop_poll *poll;
	uint64_t until_ms; /* patience with anything but UP */
	unsigned n_kills;  /* of ENDING */
	pid_t child;       /* of ours, of a start or an end; 0: none */
};

struct mps_way {
	/* 0: *ret_fd is of its process; 1: of what the outcome is read from. UNAVAILABLE: nobody could be asked. */
	int (*find)(struct daemon *d, int *ret_fd, struct err *err);
	int (*start)(struct daemon *d, int *ret_fd, struct err *err);
	/* The outcome of these two, when d->fd can be read or patience is over; *ret_fd is of its process, and its place is known. */
	int (*take)(struct daemon *d, bool is_late, int *ret_fd, struct err *err);
	void (*tell)(struct daemon *d);  /* to end */
	void (*kill)(struct daemon *d);  /* and all that it has started */
	void (*clean)(struct daemon *d); /* what is left of one that has ended */
	uint64_t start_ms;               /* patience until it listens */
};

extern const struct mps_way mps_own, mps_asked;

struct mps {
	struct mps_options o;
	const struct mps_way *way;
	char *program, *helper;
	char root[MPS_PATH - 128];
	struct daemon daemons[NODE_DEVICES_MAX];
	uint32_t n;
	struct loop_timer *timer; /* while patience is needed */
};

/* What its clients are told of a daemon whose directory this is. */
void mps_place_at(const char *dir, struct mps_place *ret);
