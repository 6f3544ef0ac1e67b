/*
 * Inside of the interposer in front of NVML: the driver's own functions, and what each of ours begins with.
 * The driver is found at the first nvmlInit and never let go of; a reading is caller's memory.
 * Any thread.
 * Failures are NVML's return codes; a ledger that cannot be read is false.
 */
#pragma once

#include <stdbool.h>

#include "berth/slice.h"
#include "../../tables/nvml_abi.h"

/* What is exported is what is defined in these files. */
#define NVML_EXPORT                          __attribute__((visibility("default")))
#define NVML(need, since, ret, name, params) NVML_EXPORT ret name params;
#define NVML_DENY(name)                      NVML_EXPORT enum nvml_return name(void);
#define NVML_HIDE(name)                      NVML_EXPORT enum nvml_return name(void);
#include "../../tables/nvml.def"

/* A symbol that the driver does not have is NULL. */
struct nvml_driver {
	void *library;
#define NVML(need, since, ret, name, params) ret(*name) params;
#include "../../tables/nvml.def"
};
extern struct nvml_driver nvml_driver;

#define CALL(name, ...) \
	(nvml_driver.name ? nvml_driver.name(__VA_ARGS__) : NVML_ERROR_FUNCTION_NOT_FOUND)

/* What a ledger says now. */
struct nvml_reading {
	uint64_t used_bytes; /* of the living, and what the agent has found beyond */
	struct nvml_user {
		uint64_t started;
		uint32_t pid;
	} users[SLICE_SLOTS];
	unsigned n_users;
};

/* NVML_SUCCESS with *ret_place -1: nothing is to be changed. A device of somebody else's is not to be looked at. */
enum nvml_return nvml_enter(const struct nvml_device *device, int *ret_place);

/* The ledger of a place that nvml_enter has said. */
bool nvml_read_ledger(int place, struct nvml_reading *r);
