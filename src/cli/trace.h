/*
 * Public GPU traces: lists of nodes and of tasks as CSV, into the scheduler's own picture of nodes and types. The columns are
 * found by the names in the first line (nodes: sn, cpu_milli, memory_mib, gpu, model; tasks: cpu_milli, memory_mib, num_gpu,
 * gpu_milli, and gpu_spec, which may be missing); others are ignored. A field may be quoted. A trace is owned by the caller. Errors
 * name the line.
 */
#pragma once

#include "base/err.h"
#include "sched/place.h"

struct trace_node {
	char name[64], model[96];
	uint32_t cpu_milli, n_devices;
	uint64_t mem_bytes;
};
struct trace_task {
	uint32_t cpu_milli, n_devices, milli; /* milli: of one device, when n_devices is 1 */
	uint64_t mem_bytes;
	char models[96]; /* joined by '|'; "": any */
	uint32_t type;   /* in the place that it was interned in */
};
struct trace {
	struct trace_node *nodes; /* by name */
	struct trace_task *tasks; /* as in the file */
	uint32_t n_nodes, cap_nodes, n_tasks, cap_tasks;
	uint64_t n_devices;
};

MUST_CHECK int trace_read_nodes(const char *path, struct trace *t, struct err *err);
MUST_CHECK int trace_read_tasks(const char *path, struct trace *t, struct err *err);
void trace_done(struct trace *t);

/* All nodes, empty, in a place of this policy; the tasks' types are interned in it. NULL: no such policy. */
struct place *trace_place(struct trace *t, const char *policy);
static inline uint64_t task_milli(const struct trace_task *t)
{
	return t->n_devices == 1 ? t->milli : (uint64_t)t->n_devices * 1000;
}
