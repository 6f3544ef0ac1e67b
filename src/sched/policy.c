/* The plain policies: what stays free on the node after it, the least of it or the most. */
#include "sched/place_priv.h"

/* What stays free, in nodes of 8 devices and 128 CPUs. */
static float left(const struct place_node *n, const struct place_type *t, uint32_t milli)
{
	return (float)(n->free_milli - milli) / 8000 +
	       (float)(n->room.free_cpu_milli - t->ask.cpu_milli) / 128000;
}

/* The device on which a fraction leaves the least, or the most; its amount. */
static uint32_t choose_device(struct place *p, const struct place_node *n,
        struct place_type *t, bool is_most, uint32_t *ret_device)
{
	uint32_t best = PLACE_NONE, milli = 0;

	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct place_device *d = &n->devices[i];
		const struct slice *s = type_share(p, t, d->kind);
		if (!device_takes(d, s))
			continue;
		if (best != PLACE_NONE &&
		        (is_most ? d->free_milli <= n->devices[best].free_milli
		                 : d->free_milli >= n->devices[best].free_milli))
			continue;
		best = i;
		milli = s->share_milli;
	}
	*ret_device = best;
	return milli;
}

static uint32_t amount(struct place *p, const struct place_node *n, struct place_type *t,
        bool is_most, uint32_t *ret_device)
{
	if (t->gpu.count)
		return t->gpu.count * 1000;
	return gpu_ask_any(&t->gpu) ? choose_device(p, n, t, is_most, ret_device) : 0;
}

static float pack(struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	return left(n, t, amount(p, n, t, false, ret_device));
}

static float spread(
        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	return -left(n, t, amount(p, n, t, true, ret_device));
}

const struct place_policy place_pack = {"pack", NULL, pack};
const struct place_policy place_spread = {"spread", NULL, spread};
