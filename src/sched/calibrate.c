/*
 * DESIGN. First a grid over what matters most and hangs together: whether CPUs are scarce, how many offers a gap still gets,
 * what need follows. From its best, one setting after the other is changed and the change kept where it helps. All see the
 * same streams, so that small differences are differences of the settings.
 */
#include "sched/calibrate.h"
#include "base/mem.h"
#include "sched/place_priv.h"

#include <math.h>
#include <stdlib.h>

#define GRID 8
#define GAIN 0.0002 /* of all devices: less is chance */

/* Settings that are scaled up, then down, in this order; in each round by another factor. */
static const size_t scaled[] = {offsetof(struct place_params, offers),
        offsetof(struct place_params, cpu_mean), offsetof(struct place_params, cpu),
        offsetof(struct place_params, mem_mean), offsetof(struct place_params, mem),
        offsetof(struct place_params, deviation), offsetof(struct place_params, sets),
        offsetof(struct place_params, left)};
static const double factors[] = {1.6, 1.25, 1.6, 1.12};

#define PER_ROUND (2 * ARRAY_LEN(scaled))
#define TRIALS    (GRID + ARRAY_LEN(factors) * PER_ROUND)

struct calibration {
	struct place *place;       /* the copy */
	struct place_room *rooms;  /* as they are when empty; devices are owned */
	double *up_to;             /* by type: its count and those of all before it */
	double n_devices, n_asked; /* there are; the mix asks for */
	double demand;             /* devices */
	uint32_t n_streams;
	/* the trial that is on */
	struct place_params params;
	uint32_t number, stream;
	unsigned short dice[3];
	double arrived, placed; /* devices; of this stream */
	double share;           /* summed over its streams */
	struct place_params best;
	double best_share, usual_share;
	bool is_better; /* the latest trial was */
	bool is_done;
};

static void empty_room(const struct place *from, uint32_t node, struct place_room *ret)
{
	const struct place_room *like = place_look(from, node);
	struct place_device *devices = mem_zalloc(MAX(like->n_devices, 1) * sizeof(*devices));

	*ret = *like;
	ret->free_cpu_milli = like->cpu_milli;
	ret->free_mem_bytes = like->mem_bytes;
	ret->devices = devices;
	for (uint32_t i = 0; i < like->n_devices; i++) {
		uint32_t kind = like->devices[i].kind;
		devices[i].kind = kind;
		if (kind == PLACE_NONE)
			continue;
		devices[i].free_milli = 1000;
		devices[i].free_bytes = from->kinds[kind].like.info.mem_bytes;
		devices[i].is_whole = true;
	}
}

/* Of nodes that take jobs. */
static double count_devices(const struct place *p)
{
	double n = 0;

	for (uint32_t i = 0; i < p->n_nodes; i++) {
		const struct place_room *room = place_look(p, i);
		for (uint32_t d = 0; room->is_open && d < room->n_devices; d++)
			n += room->devices[d].kind != PLACE_NONE;
	}
	return n;
}

static void copy_nodes(struct calibration *c, const struct place *from)
{
	for (uint32_t i = 0; i < from->n_kinds; i++)
		place_kind(c->place, &from->kinds[i].like);
	for (uint32_t i = 0; i < from->n_sites; i++)
		place_site(c->place, from->sites[i].name, from->sites[i].labels);
	c->rooms = mem_zalloc(MAX(from->n_nodes, 1) * sizeof(*c->rooms));
	for (uint32_t i = 0; i < from->n_nodes; i++) {
		empty_room(from, i, &c->rooms[i]);
		place_add_node(c->place);
	}
	c->n_devices = count_devices(from);
}

/* Only those in the mix. Accounts are of no matter where nothing is on any device, and their names are not ours. */
static void copy_types(struct calibration *c, const struct place *from)
{
	struct place *p = c->place;
	double sum = 0;

	for (uint32_t i = 0; i < from->n_types; i++) {
		struct place_ask ask = from->types[i]->ask;
		ask.user = NULL;
		if (from->types[i]->count > 0)
			place_count(p, place_type(p, &ask), from->types[i]->count);
	}
	c->up_to = mem_zalloc(MAX(p->n_types, 1) * sizeof(*c->up_to));
	for (uint32_t i = 0; i < p->n_types; i++) {
		c->n_asked += p->types[i]->count * type_devices(p, p->types[i]);
		sum += p->types[i]->count;
		c->up_to[i] = sum;
	}
}

static void begin_stream(struct calibration *c)
{
	for (uint32_t i = 0; i < c->place->n_nodes; i++)
		place_set_node(c->place, i, &c->rooms[i]);
	c->dice[0] = 0x330e;
	c->dice[1] = (unsigned short)(1001 + c->stream);
	c->dice[2] = 0;
	c->arrived = c->placed = 0;
}

static void begin_trial(struct calibration *c)
{
	c->place->params = c->params;
	place_learn(c->place);
	c->stream = 0;
	c->share = 0;
	begin_stream(c);
}

static void set_by_grid(struct place_params *r, uint32_t n)
{
	*r = place_params_usual;
	r->offers = n & 1 ? 50 : 98;
	r->by_sale = n & 2;
	if (n & 4) {
		r->cpu = 2.5;
		r->cpu_mean = 1.1;
		r->deviation = 0.76;
	}
}

static void set_by_scale(struct place_params *r, uint32_t n)
{
	double *v = (double *)(void *)((char *)r + scaled[n % PER_ROUND / 2]);
	double by = factors[n / PER_ROUND];

	*v = n & 1 ? *v / by : *v * by;
}

/* The settings of the next trial. False: there is none. */
static bool next_trial(struct calibration *c)
{
	/* What was better one way is not tried the other. */
	if (c->is_better && c->number > GRID && (c->number - GRID) & 1)
		c->number++;
	c->is_better = false;
	if (c->number >= TRIALS)
		return false;
	c->params = c->best;
	if (c->number < GRID)
		set_by_grid(&c->params, c->number);
	else
		set_by_scale(&c->params, c->number - GRID);
	c->number++;
	return true;
}

struct calibration *calibration_new(const struct place *p, double demand, uint32_t n_streams)
{
	struct calibration *c = mem_zalloc(sizeof(*c));

	c->place = place_new(p->policy->name);
	c->best = p->params;
	c->n_streams = n_streams;
	copy_nodes(c, p);
	copy_types(c, p);
	c->demand = demand * c->n_devices;
	return c;
}

void calibration_free(struct calibration *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->place->n_nodes; i++)
		free((void *)(uintptr_t)c->rooms[i].devices);
	free(c->rooms);
	free(c->up_to);
	place_free(c->place);
	free(c);
}

static uint32_t draw(struct calibration *c)
{
	uint32_t low = 0, high = c->place->n_types - 1;
	double at = erand48(c->dice) * c->up_to[high];

	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (c->up_to[mid] > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* False: this stream has come to its end. */
static bool arrive(struct calibration *c)
{
	uint32_t type = draw(c);
	double devices = type_devices(c->place, c->place->types[type]);
	struct place_found at;

	if (c->arrived + devices > c->demand)
		return false;
	c->arrived += devices;
	if (place_find(c->place, type, NULL, NULL, &at)) {
		place_take(c->place, type, &at);
		c->placed += devices;
	}
	return true;
}

static void end_trial(struct calibration *c)
{
	double gain = c->share / c->n_streams - c->best_share;

	if (c->number == 1)
		c->usual_share = c->share / c->n_streams;
	if (gain <= (c->number > GRID ? GAIN : 0))
		return;
	c->is_better = true;
	c->best_share += gain;
	c->best = c->params;
}

bool calibration_step(struct calibration *c, uint32_t n_requests)
{
	if (c->n_devices <= 0 || c->n_asked <= 0 || c->is_done)
		return false;
	if (c->number == 0 && next_trial(c))
		begin_trial(c);
	while (n_requests-- > 0) {
		if (arrive(c))
			continue;
		c->share += c->placed / c->n_devices;
		if (++c->stream < c->n_streams) {
			begin_stream(c);
			continue;
		}
		end_trial(c);
		c->is_done = !next_trial(c);
		if (c->is_done)
			return false;
		begin_trial(c);
	}
	return true;
}

void calibration_adopt(const struct calibration *c, struct place *p)
{
	p->params = c->best;
	place_learn(p);
}

static double count_asks(const struct place *p)
{
	double n = 0;

	for (uint32_t i = 0; i < p->n_types; i++)
		n += p->types[i]->count;
	return n;
}

bool calibration_is_of_use(const struct place *p)
{
	bool has_asks = false;

	for (uint32_t i = 0; i < p->n_types && !has_asks; i++)
		has_asks = p->types[i]->count > 0 && gpu_ask_any(&p->types[i]->gpu);
	return has_asks && p->policy == &place_fragment && count_devices(p) > 0;
}

double calibration_drift(const struct calibration *c, const struct place *p)
{
	double asked = count_asks(p), was_asked = count_asks(c->place), drift = 0;
	double devices = count_devices(p);

	for (uint32_t i = 0; i < p->n_types && asked > 0; i++) {
		const struct place_type *t = p->types[i], *was;
		HASH_FIND(hh, c->place->types_by_key, t->key, t->hh.keylen, was);
		drift += fmax(0, t->count / asked - (was ? was->count / was_asked : 0));
	}
	return fmax(drift, fabs(devices - c->n_devices) / fmax(fmax(devices, c->n_devices), 1));
}

bool calibration_result(const struct calibration *c, struct calibrated *ret)
{
	*ret = (struct calibrated){place__settings(&c->best), c->best_share, c->usual_share};
	return c->number > 1;
}
