/*
 * Nodes, devices and the ledger of slices: who holds how much of what. Integers only.
 * Owned by the world; changed by core_apply() only. Loop thread. The functions here are pure queries.
 */
#pragma once

#include "core/request.h"

#include <bsd/sys/queue.h>

#define NODE_CPUS_MAX    1024
#define NODE_DEVICES_MAX 64
#define LABEL_MAX        256 /* bytes of a label, and of a pattern of one, with its NUL */
#define DRIVER_PART_MAX  999 /* of each number of a version */

struct job;

struct cpu_set {
	uint64_t bits[NODE_CPUS_MAX / 64];
};

enum device_health { DEVICE_OK, DEVICE_DEGRADED, DEVICE_LOST };

/* What holds a fraction of a device inside its job. */
enum held_by { HELD_BY_NONE, HELD_BY_INTERPOSER, HELD_BY_KERNEL, HELD_BY_MPS, HELD_BY_MIG };

/* What an agent tells of a device. */
struct device_info {
	char uuid[96];
	char model[96];
	uint32_t index;
	uint64_t mem_bytes; /* 0: nobody can have anything of it */
	uint32_t cc;        /* compute capability times ten */
	uint32_t cuda;      /* 12040 */
	char driver[32];
	int32_t numa_node;   /* -1: unknown */
	struct cpu_set cpus; /* near it; all zero: unknown */
	bool simulated;
	enum device_health health;
	char health_text[120];
	uint64_t withheld_bytes; /* used by processes that Berth did not start */
	enum held_by held_by;    /* fractions that begin now */
	uint32_t
	        card_milli; /* of a MIG instance, which is granted whole: its part of a card; 0: it is a card */
	/* The node's own affair, and not told: */
	int32_t minor; /* of /dev/nvidiaN, -1: unknown */
	char pci[32];  /* as NVML writes it; "": unknown */
	bool mig;      /* a card in MIG mode */
	uint32_t
	        caps_major; /* of its files in /dev/nvidia-caps; 0: it is no MIG instance, or has none */
	int32_t gi_minor,
	        ci_minor;       /* of a MIG instance's /dev/nvidia-caps/nvidia-capN, -1: unknown */
	uint64_t context_bytes; /* that a CUDA context takes; 0: unknown */
};

struct device {
	struct device_info info;
	uint32_t fgpu_per_device;
	/* sums over the slices of living attempts */
	uint64_t used_bytes;
	uint32_t used_milli;
	uint32_t n_slices;
	bool absent; /* was there, the last inventory did not show it */
	bool shrunk; /* its memory is less than what is granted on it: it was more when that was granted */
};

/* A grant on one device. */
struct slice {
	uint64_t mem_bytes;
	uint32_t device; /* place in node->devices */
	uint32_t share_milli;
};

enum node_state { NODE_UP, NODE_DOWN };

struct node {
	uint64_t num;
	char name[64];
	char *labels; /* by the configuration: "a100,zone=eu", "": none */
	char boot_id[40];
	char key_hash[65]; /* of the key that it joined with, in hexadecimal; "": of none yet */
	enum node_state state;
	bool drained;
	bool is_local; /* on the server's own machine: silence is no loss */
	int64_t seen_mono_ms;
	uint64_t
	        changed; /* never the same again after a change of what is free or offered here, or when it will be: of world.node_changes */
	struct cpu_set cpus;
	uint32_t n_cpus;
	uint64_t mem_bytes;
	struct cpu_set cpus_used;
	uint32_t n_cpus_used;
	uint64_t mem_used;
	struct device *devices;
	uint32_t n_devices;
	LIST_HEAD(node_jobs, job) jobs; /* whose attempts hold something here */
	TAILQ_ENTRY(node) link;
};

/*
 * What an ask comes to on this device: bytes and share. False when it could never be had there:
 * wrong model or capability, or larger than the device. *ret is the amount for one device.
 * A MIG instance is granted whole to a fraction that it is enough for; as a whole device only to who asks for it by name.
 */
bool slice_resolve(const struct gpu_ask *ask, const struct device *d, struct slice *ret);
/* Bytes of what it then has that it did not ask for. */
uint64_t slice_surplus_bytes(const struct gpu_ask *ask, const struct device *d);
bool device_matches(const struct gpu_ask *ask, const struct device *d);
/* "550.54.15" as 550054015, so that versions compare; what is no version is 0. */
uint32_t driver_number(const char *version);
#define DRIVER_TEXT 16
char *driver_format(uint32_t number, char out[DRIVER_TEXT]); /* "550.54"; returns out */
uint64_t device_free_bytes(const struct device *d);          /* not granted, not withheld */
uint32_t device_free_milli(const struct device *d);
const char *held_by_name(enum held_by by);     /* "interposer" */
bool device_is_usable(const struct device *d); /* present and not lost */

/* Whether the list, "gpu-*,@a100", names it: by a pattern of its name, or of a label of it. NULL or "": it names every node. */
bool node_is_listed(const char *list, const char *name, const char *labels);
/* Whether all that is wanted, "a100,zone=eu", is among the labels; "zone" is there with any value, too. NULL or "": nothing is. */
bool labels_have(const char *labels, const char *wanted);
/* Letters, digits, '.', '_' and '-', and short enough. */
bool node_is_name(const char *name);

static inline bool cpu_set_has(const struct cpu_set *s, uint32_t cpu)
{
	return cpu < NODE_CPUS_MAX && (s->bits[cpu / 64] >> (cpu % 64) & 1);
}
static inline void cpu_set_add(struct cpu_set *s, uint32_t cpu)
{
	if (cpu < NODE_CPUS_MAX)
		s->bits[cpu / 64] |= (uint64_t)1 << (cpu % 64);
}
uint32_t cpu_set_count(const struct cpu_set *s);
