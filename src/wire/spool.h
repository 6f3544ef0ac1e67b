/*
 * What keepers report: records appended to a file that the agent reads from, so that neither has to be alive for
 * the other. One write() with O_APPEND per record: magic byte, uint16 length in network order, codec run, uint32
 * sum. A record that is cut or does not sum up ends the reading there (it can only be the last one of a crash of
 * the machine). libc only; any thread.
 *
 * Life: a keeper holds a POSIX write lock on byte `epoch` of its spool file from before the job's first
 * instruction until its own end. F_GETLK on that byte says whether it lives, and its pid. The kernel drops the lock
 * with the process, so no pid is ever mistaken for another, and after a reboot nothing lives.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define SPOOL_RECORD_MAX 4096

enum spool_kind { SPOOL_STARTED = 1, SPOOL_ENDED };

/* Why an attempt ended, as its keeper saw it. */
enum spool_cause {
	SPOOL_EXIT = 0,      /* by itself; wait_status says how */
	SPOOL_STOPPED,       /* on request (cancel) */
	SPOOL_TIMEOUT,       /* its time limit */
	SPOOL_SHUTDOWN,      /* `berth down` */
	SPOOL_GPU_MEMORY,    /* ended by the watchdog */
	SPOOL_OOM,           /* killed by the kernel for memory */
	SPOOL_EXEC_FAILED,   /* never began; `text` says why; exit code 126 or 127 as a shell would give */
	SPOOL_KEEPER_KILLED, /* written by the sweeper, not by the keeper */
	SPOOL_SETUP_FAILED,  /* account, directory, output file, terminal; `text` says why */
	SPOOL_CAUSE_MAX
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
	/* ENDED */
	enum spool_cause cause;
	int32_t wait_status; /* as waitpid gives it, of the job's first process */
	uint64_t peak_mem_bytes; /* largest process */
	uint64_t cpu_ms;         /* user and system, all processes */
	uint64_t output_bytes;   /* written by the job */
	uint64_t dropped_bytes;  /* of them, not kept (ceiling, or the disk was full) */
	char text[256];
};

void spool_encode(const struct spool_record *r, struct buf *b);
/* One record from the front of data: >0 bytes used, 0 when more is needed, negative CORRUPT. */
MUST_CHECK int spool_decode(const void *data, size_t len, struct spool_record *ret_record, struct err *err);

/* Index beside an output file: fixed entries, one per chunk as it was read from the job, in host order. */
struct spool_chunk {
	uint64_t offset;   /* in the output file */
	int64_t wall_ms;
	uint32_t len;
	uint32_t stream;   /* 1 stdout, 2 stderr; 3: `len` is 0 and `offset` onwards is the kept tail after a gap */
};
