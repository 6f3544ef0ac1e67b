/*
 * The ledger of one slice as a process of the job uses it: bytes are reserved before the driver is asked, then charged or handed back.
 * A ledger is caller's memory, zeroed before ledger_open, and lives as long as the process; its file belongs to the agent.
 * Any thread; no call takes memory from the heap, or waits longer than LEDGER_PATIENCE_MS for other processes of the job.
 * What fails says so with an enum ledger_answer and has changed nothing; nonsense in the file is LEDGER_BROKEN, never a crash.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "berth/slice.h"

#define LEDGER_PATIENCE_MS 2000
#define LEDGER_PATH_MAX    4096

enum ledger_answer {
	LEDGER_OK = 0,
	LEDGER_FULL = -1, /* it does not fit */
	LEDGER_BROKEN =
	        -2, /* the file is cut short or gone, its lock is not to be had, or every slot is taken */
	LEDGER_ABSENT = -3, /* no such file */
};

struct ledger {
	struct slice *map; /* NULL: not open */
	struct slice_grant
	        grant; /* as it was when the file was mapped: what is written there later is not looked at */
	char path[LEDGER_PATH_MAX];
	dev_t device;
	ino_t inode;
	pthread_mutex_t mutex; /* guards what follows */
	int cancel;   /* of the thread that has it: whether it may be cancelled otherwise */
	int fd;       /* as long as the program does not close it; -1: none */
	void *anchor; /* a mapping of that open file: the lock on the slot's byte lasts as long; NULL: as the descriptor */
	int slot;     /* -1: this process has not used the slice yet */
	int who_fd;   /* of who-N; -1: none */
	ino_t who_inode;
	bool is_signed; /* its byte of who-N is this process's */
	uint32_t generation;
	/* What this process has: the truth, of which the file has a copy. */
	uint64_t reserved_bytes;
	uint64_t bytes[SLICE_KINDS];
	uint64_t published_bytes; /* how much of it is in the file's used_bytes */
};

/* Maps the file and looks whether it is a ledger. On failure *ret_why, when not NULL, is a text that lives for ever. */
int ledger_open(struct ledger *ledger, const char *path, const char **ret_why);

/*
 * After fork, in the child: it has nothing, and no slot. The parent's lock lives as long as a copy of its descriptor, so that is
 * closed; the anchor is not handed on.
 */
void ledger_forked(struct ledger *ledger);

/* Takes `bytes` out of what is left, for a call on its way. */
int ledger_reserve(struct ledger *ledger, uint64_t bytes);

/*
 * The same for a thread that has nothing reserved: while there is no room, and what other calls of the job have reserved would
 * make it, waits for their ends. So a reservation that is larger than what becomes of it is nobody's failure.
 */
int ledger_reserve_after_others(struct ledger *ledger, uint64_t bytes);

/*
 * The call is over: of what was reserved, `bytes` are charged to `kind`, and the rest is handed back. More than was reserved
 * is never charged: reserve the difference first. Keeps its own books also when the file is broken: 0, or LEDGER_BROKEN.
 */
int ledger_settle(
        struct ledger *ledger, uint64_t reserved_bytes, enum slice_kind kind, uint64_t bytes);

/* What was charged to `kind` is no longer used. */
int ledger_return(struct ledger *ledger, enum slice_kind kind, uint64_t bytes);

/* What an allocation may take: whole granules, after the slots of dead processes were cleared. 0 when the file is broken. */
uint64_t ledger_left(struct ledger *ledger);
