#include "gpu/mechanism.h"

/*
 * DESIGN. Memory is always held by the ledger of the interposer, for all processes of a job together: it alone tells
 * programs how large their card is. The kernel's limit (dmem.max of the job's control group, driver r615) stands behind
 * it for whoever goes around it. MPS holds compute instead of turns; its own limit of memory is of each process, and so
 * is no limit of a job. Rows stand in order of preference; the first that can is taken.
 * A MIG instance is granted whole and held by the card itself, whatever the administrator wants of other devices; a card
 * in MIG mode has nothing to give. So no two ever meet on one card. MIG, MPS and the kernel's limit are not yet run on hardware.
 */
struct row {
	enum held_by by;
	enum mechanism_wish wish; /* that names it */
	bool only_by_name;        /* never taken by itself */
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

static const char *why_not_kernel(const struct device_info *d, const struct mechanism_parts *parts)
{
	const char *why = why_not_interposer(d, parts);

	return why ? why : parts->no_kernel;
}

static const char *why_not_mps(const struct device_info *d, const struct mechanism_parts *parts)
{
	const char *why = why_not_interposer(d, parts);

	return why ? why : parts->no_mps;
}

static const struct row rows[] = {
        {HELD_BY_KERNEL, MECHANISM_KERNEL, false, why_not_kernel},
        {HELD_BY_INTERPOSER, MECHANISM_INTERPOSER, false, why_not_interposer},
        /* One fault of one job ends all that are on the device with it. */
        {HELD_BY_MPS, MECHANISM_MPS, true, why_not_mps},
};

enum held_by mechanism_choose(const struct device_info *d, enum mechanism_wish wish,
        const struct mechanism_parts *parts, const char **ret_why)
{
	const char *why = "gpu.mechanism says so", *why_not_wish = "";

	if (d->card_milli) {
		*ret_why = "";
		return HELD_BY_MIG;
	}
	*ret_why = why;
	if (wish == MECHANISM_NONE)
		return HELD_BY_NONE;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (wish != rows[i].wish)
			continue;
		why_not_wish = rows[i].why_not(d, parts);
		*ret_why = why_not_wish ? why_not_wish : "";
		if (!why_not_wish)
			return rows[i].by;
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].only_by_name)
			continue;
		why = rows[i].why_not(d, parts);
		if (why)
			continue;
		*ret_why = why_not_wish;
		return rows[i].by;
	}
	*ret_why = *why_not_wish ? why_not_wish : why;
	return HELD_BY_NONE;
}
