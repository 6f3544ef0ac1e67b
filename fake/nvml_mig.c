/*
 * The functions of the fake NVML about MIG: the mode, and the instances that a card was divided into.
 */
#include "library.h"

static enum nvml_return put(enum nvml_return code, unsigned *out, unsigned value)
{
	if (code)
		return code;
	if (!out)
		return NVML_ERROR_INVALID_ARGUMENT;
	*out = value;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMigMode(
        struct nvml_device *device, unsigned *current, unsigned *pending)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	code = put(code, pending, code ? 0 : sim_is_mig(v.sim, &v.state, v.index));
	return put(code, current, code ? 0 : sim_is_mig(v.sim, &v.state, v.index));
}

/* Of cards that cannot be divided: 0. */
enum nvml_return nvmlDeviceGetMaxMigDeviceCount(struct nvml_device *device, unsigned *count)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	return put(code, count, code || !v.card->mig ? 0 : SIM_SLICES_MAX);
}

enum nvml_return nvmlDeviceIsMigDeviceHandle(struct nvml_device *device, unsigned *is_mig)
{
	struct view v;
	enum nvml_return code = view_device(&v, __func__, device);

	return put(code, is_mig, code ? 0 : v.card->parent >= 0);
}

enum nvml_return nvmlDeviceGetMigDeviceHandleByIndex(
        struct nvml_device *device, unsigned index, struct nvml_device **mig)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!mig || index >= SIM_SLICES_MAX)
		return NVML_ERROR_INVALID_ARGUMENT;
	return view_handle(&v, sim_instance(v.sim, &v.state, v.index, index), mig);
}

/* Of an instance alone. */
static enum nvml_return view_instance(
        struct view *v, const char *function, struct nvml_device *device)
{
	enum nvml_return code = view_device(v, function, device);

	return code == NVML_SUCCESS && v->card->parent < 0 ? NVML_ERROR_NOT_SUPPORTED : code;
}

enum nvml_return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
        struct nvml_device *mig, struct nvml_device **device)
{
	struct view v;
	enum nvml_return code = view_instance(&v, __func__, mig);

	if (code)
		return code;
	if (!device)
		return NVML_ERROR_INVALID_ARGUMENT;
	return view_handle(&v, v.card->parent, device);
}

enum nvml_return nvmlDeviceGetGpuInstanceId(struct nvml_device *mig, unsigned *id)
{
	struct view v;
	enum nvml_return code = view_instance(&v, __func__, mig);

	return put(code, id, code ? 0 : v.card->gi);
}

enum nvml_return nvmlDeviceGetComputeInstanceId(struct nvml_device *mig, unsigned *id)
{
	struct view v;
	enum nvml_return code = view_instance(&v, __func__, mig);

	return put(code, id, code ? 0 : v.card->ci);
}

enum nvml_return nvmlDeviceGetAttributes_v2(
        struct nvml_device *mig, struct nvml_attributes *attributes)
{
	struct view v;
	enum nvml_return code = view_instance(&v, __func__, mig);

	if (code)
		return code;
	if (!attributes)
		return NVML_ERROR_INVALID_ARGUMENT;
	*attributes = (struct nvml_attributes){.multiprocessors = 14 * v.card->slices,
	        .copy_engines = v.card->gi_slices,
	        .gpu_instance_slices = v.card->gi_slices,
	        .compute_instance_slices = v.card->slices,
	        .memory_mib = v.card->mem_bytes >> 20};
	return NVML_SUCCESS;
}
