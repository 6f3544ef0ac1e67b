/*
 * What was asked for. Immutable once it belongs to a job, shared by all tasks of an array, reference counted.
 * A request is one block of memory: request_pack() copies one that points anywhere into a block of its own.
 * Any thread may read; counts are changed by the loop thread only.
 */
#pragma once

#include "core/ids.h"

/* GPUs asked for. Exactly one of count, milli, fgpu_milli is set, or none with mem_bytes or share_milli alone. */
struct gpu_ask {
	uint32_t count; /* whole devices */
	uint32_t milli; /* thousandths of one device, 1..999 */
	uint32_t
	        fgpu_milli; /* thousandths of one fGPU; becomes thousandths of a device by the device's model */
	uint64_t mem_bytes;   /* 0: follows from the fraction */
	uint32_t share_milli; /* 0: follows from the fraction; of a device's compute */
	uint32_t cc_min;      /* compute capability times ten, 0: any */
	uint32_t cuda_min;    /* of the driver: 12040, 0: any */
	uint32_t driver_min;  /* as driver_number() has it, 0: any */
	char *model;          /* part of the model's name in any case of letters, or NULL */
};

enum dep_kind { DEP_AFTER, DEP_AFTER_ANY, DEP_AFTER_OK };

struct dep {
	enum dep_kind kind;
	struct job_id on;
};

struct array_range {
	int64_t first;
	int64_t last; /* inclusive */
	int64_t step; /* >= 1 */
};

/* A set of the codes that a job may end with: 0..255. */
struct code_set {
	uint64_t bits[4];
};

/* What its queue gave a request that does not say it; another queue gives its own. */
enum request_by_queue { BY_QUEUE_CPUS = 1, BY_QUEUE_TIME = 2, BY_QUEUE_RETRY = 4 };
#define BY_QUEUE_ALL (BY_QUEUE_CPUS | BY_QUEUE_TIME | BY_QUEUE_RETRY)

#define REQUEST_RANKS_MAX 256

struct request {
	uint32_t refs;
	uint32_t uid; /* of the submitter; the account it runs as is `user` */
	uint32_t gid;
	char *user; /* Unix account */
	char *name;
	char *queue;
	char **argv; /* NULL-terminated */
	uint32_t n_argv;
	uint64_t env_blob; /* environment taken along, K=V separated by NUL; 0: none */
	char *chdir;       /* NULL: an empty directory of its own */
	char *output;      /* absolute, may hold %j-like patterns; NULL: kept by Berth */
	char *error;       /* NULL: with output */
	char *idempotency_key;
	uint64_t fingerprint; /* of what was sent with the key; 0: not known */
	char *grant; /* of a job of root's: names what the client left for the helper; NULL: none */
	struct gpu_ask gpu;
	char *constraint; /* labels that its node must have, "a100,zone=eu"; NULL: none */
	/* `-n`: how often the command is started, together on one node, each time with a rank. 0: once, and without one. Not called
	 * tasks here, because those are an array's. */
	uint32_t ranks;
	bool label;             /* their lines of output say whose they are */
	uint32_t cpus;          /* of each of them: see request_cpus() */
	uint64_t mem_bytes;     /* of all together; 0: not reserved */
	uint64_t time_limit_ms; /* 0: none */
	uint32_t retry_max;     /* attempts beyond the first when the command fails */
	struct code_set
	        retry_on; /* only those that `wait` would end with these codes; empty: any failure */
	bool no_retry;    /* at most once: not even after its node was lost */
	bool hold;
	bool tty;
	int32_t priority;
	uint32_t by_queue; /* of enum request_by_queue */
	uint32_t throttle; /* tasks of the array at once, 0: no bound */
	struct array_range *ranges;
	uint32_t n_ranges;
	struct dep *deps;
	uint32_t n_deps;
	uint64_t bytes; /* size of this block */
};

/* INVALID with what is wrong of it, when it could not be a job's. */
MUST_CHECK int request_check(const struct request *r, struct err *err);
struct request *request_pack(const struct request *r); /* refs 1 */
struct request *request_ref(struct request *r);
void request_unref(struct request *r); /* NULL is fine */

/* Whether each task waits for its twin, the task of the same index of another array. */
bool request_has_twins(const struct request *r);
uint64_t request_n_tasks(const struct request *r);              /* 0: not an array */
int64_t request_task_at(const struct request *r, uint64_t pos); /* index of the pos-th task */
/* Position of a task index, or UINT64_MAX. */
uint64_t request_task_pos(const struct request *r, int64_t task);

/* Of all that is started. */
static inline uint32_t request_cpus(const struct request *r)
{
	return r->cpus * (r->ranks ? r->ranks : 1);
}

static inline void code_set_add(struct code_set *s, uint8_t code)
{
	s->bits[code / 64] |= (uint64_t)1 << code % 64;
}

static inline bool code_set_has(const struct code_set *s, uint8_t code)
{
	return s->bits[code / 64] >> code % 64 & 1;
}

static inline bool code_set_any(const struct code_set *s)
{
	return (s->bits[0] | s->bits[1] | s->bits[2] | s->bits[3]) != 0;
}

static inline bool gpu_ask_any(const struct gpu_ask *g)
{
	return g->count || g->milli || g->fgpu_milli || g->mem_bytes || g->share_milli;
}
