/*
 * Inside of the fake libnvidia-ml.so.1: what every function of it begins with.
 * The library's own state is one per process, as the real one's is, and behind one mutex; any thread may call.
 * Failures are NVML's return codes.
 */
#pragma once

#include "sim.h"

#include "../tables/nvml_abi.h"

#pragma GCC visibility push(default)
#define NVML(need, since, ret, name, params) ret name params;
#include "../tables/nvml.def"
#undef NVML
#pragma GCC visibility pop

/* What a call sees: one moment of the simulation. */
struct view {
	const struct sim *sim;
	const struct sim_card *card; /* NULL when the call is about no device */
	const struct sim_card_state
	        *live; /* of that card; of an instance, of the card that it is of */
	unsigned index;
	struct sim_state state;
};

/*
 * Begins a call: is the library initialised, is the device one of ours, which faults does this call meet; a slow call
 * has then been slow. device NULL: the call is about none. A nonzero code is the call's answer.
 */
enum nvml_return view_open(struct view *v, const char *function, struct nvml_device *device);
/* The same where NULL is a caller's mistake. */
enum nvml_return view_device(struct view *v, const char *function, struct nvml_device *device);
/* The same of what is not answered for a MIG instance. */
enum nvml_return view_whole(struct view *v, const char *function, struct nvml_device *device);
/* A handle for a card; GPU_IS_LOST when it is lost. */
enum nvml_return view_handle(const struct view *v, int index, struct nvml_device **ret_device);
struct nvml_device *device_handle(unsigned index);
/* The state of now, changed by fn under the lock; for calls that have begun. fn says whether it changed something. */
enum nvml_return library_change(
        bool (*fn)(const struct sim *s, struct sim_state *st, void *arg), void *arg);
/* Copies a text with its NUL, or INSUFFICIENT_SIZE. */
enum nvml_return put_text(const char *text, char *out, unsigned length);
/* Registers memory that the library frees at the last nvmlShutdown. */
enum nvml_return library_keep_set(struct nvml_event_set *set);
bool library_has_set(const struct nvml_event_set *set);
void library_drop_set(struct nvml_event_set *set);

struct nvml_event_set {
	struct nvml_event_set *next;
	uint64_t seen; /* the newest event that it was told of or does not want */
	uint64_t types[SIM_CARDS_MAX];
};
