#include "shim/charge.h"

/* Memory that another API allocated on the device is this job's as long as it is imported: nobody else pays for it. */
enum cu_result cuImportExternalMemory(
        struct cu_external **ext_mem_out, const struct cu_external_desc *mem_handle_desc)
{
	ENTER(cuImportExternalMemory);
	if (ext_mem_out == NULL || mem_handle_desc == NULL || mem_handle_desc->size == 0)
		return real.cuImportExternalMemory(ext_mem_out, mem_handle_desc);
	struct place place;
	struct ledger *ledger;
	struct charge charge;
	enum cu_result rc = charge_place(&place);
	if (rc == CU_SUCCESS)
		rc = charge_ledger(place.device, &ledger);
	uint64_t bytes = rc == CU_SUCCESS ? charge_round(ledger, mem_handle_desc->size) : 0;
	if (rc == CU_SUCCESS)
		rc = charge_begin(&charge, place.device, bytes);
	if (rc != CU_SUCCESS)
		return rc;
	struct cu_external *external = NULL;
	rc = real.cuImportExternalMemory(&external, mem_handle_desc);
	struct table_entry entry = {.key = (uintptr_t)external,
	        .owner = place.owner,
	        .size = 1,
	        .bytes = bytes,
	        .device = place.device,
	        .kind = SLICE_EXTERNAL};
	if (rc == CU_SUCCESS && table_put(&have.externals, &entry) != 0) {
		if (real.cuDestroyExternalMemory != NULL)
			real.cuDestroyExternalMemory(external);
		rc = CU_ERROR_OUT_OF_MEMORY;
	}
	charge_end(&charge, SLICE_EXTERNAL, rc == CU_SUCCESS ? bytes : 0);
	if (rc == CU_SUCCESS)
		*ext_mem_out = external;
	return rc;
}

enum cu_result cuDestroyExternalMemory(struct cu_external *ext_mem)
{
	ENTER(cuDestroyExternalMemory);
	struct table_entry entry;
	bool is_ours = table_take(&have.externals, (uintptr_t)ext_mem, &entry);
	enum cu_result rc = real.cuDestroyExternalMemory(ext_mem);
	if (is_ours && rc != CU_SUCCESS)
		table_put(&have.externals, &entry);
	else if (is_ours)
		charge_return(entry.device, SLICE_EXTERNAL, entry.bytes);
	return rc;
}
