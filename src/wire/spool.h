/*
 * What keepers report: records appended to a file that the agent reads from, so that neither has to be alive for
 * the other. One write() with O_APPEND per record: magic byte, uint16 length in network order, codec run, uint32
 * sum. libc only; any thread.
 *
 * A record that is cut or does not sum up comes from a crash of the machine, or from a disk that filled up in the middle
 * of a write (its keeper writes the whole record again, behind it). So a reader passes over CORRUPT bytes with spool_skip.
 *
 * An attempt has at most one STARTED and exactly one ENDED, both in the file that was in use when it was started (a
 * sweep appends to the file that it names). After a LAUNCH_ROTATE living keepers go on writing to the old file; it may
 * be removed when every attempt that was started with it has its ENDED.
 *
 * Life: a keeper holds a POSIX write lock on byte `epoch` of its spool file from before the job's first
 * instruction until its own end. F_GETLK on that byte says whether it lives, and its pid. The kernel drops the lock
 * with the process, so no pid is ever mistaken for another, and after a reboot nothing lives. (plat/proc.h has the
 * call; whoever holds such a lock himself must not open and close the same file a second time.) While the byte is
 * locked an ENDED will still come: a sweep of a killed attempt holds the lock as well.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define SPOOL_RECORD_MAX 4096
#define SPOOL_EPOCH_MAX  (((uint64_t)1 << 61) - 1)
/* Bytes beyond: read-locked by each exec of the attempt; write-locked by its keeper once it ends, so that none begins. */
#define SPOOL_EXEC_BYTE(epoch) (((uint64_t)1 << 61) + (epoch))

enum spool_kind { SPOOL_STARTED = 1, SPOOL_ENDED };

/* Why an attempt ended, as its keeper saw it. */
enum spool_cause {
	SPOOL_EXIT = 0,   /* by itself; wait_status says how */
	SPOOL_STOPPED,    /* on request (cancel) */
	SPOOL_TIMEOUT,    /* its time limit */
	SPOOL_SHUTDOWN,   /* `berth down`, or a TERM to the keeper: the machine goes down */
	SPOOL_GPU_MEMORY, /* ended by the watchdog: it used more than its slices */
	SPOOL_OOM,        /* killed by the kernel for memory */
	SPOOL_EXEC_FAILED, /* never began; `text` says why; exit code 126 or 127 as a shell would give */
	SPOOL_KEEPER_KILLED, /* written by the sweeper, not by the keeper */
	SPOOL_SETUP_FAILED,  /* account, directory, output file, terminal; `text` says why */
	SPOOL_GPU_AROUND,    /* ended by the watchdog: it went around what holds its slices */
	SPOOL_MPS_DIED,      /* of notes only: nobody is ended for it */
	SPOOL_CAUSE_MAX
};

/* What holds an attempt, and what its request would have held by. */
enum spool_hold {
	SPOOL_HOLD_MEMORY = 1 << 0,
	SPOOL_HOLD_PROCESSES = 1 << 1,
	SPOOL_HOLD_CPU = 1 << 2,
	SPOOL_HOLD_IO = 1 << 3,
	SPOOL_HOLD_DEVICES = 1 << 4,
	SPOOL_HOLD_KILL = 1 << 5,       /* its processes end at once, whatever they fork */
	SPOOL_HOLD_GPU_MEMORY = 1 << 6, /* of its slices: by the kernel, behind the interposer */
	/* Of devices: by what; none of these: a list of control groups, version 1 */
	SPOOL_HOLD_BY_FILTER = 1 << 8, /* a BPF program of its control group */
	SPOOL_HOLD_BY_MOUNT = 1 << 9,  /* a private /dev */
	/* Of fractions of devices; without it, nothing holds them inside the process */
	SPOOL_HOLD_BY_INTERPOSER = 1 << 10,
	SPOOL_HOLD_BY_MPS = 1 << 11, /* its compute; its memory is the interposer's still */
};

struct spool_record {
	enum spool_kind kind;
	uint64_t job;
	int64_t task;
	uint32_t attempt;
	uint64_t epoch;
	int64_t wall_ms; /* when it happened */
	/* STARTED */
	uint32_t keeper_pid;
	uint32_t pid;
	uint32_t held;     /* enum spool_hold */
	uint32_t not_held; /* of what was asked for */
	/* ENDED */
	enum spool_cause cause;
	int32_t wait_status; /* as waitpid gives it, of the job's first process; of tasks: of the first that failed */
	bool has_rank; /* it failed of its own, and ended the others */
	uint32_t rank;
	uint64_t
	        peak_mem_bytes; /* of all together where a control group knows, else of the largest process */
	uint64_t cpu_ms;        /* user and system, all processes */
	uint64_t output_bytes;  /* written by the job */
	uint64_t dropped_bytes; /* of them, not kept (ceiling, or the disk was full) */
	/* Of SPOOL_SETUP_FAILED: for want of disk. Nothing of it was run, so that it may be started again. */
	bool no_disk;
	char text[256];
};

void spool_encode(const struct spool_record *r, struct buf *b);
/* One record from the front of data: >0 bytes used, 0 when more is needed, negative CORRUPT. */
MUST_CHECK int spool_decode(
        const void *data, size_t len, struct spool_record *ret_record, struct err *err);
/* After CORRUPT: how many bytes, at least one, to pass over to the next place where a record may begin. */
size_t spool_skip(const void *data, size_t len);

/*
 * Index beside the output: fixed entries in host order, in the order in which the output came; what came on one stream
 * within some milliseconds is one entry. Appended after the bytes it tells of, never changed.
 *
 * Once the output has passed its ceiling, the file's second half becomes a ring while the attempt runs: offsets start
 * over at the middle, and what an old entry tells of may have been written over. At the end the file is put in order:
 * head, one line that says how many bytes are left out, tail; and the index is replaced (by rename) by one that fits,
 * with an entry of stream SPOOL_GAP between head and tail. Before the file is touched the old index gets its last entry,
 * SPOOL_TURNING: from then on it says nothing of the files, and who follows them waits for the end of the attempt. A
 * keeper that was killed leaves the ring as it was, or the file half in order.
 * An index that passes SPOOL_INDEX_MAX is not continued; bytes of the output that no entry covers are stdout.
 */
#define SPOOL_INDEX_MAX (16 * MIB)

enum spool_stream {
	SPOOL_STDOUT = 1,
	SPOOL_STDERR = 2,     /* `offset` is in err_path, where the attempt has one */
	SPOOL_GAP = 3,        /* the line in stdout's file that says how much is left out */
	SPOOL_GAP_STDERR = 4, /* the same in err_path */
	SPOOL_TURNING = 5,    /* of no bytes, behind the last entry that has some */
};

struct spool_chunk {
	uint64_t offset; /* in the output file */
	int64_t wall_ms;
	uint32_t len;
	uint32_t stream; /* enum spool_stream */
};
