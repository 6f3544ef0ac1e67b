/*
 * What the agent asks of the keepers' parent (through the helper where root installed Berth): start an attempt,
 * start a command beside one (exec), stop one, sweep up after one. One typed message each way of a SOCK_STREAM
 * Unix socket: uint32 length in network order, then a codec run of at most LAUNCH_MAX bytes.
 * The decoded struct owns one block of memory, freed by launch_done. libc only; any thread.
 *
 * There is no answer to a start: what became of it is read from the spool (wire/spool.h), also when it failed.
 * Messages on one connection are carried out in order. A repeated start of an epoch that lives is ignored.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define LAUNCH_MAX (8 * MIB)
#define LAUNCH_CPUS 1024 /* CPUs a node can have */

enum launch_kind {
	LAUNCH_START = 1, /* an attempt of a job */
	LAUNCH_EXEC,      /* a command inside a living attempt: console only, nothing in the spool */
	LAUNCH_STOP,      /* end the attempt `epoch`: TERM, grace, KILL; `force`: KILL now */
	LAUNCH_SWEEP,     /* the keeper of `epoch` is dead: end what is left, then append its ENDED with SPOOL_KEEPER_KILLED */
	LAUNCH_ROTATE,    /* open a new spool file (`path`) for attempts started from now on */
};

struct launch {
	enum launch_kind kind;
	uint64_t job;
	int64_t task; /* -1: not a task of an array */
	uint32_t attempt;
	uint64_t epoch; /* names the attempt; of an exec: the attempt it belongs to */
	uint64_t console_id; /* of an exec: names its console; else 0 */

	char *user;  /* account to run as; NULL: the account of the keepers' parent. Resolved where root is held */
	char **argv; /* NULL-terminated */
	char **env;  /* NULL-terminated K=V, complete */
	char *cwd;
	bool make_cwd; /* cwd is an empty directory of the job's own: made, owned by the account, removed at the end */

	char *out_path; /* where stdout goes; made with the account's rights unless out_internal */
	char *err_path; /* NULL: with stdout */
	char *index_path; /* offset, time, stream of each chunk (wire/spool.h); NULL: none */
	bool out_internal; /* out_path lies in Berth's own directory: made by the keeper, not by the account */
	uint64_t output_max; /* bytes kept per attempt: head and tail */

	bool tty;  /* a terminal instead of pipes */
	bool console; /* listen on `console_path` (always with tty and exec) */
	char *console_path; /* Unix socket, wire/console.h */
	uint32_t rows, cols;

	uint64_t grace_ms;
	uint64_t time_limit_ms; /* 0: none; held by the keeper, on a clock that does not jump */
	uint64_t cpus[LAUNCH_CPUS / 64]; /* CPUs it may use; all zero: not bound */
	bool force; /* of a stop */
	uint32_t stop_cause; /* of a stop: enum spool_cause that its ENDED shall carry if it had to be ended */
	char *path; /* of a rotate */

	void *block; /* all the memory behind the pointers above, when decoded */
};

/* Appends length and message to b; pointers of l are borrowed. */
void launch_encode(const struct launch *l, struct buf *b);
/* data: one message without its length. */
MUST_CHECK int launch_decode(const void *data, size_t len, struct launch *ret_launch, struct err *err);
void launch_done(struct launch *l);
