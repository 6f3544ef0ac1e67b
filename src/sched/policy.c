/* The plain policies: what stays free on the node after it, the least of it or the most. */
#include "sched/place_priv.h"

/* What stays free, in nodes of 8 devices and 128 CPUs. */
static float left(const struct place_node *n, const struct place_type *t, uint32_t milli)
{
	return (float)(n->free_milli - milli) / 8000 +
	       (float)(n->room.free_cpu_milli - t->ask.cpu_milli) / 128000;
}

/* The device of which least stays free after it, or most; what it has no use for counts as free. */
static uint32_t choose_device(struct place *p, const struct place_node *n, struct place_type *t,
        bool is_most, uint32_t *ret_device)
{
	uint32_t best = 0;

	*ret_device = PLACE_NONE;
	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct place_device *d = &n->devices[i];
		const struct slice *s = type_share(p, t, d->kind);
		uint32_t unused;
		if (!device_takes(d, t, s))
			continue;
		unused = device_gap(p, d, s) + device_surplus(p, d, t);
		if (*ret_device != PLACE_NONE && (is_most ? unused <= best : unused >= best))
			continue;
		*ret_device = i;
		best = unused;
	}
	return best;
}

/* Of a fraction what stays free on its device counts before all else. */
static float rate(struct place *p, const struct place_node *n, struct place_type *t, bool is_most,
        uint32_t *ret_device)
{
	const struct place_device *d;
	uint32_t unused;

	if (t->gpu.count || !gpu_ask_any(&t->gpu))
		return left(n, t, t->gpu.count * 1000);
	unused = choose_device(p, n, t, is_most, ret_device);
	d = &n->devices[*ret_device];
	return (float)unused / 1000 * NODE_DEVICES_MAX +
	       left(n, t, device_gap(p, d, NULL) - device_gap(p, d, type_share(p, t, d->kind)));
}

static float pack(struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	return rate(p, n, t, false, ret_device);
}

static float spread(
        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	return -rate(p, n, t, true, ret_device);
}

const struct place_policy place_pack = {"pack", NULL, pack};
const struct place_policy place_spread = {"spread", NULL, spread};
