#include "shim/charge.h"
#include "shim/contexts.h"

#include <limits.h>

enum cu_result cuInit(unsigned flags)
{
	ENTER(cuInit);
	return real.cuInit(flags);
}

enum cu_result cuDeviceGetCount(int *count)
{
	ENTER(cuDeviceGetCount);
	return real.cuDeviceGetCount(count);
}

enum cu_result cuDeviceGet(int *device, int ordinal)
{
	ENTER(cuDeviceGet);
	return real.cuDeviceGet(device, ordinal);
}

enum cu_result cuDeviceGetName(char *name, int len, int dev)
{
	ENTER(cuDeviceGetName);
	return real.cuDeviceGetName(name, len, dev);
}

enum cu_result cuDeviceGetByPCIBusId(int *dev, const char *pci_bus_id)
{
	ENTER(cuDeviceGetByPCIBusId);
	return real.cuDeviceGetByPCIBusId(dev, pci_bus_id);
}

static bool is_held(const struct ledger *ledger)
{
	return ledger->grant.flags & SLICE_HOLDS_MEMORY;
}

/* A device is as large as its slice. One without a slice is what it is: nothing can be had from it. */
static uint64_t total_of(int device, uint64_t bytes)
{
	struct ledger *ledger;
	return charge_ledger(device, &ledger) == CU_SUCCESS && is_held(ledger)
	               ? ledger->grant.limit_bytes
	               : bytes;
}

static unsigned in_32_bits(uint64_t bytes)
{
	return bytes > UINT_MAX ? UINT_MAX : (unsigned)bytes;
}

enum cu_result cuDeviceTotalMem_v2(size_t *bytes, int dev)
{
	ENTER(cuDeviceTotalMem_v2);
	enum cu_result rc = real.cuDeviceTotalMem_v2(bytes, dev);
	if (rc == CU_SUCCESS && bytes != NULL)
		*bytes = total_of(dev, *bytes);
	return rc;
}

enum cu_result cuDeviceTotalMem(unsigned *bytes, int dev)
{
	ENTER(cuDeviceTotalMem);
	enum cu_result rc = real.cuDeviceTotalMem(bytes, dev);
	if (rc == CU_SUCCESS && bytes != NULL)
		*bytes = in_32_bits(total_of(dev, *bytes));
	return rc;
}

/* What is left of the slice; less, when the device itself has less. */
static enum cu_result info(uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct ledger *ledger;
	struct place place;
	enum cu_result rc = charge_place(&place);
	/* A context that does not fit leaves nothing. */
	if (rc == CU_ERROR_OUT_OF_MEMORY && real.cuCtxGetDevice(&place.device) == CU_SUCCESS)
		rc = CU_SUCCESS;
	if (rc == CU_SUCCESS)
		rc = charge_ledger(place.device, &ledger);
	if (rc != CU_SUCCESS || !is_held(ledger))
		return rc;
	uint64_t left_bytes = ledger_left(ledger);
	*total_bytes = ledger->grant.limit_bytes;
	*free_bytes -= *free_bytes % ledger->grant.granule_bytes;
	if (*free_bytes > left_bytes)
		*free_bytes = left_bytes;
	return CU_SUCCESS;
}

enum cu_result cuMemGetInfo_v2(size_t *free, size_t *total)
{
	ENTER(cuMemGetInfo_v2);
	size_t free_bytes = 0, total_bytes = 0;
	enum cu_result rc = real.cuMemGetInfo_v2(&free_bytes, &total_bytes);
	if (rc == CU_SUCCESS)
		rc = info(&free_bytes, &total_bytes);
	if (rc == CU_SUCCESS && free != NULL)
		*free = free_bytes;
	if (rc == CU_SUCCESS && total != NULL)
		*total = total_bytes;
	return rc;
}

enum cu_result cuMemGetInfo(unsigned *free, unsigned *total)
{
	ENTER(cuMemGetInfo);
	size_t free_bytes = 0, total_bytes = 0;
	unsigned narrow_free = 0, narrow_total = 0;
	enum cu_result rc = real.cuMemGetInfo_v2 != NULL
	                            ? real.cuMemGetInfo_v2(&free_bytes, &total_bytes)
	                            : real.cuMemGetInfo(&narrow_free, &narrow_total);
	if (real.cuMemGetInfo_v2 == NULL) {
		free_bytes = narrow_free;
		total_bytes = narrow_total;
	}
	if (rc == CU_SUCCESS)
		rc = info(&free_bytes, &total_bytes);
	if (rc == CU_SUCCESS && free != NULL)
		*free = in_32_bits(free_bytes);
	if (rc == CU_SUCCESS && total != NULL)
		*total = in_32_bits(total_bytes);
	return rc;
}
