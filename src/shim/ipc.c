#include "shim/charge.h"

/*
 * Memory that several processes of a job share is charged once, to the one that allocated it. What is opened here has no entry
 * in any table, so it is handed to the driver and changes no account.
 */

enum cu_result cuIpcGetMemHandle(struct cu_ipc_mem *p_handle, cu_ptr dptr)
{
	ENTER(cuIpcGetMemHandle);
	return real.cuIpcGetMemHandle(p_handle, dptr);
}

enum cu_result cuIpcOpenMemHandle(cu_ptr *pdptr, struct cu_ipc_mem handle, unsigned flags)
{
	ENTER(cuIpcOpenMemHandle);
	return real.cuIpcOpenMemHandle(pdptr, handle, flags);
}

enum cu_result cuIpcOpenMemHandle_v2(cu_ptr *pdptr, struct cu_ipc_mem handle, unsigned flags)
{
	ENTER(cuIpcOpenMemHandle_v2);
	return real.cuIpcOpenMemHandle_v2(pdptr, handle, flags);
}

enum cu_result cuIpcCloseMemHandle(cu_ptr dptr)
{
	ENTER(cuIpcCloseMemHandle);
	return real.cuIpcCloseMemHandle(dptr);
}
