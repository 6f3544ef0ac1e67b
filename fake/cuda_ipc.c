/*
 * Memory of other processes, and of others than CUDA: IPC handles, and files that stand for memory of a graphics API.
 */
#include "cuda.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLE_MAGIC UINT64_C(0x4350494854524542)

/* What an IPC handle holds. */
struct handle {
	uint64_t magic;
	int32_t pid, fd;
	int64_t offset;
	uint64_t bytes, shared;
};

_Static_assert(sizeof(struct handle) <= sizeof(struct cu_ipc_mem), "CUipcMemHandle");

/* -- IPC -- */

static enum cu_result get_handle(struct block *b, struct cu_ipc_mem *ret_handle)
{
	struct handle h = {.magic = HANDLE_MAGIC,
	        .pid = getpid(),
	        .fd = backing_fd(),
	        .offset = b->offset,
	        .bytes = b->bytes};

	if (b->kind != BLOCK_DEVICE || b->offset < 0)
		return CU_ERROR_INVALID_VALUE;
	if (!b->shared && !shared_new(b->card, b->taken, &b->shared))
		return CU_ERROR_OUT_OF_MEMORY;
	h.shared = b->shared;
	memset(ret_handle, 0, sizeof(*ret_handle));
	memcpy(ret_handle, &h, sizeof(h));
	return CU_SUCCESS;
}

enum cu_result cuIpcGetMemHandle(struct cu_ipc_mem *p_handle, cu_ptr dptr)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(dptr);
	code = p_handle && b ? get_handle(b, p_handle) : CU_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* A block over memory of a file; what lies before it in its page is mapped with it. */
enum cu_result block_of_file(struct cu_ctx *ctx, unsigned card, int fd, int64_t offset,
        uint64_t bytes, struct block **ret_block)
{
	int64_t start = offset & ~INT64_C(4095);
	uint64_t all = bytes + (uint64_t)(offset - start);
	struct block *b = object_new(KIND_BLOCK, sizeof(*b));
	enum cu_result code = CU_ERROR_OUT_OF_MEMORY;

	if (!b)
		return code;
	b->taken = granules(all); /* of addresses */
	b->at = b->taken ? backing_map(fd, start, b->taken) : 0;
	if (b->at) {
		b->at += (uint64_t)(offset - start);
		b->bytes = bytes;
		b->kind = BLOCK_IMPORT;
		b->ctx = ctx;
		b->card = card;
		b->offset = -1;
		code = block_add(b);
	}
	if (code)
		object_end(b);
	else
		*ret_block = b;
	return code;
}

static enum cu_result open_handle(struct cu_ctx *ctx, const struct handle *h, cu_ptr *ret_at)
{
	char path[64];
	struct block *b;
	enum cu_result code;
	unsigned card;
	int fd;

	if (h->magic != HANDLE_MAGIC || h->offset < 0)
		return CU_ERROR_INVALID_VALUE;
	if (h->pid == getpid())
		return CU_ERROR_INVALID_CONTEXT;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)h->pid, (int)h->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || !shared_join(h->shared, &card)) {
		if (fd >= 0)
			close(fd);
		return CU_ERROR_INVALID_VALUE;
	}
	code = block_of_file(ctx, card, fd, h->offset, h->bytes, &b);
	close(fd);
	if (code) {
		shared_leave(h->shared);
		return code;
	}
	b->shared = h->shared;
	*ret_at = b->at;
	return CU_SUCCESS;
}

static enum cu_result open_mem(
        const char *function, cu_ptr *pdptr, const struct cu_ipc_mem *handle, unsigned flags)
{
	struct cu_ctx *ctx;
	struct handle h;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!pdptr || flags > 1)
		return CU_ERROR_INVALID_VALUE;
	memcpy(&h, handle, sizeof(h));
	pthread_mutex_lock(&driver.lock);
	code = open_handle(ctx, &h, pdptr);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuIpcOpenMemHandle(cu_ptr *pdptr, struct cu_ipc_mem handle, unsigned flags)
{
	return open_mem(__func__, pdptr, &handle, flags);
}

enum cu_result cuIpcOpenMemHandle_v2(cu_ptr *pdptr, struct cu_ipc_mem handle, unsigned flags)
{
	return open_mem(__func__, pdptr, &handle, flags);
}

enum cu_result cuIpcCloseMemHandle(cu_ptr dptr)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct block *b;

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	b = block_at(dptr);
	if (!b || b->at != dptr || b->kind != BLOCK_IMPORT || !b->shared)
		code = CU_ERROR_INVALID_VALUE;
	else
		block_end(b);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* -- external memory: of the card, but not taken by CUDA; who imports it is who has it -- */

struct cu_external {
	struct object o;
	struct cu_ctx *ctx;
	unsigned card;
	int fd;
	uint64_t bytes;
};

enum cu_result cuImportExternalMemory(
        struct cu_external **ext_mem_out, const struct cu_external_desc *desc)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);
	struct cu_external *e;
	struct stat st;

	if (code)
		return code;
	if (!ext_mem_out || !desc || !desc->size || !granules(desc->size))
		return CU_ERROR_INVALID_VALUE;
	if (desc->type != 1) /* a file alone */
		return CU_ERROR_NOT_SUPPORTED;
	if (fstat(desc->handle.fd, &st) < 0 || st.st_size < (off_t)desc->size)
		return CU_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&driver.lock);
	code = physical_take(ctx->card, granules(desc->size));
	e = code ? NULL : object_new(KIND_EXTERNAL, sizeof(*e));
	if (e) {
		e->ctx = ctx;
		e->card = ctx->card;
		e->fd = desc->handle.fd; /* the driver's from here on */
		e->bytes = desc->size;
		*ext_mem_out = e;
	}
	pthread_mutex_unlock(&driver.lock);
	return code || e ? code : CU_ERROR_OUT_OF_MEMORY;
}

enum cu_result cuExternalMemoryGetMappedBuffer(
        cu_ptr *dev_ptr, struct cu_external *e, const struct cu_external_buffer *buffer)
{
	enum cu_result code = call_ready(__func__);
	struct block *b;

	if (code)
		return code;
	if (!object_is(e, KIND_EXTERNAL))
		return CU_ERROR_INVALID_HANDLE;
	if (!dev_ptr || !buffer || !buffer->size || buffer->offset > e->bytes ||
	        buffer->size > e->bytes - buffer->offset)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = block_of_file(e->ctx, e->card, e->fd, (int64_t)buffer->offset, buffer->size, &b);
	if (!code)
		*dev_ptr = b->at;
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuDestroyExternalMemory(struct cu_external *ext_mem)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(ext_mem, KIND_EXTERNAL)) {
		code = CU_ERROR_INVALID_HANDLE;
	} else {
		close(ext_mem->fd);
		physical_give(ext_mem->card, granules(ext_mem->bytes));
		object_end(ext_mem);
	}
	pthread_mutex_unlock(&driver.lock);
	return code;
}
