/*
 * What a caller of NVML and an NVML agree on: return codes, constants and the layout of what is passed, on 64-bit Linux.
 * Declarations only, for src/gpu, the fake and the interposer alike; names are ours, values are the vendor's. Any thread.
 * Nothing here fails at run time: a layout that drifts from the real one ends the build by an assertion.
 */
#pragma once

#include <stddef.h>

struct nvml_device;    /* opaque to callers; belongs to the library, valid from init to shutdown */
struct nvml_event_set; /* opaque; from nvmlEventSetCreate to nvmlEventSetFree */

/* Whatever is not NVML_SUCCESS: NVML_RETURN(NAME, value, text of nvmlErrorString) */
#define NVML_RETURNS(NVML_RETURN)                                                       \
	NVML_RETURN(UNINITIALIZED, 1, "Uninitialized")                                  \
	NVML_RETURN(INVALID_ARGUMENT, 2, "Invalid Argument")                            \
	NVML_RETURN(NOT_SUPPORTED, 3, "Not Supported")                                  \
	NVML_RETURN(NO_PERMISSION, 4, "Insufficient Permissions")                       \
	NVML_RETURN(ALREADY_INITIALIZED, 5, "Already Initialized")                      \
	NVML_RETURN(NOT_FOUND, 6, "Not Found")                                          \
	NVML_RETURN(INSUFFICIENT_SIZE, 7, "Insufficient Size")                          \
	NVML_RETURN(INSUFFICIENT_POWER, 8, "Insufficient External Power")               \
	NVML_RETURN(DRIVER_NOT_LOADED, 9, "Driver Not Loaded")                          \
	NVML_RETURN(TIMEOUT, 10, "Timeout")                                             \
	NVML_RETURN(IRQ_ISSUE, 11, "Interrupt Request Issue")                           \
	NVML_RETURN(LIBRARY_NOT_FOUND, 12, "NVML Shared Library Not Found")             \
	NVML_RETURN(FUNCTION_NOT_FOUND, 13, "Function Not Found")                       \
	NVML_RETURN(CORRUPTED_INFOROM, 14, "Corrupted infoROM")                         \
	NVML_RETURN(GPU_IS_LOST, 15, "GPU is lost")                                     \
	NVML_RETURN(RESET_REQUIRED, 16, "GPU requires reset")                           \
	NVML_RETURN(OPERATING_SYSTEM, 17, "GPU access blocked by the operating system") \
	NVML_RETURN(LIB_RM_VERSION_MISMATCH, 18, "Driver/library version mismatch")     \
	NVML_RETURN(IN_USE, 19, "In use by another client")                             \
	NVML_RETURN(MEMORY, 20, "Insufficient Memory")                                  \
	NVML_RETURN(NO_DATA, 21, "No data")                                             \
	NVML_RETURN(INSUFFICIENT_RESOURCES, 23, "Insufficient resources")               \
	NVML_RETURN(ARGUMENT_VERSION_MISMATCH, 25, "Argument version mismatch")         \
	NVML_RETURN(NOT_READY, 27, "Not ready")                                         \
	NVML_RETURN(GPU_NOT_FOUND, 28, "No GPUs were found")                            \
	NVML_RETURN(UNKNOWN, 999, "Unknown Error")

enum nvml_return {
	NVML_SUCCESS = 0,
#define NVML_RETURN(name, value, text) NVML_ERROR_##name = (value),
	NVML_RETURNS(NVML_RETURN)
#undef NVML_RETURN
};

/* Buffer sizes that are always large enough, the final NUL included. */
#define NVML_NAME_SIZE    96
#define NVML_UUID_SIZE    96
#define NVML_VERSION_SIZE 80

#define NVML_BYTES_UNKNOWN (~0ULL)     /* a process's bytes when the driver cannot tell */
#define NVML_NO_INSTANCE   0xffffffffu /* GPU and compute instance of what is not in MIG */

/* The version word of a versioned structure: its size, and its number in the top byte. */
#define NVML_STRUCT_VERSION(type, n) ((unsigned)(sizeof(type) | ((unsigned)(n) << 24)))

/* Event types, a mask. */
#define NVML_EVENT_SINGLE_BIT_ECC 0x1ULL
#define NVML_EVENT_DOUBLE_BIT_ECC 0x2ULL
#define NVML_EVENT_XID            0x8ULL

enum nvml_ecc_type { NVML_ECC_CORRECTED = 0, NVML_ECC_UNCORRECTED = 1 };
enum nvml_ecc_counter {
	NVML_ECC_VOLATILE = 0,
	NVML_ECC_AGGREGATE = 1
}; /* since the last reset; ever */
enum nvml_affinity_scope { NVML_AFFINITY_NODE = 0, NVML_AFFINITY_SOCKET = 1 };
enum nvml_compute_mode {
	NVML_COMPUTE_SHARED = 0,
	NVML_COMPUTE_PROHIBITED = 2,
	NVML_COMPUTE_EXCLUSIVE = 3
};
enum nvml_clock {
	NVML_CLOCK_GRAPHICS = 0,
	NVML_CLOCK_SM = 1,
	NVML_CLOCK_MEMORY = 2,
	NVML_CLOCK_VIDEO = 3
};

#define NVML_TEMPERATURE_GPU 0

/* Fields of nvmlDeviceGetFieldValues. */
#define NVML_FIELD_RECOVERY_ACTION 230

enum nvml_recovery_action {
	NVML_RECOVERY_NONE = 0,
	NVML_RECOVERY_RESET = 1,
	NVML_RECOVERY_REBOOT = 2,
	NVML_RECOVERY_DRAIN_P2P = 3,
	NVML_RECOVERY_DRAIN_AND_RESET = 4,
};

enum nvml_value_type {
	NVML_VALUE_DOUBLE = 0,
	NVML_VALUE_UINT = 1,
	NVML_VALUE_ULONG = 2,
	NVML_VALUE_ULLONG = 3
};

struct nvml_memory {
	unsigned long long total;
	unsigned long long free;
	unsigned long long used; /* with what the driver keeps for itself */
};

/* Documents disagree on whether used includes reserved; total - reserved - free is right either way. */
struct nvml_memory_v2 {
	unsigned version; /* set by the caller: NVML_STRUCT_VERSION(struct nvml_memory_v2, 2) */
	unsigned long long total;
	unsigned long long reserved;
	unsigned long long free;
	unsigned long long used;
};

struct nvml_pci {
	char bus_id_legacy[16]; /* "0000:01:00.0" */
	unsigned domain;
	unsigned bus;
	unsigned device;
	unsigned device_id; /* device << 16 | vendor */
	unsigned subsystem_id;
	char bus_id[32]; /* "00000000:01:00.0" */
};

struct nvml_utilization {
	unsigned gpu; /* percent */
	unsigned memory;
};

struct nvml_process_v1 {
	unsigned pid;
	unsigned long long bytes;
};

struct nvml_process { /* v2 and v3 */
	unsigned pid;
	unsigned long long bytes;
	unsigned gpu_instance;
	unsigned compute_instance;
};

/* Of one process on one device, in per cent of the device. */
struct nvml_process_use {
	unsigned pid;
	unsigned long long timestamp_us;
	unsigned multiprocessors;
	unsigned memory;
	unsigned encoder;
	unsigned decoder;
};

struct nvml_process_use_v1 { /* in a struct nvml_processes_use */
	unsigned long long timestamp_us;
	unsigned pid;
	unsigned multiprocessors;
	unsigned memory;
	unsigned encoder;
	unsigned decoder;
	unsigned jpeg;
	unsigned ofa;
};

struct nvml_processes_use {
	unsigned version; /* set by the caller: NVML_STRUCT_VERSION(struct nvml_processes_use, 1) */
	unsigned count;   /* room for so many; then so many there are */
	unsigned long long since_us; /* only what is younger */
	struct nvml_process_use_v1 *uses;
};

struct nvml_event {
	struct nvml_device *device;
	unsigned long long type;
	unsigned long long data; /* the XID */
	unsigned gpu_instance;
	unsigned compute_instance;
};

/* Of a MIG instance. */
struct nvml_attributes {
	unsigned multiprocessors;
	unsigned copy_engines;
	unsigned decoders;
	unsigned encoders;
	unsigned jpeg_engines;
	unsigned ofa_engines;
	unsigned gpu_instance_slices;     /* of the compute of its GPU instance */
	unsigned compute_instance_slices; /* of its own */
	unsigned long long memory_mib;
};

union nvml_value {
	double d;
	unsigned u;
	unsigned long ul;
	unsigned long long ull;
	long long ll;
};

struct nvml_field {
	unsigned field;
	unsigned scope;
	long long timestamp_us;
	long long latency_us;
	int type;   /* enum nvml_value_type */
	int result; /* enum nvml_return of this field alone */
	union nvml_value value;
};

#define NVML_LAYOUT(type, size, member, offset)                                      \
	_Static_assert(sizeof(type) == (size) && offsetof(type, member) == (offset), \
	        #type " is not laid out as NVML's")
#if defined(__LP64__)
NVML_LAYOUT(struct nvml_memory, 24, used, 16);
NVML_LAYOUT(struct nvml_memory_v2, 40, used, 32);
NVML_LAYOUT(struct nvml_pci, 68, bus_id, 36);
NVML_LAYOUT(struct nvml_utilization, 8, memory, 4);
NVML_LAYOUT(struct nvml_process_v1, 16, bytes, 8);
NVML_LAYOUT(struct nvml_process, 24, compute_instance, 20);
NVML_LAYOUT(struct nvml_process_use, 32, decoder, 28);
NVML_LAYOUT(struct nvml_process_use_v1, 40, ofa, 32);
NVML_LAYOUT(struct nvml_processes_use, 24, uses, 16);
NVML_LAYOUT(struct nvml_event, 32, compute_instance, 28);
NVML_LAYOUT(struct nvml_field, 40, value, 32);
NVML_LAYOUT(struct nvml_attributes, 40, memory_mib, 32);
#endif
_Static_assert(sizeof(enum nvml_return) == sizeof(int), "NVML returns an int");
