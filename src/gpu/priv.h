/*
 * Inside of src/gpu: a struct gpu and what its files tell each other.
 * gpu.c owns the struct and its life, device.c reads what a device is, mig.c what a card was divided into, health.c how it is,
 * usage.c who uses it.
 * One thread at a time, as gpu.h says. What NVML answers is a code, kept as it is until it is shown.
 */
#pragma once

#include <limits.h>

#include "gpu/gpu.h"
#include "gpu/nvml.h"

enum xid_class { XID_APP, XID_NOTE, XID_WORN, XID_RESET, XID_GONE };

struct dev {
	struct gpu_device shown;
	struct nvml_device *handle; /* NULL: not reached since NVML was started */
	bool listening;             /* its events come to gpu.events */
	enum nvml_return gone;    /* the code that said that it is lost; NVML_SUCCESS: it is not */
	enum nvml_return failing; /* the code of the last check that went wrong */
	unsigned n_failing;       /* checks in a row that went wrong */
	unsigned gone_xid, reset_xid, worn_xid; /* the last of each class that counts; 0: none */
	unsigned last_xid, n_xids;
	unsigned recovery; /* enum nvml_recovery_action, or what comes after it */
	bool recovery_known;
	bool returned; /* NVML was started anew, and it was not checked since */
	bool rows_pending, rows_failed;
	uint64_t ecc_uncorrected;
	struct dev *card;     /* that it is a MIG instance of; NULL: it is a card */
	unsigned n_instances; /* of a card, at the last scan */
	bool was_listed;      /* by a scan, so that it stays in the list */
	bool removed;         /* an instance that the administrator took away */
	bool mode_changed;    /* MIG mode is another than at the last scan */
};

#define GPU_NO_INDEX UINT_MAX

/* What --gpus named. Bound to a UUID when first found, for indices move when a device drops out. */
struct allowed {
	char name[96];
	char uuid[96];
};

struct gpu {
	struct nvml nvml;
	char *library;  /* NULL: the system's */
	char *simulate; /* NULL: none */
	char *sysfs;    /* NULL: /sys, for real devices only */
	char *proc;     /* NULL: /proc, for real devices only */
	struct allowed *allowed;
	size_t n_allowed;
	bool started; /* between nvmlInit and nvmlShutdown */
	bool stale;   /* the driver itself must be started anew */
	struct nvml_event_set *events;
	struct dev devs[GPU_DEVICES_MAX];
	size_t n_devs;
	struct nvml_process *processes; /* room for a list */
	unsigned processes_max;
	char note[400];
};

struct dev *gpu_dev_find(struct gpu *g, const char *uuid);
/* The code says that the device, or the whole driver, is lost: remembers that. */
void gpu_took_code(struct gpu *g, struct dev *d, enum nvml_return code);

/* Adds to the note. */
__attribute__((format(printf, 2, 3))) void gpu_say(struct gpu *g, const char *fmt, ...);

/* A text that NVML wrote into `size` bytes: gets its end, and '?' for what is no UTF-8 or what a terminal would act on. */
void gpu_take_text(char *text, size_t size);

/* May it be used? Binds a name of --gpus to the first device that it fits. */
bool gpu_is_allowed(struct gpu *g, unsigned index, const char *uuid);
/* Into the list of devices; NULL: it is none, which the note says. */
struct dev *gpu_take(struct gpu *g, struct nvml_device *handle, const struct gpu_device *shown);

/* mig.c: a card that was read, and its instances, into the list; of a card that is not allowed those that are. */
void gpu_mig_take(
        struct gpu *g, struct nvml_device *handle, struct gpu_device *shown, bool is_allowed);

enum nvml_return gpu_memory_read(struct gpu *g, struct nvml_device *handle, uint64_t *ret_bytes);
/* A card that its instances stand for, in the list, and that never stood there itself. */
bool gpu_is_hidden(const struct dev *d);

/* device.c: everything but uuid, index and health; a code when it cannot even be known how much memory there is */
enum nvml_return gpu_device_read(
        struct gpu *g, struct nvml_device *handle, struct gpu_device *shown);

/* health.c */
void gpu_health_listen(struct gpu *g);               /* for events of devices that answer */
void gpu_health_check(struct gpu *g, struct dev *d); /* asks an answering device */
void gpu_health_judge(struct dev *d);                /* what is known -> shown.health */
void gpu_health_returned(struct dev *d);             /* it answered when NVML was started anew */
enum xid_class xid_class_of(uint64_t xid);
const char *xid_text(uint64_t xid);
