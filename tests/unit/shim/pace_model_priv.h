/* The inside of a model, for pace_model.c, pace_model_judge.c, pace_loads.c and pace_measure.c. As pace_model.h says. */
#pragma once

#include "gpu/judge.h"
#include "pace_model.h"

enum { BINS = 160000, EVENTS = 1 << 14, LATENCIES = 8192 };

enum kind { ON_HOST, ON_HELPER, ON_DEVICE, ON_JUDGE };
enum op_type { OP_KERNEL, OP_MARK, OP_PEER };

struct op {
	uint64_t left_ns;
	uint32_t type, mark;
};

struct queue {
	struct op ops[MODEL_QUEUE + 64];
	unsigned head, n;
};

struct actor { /* a thread that may sleep */
	uint32_t *word;
	uint32_t value;
	uint32_t gen; /* events of an older one are void */
	bool is_asleep;
};

enum stage { ASK, TRY, CALL, FULL, SYNCED };

struct proc {
	unsigned id, tenant, gpu, n_streams, stream;
	enum model_load load;
	uint64_t ns, key, n_done, cycle_at;
	unsigned step, left;
	bool is_dead, is_gone, is_stopped;
	int peer; /* the other rank */
	uint64_t n_peers;
	struct pace pace;
	struct pace_launch launch;
	struct pace_sync sync;
	enum stage stage;
	uint64_t kernel_ns;
	uint32_t op_type;
	struct actor host, helper;
	struct queue queues[MODEL_STREAMS];
	unsigned n_ops, turn_stream;
	uint64_t mark_at[PACE_MARKS];
	unsigned mark_left[PACE_MARKS];
	uint64_t n_marks, began_at, late_host, late_helper;
	uint32_t *latencies;
	unsigned n_latencies;
};

struct gpu {
	int running; /* a process, or -1 */
	int last;
	uint64_t slice_at, slice_ns, since; /* of the running op */
	uint64_t next_at;
	bool is_switching, is_progressing;
	uint32_t gen;
	uint32_t (*bins)[BINS]; /* ns in each ms, by tenant */
	struct pace_page page;
	/* Where the agent judges. */
	struct pace_page *own; /* of each tenant */
	struct judge judge;
	struct model *model;
	bool is_asked, is_absent;
	uint32_t judge_gen;
	uint64_t judge_at, n_looks;
};

struct event {
	uint64_t at, order;
	uint32_t kind, who, gen;
};

struct model {
	struct model_params params;
	uint64_t now, order, rng;
	unsigned n_tenants, n_procs;
	struct gpu gpus[MODEL_GPUS];
	struct proc *procs[MODEL_PROCS];
	struct event heap[EVENTS];
	unsigned n_events;
};

uint64_t model_draw(struct model *m, uint64_t low, uint64_t high);
void model_schedule(struct model *m, struct proc *p, bool is_helper, uint64_t at);
void model_push(struct model *m, uint64_t at, enum kind kind, unsigned who, uint32_t gen);
void model_wake(struct model *m, uint32_t *word);
void model_judge_new(struct model *m, struct gpu *g);
void model_judge_free(struct gpu *g);
void model_judge_step(struct model *m, struct gpu *g);
/* Who asks wakes it; a judge that is awake sees that at its next look. */
void model_judge_ask(struct model *m, struct gpu *g);
/* The next thing that a process does: its stage is TRY, or something is scheduled. */
void model_ask(struct model *m, struct proc *p);
