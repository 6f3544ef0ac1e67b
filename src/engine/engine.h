/*
 * What runs attempts on a node: one contract, so that the agent speaks to every engine alike and knows none of them.
 * An engine owns what it runs and what belongs to that; what it is given is borrowed for the call, what it reports lives as
 * long as the report. The loop's thread. What a call cannot do is its error, with a text for the submitter; what goes wrong
 * afterwards becomes the end of that attempt; the rest is news, for whoever keeps a log. An engine never gives up by itself.
 *
 * DESIGN. The server names an attempt by its epoch. Its life with an engine, calls below, reports above:
 *
 *                              STARTED          ENDED
 *   (nothing) --> PREPARED --> STARTING --> LIVING --> ENDED --> (nothing)
 *        prepare           start     signal, attach        clean
 *
 * Every attempt that was started, or signalled, is reported as ended, once: after its start, if it had one, when no process
 * of it is left and its output is whole. What was only prepared ends by a signal, or goes with clean.
 * The work outlives its caller. An engine keeps on disk, or with whoever runs its work, what another one needs that is opened on
 * the same directory later: that reports everything again which was not cleaned, and may repeat ends that were. Two at the
 * same time are the caller's fault.
 *
 * Output lies in files of one kind whichever engine ran the attempt (wire/spool.h), under names that hold its job and
 * number: it is read without an engine (reader.h), and stays until engine_remove.
 *
 * An engine is a table of functions (struct engine_ops) in a file of its own, and a row in engine.c, which is also the place
 * that would choose among several by what a request says. tests/contract/engine_cases.def tells when it is done.
 */
#pragma once

#include "plat/log.h"
#include "plat/loop.h"
#include "wire/link.h"

#include <sys/types.h>

struct engine; /* each engine's own; opens with its table */
struct engine_attachment;

struct engine_options {
	struct loop *loop;
	const char *data_dir; /* absolute */
	const char *node_name;
	const char *lang; /* of this machine, for jobs that bring none; or NULL */
	const char
	        *fake_gpus; /* description of simulated devices, which jobs are told of; or NULL */
	/* Whom the engine speaks to: a socket, which somebody else serves; NULL: the engine sees to that itself, by `program`. */
	const char *address;
	const char *program;
	bool is_rebooted; /* the machine was started anew since the last engine: whatever has no end has ended */
	/* Reports, from inside of engine_resume, engine_prepare, engine_signal, engine_inspect and from the loop. Every call is
	 * allowed in them, but not engine_close. */
	void (*on_started)(void *data, const struct spool_record *r); /* of kind SPOOL_STARTED */
	/* Of kind SPOOL_ENDED. with_machine: it ended when the machine did. */
	void (*on_ended)(void *data, const struct spool_record *r, bool with_machine);
	/* Whoever looked after it is dead; what is left of it is being ended, and its end will be reported. Not where that comes at
	 * once; never twice. */
	void (*on_lost)(void *data, uint64_t epoch);
	/* For a log. From inside of every call. */
	void (*on_news)(void *data, enum log_level level, const char *event, const char *text);
	void *data;
};

/* What holds every attempt here, as far as the machine can. */
struct engine_holds {
	uint64_t max_processes; /* threads count, too; 0: no limit */
	bool cap_cpus;          /* its CPUs are the most that it gets, not its share */
	uint32_t io_weight;     /* of the disk, 1 to 1000; 100: as others */
	char *group_parent; /* control group that those of attempts are made in; NULL: the engine's own choice */
};

#define ENGINE_MINORS 256
#define ENGINE_CAPS   2304

/* Device files, a bit for each by its minor number. */
struct engine_devices {
	uint64_t minors[ENGINE_MINORS / 64]; /* of /dev/nvidiaN */
	uint32_t caps_major;                 /* of /dev/nvidia-caps; 0: there are none */
	uint64_t caps[ENGINE_CAPS / 64];     /* of /dev/nvidia-caps/nvidia-capN: of MIG instances */
};

/* An attempt as the server wants it, and what the server said of all. */
struct engine_request {
	const struct link_start *start; /* job, command, slices, CPUs, terminal, time limit */
	const void *env; /* as submitted: K=V separated by NUL; `start` only knows its number */
	size_t env_len;
	uint64_t grace_ms;   /* from TERM to KILL */
	uint64_t output_max; /* bytes of output that are kept; 0: all */
	const struct engine_holds *holds;
	/* The ones that it may open; NULL: all, because it is not known which are its own. */
	const struct engine_devices *devices;
	const char *
	        slices; /* directory of the ledgers (berth/slice.h) that hold it; NULL: nothing does, or nothing needs to */
	const char *gpu_limits; /* of memory of devices, by the kernel: wire/launch.h; NULL: none */
	/* Directories of the MPS daemon that holds its compute; NULL: none. */
	const char *mps_pipes, *mps_logs;
	bool again; /* it may have been given to an engine that is no more: what has begun is not begun anew */
};

struct engine_signal {
	struct job_id id;
	uint64_t epoch;
	enum spool_cause
	        cause; /* STOPPED, TIMEOUT, SHUTDOWN, GPU_MEMORY or GPU_AROUND; ENDED says it */
	bool force;    /* KILL now; else TERM, and KILL when the grace is over */
};

struct engine_attach {
	uint64_t epoch;
	bool is_exec; /* a command beside the attempt, on its devices and CPUs; else the attempt's own terminal */
	/* Of an exec */
	char **argv; /* NULL-terminated */
	char **env;  /* K=V, added to the attempt's own; or NULL */
	bool tty;
	uint32_t rows, columns;
	const char *grant;  /* of root's: wire/launch.h; NULL: none */
	const char *slices; /* of its attempt; NULL: none */
	/*
	 * Called once, from the loop: fd is a stream socket that carries frames of wire/console.h both ways, never blocks, and
	 * is the callee's from then on; or -1, and `why`.
	 */
	void (*on_open)(void *data, int fd, const struct err *why);
	void *data;
};

enum engine_phase { ENGINE_PREPARED, ENGINE_STARTING, ENGINE_LIVING, ENGINE_ENDED };

struct engine_state {
	enum engine_phase phase;
	int64_t started_ms; /* wall clock; 0: not yet */
	/* On this machine, else 0: its first process, and the one that everything it starts descends from. */
	pid_t pid, root_pid;
	/* What it may use, as the attempt itself was told; of several devices only which, and their bytes are UINT64_MAX. */
	struct slice_record *slices;
	uint32_t n_slices;
	bool slices_known; /* else nobody can tell (any more) */
};

struct engine_ops {
	const char *name;
	int (*open)(const struct engine_options *o, struct engine **ret_engine, struct err *err);
	void (*close)(struct engine *e);
	void (*resume)(struct engine *e);
	void (*retire)(struct engine *e);
	int (*prepare)(struct engine *e, const struct engine_request *r, struct err *err);
	int (*start)(struct engine *e, uint64_t epoch, struct err *err);
	int (*signal)(struct engine *e, const struct engine_signal *s, struct err *err);
	int (*attach)(struct engine *e, const struct engine_attach *a,
	        struct engine_attachment **ret_attachment, struct err *err);
	void (*detach)(struct engine *e, struct engine_attachment *at);
	int (*inspect)(struct engine *e, void *ctx, uint64_t epoch, struct engine_state *ret_state,
	        struct err *err);
	int (*clean)(struct engine *e, uint64_t epoch, struct err *err);
	void (*remove)(struct engine *e, struct job_id id, uint32_t attempt);
};

struct engine {
	const struct engine_ops *ops;
};

/* Every engine there is, ended by NULL; the first is what a node runs. */
extern const struct engine_ops *const engine_all[];

/* Life. Strings of o are borrowed. Nothing is reported before engine_resume. */
MUST_CHECK int engine_open(const struct engine_ops *ops, const struct engine_options *o,
        struct engine **ret_engine, struct err *err);
/* What runs goes on; what was only prepared is gone. NULL does nothing. */
void engine_close(struct engine *e);
/* Reports what an earlier engine left behind: starts, and ends. Once, first of all. */
void engine_resume(struct engine *e);
/* Nothing runs, and nothing more will be started: ends what the engine itself keeps running. */
void engine_retire(struct engine *e);

/*
 * Commands. Bad values are INVALID with every engine; an epoch that the engine does not have is NOT_FOUND.
 *
 * prepare: everything that can fail before its turn has come, and costs nothing while it waits. CONFLICT: it has this epoch
 * already; whatever has become of it was reported before the return. After any error the engine does not have it.
 */
MUST_CHECK int engine_prepare(struct engine *e, const struct engine_request *r, struct err *err);
/* CONFLICT: it was started already. From here on the engine is sure to report an end. */
MUST_CHECK int engine_start(struct engine *e, uint64_t epoch, struct err *err);
/*
 * Asks for its end. Said twice is said once, and the first cause stays; `force` may be said later. Of one that has ended:
 * nothing. Of one that the engine does not have: it may be on its way from an earlier engine, and if it does not come it is
 * reported as ended.
 */
MUST_CHECK int engine_signal(struct engine *e, const struct engine_signal *s, struct err *err);
/* CONFLICT: it has no terminal, or it does not run (yet, any more). The attachment is gone once on_open was called. */
MUST_CHECK int engine_attach(struct engine *e, const struct engine_attach *a,
        struct engine_attachment **ret_attachment, struct err *err);
void engine_detach(struct engine *e, struct engine_attachment *at); /* on_open is not called */
/* Its end is known elsewhere, and durable: nothing of it stays but its output. CONFLICT: it has not ended. */
MUST_CHECK int engine_clean(struct engine *e, uint64_t epoch, struct err *err);
/* Nobody will read its output again: that goes, too; a file of the submitter's own stays. */
void engine_remove(struct engine *e, struct job_id id, uint32_t attempt);

/* Queries. Looks, and does not remember: what has become of any attempt since is reported first. Slices hang on ctx. */
MUST_CHECK int engine_inspect(struct engine *e, void *ctx, uint64_t epoch,
        struct engine_state *ret_state, struct err *err);
