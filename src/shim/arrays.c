#include "shim/charge.h"

/*
 * DESIGN. An array has no address, so it is charged in whole granules of its own. How large the driver makes it is known only
 * when it is there, and most drivers say so of some arrays only: what is reserved before is the product of its sides with
 * padded rows, and that stays charged unless the driver knows better.
 */

#define ROW_BYTES 512
#define SPARSE    0x40 /* no memory of its own: it is mapped by parts, from cuMemCreate */
#define DEFERRED  0x80

static unsigned format_bytes(int format)
{
	switch (format) {
	case 0x01: /* 8 bits */
	case 0x08:
	case 0xc0:
	case 0xc3:
		return 1;
	case 0x03: /* 32 bits */
	case 0x0a:
	case 0x20:
		return 4;
	case 0x02: /* 16 bits */
	case 0x09:
	case 0x10:
	case 0xc1:
	case 0xc2:
	case 0xc4:
	case 0xc5:
		return 2;
	default: /* the largest that there are, block-compressed ones among them */
		return 4;
	}
}

static uint64_t sides(const struct cu_array3d_desc *desc)
{
	uint64_t bytes =
	        charge_product(desc->width, desc->channels * (uint64_t)format_bytes(desc->format));
	if (bytes > UINT64_MAX - ROW_BYTES)
		return UINT64_MAX;
	bytes = (bytes + ROW_BYTES - 1) / ROW_BYTES * ROW_BYTES;
	bytes = charge_product(bytes, desc->height != 0 ? desc->height : 1);
	return charge_product(bytes, desc->depth != 0 ? desc->depth : 1);
}

/* Each level is half as wide, high and deep as the one before. */
static uint64_t levels(const struct cu_array3d_desc *desc, unsigned n_levels)
{
	struct cu_array3d_desc level = *desc;
	uint64_t bytes = 0;
	for (unsigned i = 0; i < n_levels && i < 32; i++) {
		if (__builtin_add_overflow(bytes, sides(&level), &bytes))
			return UINT64_MAX;
		level.width = level.width > 1 ? level.width / 2 : 1;
		level.height = level.height > 1 ? level.height / 2 : level.height;
		/* The layers of a layered one, and the sides of a cube, are as many on each level. */
		if (!(level.flags & 5) && level.depth > 1)
			level.depth /= 2;
	}
	return bytes;
}

/* Until array_end: what is reserved for it. CU_SUCCESS with no ledger: it takes nothing. */
static enum cu_result array_begin(
        struct place *ret_place, struct charge *ret_charge, uint64_t bytes, unsigned flags)
{
	struct ledger *ledger;
	*ret_charge = (struct charge){0};
	if (flags & (SPARSE | DEFERRED))
		return CU_SUCCESS;
	enum cu_result rc = charge_place(ret_place);
	if (rc == CU_SUCCESS)
		rc = charge_ledger(ret_place->device, &ledger);
	return rc == CU_SUCCESS
	               ? charge_begin(ret_charge, ret_place->device, charge_round(ledger, bytes))
	               : rc;
}

static enum cu_result array_end(enum cu_result rc, const struct place *place, struct charge *charge,
        const void *handle, uint64_t need)
{
	if (charge->ledger == NULL)
		return rc;
	uint64_t bytes = need != 0 ? charge_round(charge->ledger, need) : charge->reserved_bytes;
	if (rc == CU_SUCCESS && bytes > charge->reserved_bytes)
		rc = charge_more(charge, bytes - charge->reserved_bytes);
	struct table_entry entry = {.key = (uintptr_t)handle,
	        .owner = place->owner,
	        .size = 1,
	        .bytes = bytes,
	        .device = charge->device,
	        .kind = SLICE_MEMORY};
	if (rc == CU_SUCCESS && table_put(&have.arrays, &entry) != 0)
		rc = CU_ERROR_OUT_OF_MEMORY;
	charge_end(charge, SLICE_MEMORY, rc == CU_SUCCESS ? bytes : 0);
	return rc;
}

static uint64_t need_of(struct cu_array *array, int device)
{
	struct cu_array_need need = {0};
	return real.cuArrayGetMemoryRequirements != NULL &&
	                       real.cuArrayGetMemoryRequirements(&need, array, device) == CU_SUCCESS
	               ? need.size
	               : 0;
}

/* Each way to make an array, with the driver's call in its middle. */
#define CREATE(symbol, ...)                                                                   \
	ENTER(symbol);                                                                        \
	if (p_handle == NULL || p_allocate_array == NULL)                                     \
		return real.symbol(p_handle, p_allocate_array);                               \
	struct cu_array3d_desc desc = {.width = p_allocate_array->width,                      \
	        .height = p_allocate_array->height,                                           \
	        .format = p_allocate_array->format,                                           \
	        .channels = p_allocate_array->channels,                                       \
	        __VA_ARGS__};                                                                 \
	struct place place;                                                                   \
	struct charge charge;                                                                 \
	enum cu_result rc = array_begin(&place, &charge, sides(&desc), desc.flags);           \
	if (rc != CU_SUCCESS)                                                                 \
		return rc;                                                                    \
	struct cu_array *array = NULL;                                                        \
	enum cu_result made_rc = real.symbol(&array, p_allocate_array);                       \
	rc = array_end(made_rc, &place, &charge, array,                                       \
	        made_rc == CU_SUCCESS && charge.ledger != NULL ? need_of(array, place.device) \
	                                                       : 0);                          \
	if (rc == CU_SUCCESS)                                                                 \
		*p_handle = array;                                                            \
	else if (made_rc == CU_SUCCESS && real.cuArrayDestroy != NULL)                        \
		real.cuArrayDestroy(array);                                                   \
	return rc

enum cu_result cuArrayCreate(
        struct cu_array **p_handle, const struct cu_array_desc_v1 *p_allocate_array)
{
	CREATE(cuArrayCreate, .depth = 0);
}

enum cu_result cuArrayCreate_v2(
        struct cu_array **p_handle, const struct cu_array_desc *p_allocate_array)
{
	CREATE(cuArrayCreate_v2, .depth = 0);
}

enum cu_result cuArray3DCreate(
        struct cu_array **p_handle, const struct cu_array3d_desc_v1 *p_allocate_array)
{
	CREATE(cuArray3DCreate, .depth = p_allocate_array->depth, .flags = p_allocate_array->flags);
}

enum cu_result cuArray3DCreate_v2(
        struct cu_array **p_handle, const struct cu_array3d_desc *p_allocate_array)
{
	CREATE(cuArray3DCreate_v2, .depth = p_allocate_array->depth,
	        .flags = p_allocate_array->flags);
}

enum cu_result cuMipmappedArrayCreate(struct cu_mipmap **p_handle,
        const struct cu_array3d_desc *p_mipmapped_array_desc, unsigned num_mipmap_levels)
{
	ENTER(cuMipmappedArrayCreate);
	if (p_handle == NULL || p_mipmapped_array_desc == NULL)
		return real.cuMipmappedArrayCreate(
		        p_handle, p_mipmapped_array_desc, num_mipmap_levels);
	struct place place;
	struct charge charge;
	enum cu_result rc = array_begin(&place, &charge,
	        levels(p_mipmapped_array_desc, num_mipmap_levels), p_mipmapped_array_desc->flags);
	if (rc != CU_SUCCESS)
		return rc;
	struct cu_mipmap *mipmap = NULL;
	struct cu_array_need need = {0};
	enum cu_result made_rc =
	        real.cuMipmappedArrayCreate(&mipmap, p_mipmapped_array_desc, num_mipmap_levels);
	if (made_rc == CU_SUCCESS && charge.ledger != NULL &&
	        real.cuMipmappedArrayGetMemoryRequirements != NULL &&
	        real.cuMipmappedArrayGetMemoryRequirements(&need, mipmap, place.device) !=
	                CU_SUCCESS)
		need.size = 0;
	rc = array_end(made_rc, &place, &charge, mipmap, need.size);
	if (rc == CU_SUCCESS)
		*p_handle = mipmap;
	else if (made_rc == CU_SUCCESS && real.cuMipmappedArrayDestroy != NULL)
		real.cuMipmappedArrayDestroy(mipmap);
	return rc;
}

static void destroyed(enum cu_result rc, const struct table_entry *entry)
{
	if (rc != CU_SUCCESS)
		table_put(&have.arrays, entry);
	else
		charge_return(entry->device, SLICE_MEMORY, entry->bytes);
}

enum cu_result cuArrayDestroy(struct cu_array *h_array)
{
	ENTER(cuArrayDestroy);
	struct table_entry entry;
	bool is_ours = table_take(&have.arrays, (uintptr_t)h_array, &entry);
	enum cu_result rc = real.cuArrayDestroy(h_array);
	if (is_ours)
		destroyed(rc, &entry);
	return rc;
}

enum cu_result cuMipmappedArrayDestroy(struct cu_mipmap *h_mipmapped_array)
{
	ENTER(cuMipmappedArrayDestroy);
	struct table_entry entry;
	bool is_ours = table_take(&have.arrays, (uintptr_t)h_mipmapped_array, &entry);
	enum cu_result rc = real.cuMipmappedArrayDestroy(h_mipmapped_array);
	if (is_ours)
		destroyed(rc, &entry);
	return rc;
}
