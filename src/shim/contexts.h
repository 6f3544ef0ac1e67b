/*
 * Contexts and the memory that the driver takes for each. A primary context may come from the runtime's own table of functions,
 * past every wrapper: it is noticed at the next call that allocates.
 * The driver owns contexts; the table `have.contexts` has those made by cuCtxCreate, primary ones are kept by device.
 * Any thread.
 * A context that does not fit is CU_ERROR_OUT_OF_MEMORY.
 */
#pragma once

#include "shim/charge.h"

/* Charges the primary context of the device when it is there and nobody did. */
enum cu_result contexts_notice(int device);

/* Whose what is allocated now is: of a context that was made, else of the primary one. See memory_owners_gone. */
uint64_t contexts_owner(int device, struct cu_ctx *ctx);

void contexts_forked(void);
