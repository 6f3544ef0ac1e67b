/*
 * DESIGN. What a node is worth unused, and a request goes where it takes least of that. A gap on a device is worth what the
 * requests to come will probably still put into it: a table of gap values, worked out from the mix by dynamic programming
 * over a number of offers. From that is taken what CPUs and memory will be too short for, smoothly, as the expected
 * shortage of a normal variable; and sets of whole devices that do not come out even for those who ask for several.
 */
#include "sched/place_priv.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 100 /* a gap is counted in hundredths of a device */
#define SETS  8

struct params {
	uint32_t offers;      /* requests that a gap will be offered to */
	double cpu, cpu_mean; /* price of CPUs; part of the mean need that counts */
	double mem, mem_mean;
	double deviation; /* of needs, in standard deviations */
	double sets;      /* price of sets that do not come out even */
	double left;      /* of what stays free, to break ties */
	bool by_sale;     /* need follows what gaps will sell, not what is free */
};
static const struct params usual = {98, 1.16, 0.615, 0.62, 1.3, 1.557, 0.243, 13.8, false};

/* How much of a resource a whole device's worth of requests needs. */
struct need_of_one {
	double mean, variance;
};

struct place_gaps {
	struct params params;
	float (*value)[STEPS + 1]; /* by kind: thousandths of a device */
	uint32_t n_kinds;
	struct need_of_one cpu, mem;
	double sets[SETS + 1]; /* part of the demand for devices by those who ask for k */
};

void place__free_gaps(struct place_gaps *g)
{
	if (!g)
		return;
	free(g->value);
	free(g);
}

/* Devices' worth of a type; by the first kind that has it. */
static double devices_of(struct place *p, struct place_type *t)
{
	if (t->gpu.count)
		return t->gpu.count;
	for (uint32_t k = 0; gpu_ask_any(&t->gpu) && k < p->n_kinds; k++)
		if (type_share(p, t, k))
			return type_share(p, t, k)->share_milli / 1000.0;
	return 0;
}

static void learn_needs(struct place *p, struct place_gaps *g)
{
	double devices = 0, cpu = 0, mem = 0;

	memset(g->sets, 0, sizeof(g->sets));
	for (uint32_t i = 0; i < p->n_types; i++) {
		struct place_type *t = p->types[i];
		double d = t->count * devices_of(p, t);
		devices += d;
		cpu += t->count * t->ask.cpu_milli;
		mem += t->count * (double)t->ask.mem_bytes;
		if (t->gpu.count > 1 && t->gpu.count <= SETS)
			g->sets[t->gpu.count] += d;
	}
	g->cpu = g->mem = (struct need_of_one){0};
	if (devices <= 0)
		return;
	g->cpu.mean = cpu / devices;
	g->mem.mean = mem / devices;
	for (uint32_t i = 0; i < p->n_types; i++) {
		struct place_type *t = p->types[i];
		double d = devices_of(p, t);
		double c = t->ask.cpu_milli - g->cpu.mean * d;
		double m = (double)t->ask.mem_bytes - g->mem.mean * d;
		g->cpu.variance += t->count * c * c / devices;
		g->mem.variance += t->count * m * m / devices;
	}
	for (uint32_t k = 2; k <= SETS; k++)
		g->sets[k] /= devices;
}

/* What a gap of each size will probably still sell on a device of this kind. */
static void learn_gaps(struct place *p, struct place_gaps *g, uint32_t kind)
{
	double part[STEPS + 1] = {0}, v[STEPS + 1] = {0}, w[STEPS + 1], all = 0;

	for (uint32_t i = 0; i < p->n_types; i++) {
		struct place_type *t = p->types[i];
		const struct slice *s = gpu_ask_any(&t->gpu) ? type_share(p, t, kind) : NULL;
		all += t->count;
		if (s)
			part[(s->share_milli * STEPS + 999) / 1000] +=
			        t->count * MAX(t->gpu.count, 1);
	}
	for (uint32_t m = 0; all > 0 && m < g->params.offers; m++) {
		for (uint32_t r = 0; r <= STEPS; r++) {
			w[r] = v[r];
			for (uint32_t s = 1; s <= r; s++)
				if (part[s] > 0)
					w[r] += part[s] / all * fmax(0, s + v[r - s] - v[r]);
		}
		memcpy(v, w, sizeof(v));
	}
	for (uint32_t r = 0; r <= STEPS; r++)
		g->value[kind][r] = (float)(v[r] * (1000.0 / STEPS));
}

static void learn(struct place *p)
{
	struct place_gaps *g = p->gaps;

	if (!g) {
		g = p->gaps = mem_zalloc(sizeof(*g));
		g->params = usual;
	}
	g->value = mem_realloc(g->value, MAX(p->n_kinds, 1), sizeof(*g->value));
	g->n_kinds = p->n_kinds;
	learn_needs(p, g);
	for (uint32_t k = 0; k < p->n_kinds; k++)
		learn_gaps(p, g, k);
}

/* A node after something was placed on it. */
struct after {
	double free; /* devices, in thousandths */
	double sale;
	double cpu_milli, mem_bytes;
	uint32_t n_whole;
};

/* Thousandths of devices that will be left over for want of this resource. */
static double shortage(const struct params *r, const struct need_of_one *need, double part,
        double devices, double have)
{
	double want = part * need->mean, mu = want * devices - have;
	double sd = r->deviation * sqrt(need->variance * devices);

	if (want <= 0)
		return 0;
	if (sd <= 0)
		return 1000 * fmax(mu, 0) / want;
	if (mu < -6 * sd)
		return 0;
	return 1000 *
	       (mu * 0.5 * erfc(-mu / sd * M_SQRT1_2) +
	               sd * exp(-0.5 * (mu / sd) * (mu / sd)) * 0.3989422804014327) /
	       want;
}

static double potential(const struct place_gaps *g, const struct after *a)
{
	const struct params *r = &g->params;
	double devices = (r->by_sale ? a->sale : a->free) / 1000, uneven = 0;

	if (a->free <= 0)
		return 0;
	for (uint32_t k = 2; k <= SETS; k++)
		uneven += g->sets[k] * 1000 * (a->n_whole % k);
	return -a->sale + r->sets * uneven +
	       r->cpu * shortage(r, &g->cpu, r->cpu_mean, devices, a->cpu_milli) +
	       r->mem * shortage(r, &g->mem, r->mem_mean, devices, a->mem_bytes);
}

static double value_of(const struct place *p, const struct place_device *d, uint32_t gap)
{
	return d->kind == PLACE_NONE ? 0 : p->gaps->value[d->kind][gap * STEPS / 1000];
}

static void look_at(struct place *p, struct place_node *n)
{
	struct after a = {.free = n->free_milli,
	        .cpu_milli = n->room.free_cpu_milli,
	        .mem_bytes = (double)n->room.free_mem_bytes,
	        .n_whole = n->n_whole};

	for (uint32_t i = 0; i < n->room.n_devices; i++)
		a.sale += value_of(p, &n->devices[i], device_gap(p, &n->devices[i], NULL));
	n->sale = a.sale;
	n->potential = potential(p->gaps, &a);
	n->scored = n->changed + 1;
	n->scored_mix = p->mix;
}

static double cost(const struct place *p, const struct place_node *n, const struct after *a)
{
	return potential(p->gaps, a) - n->potential +
	       p->gaps->params.left * (a->free / 8000 + a->cpu_milli / 128000);
}

static double cost_of_fraction(struct place *p, struct place_node *n, struct place_type *t,
        struct after *a, uint32_t *ret_device)
{
	double least = INFINITY;
	uint32_t tried[NODE_DEVICES_MAX], n_tried = 0;

	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		const struct place_device *d = &n->devices[i];
		const struct slice *s = type_share(p, t, d->kind);
		struct after b = *a;
		bool is_known = false;
		uint32_t gap, left;
		double c;
		if (!device_takes(d, s))
			continue;
		for (uint32_t k = 0; k < n_tried && !is_known; k++)
			is_known = memcmp(&n->devices[tried[k]], d, sizeof(*d)) == 0;
		if (is_known)
			continue;
		tried[n_tried++] = i;
		gap = device_gap(p, d, NULL);
		left = device_gap(p, d, s);
		b.free -= gap - left;
		b.sale += value_of(p, d, left) - value_of(p, d, gap);
		b.n_whole -= d->is_whole;
		c = cost(p, n, &b) + p->gaps->params.left * (left + device_surplus(p, d, t)) / 1000;
		if (c >= least)
			continue;
		least = c;
		*ret_device = i;
	}
	return least;
}

static float score(
        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device)
{
	struct after a = {.free = n->free_milli,
	        .cpu_milli = (double)n->room.free_cpu_milli - t->ask.cpu_milli,
	        .mem_bytes = (double)(n->room.free_mem_bytes - t->ask.mem_bytes),
	        .n_whole = n->n_whole};
	uint32_t whole[NODE_DEVICES_MAX];

	if (!p->gaps || p->gaps->n_kinds < p->n_kinds)
		place_learn(p);
	if (n->scored != n->changed + 1 || n->scored_mix != p->mix)
		look_at(p, n);
	a.sale = n->sale;
	if (!t->gpu.count && gpu_ask_any(&t->gpu))
		return (float)cost_of_fraction(p, n, t, &a, ret_device);
	for (uint32_t i = t->gpu.count ? node_whole(p, n, t, whole) : 0; i-- > 0;) {
		a.free -= 1000;
		a.sale -= value_of(p, &n->devices[whole[i]], 1000);
		a.n_whole--;
	}
	return (float)cost(p, n, &a);
}

const struct place_policy place_fragment = {"fragment", learn, score};
