/* The plain policies: what stays free on the node after it, the least of it or the most. */
#include "sched/place_priv.h"

/* What stays free, in nodes of 8 devices and 128 CPUs. */
static float left(const struct place_node *n, const struct place_type *t, uint32_t milli)
{
	return (float)(n->free_milli - milli) / 8000 +
	       (float)(n->room.free_cpu_milli - t->ask.cpu_milli) / 128000;
}

/* The device that has the smallest gap, or the largest. */
static uint32_t choose_device(
        struct place *p, const struct place_node *n, struct place_type *t, bool is_largest)
{
	uint32_t best = PLACE_NONE, best_gap = 0;

	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct place_device *d = &n->devices[i];
		uint32_t gap = device_gap(p, d, NULL);
		if (!device_takes(d, type_share(p, t, d->kind)))
			continue;
		if (best != PLACE_NONE && (is_largest ? gap <= best_gap : gap >= best_gap))
			continue;
		best = i;
		best_gap = gap;
	}
	return best;
}

/* Thousandths of devices that the type takes there. */
static uint32_t amount(struct place *p, const struct place_node *n, struct place_type *t,
        bool is_largest, uint32_t *ret_device)
{
	const struct place_device *d;

	if (t->gpu.count || !gpu_ask_any(&t->gpu))
		return t->gpu.count * 1000;
	*ret_device = choose_device(p, n, t, is_largest);
	d = &n->devices[*ret_device];
	return device_gap(p, d, NULL) - device_gap(p, d, type_share(p, t, d->kind));
}

/* Of a fraction what stays free on its device counts before all else. */
static float pack(struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	uint32_t milli = amount(p, n, t, false, ret_device), gap = 0;

	if (*ret_device != PLACE_NONE)
		gap = device_gap(p, &n->devices[*ret_device], NULL) - milli;
	return left(n, t, milli) + (float)gap / 1000 * NODE_DEVICES_MAX;
}

static float spread(
        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	return -left(n, t, amount(p, n, t, true, ret_device));
}

const struct place_policy place_pack = {"pack", NULL, pack};
const struct place_policy place_spread = {"spread", NULL, spread};
