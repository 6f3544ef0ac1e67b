#include "agent/slicing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plat/cgroup.h"
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
	/* Since the configuration came its daemon did not come up for this account; "": for any. */
	bool is_without_mps;
	char mps_account[128];
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
	struct mps_place place;
	bool is_refused; /* the kernel's limit, to an attempt, since the configuration came */
	char gpu_limits[NODE_DEVICES_MAX * (CGROUP_REGION + 24)];
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

static const enum attempt_state living[] = {ATTEMPT_QUEUED, ATTEMPT_STARTING, ATTEMPT_LIVING};

/*
 * Of an attempt that an earlier agent started, too: its ledgers tell its devices, and what holds it there. A job may have
 * changed its own; it cannot make MPS of what has none.
 */
static enum held_by ledger_held_by(const struct slicing *s, uint64_t epoch, uint32_t place)
{
	uint32_t flags = slices_flags(s->ledgers, epoch, place);

	return flags & SLICES_BY_MPS && s->o.mps ? HELD_BY_MPS
	       : flags & SLICES_BY_KERNEL        ? HELD_BY_KERNEL
	                                         : HELD_BY_INTERPOSER;
}

/* What the kernel has refused is the interposer's alone: its keeper has said so. */
static bool was_refused(const struct known_attempt *a)
{
	return a->not_held & SPOOL_HOLD_GPU_MEMORY;
}

static bool find_ledger(const struct slicing *s, const struct known_attempt *a, const char *uuid,
        enum held_by *ret_by)
{
	for (uint32_t i = 0, n = slices_count(s->ledgers, a->epoch); i < n; i++) {
		if (strcmp(slices_device(s->ledgers, a->epoch, i), uuid) != 0)
			continue;
		*ret_by = ledger_held_by(s, a->epoch, i);
		if (*ret_by == HELD_BY_KERNEL && was_refused(a))
			*ret_by = HELD_BY_INTERPOSER;
		return true;
	}
	return false;
}

static bool is_by_mps(const struct slicing *s, const struct known_attempt *a, const char *uuid)
{
	enum held_by by;

	return find_ledger(s, a, uuid, &by) && by == HELD_BY_MPS;
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
	for (size_t i = 0; i < ARRAY_LEN(living); i++) {
		const struct known_attempt *a = attempts_first(s->o.attempts, living[i]);

		for (; a; a = TAILQ_NEXT(a, link)) {
			if (a->epoch == s->beginning)
				continue;
			if (find_ledger(s, a, d->uuid, ret_by))
				return true;
			if (!has_fraction_of(a, d))
				continue;
			*ret_by = HELD_BY_NONE;
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

/* Why the kernel cannot limit its memory; NULL: it can, and this is the name that it has for it. */
static const char *why_no_kernel(
        const struct slicing *s, const struct device_info *d, char region[CGROUP_REGION])
{
	if (d->simulated)
		return "the kernel knows nothing of a simulated device";
	if (strtoul(d->driver, NULL, 10) < SLICING_KERNEL_DRIVER)
		return "its driver is older than r615";
	if (!cgroup_dmem_find(s->o.cgroups, d->pci, region))
		return "it is not in the dmem.capacity of control groups, version 2";
	return s->is_refused
	               ? "the kernel's limit was refused (keeper.gpu_memory in the log of the keepers)"
	               : NULL;
}

static void learn_refusals(struct slicing *s)
{
	const struct known_attempt *a = attempts_first(s->o.attempts, ATTEMPT_LIVING);

	for (; a; a = TAILQ_NEXT(a, link))
		s->is_refused |= was_refused(a);
}

static void say_mechanism(const struct device_info *d, enum held_by by, const char *why)
{
	log_info("device.mechanism", "device=%s held_by=%s why=\"%s\"", d->uuid, held_by_name(by),
	        why);
}

/* Why MPS cannot serve this account there; NULL: it can. user NULL: any one. */
static const char *why_no_mps(const struct slicing *s, const struct chosen *c, const char *user)
{
	if (s->o.parts.no_mps)
		return s->o.parts.no_mps;
	if (user && !mps_serves(s->o.mps, user))
		return "Berth runs no MPS daemon for the account of its first job";
	return c && c->is_without_mps &&
	                       (!user || !*c->mps_account || strcmp(c->mps_account, user) == 0)
	               ? "its MPS daemon did not come up (mps.start in the agent's log)"
	               : NULL;
}

/* For a job of this account; NULL: of any. */
static enum held_by choose(struct slicing *s, const struct device_info *d, const char *user)
{
	struct mechanism_parts parts = s->o.parts;
	struct chosen *c = chosen_of(s, d->uuid);
	const char *why = "";
	char region[CGROUP_REGION];
	enum held_by by;

	learn_refusals(s);
	parts.no_kernel = why_no_kernel(s, d, region);
	parts.no_mps = why_no_mps(s, c, user);
	if (!find_in_use(s, d, &by))
		by = mechanism_choose(d, wish_of(s, d->model), &parts, &why);
	if (c && (!c->why || c->by != by))
		say_mechanism(d, by, why);
	if (c) {
		c->by = by;
		c->why = why;
	}
	return by;
}

enum held_by slicing_held_by(struct slicing *s, const struct device_info *d)
{
	return choose(s, d, NULL);
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
	        [LINK_MECHANISM_MPS] = MECHANISM_MPS,
	        [LINK_MECHANISM_KERNEL] = MECHANISM_KERNEL,
	};

	drop_wishes(s);
	for (uint32_t i = 0; i < s->n_chosen; i++)
		s->chosen[i].is_without_mps = false;
	s->is_refused = false;
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

/* NONE, too, of what needs no ledger: a whole device, or an instance of one. */
static enum held_by to_be_held_by(struct slicing *s, const struct slice_record *r, const char *user)
{
	const struct device_info *d = find_device(s, r->device);
	enum held_by by;

	if (!d || (r->share_milli == 1000 && r->mem_bytes >= d->mem_bytes))
		return HELD_BY_NONE;
	by = choose(s, d, user);
	return by == HELD_BY_MIG ? HELD_BY_NONE : by;
}

/* The account that it runs as. An old server leaves out who has submitted it himself. */
static const char *user_of(const struct link_start *m, char number[16])
{
	if (m->user)
		return m->user;
	snprintf(number, 16, "%u", m->uid);
	return number;
}

static struct mps_client client_of(const struct link_start *m, uint32_t place, const char *user)
{
	return (struct mps_client){.uuid = m->slices[place].device, .user = user};
}

/* Its keeper may have been told so by an agent that is no more. */
static enum held_by hold_of(
        struct slicing *s, const struct link_start *m, uint32_t place, const char *user)
{
	enum held_by by = to_be_held_by(s, &m->slices[place], user);

	return by != HELD_BY_NONE && place < slices_count(s->ledgers, m->epoch)
	               ? ledger_held_by(s, m->epoch, place)
	               : by;
}

static struct slices_grant grant_of(
        struct slicing *s, const struct slice_record *r, enum held_by by)
{
	static const uint32_t flags[] = {
	        [HELD_BY_INTERPOSER] = SLICES_HOLDS_COMPUTE,
	        [HELD_BY_KERNEL] = SLICES_HOLDS_COMPUTE | SLICES_BY_KERNEL,
	        [HELD_BY_MPS] = SLICES_BY_MPS,
	        [HELD_BY_MIG] = 0,
	};
	const struct device_info *d = find_device(s, r->device);
	struct slices_grant g = {
	        .limit_bytes = r->mem_bytes,
	        .granule_bytes = SLICING_GRANULE_BYTES,
	        .context_bytes = d && d->context_bytes ? d->context_bytes : SLICING_CONTEXT_BYTES,
	        .share_milli = r->share_milli,
	        .flags = SLICES_HOLDS_MEMORY | flags[by],
	};

	if (g.flags & SLICES_HOLDS_COMPUTE && s->cap_compute)
		g.flags |= SLICES_IS_CAPPED;
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

/* MPS */

static void give_mps_up(
        struct slicing *s, const char *uuid, const char *account, const struct err *why)
{
	struct chosen *c = chosen_of(s, uuid);

	log_error("mps.start", "device=%s account=\"%s\" error=\"%s\"", uuid, account, why->text);
	if (!c)
		return;
	c->is_without_mps = true;
	snprintf(c->mps_account, sizeof(c->mps_account), "%s", account);
}

/* One that was left over from another account's jobs makes room. */
static bool is_mps_ready(struct slicing *s, const struct mps_client *c)
{
	const struct device_info *d = find_device(s, c->uuid);
	enum held_by by;
	struct err err;
	int rc = mps_need(s->o.mps, c, &err);

	if (rc == -(int)ERR_CONFLICT && d && !find_in_use(s, d, &by)) {
		mps_end(s->o.mps, c->uuid);
		return false;
	}
	if (rc < 0 && rc != -(int)ERR_CONFLICT && rc != -(int)ERR_FORBIDDEN)
		give_mps_up(s, c->uuid, c->user, &err);
	return rc <= 0;
}

bool slicing_prepare(struct slicing *s, const struct link_start *m)
{
	char number[16];
	const char *user = user_of(m, number);

	for (uint32_t i = 0; i < m->n_slices; i++) {
		struct mps_client c = client_of(m, i, user);

		if (hold_of(s, m, i, user) == HELD_BY_MPS &&
		        !why_no_mps(s, chosen_of(s, c.uuid), user) && !is_mps_ready(s, &c))
			return false;
	}
	return true;
}

/* Its MPS daemon runs; else it is held by something else, where it is the first one on the device. */
static int find_mps(struct slicing *s, const struct link_start *m, uint32_t place, const char *user,
        enum held_by *by, struct err *err)
{
	struct mps_client c = client_of(m, place, user);
	int rc = *by == HELD_BY_MPS ? mps_find(s->o.mps, &c, &s->place, err) : 0;

	if (rc == 0)
		return 0;
	if (rc == -(int)ERR_UNAVAILABLE) {
		give_mps_up(s, c.uuid, user, err);
		*by = to_be_held_by(s, &m->slices[place], user);
	}
	return *by == HELD_BY_MPS ? err_wrap(err, "device %s", c.uuid) : 0;
}

static int choose_holds(struct slicing *s, const struct link_start *m, enum held_by *by,
        struct slices_grant *grants, struct err *err)
{
	char number[16];
	const char *user = user_of(m, number);
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < m->n_slices; i++) {
		by[i] = hold_of(s, m, i, user);
		rc = find_mps(s, m, i, user, &by[i], err);
		grants[i] = grant_of(s, &m->slices[i], by[i]);
	}
	return rc;
}

static void add_gpu_limit(struct slicing *s, const struct slice_record *r)
{
	const struct device_info *d = find_device(s, r->device);
	size_t len = strlen(s->gpu_limits);
	char region[CGROUP_REGION];

	if (d && cgroup_dmem_find(s->o.cgroups, d->pci, region))
		snprintf(s->gpu_limits + len, sizeof(s->gpu_limits) - len, "%s %llu\n", region,
		        (unsigned long long)r->mem_bytes);
}

int slicing_begin(struct slicing *s, const struct link_start *m, struct slicing_hold *ret_hold,
        struct err *err)
{
	struct slices_grant grants[NODE_DEVICES_MAX];
	enum held_by by[NODE_DEVICES_MAX];
	struct slicing_hold hold = {0};
	bool is_any = false;
	int rc;

	s->beginning = m->epoch;
	s->gpu_limits[0] = '\0';
	rc = choose_holds(s, m, by, grants, err);
	s->beginning = 0;
	for (uint32_t i = 0; rc == 0 && i < m->n_slices; i++) {
		is_any |= by[i] != HELD_BY_NONE;
		hold.mps = by[i] == HELD_BY_MPS ? &s->place : hold.mps;
		if (by[i] == HELD_BY_KERNEL)
			add_gpu_limit(s, &m->slices[i]);
	}
	if (rc == 0 && is_any && !slices_count(s->ledgers, m->epoch))
		rc = make_ledgers(s, m, grants, err);
	if (rc < 0)
		return rc;
	if (is_any)
		hold.path = slicing_path(s, m->epoch);
	if (s->gpu_limits[0])
		hold.gpu_limits = s->gpu_limits;
	*ret_hold = hold;
	return 0;
}

static bool is_mps_needed(void *data, const char *uuid)
{
	const struct slicing *s = data;

	for (size_t i = 0; i < ARRAY_LEN(living); i++) {
		const struct known_attempt *a = attempts_first(s->o.attempts, living[i]);

		for (; a; a = TAILQ_NEXT(a, link))
			if (is_by_mps(s, a, uuid))
				return true;
	}
	return false;
}

void slicing_end(struct slicing *s, uint64_t epoch)
{
	slices_remove(s->ledgers, epoch);
	if (s->o.mps)
		mps_sweep(s->o.mps, is_mps_needed, s);
}

void slicing_on_mps_death(struct slicing *s, const char *uuid)
{
	struct known_attempt *a = attempts_first(s->o.attempts, ATTEMPT_LIVING);
	char text[200];

	snprintf(text, sizeof(text),
	        "the MPS daemon of %s has died: its CUDA calls may fail, or go on without MPS",
	        uuid);
	for (; a; a = TAILQ_NEXT(a, link))
		if (is_by_mps(s, a, uuid))
			attempts_note(s->o.attempts, a, SPOOL_MPS_DIED, text);
}

void slicing_on_mps_outcome(
        struct slicing *s, const char *uuid, const char *account, const struct err *why)
{
	if (why)
		give_mps_up(s, uuid, account, why);
	s->o.on_ready(s->o.data);
}

static bool is_known(void *data, uint64_t epoch)
{
	struct slicing *s = data;
	const struct known_attempt *a = attempts_find(s->o.attempts, epoch);

	return a && a->state != ATTEMPT_ENDED && a->state != ATTEMPT_TOLD;
}

void slicing_sweep(struct slicing *s)
{
	uint32_t n;
	const struct device_info *v = s->o.devices(s->o.data, &n);

	slices_sweep(s->ledgers, is_known, s);
	if (!s->o.mps)
		return;
	mps_sweep(s->o.mps, is_mps_needed, s);
	/* Those that died while there was no agent. */
	for (uint32_t i = 0; i < n; i++)
		if (is_mps_needed(s, v[i].uuid) && !mps_is_alive(s->o.mps, v[i].uuid))
			slicing_on_mps_death(s, v[i].uuid);
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
