/*
 * Fragmentation gradient descent (Weng et al., USENIX ATC 2023), as the peer that `fragment` is measured against: of the
 * types that make up most of the mix, how much free compute they could not use, weighted by how common they are; a request
 * goes where that grows least. The score is a whole number from 0 to 100, which decides ties, and so much.
 */
#include "sched/place_priv.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define MOST 0.95 /* of all requests: the commonest types that cover so much count */

struct prior {
	struct place_type *type;
	double part; /* of those that count */
};
struct place_fgd {
	struct prior *priors;
	uint32_t n;
};

void place__free_fgd(struct place_fgd *f)
{
	if (!f)
		return;
	free(f->priors);
	free(f);
}

static int by_count_down(const void *a, const void *b)
{
	const struct prior *x = a, *y = b;

	if (x->type->count != y->type->count)
		return x->type->count < y->type->count ? 1 : -1;
	return (x->part > y->part) - (x->part < y->part);
}

static void learn(struct place *p)
{
	struct place_fgd *f = p->fgd ? p->fgd : (p->fgd = mem_zalloc(sizeof(*f)));
	struct place_mix mix = place__mix(p);
	double sum = 0, covered = 0;

	f->priors = mem_realloc(f->priors, MAX(mix.n, 1), sizeof(*f->priors));
	for (uint32_t i = 0; i < mix.n; i++) {
		f->priors[i] = (struct prior){mix.v[i], i}; /* of equals, the first */
		sum += mix.v[i]->count;
	}
	qsort(f->priors, mix.n, sizeof(*f->priors), by_count_down);
	for (f->n = 0; f->n < mix.n && covered < MOST * sum; f->n++)
		covered += f->priors[f->n].type->count;
	for (uint32_t i = 0; i < f->n; i++)
		f->priors[i].part = f->priors[i].type->count / covered;
	free(mix.v);
}

/* A node with some of it taken: CPUs, and `milli` of each of the devices in the set. */
struct after {
	uint32_t cpu_milli;
	uint64_t devices; /* bits */
	uint32_t milli;
};

static uint32_t free_on(const struct place_node *n, const struct after *a, uint32_t i)
{
	return n->devices[i].free_milli - (a->devices >> i & 1 ? a->milli : 0);
}

/* Free compute that this type could not use there. */
static double unusable(
        struct place *p, const struct place_node *n, const struct after *a, struct place_type *t)
{
	uint32_t all = 0, small = 0, fit = 0, need = MAX(t->gpu.count, 1);

	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct slice *s = type_share(p, t, n->devices[i].kind);
		uint32_t has = free_on(n, a, i);
		all += has;
		if (s && has >= s->share_milli)
			fit++;
		else
			small += has;
	}
	if (!gpu_ask_any(&t->gpu) || fit < need || a->cpu_milli < t->ask.cpu_milli)
		return all;
	return small;
}

static double fragments(struct place *p, const struct place_node *n, const struct after *a)
{
	double sum = 0;

	for (uint32_t i = 0; i < p->fgd->n; i++)
		sum += p->fgd->priors[i].part * unusable(p, n, a, p->fgd->priors[i].type);
	return sum;
}

static float rate(struct place *p, const struct place_node *n, const struct after *a)
{
	double gain = n->potential - fragments(p, n, a);

	return -(float)(int)(100 / (1 + exp(-gain / 1000)));
}

static float score(
        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	struct after now = {.cpu_milli = n->room.free_cpu_milli}, a = now;
	uint32_t whole[NODE_DEVICES_MAX];
	float least = INFINITY;

	if (!p->fgd)
		place_learn(p);
	if (n->scored != n->changed + 1 || n->scored_mix != p->mix) {
		n->potential = fragments(p, n, &now);
		n->scored = n->changed + 1;
		n->scored_mix = p->mix;
	}
	a.cpu_milli -= t->ask.cpu_milli;
	if (t->gpu.count) {
		a.milli = 1000;
		for (uint32_t i = node_whole(p, n, t, whole); i-- > 0;)
			a.devices |= (uint64_t)1 << whole[i];
	}
	if (t->gpu.count || !gpu_ask_any(&t->gpu))
		return rate(p, n, &a);
	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct slice *s = type_share(p, t, n->devices[i].kind);
		float r;
		if (!device_takes(&n->devices[i], t, s))
			continue;
		a.devices = (uint64_t)1 << i;
		a.milli = s->share_milli;
		r = rate(p, n, &a);
		if (r >= least)
			continue;
		least = r;
		*ret_device = i;
	}
	return least;
}

const struct place_policy place_by_fgd = {"fgd", learn, score};
