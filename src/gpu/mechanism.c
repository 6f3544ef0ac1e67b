#include "gpu/mechanism.h"

/*
 * DESIGN. A MIG instance is granted whole and held by the card itself, whatever the administrator wants of other devices; a card
 * in MIG mode has nothing to give. So the two never meet on one card. MIG is not yet run on hardware. Kernel limits (driver r615) and MPS are mechanisms of the driver that Berth does not use yet; both keep their
 * names in `held_by`, and a row here when they are. Rows stand in order of preference; the first that can is taken.
 */
struct row {
	enum held_by by;
	enum mechanism_wish wish; /* that names it */
	/* NULL: it can; else why not */
	const char *(*why_not)(const struct device_info *d, const struct mechanism_parts *parts);
};

static const char *why_not_interposer(
        const struct device_info *d, const struct mechanism_parts *parts)
{
	if (d->mig)
		return "the card is in MIG mode: its instances are devices of their own";
	if (!parts->has_interposer)
		return "the interposer (shim/libcuda.so.1) is not installed";
	if (!parts->has_driver)
		return "there is no libcuda.so.1";
	return NULL;
}

static const struct row rows[] = {
        {HELD_BY_INTERPOSER, MECHANISM_INTERPOSER, why_not_interposer},
};

enum held_by mechanism_choose(const struct device_info *d, enum mechanism_wish wish,
        const struct mechanism_parts *parts, const char **ret_why)
{
	const char *why = "gpu.mechanism says so";

	if (d->card_milli) {
		*ret_why = "";
		return HELD_BY_MIG;
	}
	for (size_t i = 0; wish != MECHANISM_NONE && i < ARRAY_LEN(rows); i++) {
		if (wish != MECHANISM_AUTO && wish != rows[i].wish)
			continue;
		why = rows[i].why_not(d, parts);
		if (why)
			continue;
		*ret_why = "";
		return rows[i].by;
	}
	*ret_why = why;
	return HELD_BY_NONE;
}
