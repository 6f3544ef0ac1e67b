/*
 * What can happen to the world, and what follows from it. Plain values; pointers are borrowed for the call.
 */
#pragma once

#include "core/world.h"

enum event_kind {
	EVENT_SUBMIT,  /* request -> a new job; ret_job */
	EVENT_BLOB,    /* bytes kept once; ret_num */
	EVENT_START,   /* the plan's decision */
	EVENT_STARTED, /* the command runs */
	EVENT_ENDED,   /* the attempt is over, all its processes are gone */
	EVENT_LOST,    /* the attempt is gone without an end of its own */
	EVENT_USE,     /* what the slices of the attempt are used for now */
	EVENT_NOTE, /* reason and text go into the history of the attempt, which lives on; once */
	/* reason: CANCELLED by a user, GPU_MEMORY_LIMIT, DEVICE_LOST, SHUTDOWN, ...; WITHDRAWN: its idempotency key is free, too */
	EVENT_CANCEL,
	EVENT_HOLD,
	EVENT_RELEASE,
	EVENT_RETRY, /* a user wants an ended job run again */
	EVENT_EDIT, /* request: what is asked for now, NULL: as before; its array and dependencies stay */
	EVENT_NODE_UP, /* inventory; also when it is new */
	EVENT_NODE_DOWN,
	EVENT_NODE_DRAIN,
	EVENT_NODE_RESUME,
	EVENT_DEVICE,       /* health or withheld memory changed */
	EVENT_QUEUE_SET,    /* from the configuration, and what was set at run time over it */
	EVENT_QUEUE_REMOVE, /* only while nobody who lives is of it */
	EVENT_QUEUE_PAUSE,
	EVENT_QUEUE_RESUME,
	EVENT_TOKEN_ADD,
	EVENT_TOKEN_REMOVE,
	EVENT_TICK, /* time has passed: back-off ends; or the wall clock was set by shift_ms: it goes on as if it had not been */
};

/* How an attempt ended, as the agent reports it. */
struct attempt_end {
	enum reason
	        reason; /* EXITED, SIGNALLED, CANCELLED, TIME_LIMIT, MEMORY_LIMIT, GPU_MEMORY_LIMIT, EXEC_FAILED,
				KEEPER_KILLED, SHUTDOWN, DEVICE_LOST, NODE_LOST, REBOOTED */
	bool has_code;
	int32_t exit_code;
	bool has_rank; /* which of its tasks failed, and ended the others */
	uint32_t rank;
	int64_t wall_ms;
	uint64_t peak_mem_bytes, cpu_ms, output_bytes, dropped_bytes;
	const char *text;
};

struct placement {
	struct job_id id; /* of an array's parent: `pos` says which task */
	uint64_t pos;
	uint64_t node;
	struct slice slices[NODE_DEVICES_MAX];
	uint32_t n_slices;
	struct cpu_set cpus;
	bool bind_cpus;
};

struct event {
	enum event_kind kind;
	struct job_id id;
	uint64_t epoch;
	const char *name;  /* node, queue, token */
	const char *actor; /* who asked, for the history; NULL: Berth itself */
	enum reason reason;
	const char *text; /* NOTE */
	bool force;
	uint32_t pid;
	uint32_t held, not_held; /* STARTED */
	const struct request *request;
	const struct placement *placement;
	const struct attempt_end *end;
	const struct node *node;           /* NODE_UP: name, boot_id, is_local, cpus, mem_bytes */
	const struct device_info *devices; /* NODE_UP: all; DEVICE: those that changed */
	uint32_t n_devices;
	const struct slice_record *slices; /* USE */
	uint32_t n_slices;
	const struct queue *queue;
	const struct token *token;
	const void *data; /* BLOB */
	size_t len;
	uint8_t hash[32];
	int64_t shift_ms;  /* TICK */
	bool set_priority; /* EDIT */
	int32_t priority;
};

enum effect_kind {
	EFFECT_START,   /* tell the node to start the job's current attempt */
	EFFECT_STOP,    /* tell the node to end attempt `epoch` */
	EFFECT_CHANGED, /* the job's state changed: wake those who wait for it */
	EFFECT_FORGET,  /* the job was dropped from memory (it is in the store) */
};

/* Not released before the batch that caused it is durable. */
struct effect {
	enum effect_kind kind;
	struct job_id id;
	uint64_t node;
	uint64_t epoch;
	enum reason reason;
	bool force;
};

struct effects {
	struct effect *v;
	size_t n, cap;
};
void effects_done(struct effects *e);
void effects_add(struct effects *e, struct effect x);
