/* Nodes, devices, queues and tokens as they come, change and go. */
#include "core/world_priv.h"
#include "base/mem.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static uint32_t fgpu_of_model(const struct policy *p, const char *model)
{
	for (uint32_t i = 0; i < p->n_models; i++)
		if (strcasestr(model, p->models[i].model))
			return MAX(p->models[i].fgpu_per_device, 1);
	return MAX(p->fgpu_per_device, 1);
}

void node__set_device(
        struct world *w, struct node *n, uint32_t place, const struct device_info *info)
{
	if (place == n->n_devices)
		n->devices = mem_realloc(n->devices, ++n->n_devices, sizeof(*n->devices));
	n->devices[place] = (struct device){
	        .info = *info, .fgpu_per_device = fgpu_of_model(&w->policy, info->model)};
}

/* Where a device that was not known goes. One that is gone and holds nothing any more gives its place away. */
static uint32_t free_place(const struct node *n)
{
	uint32_t place = 0;

	if (n->n_devices < NODE_DEVICES_MAX)
		return n->n_devices;
	while (place < n->n_devices && !(n->devices[place].absent && !n->devices[place].n_slices))
		place++;
	return place;
}

static struct device *find_device(const struct node *n, const char *uuid)
{
	for (uint32_t i = 0; i < n->n_devices; i++)
		if (strcmp(n->devices[i].info.uuid, uuid) == 0)
			return &n->devices[i];
	return NULL;
}

/* Ends what runs on a device that is gone. */
static void device_lost(struct apply *a, struct node *n, const struct device *d)
{
	uint32_t place = (uint32_t)(d - n->devices);
	struct job *j;

	LIST_FOREACH (j, &n->jobs, on_node) {
		bool on_it = false;
		for (uint32_t i = 0; i < j->n_slices; i++)
			on_it = on_it || j->slices[i].device == place;
		if (!on_it || j->stop_reason != REASON_NONE)
			continue;
		j->stop_reason = REASON_DEVICE_LOST;
		effects_add(a->fx, (struct effect){.kind = EFFECT_STOP,
		                           .id = j->id,
		                           .node = n->num,
		                           .epoch = j->epoch,
		                           .reason = REASON_DEVICE_LOST});
		apply__transition(a, j, JOB_COMPLETING, REASON_DEVICE_LOST, d->info.health_text);
	}
}

static void take_device_info(
        struct apply *a, struct node *n, struct device *d, const struct device_info *info)
{
	bool was_usable = device_is_usable(d);

	d->info = *info;
	d->absent = false;
	d->shrunk = d->used_bytes > d->info.mem_bytes;
	d->fgpu_per_device = fgpu_of_model(&a->w->policy, info->model);
	if (was_usable && !device_is_usable(d))
		device_lost(a, n, d);
	a->w->plan_wanted = true;
}

static void take_inventory(struct apply *a, struct node *n, const struct event *e)
{
	snprintf(n->boot_id, sizeof(n->boot_id), "%s", e->node->boot_id);
	if (e->node->key_hash[0])
		snprintf(n->key_hash, sizeof(n->key_hash), "%s", e->node->key_hash);
	n->is_local = e->node->is_local;
	n->cpus = e->node->cpus;
	n->n_cpus = cpu_set_count(&n->cpus);
	n->mem_bytes = e->node->mem_bytes;
	for (uint32_t i = 0; i < n->n_devices; i++) {
		bool there = false;
		for (uint32_t k = 0; k < e->n_devices; k++)
			there = there || strcmp(n->devices[i].info.uuid, e->devices[k].uuid) == 0;
		n->devices[i].absent = !there;
	}
	for (uint32_t k = 0; k < e->n_devices; k++) {
		struct device *d = find_device(n, e->devices[k].uuid);
		if (d)
			take_device_info(a, n, d, &e->devices[k]);
		else if (free_place(n) < NODE_DEVICES_MAX)
			node__set_device(a->w, n, free_place(n), &e->devices[k]);
	}
}

/* As the configuration labels it, by its name. */
static char *labels_of(const struct policy *p, const char *name)
{
	size_t size = 1, len = 0;
	char *out;

	for (uint32_t i = 0; i < p->n_labels; i++)
		size += strlen(p->labels[i].label) + 1;
	out = mem_zalloc(size);
	for (uint32_t i = 0; i < p->n_labels; i++)
		if (fnmatch(p->labels[i].node, name, 0) == 0)
			len += (size_t)snprintf(
			        out + len, size - len, "%s%s", len ? "," : "", p->labels[i].label);
	return out;
}

static struct node *add_node(struct world *w, const struct node *from)
{
	struct node *n = mem_zalloc(sizeof(*n));

	snprintf(n->name, sizeof(n->name), "%s", from->name);
	n->labels = labels_of(&w->policy, n->name);
	/* A stored node comes with its number, a new one gets the next. */
	n->num = from->num ? from->num : w->next_node;
	w->next_node = MAX(w->next_node, n->num + 1);
	w->counters_dirty = true;
	n->state = NODE_DOWN;
	n->drained = from->drained;
	LIST_INIT(&n->jobs);
	TAILQ_INSERT_TAIL(&w->nodes, n, link);
	w->n_nodes++;
	return n;
}

int apply__node(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct node *n = world_find_node(a->w, e->kind == EVENT_NODE_UP ? e->node->name : e->name);

	if (!n && e->kind != EVENT_NODE_UP)
		return err_set(err, ERR_NOT_FOUND, "node '%s' is not known", e->name);
	if (!n) {
		n = add_node(a->w, e->node);
		out->is_new = true;
	}
	switch (e->kind) {
	case EVENT_NODE_UP:
		take_inventory(a, n, e);
		n->state = e->force ? NODE_DOWN
		                    : NODE_UP; /* force: loaded from the store, not yet heard of */
		n->seen_mono_ms = a->now.mono_ms;
		break;
	case EVENT_NODE_DOWN:
		n->state = NODE_DOWN;
		break;
	default:
		n->drained = e->kind == EVENT_NODE_DRAIN;
		break;
	}
	world__touch_node(a->w, n);
	a->w->plan_wanted = true;
	out->num = n->num;
	return 0;
}

int apply__device(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct node *n = world_find_node(a->w, e->name);

	if (!n)
		return err_set(err, ERR_NOT_FOUND, "node '%s' is not known", e->name);
	world__touch_node(a->w, n);
	for (uint32_t i = 0; i < e->n_devices; i++) {
		struct device *d = find_device(n, e->devices[i].uuid);
		if (d)
			take_device_info(a, n, d, &e->devices[i]);
	}
	out->num = n->num;
	return 0;
}

int apply__token(struct apply *a, const struct event *e, struct applied *out, struct err *err)
{
	struct token *t, *found = NULL;
	const char *name = e->kind == EVENT_TOKEN_ADD ? e->token->name : e->name;

	TAILQ_FOREACH (t, &a->w->tokens, link)
		if (strcmp(t->name, name) == 0)
			found = t;
	if (e->kind == EVENT_TOKEN_ADD) {
		if (found)
			return err_set(
			        err, ERR_CONFLICT, "a token named '%s' exists already", name);
		t = mem_dup(e->token, sizeof(*t));
		if (!t->num)
			t->num = a->w->next_token;
		a->w->next_token = MAX(a->w->next_token, t->num + 1);
		a->w->counters_dirty = true;
		TAILQ_INSERT_TAIL(&a->w->tokens, t, link);
		*out = (struct applied){.num = t->num, .is_new = true};
		return 0;
	}
	if (!found)
		return err_set(err, ERR_NOT_FOUND, "no token is named '%s'", name);
	out->num = found->num;
	TAILQ_REMOVE(&a->w->tokens, found, link);
	free(found);
	return 0;
}
