/* What is asked for, and what of it a device or a node could give: the same for every policy. */
#include "sched/place_priv.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX (PLACE_WHERE_MAX + 1024) /* a model has at most a few hundred bytes */

static bool is_like(const struct device *a, const struct device *b)
{
	return a->info.mem_bytes == b->info.mem_bytes && a->info.cc == b->info.cc &&
	       a->info.cuda == b->info.cuda && a->info.card_milli == b->info.card_milli &&
	       a->fgpu_per_device == b->fgpu_per_device &&
	       strcmp(a->info.model, b->info.model) == 0 &&
	       strcmp(a->info.driver, b->info.driver) == 0;
}

uint32_t place_kind(struct place *p, const struct device *d)
{
	for (uint32_t i = 0; i < p->n_kinds; i++)
		if (is_like(&p->kinds[i].like, d))
			return i;
	MEM_GROW(p->kinds, p->n_kinds, p->cap_kinds);
	p->kinds[p->n_kinds].like = *d;
	return p->n_kinds++;
}

const char *place_user(struct place *p, const char *name)
{
	struct place_account *a;

	HASH_FIND_STR(p->accounts, name, a);
	if (a)
		return a->name;
	a = mem_zalloc(sizeof(*a));
	a->name = mem_strdup(name);
	HASH_ADD_KEYPTR(hh, p->accounts, a->name, strlen(name), a);
	return a->name;
}

uint32_t place_site(struct place *p, const char *name, const char *labels)
{
	for (uint32_t i = 0; i < p->n_sites; i++)
		if (strcmp(p->sites[i].name, name) == 0 && strcmp(p->sites[i].labels, labels) == 0)
			return i;
	MEM_GROW(p->sites, p->n_sites, p->cap_sites);
	p->sites[p->n_sites] = (struct place_site){mem_strdup(name), mem_strdup(labels)};
	return p->n_sites++;
}

static size_t add_text(char *out, size_t at, size_t size, const char *text)
{
	size_t n = text ? strlen(text) : 0;

	BUG_IF(at + n + 1 > size);
	if (n)
		memcpy(out + at, text, n);
	out[at + n] = '\0';
	return at + n + 1;
}

/* As many bytes as are filled; what is alike has the same. */
static size_t make_key(const struct place_ask *ask, char *out, size_t size)
{
	const struct gpu_ask *g = ask->gpu;
	const uint64_t numbers[] = {ask->cpu_milli, ask->mem_bytes, g->count, g->milli,
	        g->fgpu_milli, g->mem_bytes, g->share_milli, g->cc_min, g->cuda_min, g->driver_min,
	        (uintptr_t)ask->user};
	size_t n = sizeof(numbers);

	memcpy(out, numbers, n);
	n = add_text(out, n, size, g->model);
	n = add_text(out, n, size, ask->nodes);
	return add_text(out, n, size, ask->labels);
}

static bool is_some(const char *text)
{
	return text && *text;
}

uint32_t place_type(struct place *p, const struct place_ask *ask)
{
	char key[KEY_MAX];
	size_t len = make_key(ask, key, sizeof(key));
	struct place_type *t;

	HASH_FIND(hh, p->types_by_key, key, len, t);
	if (t)
		return t->number;
	t = mem_zalloc(sizeof(*t));
	t->number = p->n_types;
	t->key = mem_dup(key, len);
	t->ask = *ask;
	t->gpu = *ask->gpu;
	t->gpu.model = mem_strdup(ask->gpu->model);
	t->ask.gpu = &t->gpu;
	t->ask.nodes = t->nodes = is_some(ask->nodes) ? mem_strdup(ask->nodes) : NULL;
	t->ask.labels = t->labels = is_some(ask->labels) ? mem_strdup(ask->labels) : NULL;
	HASH_ADD_KEYPTR(hh, p->types_by_key, t->key, len, t);
	MEM_GROW(p->types, p->n_types, p->cap_types);
	p->types[p->n_types] = t;
	return p->n_types++;
}

static int by_key(const void *a, const void *b)
{
	const struct place_type *x = *(struct place_type *const *)a;
	const struct place_type *y = *(struct place_type *const *)b;

	if (x->hh.keylen != y->hh.keylen)
		return x->hh.keylen < y->hh.keylen ? -1 : 1;
	return memcmp(x->key, y->key, x->hh.keylen);
}

struct place_mix place__mix(const struct place *p)
{
	struct place_mix mix = {.v = mem_zalloc(MAX(p->n_types, 1) * sizeof(*mix.v))};

	for (uint32_t i = 0; i < p->n_types; i++)
		if (p->types[i]->count > 0)
			mix.v[mix.n++] = p->types[i];
	qsort(mix.v, mix.n, sizeof(*mix.v), by_key);
	return mix;
}

const struct slice *type_share(struct place *p, struct place_type *t, uint32_t kind)
{
	if (kind == PLACE_NONE)
		return NULL;
	if (kind >= t->n_share) {
		t->share = mem_realloc(t->share, p->n_kinds, sizeof(*t->share));
		for (; t->n_share < p->n_kinds; t->n_share++)
			if (!slice_resolve(
			            &t->gpu, &p->kinds[t->n_share].like, &t->share[t->n_share]))
				t->share[t->n_share].share_milli = 0;
	}
	return t->share[kind].share_milli ? &t->share[kind] : NULL;
}

/* Whether it asks for this node, or for none by name. */
static bool may_go(const struct place *p, struct place_type *t, uint32_t site)
{
	if (!t->nodes && !t->labels)
		return true;
	if (site >= t->n_may) {
		t->may = mem_realloc(t->may, p->n_sites, sizeof(*t->may));
		for (; t->n_may < p->n_sites; t->n_may++) {
			const struct place_site *s = &p->sites[t->n_may];
			t->may[t->n_may] = node_is_listed(t->nodes, s->name, s->labels) &&
			                   labels_have(s->labels, t->labels);
		}
	}
	return site < t->n_may && t->may[site];
}

double type_devices(struct place *p, struct place_type *t)
{
	if (t->gpu.count)
		return t->gpu.count;
	for (uint32_t k = 0; gpu_ask_any(&t->gpu) && k < p->n_kinds; k++)
		if (type_share(p, t, k))
			return type_share(p, t, k)->share_milli / 1000.0;
	return 0;
}

uint32_t device_gap(const struct place *p, const struct place_device *d, const struct slice *less)
{
	uint64_t all, bytes, milli;

	if (d->kind == PLACE_NONE)
		return 0;
	all = p->kinds[d->kind].like.info.mem_bytes;
	bytes = d->free_bytes - (less ? less->mem_bytes : 0);
	milli = d->free_milli - (less ? less->share_milli : 0);
	if (bytes < all && (double)bytes * 1000 < (double)milli * (double)all)
		milli = (uint64_t)((double)bytes * 1000 / (double)all);
	return (uint32_t)milli;
}

uint32_t device_surplus(
        const struct place *p, const struct place_device *d, const struct place_type *t)
{
	const struct device *like = &p->kinds[d->kind].like;
	uint64_t bytes = slice_surplus_bytes(&t->gpu, like);

	return bytes ? (uint32_t)((double)bytes * 1000 / (double)like->info.mem_bytes) : 0;
}

static uint32_t take_whole(struct place *p, const struct place_node *n, struct place_type *t,
        unsigned numa, uint32_t devices[NODE_DEVICES_MAX])
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n->room.n_devices && found < t->gpu.count; i++)
		if (n->devices[i].is_whole && (!numa || n->devices[i].numa == numa) &&
		        type_share(p, t, n->devices[i].kind))
			devices[found++] = i;
	return found;
}

/* The part of the machine where so many are, and fewest more; 0: nowhere are enough, or nobody knows. */
static unsigned tightest_numa(struct place *p, const struct place_node *n, struct place_type *t)
{
	uint8_t there[UINT8_MAX + 1] = {0};
	unsigned best = 0;

	for (uint32_t i = 0; i < n->room.n_devices; i++)
		if (n->devices[i].is_whole && type_share(p, t, n->devices[i].kind))
			there[n->devices[i].numa]++;
	for (uint32_t i = 0; i < n->room.n_devices; i++) {
		unsigned numa = n->devices[i].numa;
		if (numa && there[numa] >= t->gpu.count && (!best || there[numa] < there[best]))
			best = numa;
	}
	return best;
}

uint32_t node_whole(struct place *p, const struct place_node *n, struct place_type *t,
        uint32_t devices[NODE_DEVICES_MAX])
{
	bool is_known = n->room.n_devices && n->devices[0].numa;

	return take_whole(p, n, t, is_known ? tightest_numa(p, n, t) : 0, devices);
}

bool node_takes(struct place *p, const struct place_node *n, struct place_type *t)
{
	uint32_t devices[NODE_DEVICES_MAX];

	if (!n->room.is_open || !may_go(p, t, n->room.site) ||
	        n->room.free_cpu_milli < t->ask.cpu_milli ||
	        n->room.free_mem_bytes < t->ask.mem_bytes)
		return false;
	if (t->gpu.count)
		return n->n_whole >= t->gpu.count && node_whole(p, n, t, devices) == t->gpu.count;
	if (!gpu_ask_any(&t->gpu))
		return true;
	for (uint32_t i = 0; i < n->room.n_devices; i++)
		if (device_takes(&n->devices[i], t, type_share(p, t, n->devices[i].kind)))
			return true;
	return false;
}
