#include "shim/captures.h"
#include "shim/contexts.h"
#include "shim/pacing.h"

static void count(int by)
{
	__atomic_add_fetch(&pacing_captures, (uint32_t)by, __ATOMIC_SEQ_CST);
}

/* A thread's own default stream has one handle in all threads. A thread records in one of those at a time. */
static uint64_t key_of(struct cu_stream *stream, bool is_per_thread)
{
	return stream == CU_STREAM_PER_THREAD || (stream == NULL && is_per_thread)
	               ? (uint64_t)(uintptr_t)pthread_self()
	               : (uintptr_t)stream;
}

/* The context that it goes with. */
static uint64_t owner_of(struct cu_stream *stream)
{
	struct cu_ctx *ctx = NULL;
	int device = 0;
	if (real.cuCtxGetCurrent != NULL)
		real.cuCtxGetCurrent(&ctx);
	if (stream != NULL && stream != CU_STREAM_PER_THREAD && real.cuStreamGetCtx != NULL)
		real.cuStreamGetCtx(stream, &ctx);
	if (real.cuCtxGetDevice != NULL)
		real.cuCtxGetDevice(&device);
	return contexts_owner(device, ctx);
}

static int64_t put_one(struct table_entry *entry, void *context)
{
	bool is_new = entry->size == 0;
	entry->size = 1;
	entry->owner = *(const uint64_t *)context;
	return is_new;
}

void captures_begin(void)
{
	count(1);
}

enum cu_result captures_begun(enum cu_result rc, struct cu_stream *stream, bool is_per_thread)
{
	uint64_t owner = rc == CU_SUCCESS ? owner_of(stream) : 0;
	/* Without memory to note it in it stays counted: better a job that is not held than a graph that is spoilt. */
	if (rc != CU_SUCCESS ||
	        table_change(&have.captures, key_of(stream, is_per_thread), put_one, &owner) == 0)
		count(-1);
	return rc;
}

static bool goes_on(struct cu_stream *stream, bool is_per_thread)
{
	enum cu_result (*ask)(struct cu_stream *, int *) =
	        is_per_thread ? real.cuStreamIsCapturing_ptsz : real.cuStreamIsCapturing;
	int status = CU_CAPTURE_NONE;
	return ask != NULL && ask(stream, &status) == CU_SUCCESS && status != CU_CAPTURE_NONE;
}

enum cu_result captures_ended(enum cu_result rc, struct cu_stream *stream, bool is_per_thread)
{
	struct table_entry entry;
	if ((rc == CU_SUCCESS || !goes_on(stream, is_per_thread)) &&
	        table_take(&have.captures, key_of(stream, is_per_thread), &entry))
		count(-1);
	return rc;
}

bool captures_take(struct cu_stream *stream, struct table_entry *ret_entry)
{
	return __atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) != 0 && stream != NULL &&
	       table_take(&have.captures, key_of(stream, false), ret_entry);
}

enum cu_result captures_taken(enum cu_result rc, bool is_one, const struct table_entry *entry)
{
	if (is_one && (rc == CU_SUCCESS || table_put(&have.captures, entry) != 0))
		count(-1);
	return rc;
}

static bool is_owned(const struct table_entry *entry, void *context)
{
	const uint64_t *owners = context;
	if (entry->owner < owners[0] || entry->owner > owners[1])
		return false;
	count(-1);
	return true;
}

void captures_owners_gone(uint64_t first, uint64_t last)
{
	uint64_t owners[2] = {first, last};
	if (__atomic_load_n(&pacing_captures, __ATOMIC_RELAXED) != 0)
		table_sweep(&have.captures, is_owned, owners);
}
