#include "server/kept.h"
#include "server/batch.h"
#include "server/load.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READERS_MAX 64 /* jobs of the reading thread at once */
#define ASKERS_MAX  1000

struct asker {
	struct call *c;
	void (*fn)(struct call *c);
};

/* refs: the server's, that of the load under way, and one for each call that was given it. */
struct kept {
	struct server *s;
	unsigned refs;
	struct store *store;
	struct world *world;
	bool is_loaded;
	int rc;
	struct err err;
	struct asker *askers;
	size_t n_askers, cap_askers;
};

void kept_drop(struct kept *k)
{
	if (!k || --k->refs)
		return;
	store_close(k->store);
	world_free(k->world);
	free(k->askers);
	free(k);
}

struct store *kept_store(struct kept *k)
{
	return k->store;
}

/* What is not in the store, because it is of the moment: which nodes answer, and how their devices are. */
static void take_moment(struct world *w, const struct world *now)
{
	const struct node *from;

	TAILQ_FOREACH (from, &now->nodes, link) {
		struct node *n = world_find_node_num(w, from->num);

		if (!n)
			continue;
		n->state = from->state;
		n->seen_mono_ms = from->seen_mono_ms;
		for (uint32_t i = 0; i < n->n_devices; i++)
			for (uint32_t k = 0; k < from->n_devices; k++)
				if (!strcmp(n->devices[i].info.uuid, from->devices[k].info.uuid))
					n->devices[i].info = from->devices[k].info;
	}
}

static void show(struct kept *k, struct call *c, void (*fn)(struct call *c))
{
	if (!c->kept) {
		c->kept = k;
		k->refs++;
	}
	c->world = k->world;
	take_moment(k->world, k->s->world);
	fn(c);
}

/* Reading thread. */
static void load(void *data)
{
	struct kept *k = data;
	char url[4200];

	snprintf(url, sizeof(url), "sqlite:%s/berth.db", k->s->data_dir);
	k->rc = store_open_reader(url, &k->store, &k->err);
	if (k->rc == 0)
		k->rc = load_world(k->store, k->s->conf, k->world, &k->err);
}

static void answer(struct kept *k, const struct asker *a)
{
	struct server *s = k->s;

	if (!a->c->r)
		return;
	if (s->kept != k)
		a->fn(a->c);
	else if (k->rc)
		call_fail(a->c, &k->err);
	else
		show(k, a->c, a->fn);
}

static void on_loaded(void *data)
{
	struct kept *k = data;
	struct server *s = k->s;

	k->is_loaded = true;
	if (k->rc) {
		log_warn("store.read", "text=\"%s\"", k->err.text);
		k->err.kind = ERR_UNAVAILABLE;
	}
	for (size_t i = 0; i < k->n_askers; i++) {
		answer(k, &k->askers[i]);
		call_drop(k->askers[i].c);
	}
	k->n_askers = 0;
	/* Who asks next tries again. */
	if (k->rc && s->kept == k)
		kept_drop(STEAL(s->kept));
	kept_drop(k);
}

static int begin(struct server *s, struct err *err)
{
	struct kept *k;
	int rc = 0;

	if (!s->reader)
		rc = worker_new(s->loop, "reader", READERS_MAX, &s->reader, err);
	if (rc)
		return rc;
	k = mem_zalloc(sizeof(*k));
	*k = (struct kept){.s = s, .refs = 2, .world = world_new(&s->world->policy)};
	if (!worker_submit(s->reader, load, on_loaded, k)) {
		world_free(k->world);
		free(k);
		return err_set(err, ERR_UNAVAILABLE, "too much is read already; try again");
	}
	s->kept = k;
	return 0;
}

void kept_ask(struct call *c, void (*fn)(struct call *c))
{
	struct server *s = c->s;
	struct kept *k;
	struct err err;

	if (!s->kept && begin(s, &err)) {
		call_fail(c, &err);
		return;
	}
	k = s->kept;
	if (k->is_loaded) {
		show(k, c, fn);
	} else if (k->n_askers == ASKERS_MAX) {
		(void)!err_set(&err, ERR_UNAVAILABLE, "too many wait for the disk; try again");
		call_fail(c, &err);
	} else {
		MEM_GROW(k->askers, k->n_askers, k->cap_askers);
		k->askers[k->n_askers++] = (struct asker){c, fn};
		call_hold(c);
	}
}

void kept_forget(struct server *s)
{
	kept_drop(STEAL(s->kept));
}
