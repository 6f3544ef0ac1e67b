/*
 * Arrays and mipmapped arrays: memory without an address, in whole granules of its own.
 */
#include "cuda.h"

#include <stdint.h>

#define LEVELS_MAX 20

enum { LAYERED = 1, CUBEMAP = 4, SPARSE = 0x40, DEFERRED = 0x80 };

struct cu_array {
	struct object o;
	struct cu_array *next;
	struct cu_ctx *ctx;
	struct cu_array3d_desc desc;
	uint64_t bytes;          /* as the card holds it: rows are padded */
	struct cu_mipmap *level; /* of which it is one; NULL: it takes memory itself */
};

struct cu_mipmap {
	struct object o;
	struct cu_mipmap *next;
	struct cu_ctx *ctx;
	uint64_t bytes;
	unsigned flags;
	unsigned n_levels;
	struct cu_array *levels[LEVELS_MAX];
};

static struct cu_array *arrays; /* all under the driver's lock */
static struct cu_mipmap *mipmaps;

/* 0: there is no such format. */
static unsigned format_bytes(int format)
{
	switch (format) {
	case 0x01:
	case 0x08:
		return 1;
	case 0x02:
	case 0x09:
	case 0x10:
		return 2;
	case 0x03:
	case 0x0a:
	case 0x20:
		return 4;
	default:
		return 0;
	}
}

/* 0: it cannot be. */
static uint64_t size_of(const struct cu_array3d_desc *d)
{
	uint64_t bytes, rows, row = (uint64_t)format_bytes(d->format) * d->channels;

	if (!row || (d->channels != 1 && d->channels != 2 && d->channels != 4) || !d->width ||
	        d->width > 1 << 20)
		return 0;
	row = (row * d->width + PLACE - 1) / PLACE * PLACE;
	if (__builtin_mul_overflow(d->height ? d->height : 1, d->depth ? d->depth : 1, &rows) ||
	        __builtin_mul_overflow(row, rows, &bytes))
		return 0;
	return bytes;
}

static bool has_memory(unsigned flags)
{
	return !(flags & (SPARSE | DEFERRED));
}

/* -- arrays -- */

static enum cu_result array_new(struct cu_ctx *ctx, const struct cu_array3d_desc *desc,
        struct cu_mipmap *level, struct cu_array **ret_array)
{
	uint64_t bytes = size_of(desc);
	enum cu_result code = CU_SUCCESS;
	struct cu_array *a;

	if (!bytes)
		return CU_ERROR_INVALID_VALUE;
	if (!level && has_memory(desc->flags))
		code = granules(bytes) ? physical_take(ctx->card, granules(bytes))
		                       : CU_ERROR_OUT_OF_MEMORY;
	if (code)
		return code;
	a = object_new(KIND_ARRAY, sizeof(*a));
	if (!a) {
		physical_give(ctx->card, level ? 0 : granules(bytes));
		return CU_ERROR_OUT_OF_MEMORY;
	}
	a->ctx = ctx;
	a->desc = *desc;
	a->bytes = bytes;
	a->level = level;
	a->next = arrays;
	arrays = a;
	*ret_array = a;
	return CU_SUCCESS;
}

static void array_end(struct cu_array *a)
{
	struct cu_array **at = &arrays;

	while (*at && *at != a)
		at = &(*at)->next;
	if (*at)
		*at = a->next;
	if (!a->level && has_memory(a->desc.flags))
		physical_give(a->ctx->card, granules(a->bytes));
	object_end(a);
}

static enum cu_result create(
        const char *function, struct cu_array **handle, const struct cu_array3d_desc *desc)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(function, &ctx);

	if (code)
		return code;
	if (!handle)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = array_new(ctx, desc, NULL, handle);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

/* Of a description of any width; what it does not say is 0. */
#define CREATE(symbol, desc_type, ...)                                               \
	enum cu_result symbol(struct cu_array **p_handle, const struct desc_type *d) \
	{                                                                            \
		if (!d)                                                              \
			return CU_ERROR_INVALID_VALUE;                               \
		return create(__func__, p_handle,                                    \
		        &(struct cu_array3d_desc){.width = d->width,                 \
		                .height = d->height,                                 \
		                .format = d->format,                                 \
		                .channels = d->channels,                             \
		                __VA_ARGS__});                                       \
	}
CREATE(cuArrayCreate, cu_array_desc_v1, .depth = 0)
CREATE(cuArrayCreate_v2, cu_array_desc, .depth = 0)
CREATE(cuArray3DCreate, cu_array3d_desc_v1, .depth = d->depth, .flags = d->flags)
CREATE(cuArray3DCreate_v2, cu_array3d_desc, .depth = d->depth, .flags = d->flags)

enum cu_result cuArrayDestroy(struct cu_array *h_array)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(h_array, KIND_ARRAY) || h_array->level)
		code = CU_ERROR_INVALID_HANDLE;
	else
		array_end(h_array);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

static enum cu_result describe(
        const char *function, struct cu_array *a, struct cu_array3d_desc *ret_desc)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (!object_is(a, KIND_ARRAY))
		return CU_ERROR_INVALID_HANDLE;
	*ret_desc = a->desc;
	return CU_SUCCESS;
}

enum cu_result cuArrayGetDescriptor_v2(struct cu_array_desc *out, struct cu_array *h_array)
{
	struct cu_array3d_desc d;
	enum cu_result code = out ? describe(__func__, h_array, &d) : CU_ERROR_INVALID_VALUE;

	if (!code)
		*out = (struct cu_array_desc){d.width, d.height, d.format, d.channels};
	return code;
}

enum cu_result cuArrayGetDescriptor(struct cu_array_desc_v1 *out, struct cu_array *h_array)
{
	struct cu_array3d_desc d;
	enum cu_result code = out ? describe(__func__, h_array, &d) : CU_ERROR_INVALID_VALUE;

	if (!code)
		*out = (struct cu_array_desc_v1){
		        (unsigned)d.width, (unsigned)d.height, d.format, d.channels};
	return code;
}

enum cu_result cuArrayGetMemoryRequirements(
        struct cu_array_need *need, struct cu_array *array, int device)
{
	enum cu_result code = call_device(__func__, device);

	if (code)
		return code;
	if (!need || !object_is(array, KIND_ARRAY))
		return CU_ERROR_INVALID_VALUE;
	*need = (struct cu_array_need){.size = granules(array->bytes), .alignment = GRANULE};
	return CU_SUCCESS;
}

/* -- mipmaps: each level half as large, down to one -- */

static void smaller(struct cu_array3d_desc *d)
{
	d->width = d->width > 1 ? d->width / 2 : 1;
	d->height = d->height > 1 ? d->height / 2 : d->height;
	if (!(d->flags & (LAYERED | CUBEMAP)))
		d->depth = d->depth > 1 ? d->depth / 2 : d->depth;
}

static void mipmap_end(struct cu_mipmap *m)
{
	struct cu_mipmap **at = &mipmaps;

	while (*at && *at != m)
		at = &(*at)->next;
	if (*at)
		*at = m->next;
	for (unsigned i = 0; i < m->n_levels; i++)
		array_end(m->levels[i]);
	if (has_memory(m->flags))
		physical_give(m->ctx->card, granules(m->bytes));
	object_end(m);
}

static enum cu_result mipmap_new(struct cu_ctx *ctx, const struct cu_array3d_desc *desc,
        unsigned n_levels, struct cu_mipmap **ret_mipmap)
{
	struct cu_array3d_desc level = *desc;
	enum cu_result code = CU_SUCCESS;
	uint64_t bytes = 0;
	struct cu_mipmap *m;

	for (unsigned i = 0; i < n_levels; i++, smaller(&level)) {
		if (!size_of(&level))
			return CU_ERROR_INVALID_VALUE;
		bytes += size_of(&level);
	}
	if (has_memory(desc->flags))
		code = granules(bytes) ? physical_take(ctx->card, granules(bytes))
		                       : CU_ERROR_OUT_OF_MEMORY;
	m = code ? NULL : object_new(KIND_MIPMAP, sizeof(*m));
	if (!m)
		return code ? code : CU_ERROR_OUT_OF_MEMORY;
	m->ctx = ctx;
	m->bytes = bytes;
	m->flags = desc->flags;
	m->next = mipmaps;
	mipmaps = m;
	level = *desc;
	for (; !code && m->n_levels < n_levels; smaller(&level)) {
		code = array_new(ctx, &level, m, &m->levels[m->n_levels]);
		m->n_levels += !code;
	}
	if (code)
		mipmap_end(m);
	else
		*ret_mipmap = m;
	return code;
}

enum cu_result cuMipmappedArrayCreate(
        struct cu_mipmap **p_handle, const struct cu_array3d_desc *desc, unsigned num_mipmap_levels)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	if (!p_handle || !desc || !num_mipmap_levels || num_mipmap_levels > LEVELS_MAX)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	code = mipmap_new(ctx, desc, num_mipmap_levels, p_handle);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMipmappedArrayDestroy(struct cu_mipmap *h_mipmapped_array)
{
	struct cu_ctx *ctx;
	enum cu_result code = call_context(__func__, &ctx);

	if (code)
		return code;
	pthread_mutex_lock(&driver.lock);
	if (!object_is(h_mipmapped_array, KIND_MIPMAP))
		code = CU_ERROR_INVALID_HANDLE;
	else
		mipmap_end(h_mipmapped_array);
	pthread_mutex_unlock(&driver.lock);
	return code;
}

enum cu_result cuMipmappedArrayGetLevel(
        struct cu_array **p_level_array, struct cu_mipmap *m, unsigned level)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!object_is(m, KIND_MIPMAP))
		return CU_ERROR_INVALID_HANDLE;
	if (!p_level_array || level >= m->n_levels)
		return CU_ERROR_INVALID_VALUE;
	*p_level_array = m->levels[level];
	return CU_SUCCESS;
}

enum cu_result cuMipmappedArrayGetMemoryRequirements(
        struct cu_array_need *need, struct cu_mipmap *m, int device)
{
	enum cu_result code = call_device(__func__, device);

	if (code)
		return code;
	if (!need || !object_is(m, KIND_MIPMAP))
		return CU_ERROR_INVALID_VALUE;
	*need = (struct cu_array_need){.size = granules(m->bytes), .alignment = GRANULE};
	return CU_SUCCESS;
}

void arrays_end_of(struct cu_ctx *ctx)
{
	for (struct cu_mipmap *m = mipmaps, *next; m; m = next) {
		next = m->next;
		if (m->ctx == ctx)
			mipmap_end(m);
	}
	for (struct cu_array *a = arrays, *next; a; a = next) {
		next = a->next;
		if (a->ctx == ctx)
			array_end(a);
	}
}
