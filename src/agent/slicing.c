#include "agent/slicing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plat/log.h"

struct wish {
	char *model;
	enum mechanism_wish mechanism;
};

/* Of a device: what it has now. */
struct chosen {
	char uuid[96];
	enum held_by by;
	const char *why;
};

struct slicing {
	struct slicing_options o;
	struct slices *ledgers;
	enum mechanism_wish all;
	bool cap_compute;
	struct wish *wishes;
	uint32_t n_wishes;
	struct chosen chosen[NODE_DEVICES_MAX];
	uint32_t n_chosen;
	uint64_t beginning; /* epoch of the attempt that is being given its ledgers; 0: none */
	char path[SLICES_PATH];
};

/* Mechanisms */

static enum mechanism_wish wish_of(const struct slicing *s, const char *model)
{
	for (uint32_t i = 0; i < s->n_wishes; i++)
		if (strcasestr(model, s->wishes[i].model))
			return s->wishes[i].mechanism;
	return s->all;
}

/* Of an attempt that an earlier agent started, too: its ledgers tell its devices. */
static bool has_ledger_of(const struct slicing *s, const struct known_attempt *a, const char *uuid)
{
	for (uint32_t i = 0, n = slices_count(s->ledgers, a->epoch); i < n; i++)
		if (strcmp(slices_device(s->ledgers, a->epoch, i), uuid) == 0)
			return true;
	return false;
}

static bool has_fraction_of(const struct known_attempt *a, const struct device_info *d)
{
	for (uint32_t i = 0; i < a->n_slices; i++)
		if (strcmp(a->slices[i].device, d->uuid) == 0 &&
		        a->slices[i].mem_bytes < d->mem_bytes)
			return true;
	return false;
}

/* What a living attempt on the device is held by; false: there is none. */
static bool find_in_use(const struct slicing *s, const struct device_info *d, enum held_by *ret_by)
{
	static const enum attempt_state living[] = {
	        ATTEMPT_QUEUED, ATTEMPT_STARTING, ATTEMPT_LIVING};

	for (size_t i = 0; i < ARRAY_LEN(living); i++) {
		const struct known_attempt *a = attempts_first(s->o.attempts, living[i]);

		for (; a; a = TAILQ_NEXT(a, link)) {
			bool is_held = has_ledger_of(s, a, d->uuid);

			if (a->epoch == s->beginning || (!is_held && !has_fraction_of(a, d)))
				continue;
			*ret_by = is_held ? HELD_BY_INTERPOSER : HELD_BY_NONE;
			return true;
		}
	}
	return false;
}

static struct chosen *chosen_of(struct slicing *s, const char *uuid)
{
	struct chosen *c;

	for (uint32_t i = 0; i < s->n_chosen; i++)
		if (strcmp(s->chosen[i].uuid, uuid) == 0)
			return &s->chosen[i];
	if (s->n_chosen == NODE_DEVICES_MAX)
		return NULL;
	c = &s->chosen[s->n_chosen++];
	snprintf(c->uuid, sizeof(c->uuid), "%s", uuid);
	return c;
}

enum held_by slicing_held_by(struct slicing *s, const struct device_info *d)
{
	struct chosen *c = chosen_of(s, d->uuid);
	const char *why = "";
	enum held_by by;

	if (!find_in_use(s, d, &by))
		by = mechanism_choose(d, wish_of(s, d->model), &s->o.parts, &why);
	if (c && (!c->why || c->by != by))
		log_info("device.mechanism", "device=%s interposer=%d mig=%d why=\"%s\"", d->uuid,
		        by == HELD_BY_INTERPOSER, by == HELD_BY_MIG, why);
	if (c) {
		c->by = by;
		c->why = why;
	}
	return by;
}

static void drop_wishes(struct slicing *s)
{
	while (s->n_wishes)
		free(s->wishes[--s->n_wishes].model);
	free(s->wishes);
	s->wishes = NULL;
}

void slicing_set_wish(struct slicing *s, enum link_mechanism all, const struct link_model *models,
        uint32_t n, bool cap_compute)
{
	static const enum mechanism_wish wishes[] = {
	        [LINK_MECHANISM_AUTO] = MECHANISM_AUTO,
	        [LINK_MECHANISM_INTERPOSER] = MECHANISM_INTERPOSER,
	        [LINK_MECHANISM_NONE] = MECHANISM_NONE,
	};

	drop_wishes(s);
	s->cap_compute = cap_compute;
	s->all = wishes[all];
	s->wishes = mem_zalloc((n + 1) * sizeof(*s->wishes));
	for (uint32_t i = 0; i < n; i++)
		if (models[i].model)
			s->wishes[s->n_wishes++] = (struct wish){
			        mem_strdup(models[i].model), wishes[models[i].mechanism]};
}

/* Ledgers */

static const struct device_info *find_device(const struct slicing *s, const char *uuid)
{
	uint32_t n;
	const struct device_info *v = s->o.devices(s->o.data, &n);

	for (uint32_t i = 0; i < n; i++)
		if (strcmp(v[i].uuid, uuid) == 0)
			return &v[i];
	return NULL;
}

/* A fraction of a device that the interposer holds. */
static bool is_to_hold(struct slicing *s, const struct slice_record *r)
{
	const struct device_info *d = find_device(s, r->device);

	if (!d || (r->share_milli == 1000 && r->mem_bytes >= d->mem_bytes))
		return false;
	return slicing_held_by(s, d) == HELD_BY_INTERPOSER;
}

static struct slices_grant grant_of(struct slicing *s, const struct slice_record *r, bool is_held)
{
	const struct device_info *d = find_device(s, r->device);
	struct slices_grant g = {
	        .limit_bytes = r->mem_bytes,
	        .granule_bytes = SLICING_GRANULE_BYTES,
	        .context_bytes = d && d->context_bytes ? d->context_bytes : SLICING_CONTEXT_BYTES,
	        .share_milli = r->share_milli,
	        .flags = SLICES_HOLDS_MEMORY,
	};

	if (is_held)
		g.flags |= SLICES_HOLDS_COMPUTE | (s->cap_compute ? SLICES_IS_CAPPED : 0);
	_Static_assert(sizeof(g.uuid) == sizeof(r->device), "names of devices");
	memcpy(g.uuid, r->device, sizeof(r->device));
	return g;
}

static int make_ledgers(struct slicing *s, const struct link_start *m,
        const struct slices_grant *grants, struct err *err)
{
	int rc = slices_make(s->ledgers, m->epoch, grants, m->n_slices, s->path, err);

	for (uint32_t i = 0; rc == 0 && i < m->n_slices; i++)
		if (grants[i].flags & SLICES_HOLDS_COMPUTE &&
		        !slices_holds_compute(s->ledgers, m->epoch, i))
			log_warn("slice.compute",
			        "epoch=%llu device=%s why=\"no line is left among those who take turns\"",
			        (unsigned long long)m->epoch, grants[i].uuid);
	return rc;
}

int slicing_begin(
        struct slicing *s, const struct link_start *m, const char **ret_path, struct err *err)
{
	struct slices_grant grants[NODE_DEVICES_MAX];
	bool is_any = false;
	int rc;

	*ret_path = NULL;
	s->beginning = m->epoch;
	for (uint32_t i = 0; i < m->n_slices; i++) {
		bool is_held = is_to_hold(s, &m->slices[i]);

		is_any |= is_held;
		grants[i] = grant_of(s, &m->slices[i], is_held);
	}
	s->beginning = 0;
	if (!is_any)
		return 0;
	/* Its keeper may have been told of it by an agent that is no more. */
	if (!slices_count(s->ledgers, m->epoch)) {
		rc = make_ledgers(s, m, grants, err);
		if (rc < 0)
			return rc;
	}
	*ret_path = slicing_path(s, m->epoch);
	return 0;
}

void slicing_end(struct slicing *s, uint64_t epoch)
{
	slices_remove(s->ledgers, epoch);
}

static bool is_known(void *data, uint64_t epoch)
{
	struct slicing *s = data;
	const struct known_attempt *a = attempts_find(s->o.attempts, epoch);

	return a && a->state != ATTEMPT_ENDED && a->state != ATTEMPT_TOLD;
}

void slicing_sweep(struct slicing *s)
{
	slices_sweep(s->ledgers, is_known, s);
}

const char *slicing_path(struct slicing *s, uint64_t epoch)
{
	return slices_path(s->ledgers, epoch, s->path) ? s->path : NULL;
}

struct slices *slicing_ledgers(struct slicing *s)
{
	return s->ledgers;
}

/* Life */

int slicing_new(const struct slicing_options *o, struct slicing **ret_slicing, struct err *err)
{
	struct slicing *s = mem_zalloc(sizeof(*s));
	int rc = slices_open(o->data_dir, NULL, o->is_one_account, &s->ledgers, err);

	if (rc < 0) {
		free(s);
		return rc;
	}
	s->o = *o;
	*ret_slicing = s;
	return 0;
}

static bool is_none(void *data, uint64_t epoch)
{
	return false;
}

void slicing_free(struct slicing *s, bool is_over)
{
	if (!s)
		return;
	if (is_over)
		slices_sweep(s->ledgers, is_none, NULL);
	slices_close(s->ledgers);
	drop_wishes(s);
	free(s);
}
