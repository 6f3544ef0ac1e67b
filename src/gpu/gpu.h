/*
 * The GPUs of this machine, or simulated ones: what they are, who uses their memory, how they are. Knows no jobs.
 * A struct gpu belongs to its opener; everything returned is by value and stays valid. Nothing here is global.
 * One thread at a time, any thread: NVML may take seconds, or hang for ever with a broken device, so call from a worker.
 * Having no driver or no GPU is no failure: there are then zero devices and gpu_note() says why.
 */
#pragma once

#include "base/err.h"

#define GPU_DEVICES_MAX 64
#define GPU_CPUS_MAX    1024
#define GPU_PATH_SIZE   4096
#define GPU_MEM_MAX     (UINT64_C(1) << 50) /* bytes; who says more does not know */

enum gpu_health {
	GPU_OK,
	GPU_DEGRADED, /* goes on, but something in it fails or wears out */
	GPU_LOST,     /* of no use until it is reset, or answers again; gpu_scan finds out */
};

struct gpu_device {
	char uuid[96]; /* what it is known by, over restarts */
	char model[96];
	unsigned index; /* NVML's; may change over restarts of the driver */
	int minor;      /* of /dev/nvidiaN; -1: unknown */
	char pci[32];   /* "00000000:01:00.0", or "" */
	uint64_t
	        mem_bytes; /* what programs can have: without what the driver keeps for itself; 0: nothing */
	int cc_major, cc_minor;
	char driver[32];
	int cuda;      /* highest CUDA version of the driver, 12040; 0: unknown */
	int numa_node; /* near it; -1: unknown */
	uint64_t cpus[GPU_CPUS_MAX / 64]; /* near it; all zero: unknown */
	bool mig; /* in MIG mode: its instances are devices of their own, mem_bytes is 0; listed while it has none, and from then on */
	uint32_t
	        card_milli; /* of a MIG instance: its part of its card, whose index and minor it has; 0: it is none */
	unsigned gi, ci;        /* its numbers */
	unsigned caps_major;    /* of its files in /dev/nvidia-caps; 0: there are none */
	int gi_minor, ci_minor; /* of its /dev/nvidia-caps/nvidia-capN; -1: unknown */
	bool exclusive;         /* compute mode allows at most one process */
	bool simulated;
	uint64_t context_bytes; /* what a CUDA context takes of it; 0: the driver does not tell */
	enum gpu_health health;
	char health_text[120]; /* "" when nothing is to be said */
};

struct gpu_state {
	char uuid[96];
	enum gpu_health health;
	char health_text[120];
	uint64_t ecc_uncorrected; /* since its last reset */
	unsigned last_xid;        /* 0: none since gpu_open or gpu_forget */
	unsigned n_xids;          /* so many, those of programs included */
};

struct gpu_usage {
	uint64_t used_bytes; /* by all processes, the driver's own share not counted */
	uint64_t free_bytes;
	int util_percent; /* -1: unknown */
	bool truncated;   /* there are more processes than there was room for */
};

struct gpu_process {
	int pid;
	uint64_t bytes; /* 0 when not known */
	bool known;     /* the driver told the bytes */
};

struct gpu;

struct gpu_options {
	const char *library; /* path of an NVML; NULL: libnvidia-ml.so.1 of the system */
	const char *
	        simulate; /* description of simulated devices; library must then be the fake NVML. NULL: none */
	const char *const *
	        allowed; /* use only these: "0" by index, "GPU-7f3...", "MIG-..." by the beginning of a UUID */
	size_t n_allowed;  /* 0: all */
	const char *sysfs; /* where to look for what NVML does not tell; NULL: /sys */
	const char *proc;  /* the same; NULL: /proc */
};

/* -- life cycle -- */
/* Fails when something was asked for by name and is not there: a library, a description. Devices appear by gpu_scan. */
MUST_CHECK int gpu_open(const struct gpu_options *o, struct gpu **ret, struct err *err);
void gpu_close(struct gpu *g); /* NULL is fine */

/* -- commands -- */
/*
 * All devices, lost ones too: a device that was seen once stays in the list. When the driver or a device was lost, this
 * starts NVML anew, which may take seconds; so once at start, then every half minute or so while something is lost,
 * or now and then. A device that answers again is ok again, unless an XID says that it needs a reset and the driver
 * does not say that it had one. MIG instances that were made or removed are found by a scan; a removed one is lost.
 */
MUST_CHECK int gpu_scan(
        struct gpu *g, struct gpu_device *out, size_t max, size_t *ret_n, struct err *err);
/*
 * Takes up what happened since the last call and says how each device of the last scan is. Waits up to wait_ms for an
 * event; 0 does not wait. A lost or failing device is a state here, not a failure.
 */
MUST_CHECK int gpu_poll(struct gpu *g, unsigned wait_ms, struct gpu_state *out, size_t max,
        size_t *ret_n, struct err *err);
/* An administrator says that the device is well: its past XIDs no longer count. NOT_FOUND when it was never seen. */
MUST_CHECK int gpu_forget(struct gpu *g, const char *uuid, struct err *err);

/* -- queries -- */
/*
 * Memory in use on one device and by whom, processes of anybody. UNAVAILABLE when it is lost, and gpu_poll then says so.
 * Pids are those of the machine: inside a PID namespace of its own the caller must not compare them with getpid().
 */
MUST_CHECK int gpu_usage(struct gpu *g, const char *uuid, struct gpu_usage *ret,
        struct gpu_process *out, size_t max, size_t *ret_n, struct err *err);
/* Why there are no devices, or which of them could not be used; "" when all is said by the list. Valid until the next call. */
const char *gpu_note(const struct gpu *g);
bool gpu_is_simulated(const struct gpu *g);

/* -- simulated devices -- */
/*
 * Writes DIR/gpus.sim, the description for gpu_open, from "2x8GiB", "2x8GiB:a100,1x24GiB", or a file (doc/simulate.md
 * tells its form). The UUIDs stay the same for as long as the directory stays. Its state is DIR/gpus.sim.state.
 */
MUST_CHECK int gpu_simulate_write(
        const char *spec, const char *dir, char ret_path[GPU_PATH_SIZE], struct err *err);
