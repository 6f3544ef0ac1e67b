#include "shim/charge.h"
#include "shim/contexts.h"
#include "shim/graphs.h"
#include "shim/memory.h"
#include "shim/pools.h"

#include <stdio.h>
#include <string.h>

struct tables have;

/* For each ordinal 0: not looked at yet, -1: no slice, else the ledger's number + 1. */
static int numbers[SHIM_DEVICES];

void charge_forked(void)
{
	struct table *tables = (struct table *)&have;
	for (size_t i = 0; i < sizeof have / sizeof *tables; i++)
		table_forked(&tables[i]);
	memset(numbers, 0, sizeof numbers);
	contexts_forked();
	memory_forked();
	pools_forked();
	graphs_forked();
}

/* The driver has sixteen bytes; NVML writes them as GPU-8-4-4-4-12, or MIG-. */
static bool is_uuid(const char *text, const struct cu_uuid *uuid)
{
	char digits[33];
	for (int i = 0; i < 16; i++)
		snprintf(digits + 2 * (size_t)i, 3, "%02x", uuid->bytes[i]);
	const char *at = strchr(text, '-');
	at = at != NULL && (strncmp(text, "GPU-", 4) == 0 || strncmp(text, "MIG-", 4) == 0) ? at + 1
	                                                                                    : text;
	int n = 0;
	for (; *at != 0; at++) {
		if (*at == '-')
			continue;
		char digit = *at >= 'A' && *at <= 'F' ? (char)(*at - 'A' + 'a') : *at;
		if (n == 32 || digit != digits[n])
			return false;
		n++;
	}
	return n == 32;
}

static enum cu_result find_number(int device, int *ret_number)
{
	struct cu_uuid uuid;
	enum cu_result rc = real.cuDeviceGetUuid_v2 != NULL ? real.cuDeviceGetUuid_v2(&uuid, device)
	                    : real.cuDeviceGetUuid != NULL  ? real.cuDeviceGetUuid(&uuid, device)
	                                                    : CU_ERROR_NOT_SUPPORTED;
	if (rc != CU_SUCCESS)
		return rc;
	*ret_number = -1;
	for (int i = 0; i < shim.n_ledgers && *ret_number < 0; i++)
		if (is_uuid(shim.ledgers[i].grant.uuid, &uuid))
			*ret_number = i + 1;
	if (*ret_number < 0)
		shim_log("device %d has no slice", device);
	return CU_SUCCESS;
}

enum cu_result charge_ledger(int device, struct ledger **ret_ledger)
{
	if (device < 0 || device >= SHIM_DEVICES)
		return CU_ERROR_INVALID_DEVICE;
	int number = __atomic_load_n(&numbers[device], __ATOMIC_ACQUIRE);
	if (number == 0) {
		enum cu_result rc = find_number(device, &number);
		if (rc != CU_SUCCESS)
			return rc;
		__atomic_store_n(&numbers[device], number, __ATOMIC_RELEASE);
	}
	if (number < 0)
		return CU_ERROR_INVALID_DEVICE;
	*ret_ledger = &shim.ledgers[number - 1];
	return CU_SUCCESS;
}

enum cu_result charge_place(struct place *ret_place)
{
	struct place place = {.device = -1};
	struct cu_ctx *ctx = NULL;
	enum cu_result rc = real.cuCtxGetDevice == NULL || real.cuCtxGetCurrent == NULL
	                            ? CU_ERROR_NOT_SUPPORTED
	                            : real.cuCtxGetDevice(&place.device);
	if (rc == CU_SUCCESS)
		rc = real.cuCtxGetCurrent(&ctx);
	if (rc == CU_SUCCESS)
		rc = contexts_notice(place.device);
	if (rc != CU_SUCCESS)
		return rc;
	place.owner = contexts_owner(place.device, ctx);
	*ret_place = place;
	return CU_SUCCESS;
}

/* Who has nothing reserved may wait for those who have; if all might, they would wait for each other. */
static enum cu_result reserve(const struct charge *charge, uint64_t bytes)
{
	int (*ask)(struct ledger *, uint64_t) =
	        charge->reserved_bytes == 0 ? ledger_reserve_after_others : ledger_reserve;
	int answer = ask(charge->ledger, bytes);
	if (answer == LEDGER_FULL && pools_trim(charge->device))
		answer = ask(charge->ledger, bytes);
	return shim_answer(answer);
}

enum cu_result charge_begin(struct charge *ret_charge, int device, uint64_t bytes)
{
	*ret_charge = (struct charge){.device = device};
	enum cu_result rc = charge_ledger(device, &ret_charge->ledger);
	if (rc == CU_SUCCESS && bytes > 0)
		rc = reserve(ret_charge, bytes);
	if (rc == CU_SUCCESS)
		ret_charge->reserved_bytes = bytes;
	return rc;
}

enum cu_result charge_more(struct charge *charge, uint64_t bytes)
{
	enum cu_result rc = reserve(charge, bytes);
	if (rc == CU_SUCCESS)
		charge->reserved_bytes += bytes;
	return rc;
}

void charge_end(struct charge *charge, enum slice_kind kind, uint64_t bytes)
{
	if (charge->ledger != NULL && charge->reserved_bytes > 0)
		ledger_settle(charge->ledger, charge->reserved_bytes, kind, bytes);
	charge->reserved_bytes = 0;
}

void charge_return(int device, enum slice_kind kind, uint64_t bytes)
{
	struct ledger *ledger;
	if (bytes > 0 && charge_ledger(device, &ledger) == CU_SUCCESS)
		ledger_return(ledger, kind, bytes);
}

uint64_t charge_round(const struct ledger *ledger, uint64_t bytes)
{
	uint64_t granule = ledger->grant.granule_bytes, rounded;
	return __builtin_add_overflow(bytes, granule - 1, &rounded) ? UINT64_MAX
	                                                            : rounded & ~(granule - 1);
}

uint64_t charge_granule(int device)
{
	struct ledger *ledger;
	return charge_ledger(device, &ledger) == CU_SUCCESS ? ledger->grant.granule_bytes : 1;
}
