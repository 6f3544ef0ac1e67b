/*
 * What this node has: CPUs, memory, devices; and every second how the devices are and who uses their memory.
 * Owns the devices and a worker thread that alone talks to the driver, which may take seconds or never answer; all
 * else is on the loop thread. Having no devices is no failure. A driver that does not answer is told as bad health.
 */
#pragma once

#include "plat/loop.h"
#include "wire/link.h"

#define INVENTORY_EVERY_MS 1000

struct inventory;

struct inventory_process {
	uint32_t device; /* place in the list of devices */
	int pid;
	uint64_t bytes;
	bool is_known;  /* the driver told the bytes */
	uint64_t epoch; /* of the attempt that it belongs to, 0: none */
};

struct inventory_scan {
	uint64_t number; /* grows */
	const struct device_info *devices;
	uint32_t n_devices;
	const bool *is_readable; /* of each device: its processes could be read */
	const struct inventory_process *processes;
	size_t n_processes;
};

struct inventory_options {
	struct loop *loop;
	const char *library;        /* an NVML; NULL: the driver's */
	const char *simulate;       /* description of simulated devices; NULL: none */
	const char *const *allowed; /* as in gpu.h */
	size_t n_allowed;
	void (*before_scan)(void *data); /* questions follow */
	uint64_t (*owner_of)(void *data,
	        int pid); /* epoch of the attempt that the process belongs to, 0: none */
	/* What holds fractions of it; NULL: nothing */
	enum held_by (*held_by_of)(void *data, const struct device_info *d);
	void (*on_list)(void *data); /* the list of devices is there, or has become longer */
	void (*on_scan)(void *data, const struct inventory_scan *s);
	void (*on_change)(void *data, const struct device_info *v,
	        uint32_t n); /* health, withheld memory, or what holds fractions */
	void *data;
};

/* The first scan begins at once; on_list follows it, with devices or without. Strings of o are borrowed. */
MUST_CHECK int inventory_new(
        const struct inventory_options *o, struct inventory **ret, struct err *err);
/* False while a scan is under way, which may never end: then nothing was freed, and the process can only end. NULL is fine. */
bool inventory_free(struct inventory *inv);

/* A scan that begins after this call has at least this number; it is made soon. */
uint64_t inventory_want_scan(struct inventory *inv);

/* What is said of its devices from outside, held_by, may have changed. */
void inventory_refresh(struct inventory *inv);

const struct device_info *inventory_devices(const struct inventory *inv, uint32_t *ret_n);

/* The machine itself. */
struct machine {
	struct cpu_set cpus;
	uint32_t n_cpus;
	uint64_t mem_bytes;
	char boot_id[40];
	char hostname[64];
};
MUST_CHECK int machine_read(struct machine *ret, struct err *err);
