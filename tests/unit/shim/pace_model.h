/*
 * A world for src/shim/pace*.c in virtual time: devices that switch between contexts, processes that launch, their helpers,
 * timers that are late and futexes that take their time. Everything is drawn from a seed, so a run repeats to the nanosecond.
 * The caller owns the model; model_new and model_free. One thread. It aborts on what it was not made for.
 *
 * A device runs one context at a time, in turn, for a slice; going to another one costs. In a context one kernel runs at a
 * time, in the order of its stream, streams in turn; a kernel keeps its progress when its context is put aside.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shim/pace.h"

enum { MODEL_GPUS = 2, MODEL_PROCS = 16, MODEL_STREAMS = 4, MODEL_QUEUE = 1024 };

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

/* What a process does, for ever. */
enum model_load {
	LOAD_KERNELS, /* back to back, `ns` each */
	LOAD_MIX,     /* 10, 100, 1000, 4500 us */
	LOAD_JUMP,    /* 100 us, ten times that for stretches of 100 */
	LOAD_RJUMP,   /* 100 us, ten times that for 30 of 100 launches */
	LOAD_UNKNOWN, /* 50 us to 5 ms, no two alike to the pacer */
	LOAD_TRAIN,   /* 300 of 10 to 500 us, sync, 1 ms */
	LOAD_INFER,   /* a graph of 2 ms, sync, 4 to 6 ms of sleep */
	LOAD_SYNC,    /* `ns` and a sync */
	LOAD_GAP,     /* 500 us, sync, `ns` of the host */
	LOAD_SLEEPY,  /* 100 us kernels for 0.5 s, nothing for 0.7 s */
	LOAD_PEER,    /* 20 of 200 us, then 500 us together with the other rank */
	LOAD_IDLE,
};

struct model_params {
	uint64_t seed;
	uint64_t slice_ns, switch_ns;
	uint64_t wake_min_ns, wake_max_ns; /* of a futex */
	uint64_t early_ns;                 /* marks are passed so long too early: the mutant */
	bool is_unpaced, is_futex_only;
	bool is_judged; /* by the agent, whose processes are of no tenant */
};

struct model_params model_defaults(uint64_t seed);
struct model *model_new(const struct model_params *params);
void model_free(struct model *m);

/* A tenant's number, and a process's. cap 1000: none. */
unsigned model_tenant(struct model *m, uint32_t weight_milli, uint32_t cap_milli, uint32_t flags);
unsigned model_proc(
        struct model *m, unsigned tenant, unsigned gpu, enum model_load load, uint64_t ns);
void model_streams(struct model *m, unsigned proc, unsigned n);
/* The other rank of its collectives. */
void model_pair(struct model *m, unsigned a, unsigned b);
/* Kernels of a process with a key of their own take so long, all of them. */
struct pace *model_pace(struct model *m, unsigned proc);
struct pace_page *model_page(struct model *m, unsigned gpu);

void model_run(struct model *m, uint64_t until_ns);
void model_kill(struct model *m, unsigned proc);
void model_stop(struct model *m, unsigned proc, bool is_stopped);

/* Of is_judged: the agent is killed, or there is another one; it knows nothing but the pages. */
void model_judge_absent(struct model *m, bool is_absent);
/* It reads a tenant's lines no more. */
void model_unseat(struct model *m, unsigned tenant);
/* How often it was awake. */
uint64_t model_judge_looks(const struct model *m);
/* A tenant's own page. */
struct pace_page *model_own(struct model *m, unsigned tenant, unsigned gpu);

uint64_t model_now(const struct model *m);
/* Kernel time of a tenant on a device, from..to in ms. */
double model_busy_ms(
        const struct model *m, unsigned tenant, unsigned gpu, unsigned from_ms, unsigned to_ms);
/* The largest and the mean difference, in per cent, between a tenant's part of kernel time and `part`. */
double model_error(const struct model *m, unsigned tenant, double part, unsigned window_ms,
        unsigned from_ms, double *ret_mean);
/* What an account was charged, in ns. */
uint64_t model_owned_ns(const struct model *m, unsigned tenant);
uint64_t model_collectives(const struct model *m, unsigned proc);
/* Of LOAD_INFER: how long the p-th of a hundred waited for its graph, in ns. */
uint64_t model_latency_ns(const struct model *m, unsigned proc, unsigned p);
/* The longest time in which a tenant's kernels did not run, in ms. */
unsigned model_gap_ms(
        const struct model *m, unsigned tenant, unsigned gpu, unsigned from_ms, unsigned to_ms);
uint64_t model_marks(const struct model *m, unsigned proc);
