/*
 * What the agent asks of the keepers' parent (through the helper where root installed Berth): start an attempt,
 * start a command beside one (exec), stop one, sweep up after one. One typed message each way of a SOCK_STREAM
 * Unix socket: uint32 length in network order, then a codec run of at most LAUNCH_MAX bytes.
 * The decoded struct owns one block of memory, freed by launch_done. libc only; any thread.
 *
 * Only OPEN, DOOR and MPS are answered. There is no answer to a start: what became of it is read from the spool (wire/spool.h), also when it failed.
 * Messages on one connection are carried out in order. A repeated start of an epoch that lives is ignored.
 *
 * When a connection breaks (the keepers' parent, or the helper, was killed), what was sent on it last may be lost. The
 * agent connects again, reads the spool to its end, and for each of its attempts that has no ENDED and whose byte nobody
 * locks: sends START again with `again` if there was no STARTED either, else SWEEP. Both leave exactly one ENDED.
 *
 * In every process of an attempt's tree, execs too, the keeper sets BERTH_KEEPER=<data directory>-<epoch>: that is how
 * a sweep finds what outlived its keeper.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define LAUNCH_MAX       (8 * MIB)
#define LAUNCH_GRANT_LEN 32   /* hexadecimal digits */
#define LAUNCH_CPUS      1024 /* CPUs a node can have */
#define LAUNCH_MINORS    256
#define LAUNCH_CAPS      2304
#define LAUNCH_RANKS \
	256 /* tasks of a job: each may have two pipes of its own, below the usual limit of files */

enum launch_kind {
	/* An attempt of a job. */
	LAUNCH_START = 1,
	/* A command inside a living attempt: console only, nothing in the spool; it ends with the attempt. */
	LAUNCH_EXEC,
	/* End the attempt `epoch`: TERM, grace, KILL; `force`: KILL now. Nothing happens if it does not live. */
	LAUNCH_STOP,
	/* The keeper of `epoch` is dead: end what is left, remove the directory of its own that is named, then append its ENDED if it has
	 * none: with `stop_cause`, or SPOOL_KEEPER_KILLED. */
	LAUNCH_SWEEP,
	/* Open a new spool file (`path`) for attempts started from now on. */
	LAUNCH_ROTATE,
	/* The job is forgotten, and with it what root granted it. For the helper; goes no further. */
	LAUNCH_FORGET,
	/* From here on all are answered. */
	/*
	 * Open `out_path`, an output file of `job`, for reading, with the rights of `user`. For the helper, on a connection of its
	 * own, where it is answered: one byte 0 with the descriptor, or one of enum err_kind and the text of the error; then it ends.
	 */
	LAUNCH_OPEN,
	/* From the server to the helper: its socket gets the group `gid`. A connection of its own, answered in the same way. */
	LAUNCH_DOOR,
	/*
	 * The MPS daemon of `user` on `device`, with its directories below run/mps/`place` of Berth's own: it is started, if it does not run; it
	 * is looked for; it is ended, with `force` without a word. For the helper, on connections of their own, answered in the same way: the
	 * descriptor is of its process (pidfd), and behind the byte 0 stands its directory. Of an end, and where nothing was found
	 * (NOT_FOUND), there is neither.
	 */
	LAUNCH_MPS_START,
	LAUNCH_MPS_FIND,
	LAUNCH_MPS_END,
};

#define LAUNCH_PLACES 64 /* devices of a node */

struct launch {
	enum launch_kind kind;
	uint64_t job;
	int64_t task; /* -1: not a task of an array */
	uint32_t attempt;
	uint64_t epoch; /* names the attempt, from 1 to SPOOL_EPOCH_MAX; of an exec: whose it is */
	bool again; /* of a start that may have been sent before: if it has begun and is dead, it is swept */
	uint64_t console_id; /* of an exec: names its console; else 0 */

	/* Of what shall run as root: names the grant that root's client left for the helper (doc/adr/0014); NULL: none. */
	const char *grant;
	/* Account to run as; NULL: the account of the keepers' parent, unless that is root. Resolved where root is held. */
	const char *user;
	char **argv;     /* NULL-terminated; looked up in the PATH of `env` */
	char **env;      /* NULL-terminated K=V, complete */
	const char *cwd; /* absolute; NULL: / */
	/* cwd is an empty directory of the job's own: made, owned by the account, removed at the end; a sweep removes it, too. */
	bool make_cwd;

	/* Where stdout goes; made with the account's rights and emptied at the start. NULL: nowhere. One file of the account's for
	 * both streams keeps their order to the byte, and its index calls all of it stdout. */
	const char *out_path;
	/* out_path lies in Berth's own directory: made by the keeper, not by the account, with the first byte of output. */
	bool out_internal;
	const char *err_path; /* NULL: with stdout. Each of two files is given half of output_max */
	const char *index_path; /* struct spool_chunk of each chunk; Berth's own; NULL: none */
	uint64_t output_max;    /* bytes kept per attempt: head and tail; 0: no ceiling */

	/*
	 * How often the command is started (`-n`), each time with another rank, from 0: all of them or none, and the first that
	 * fails ends the others. 0: once, and no rank. Rank 0 reads stdin. Of more than one none has a terminal.
	 */
	uint32_t ranks;
	bool label; /* lines of output are whole, and begin with "RANK: " */

	bool tty; /* a terminal instead of pipes; stderr goes with stdout */
	/* Listen on console_path; always with tty and exec. With pipes, stdin then comes from the console, else it is /dev/null. */
	bool console;
	const char *console_path; /* Unix socket, wire/console.h; gone when the process is */
	uint32_t rows, cols;

	uint64_t grace_ms;
	uint64_t time_limit_ms; /* 0: none; held by the keeper, on a clock that does not jump */
	uint64_t cpus[LAUNCH_CPUS / 64]; /* CPUs it may use; all zero: not bound */
	/* What holds it. A limit of 0 is none; what the machine cannot hold is said in STARTED. */
	uint64_t mem_bytes;
	uint64_t max_processes;
	uint32_t cpu_weight;    /* hundredths of the share that others have */
	uint32_t cpu_max_milli; /* thousandths of a CPU */
	uint32_t io_weight;     /* 100: as others */
	bool hold_devices; /* of /dev/nvidiaN it may open those below only, by their minor number */
	uint64_t minors[LAUNCH_MINORS / 64];
	/* With hold_devices: of /dev/nvidia-caps/nvidia-capN, which have this major number, those below only; 0: there are none. */
	uint32_t caps_major;
	uint64_t caps[LAUNCH_CAPS / 64];
	const char *
	        group_parent; /* control group that its group is made in; NULL: that of the keepers' parent */
	/* Directory of the ledgers (berth/slice.h) that hold it to its slices, also of an exec; NULL: it has no fraction of a device. */
	const char *slices;
	/* The most of the memory of devices, as cgroup_dmem_set takes it; NULL: none. */
	const char *gpu_limits;
	bool by_mps;        /* an MPS daemon of the agent's holds its compute: for STARTED */
	bool simulated;     /* its devices: it finds the fake driver in place of the machine's */
	const char *device; /* of an MPS daemon: UUID */
	uint32_t place;     /* the same: number of the device, less than LAUNCH_PLACES */
	bool force;         /* of a stop */
	uint32_t
	        stop_cause; /* of a stop or sweep: enum spool_cause for ENDED, if it had to be ended */
	/* Of a rotate: the new spool file. Of an exec, stop or sweep: the one its attempt was started with; NULL: the one in use. */
	const char *path;

	/* Filled in by the helper, never by the agent (but the gid of a DOOR); only the helper can talk to a parent that is root. */
	bool has_account; /* `user` was looked up and allowed */
	uint32_t uid, gid;
	uint32_t *groups;
	size_t n_groups;
	/* Not to be carried out: a start gets its ENDED with SPOOL_SETUP_FAILED and this text, an exec CONSOLE_ERROR. */
	const char *refusal;

	void *block; /* all the memory behind the pointers above, when decoded */
};

/* Appends length and message to b; pointers of l are borrowed. */
void launch_encode(const struct launch *l, struct buf *b);
/* data: one message without its length. Behind the NULL that ends env there is room for one more. */
MUST_CHECK int launch_decode(
        const void *data, size_t len, struct launch *ret_launch, struct err *err);
void launch_done(struct launch *l);

/* Whether an entry K=V is of a variable that Berth itself sets in every job; key_len: up to the '='. */
bool launch_sets_variable(const char *entry, size_t key_len);

/* By what the tasks of a job find each other; the keeper sets them. The other names are those of torch.distributed. */
enum launch_rank_variable {
	LAUNCH_BERTH_RANK,
	LAUNCH_RANK,
	LAUNCH_LOCAL_RANK,
	LAUNCH_BERTH_TASKS,
	LAUNCH_WORLD_SIZE,
	LAUNCH_LOCAL_WORLD_SIZE,
	LAUNCH_MASTER_ADDR,
	LAUNCH_MASTER_PORT,
	LAUNCH_RANK_VARIABLES
};
extern const char *const launch_rank_variables[LAUNCH_RANK_VARIABLES];
bool launch_is_rank_variable(const char *entry, size_t key_len);
