/*
 * A job, or a materialised task of an array job: its state, its attempts, its history.
 * Owned by the world, changed by core_apply() only; others read. Loop thread.
 */
#pragma once

#include "base/strtab.h"
#include "core/node.h"

#include <bsd/sys/tree.h>

enum job_state {
#define STATE(name, final, holds) JOB_##name,
#include "../../tables/states.def"
#undef STATE
	JOB_STATE_MAX
};

enum reason {
#define REASON(name, code, text) REASON_##name,
#include "../../tables/reasons.def"
#undef REASON
	REASON_MAX
};

extern const struct strtab job_state_names;
bool job_state_is_final(enum job_state s);
bool job_state_holds(enum job_state s); /* an attempt holds resources */
const char *reason_code(enum reason r);
const char *reason_text(enum reason r);
int reason_find(const char *code); /* -1 when unknown */

struct transition {
	int64_t wall_ms;
	enum job_state state;
	enum reason reason;
	uint32_t attempt;
	char *text; /* more than the reason says, or NULL */
};

/* One try. Kept after its end. */
struct attempt {
	uint32_t n; /* 1.. */
	uint64_t epoch;
	uint64_t node; /* its num */
	char *node_name;
	int64_t placed_ms, started_ms, ended_ms; /* wall, 0: not (yet) */
	enum job_state state;                    /* how it ended; RUNNING while it lives */
	enum reason reason;
	bool has_code;
	int32_t exit_code; /* 0..255; 128+n for a signal */
	bool has_rank;     /* which of its tasks failed, and ended the others */
	uint32_t rank;
	uint32_t pid;
	uint32_t held, not_held; /* enum spool_hold: what holds it, and what it asked for in vain */
	uint64_t peak_mem_bytes, cpu_ms, output_bytes, dropped_bytes;
	struct slice_record *slices; /* as granted */
	uint32_t n_slices;
};

/* A slice that outlives the knowledge of its node. */
struct slice_record {
	char device[96]; /* UUID */
	uint64_t mem_bytes;
	uint32_t share_milli;
	/* Of a living attempt whose agent has looked, and never stored: by its ledger, and by its driver. */
	bool is_seen;
	uint64_t used_bytes, driver_bytes;
};

RB_HEAD(job_order, job); /* priority down, then order up; see job_order_cmp() */

/* What only an array's parent has. Tasks at positions >= next_pos that are not in skip were never started. */
struct array {
	uint64_t n;
	uint64_t next_pos;
	uint64_t
	        *skip; /* rising positions > next_pos that are jobs of their own (cancelled, ...) */
	uint32_t n_skip, cap_skip;
	uint64_t
	        cut; /* == next_pos: what lies behind was cancelled before it started; n: nothing was */
	uint64_t by_state
	        [JOB_STATE_MAX]; /* tasks that became jobs, and those cut (CANCELLED); the rest are PENDING */
	int32_t worst_code; /* largest result code of an ended task */
	/* Of a throttled array: its places are for those that run, then those that are READY, then the unstarted. */
	uint32_t n_ready;           /* tasks that are jobs of their own and READY */
	struct job_order throttled; /* those that are WAIT_THROTTLE */
};

/* Where a job that has something left to start waits. */
enum job_wait { WAIT_NONE, WAIT_READY, WAIT_HELD, WAIT_DEPENDENCY, WAIT_BACKOFF, WAIT_THROTTLE };

struct sched_class;
struct dep_link;

struct job {
	struct job_id id;
	struct request *req;
	struct job *parent; /* the array's, or NULL */
	enum job_state state;
	enum reason reason; /* of the state it is in */
	enum job_wait wait;
	bool held;
	bool dirty;
	bool is_array;
	bool has_own_request; /* a task that was started before its array was edited, until it is to start again */
	enum reason stop_reason; /* asked to end for this reason, or NONE */
	bool stop_force;
	int32_t priority;
	uint64_t order; /* place among equals: grows with every submit and retry */
	int64_t submitted_ms, started_ms, ended_ms;
	int64_t not_before_ms; /* wall; back-off */
	uint32_t failures;     /* attempts that count against retry_max */
	bool has_code;
	int32_t exit_code;
	uint64_t epoch; /* of the current or last attempt */

	struct attempt *
	        attempts; /* oldest first; the last is the current one while the state holds resources */
	uint32_t n_attempts;
	struct transition *transitions;
	uint32_t n_transitions;
	struct array *array;
	bool *dep_met;              /* one per req->deps, NULL when there are none */
	struct dep_link *dep_links; /* the same, while it lives: see deps.c */

	/* while an attempt holds resources */
	struct node *node;
	struct slice *slices;
	uint32_t n_slices;
	struct cpu_set *cpus; /* bound CPUs, NULL: none */

	/* indexes of the world */
	struct sched_class *class;
	RB_ENTRY(job) by_order; /* in its class, while READY; in its array, while WAIT_THROTTLE */
	uint32_t n_ordered;     /* there: itself and those below it in the tree */
	RB_ENTRY(job) by_time;  /* while WAIT_BACKOFF */
	RB_ENTRY(job) by_id;    /* all jobs */
	LIST_ENTRY(job) on_node;
	LIST_ENTRY(job) in_queue; /* of those that hold resources */
	TAILQ_ENTRY(job) by_end;  /* ended ones, oldest first */
	LIST_ENTRY(job) apart;    /* see world.apart */
};

/* The attempt that lives now, or NULL. */
struct attempt *job_attempt(const struct job *j);
const char *job_name(const struct job *j); /* as given, else the last part of its command */
/* What `run` and `wait` end with: the job's own code, or the one of its state (TIMEOUT 124, ...). Of final jobs. */
int32_t job_result_code(const struct job *j);
/* The same of an attempt that has ended, were there no other. */
int32_t attempt_result_code(const struct attempt *t);
/* First position >= from that was never started and may be, or array->n. */
uint64_t array_next(const struct array *a, uint64_t from);
bool array_is_unstarted(const struct array *a, uint64_t pos);
/* Whether the task at pos is a job of its own, in memory or only in the store. */
bool array_is_apart(const struct array *a, uint64_t pos);
/* Tasks that hold resources now. */
uint64_t array_running(const struct array *a);
uint64_t array_unstarted(const struct array *a);
/* Tasks that were cancelled with their array before they became jobs of their own. */
uint64_t array_cut(const struct array *a);
/* How many tasks more its throttle allows to run, those that are READY counted as running; UINT64_MAX: no bound. */
uint64_t array_places(const struct job *parent);
