/*
 * DESIGN. What a node is worth unused, and a request goes where it takes least of that. A gap on a device is worth what the
 * requests to come will probably still put into it: a table of gap values, worked out from the mix by dynamic programming
 * over a number of offers. From that is taken what CPUs and memory will be too short for, smoothly, as the expected
 * shortage of a normal variable; and sets of whole devices that do not come out even for those who ask for several. Devices of
 * a kind that many ask for who cannot go elsewhere are worth more, so that those who can leave them alone.
 */
#include "sched/place_priv.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS      100 /* a gap is counted in hundredths of a device */
#define SETS       8
#define LOSS_END   6 /* deviations */
#define LOSS_STEPS 128

const struct place_params place_params_usual = {
        98, 1.16, 0.615, 0.62, 1.3, 1.557, 0.243, 13.8, 0.4, 10, false};

/* How much of a resource a whole device's worth of requests needs. */
struct need_of_one {
	double mean, variance;
};

struct place_gaps {
	float (*value)[STEPS + 1]; /* by kind: thousandths of a device */
	uint32_t n_kinds;
	struct need_of_one cpu, mem;
	double loss[2 * LOSS_END * LOSS_STEPS + 2]; /* excess() at steps of z */
	double sets[SETS + 1]; /* part of the demand for devices by those who ask for k */
};

void place__free_gaps(struct place_gaps *g)
{
	if (!g)
		return;
	free(g->value);
	free(g);
}

static void learn_needs(struct place *p, struct place_gaps *g, const struct place_mix *mix)
{
	double devices = 0, cpu = 0, mem = 0;

	memset(g->sets, 0, sizeof(g->sets));
	for (uint32_t i = 0; i < mix->n; i++) {
		struct place_type *t = mix->v[i];
		double d = t->count * type_devices(p, t);
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
	for (uint32_t i = 0; i < mix->n; i++) {
		struct place_type *t = mix->v[i];
		double d = type_devices(p, t);
		double c = t->ask.cpu_milli - g->cpu.mean * d;
		double m = (double)t->ask.mem_bytes - g->mem.mean * d;
		g->cpu.variance += t->count * c * c / devices;
		g->mem.variance += t->count * m * m / devices;
	}
	for (uint32_t k = 2; k <= SETS; k++)
		g->sets[k] /= devices;
}

/* What a gap of each size will probably still sell on a device of this kind, and more where it is scarce. */
static void learn_gaps(struct place *p, struct place_gaps *g, const struct place_mix *mix,
        uint32_t kind, double pressure)
{
	double part[STEPS + 1] = {0}, v[STEPS + 1] = {0}, w[STEPS + 1], all = 0;

	for (uint32_t i = 0; i < mix->n; i++) {
		struct place_type *t = mix->v[i];
		const struct slice *s = gpu_ask_any(&t->gpu) ? type_share(p, t, kind) : NULL;
		all += t->count;
		if (s)
			part[(s->share_milli * STEPS + 999) / 1000] +=
			        t->count * MAX(t->gpu.count, 1);
	}
	for (uint32_t m = 0; all > 0 && m < p->params.offers; m++) {
		for (uint32_t r = 0; r <= STEPS; r++) {
			w[r] = v[r];
			for (uint32_t s = 1; s <= r; s++)
				if (part[s] > 0)
					w[r] += part[s] / all * fmax(0, s + v[r - s] - v[r]);
		}
		memcpy(v, w, sizeof(v));
	}
	for (uint32_t r = 0; r <= STEPS; r++)
		g->value[kind][r] =
		        (float)((v[r] + p->params.scarce * pressure * r) * (1000.0 / STEPS));
}

static double count_devices(const struct place *p, double *ret_by_kind)
{
	double all = 0;

	for (uint32_t i = 0; i < p->n_nodes; i++)
		for (uint32_t d = 0; d < p->nodes[i]->room.n_devices; d++) {
			uint32_t kind = p->nodes[i]->devices[d].kind;
			if (kind == PLACE_NONE)
				continue;
			ret_by_kind[kind]++;
			all++;
		}
	return all;
}

/* What is asked for of a kind by those who cannot go everywhere, for each device of it, as a part of what is asked for of all. */
static void learn_pressure(struct place *p, const struct place_mix *mix, double *pressure)
{
	double *there = mem_zalloc(MAX(p->n_kinds, 1) * sizeof(*there)), asked = 0;
	double all = count_devices(p, there);

	for (uint32_t i = 0; i < mix->n; i++) {
		struct place_type *t = mix->v[i];
		double devices = t->count * type_devices(p, t), open = 0;
		asked += devices;
		for (uint32_t k = 0; devices > 0 && k < p->n_kinds; k++)
			open += type_share(p, t, k) ? there[k] : 0;
		for (uint32_t k = 0; open > 0 && open < all && k < p->n_kinds; k++)
			pressure[k] += type_share(p, t, k) ? devices / open : 0;
	}
	for (uint32_t k = 0; k < p->n_kinds; k++)
		pressure[k] *= asked > 0 ? all / asked : 0;
	free(there);
}

static void make_losses(struct place_gaps *g)
{
	for (int i = 0; i < (int)ARRAY_LEN(g->loss); i++) {
		double z = (double)i / LOSS_STEPS - LOSS_END;
		g->loss[i] = z * 0.5 * erfc(-z * M_SQRT1_2) +
		             exp(-0.5 * z * z) * 0.5 * M_2_SQRTPI * M_SQRT1_2;
	}
}

static void learn(struct place *p)
{
	struct place_mix mix = place__mix(p);
	struct place_gaps *g = p->gaps;
	double *pressure;

	if (!g) {
		g = p->gaps = mem_zalloc(sizeof(*g));
		make_losses(g);
	}
	g->value = mem_realloc(g->value, MAX(p->n_kinds, 1), sizeof(*g->value));
	g->n_kinds = p->n_kinds;
	learn_needs(p, g, &mix);
	pressure = mem_zalloc(MAX(p->n_kinds, 1) * sizeof(*pressure));
	learn_pressure(p, &mix, pressure);
	for (uint32_t k = 0; k < p->n_kinds; k++)
		learn_gaps(p, g, &mix, k, pressure[k]);
	free(pressure);
	free(mix.v);
}

/* A node after something was placed on it. */
struct after {
	double free; /* devices, in thousandths */
	double sale;
	double cpu_milli, mem_bytes;
	uint32_t n_whole, n_devices;
};

/*
 * The expected excess over 0 of a normal variable with mean z and deviation 1, z Phi(z) + phi(z), from a table: it is asked
 * for a hundred thousand times a second.
 */
static double excess(const struct place_gaps *g, double z)
{
	double at = (z + LOSS_END) * LOSS_STEPS;
	uint32_t i = (uint32_t)at;

	return g->loss[i] + (at - i) * (g->loss[i + 1] - g->loss[i]);
}

/* Thousandths of devices that will be left over for want of this resource. */
static double shortage(const struct place *p, const struct need_of_one *need, double part,
        double devices, double have)
{
	double want = part * need->mean, mu = want * devices - have, sd;

	if (want <= 0)
		return 0;
	sd = p->params.deviation * sqrt(need->variance * devices);
	if (mu <= -LOSS_END * sd)
		return 0;
	if (mu >= LOSS_END * sd)
		return 1000 * mu / want;
	return 1000 * sd * excess(p->gaps, mu / sd) / want;
}

static double potential(const struct place *p, const struct after *a)
{
	const struct place_params *r = &p->params;
	const struct place_gaps *g = p->gaps;
	double devices = (r->by_sale ? a->sale : a->free) / 1000, uneven = 0, wanted = 0, part;

	if (a->free <= 0)
		return 0;
	for (uint32_t k = 2; k <= SETS; k++)
		uneven += g->sets[k] * 1000 * (a->n_whole % k);
	part = !p->is_full ? 0 : a->free / (1000.0 * a->n_devices);
	for (uint32_t k = 2; k <= MIN(SETS, a->n_devices); k++)
		wanted += g->sets[k];
	return -a->sale + r->sets * uneven -
	       r->empty * 1000 * a->n_devices * wanted * part * part * part +
	       r->cpu * shortage(p, &g->cpu, r->cpu_mean, devices, a->cpu_milli) +
	       r->mem * shortage(p, &g->mem, r->mem_mean, devices, a->mem_bytes);
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
	        .n_whole = n->n_whole,
	        .n_devices = n->room.n_devices};

	for (uint32_t i = 0; i < n->room.n_devices; i++)
		a.sale += value_of(p, &n->devices[i], device_gap(p, &n->devices[i], NULL));
	n->sale = a.sale;
	n->potential = potential(p, &a);
	n->scored = n->changed + 1;
	n->scored_mix = p->mix;
}

static double cost(const struct place *p, const struct place_node *n, const struct after *a)
{
	return potential(p, a) - n->potential +
	       p->params.left * (a->free / 8000 + a->cpu_milli / 128000);
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
		if (!device_takes(d, t, s))
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
		c = cost(p, n, &b) + p->params.left * (left + device_surplus(p, d, t)) / 1000;
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
	        .n_whole = n->n_whole,
	        .n_devices = n->room.n_devices};
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
