/*
 * What the files of placement share: place.c, place_type.c, policies (policy.c, fgd.c, fragment.c). Rules as in place.h.
 */
#pragma once

#include "sched/place.h"
#include "sched/sched.h"
#include "core/world.h"

struct place_kind {
	struct device like; /* as slice_resolve() reads it */
};

/* A node by what it is called. */
struct place_site {
	char *name, *labels;
};

struct place_node {
	struct place_room room;
	struct place_device devices[NODE_DEVICES_MAX]; /* room.devices points here */
	uint64_t changed;                              /* place in the log of the latest change */
	uint32_t free_milli;                           /* sum of its devices' gaps */
	uint32_t all_milli;                            /* what they were with nothing on them */
	uint32_t n_whole;
	/* of the policy, worked out anew when the node or the mix is a later one */
	uint64_t scored, scored_mix;
	double potential, sale;
};

struct place_type {
	uint32_t number;
	char *key;
	UT_hash_handle hh;
	struct place_ask ask;
	struct gpu_ask gpu;   /* what ask.gpu points to */
	struct slice *share;  /* by kind; share_milli 0: it could never be had there */
	uint32_t n_share;     /* kinds that were asked about */
	char *nodes, *labels; /* what ask.nodes and ask.labels point to; NULL: any */
	bool *may;            /* by site */
	uint32_t n_may;       /* sites that were asked about */
	double count;         /* how often it was asked for */
	float *score;         /* by node; INFINITY: no room */
	uint32_t n_score;
	uint32_t n_room; /* nodes that have room */
	uint64_t seen;   /* place in the log up to which scores are right */
	uint64_t mix;    /* of the latest scores */
};

struct place_policy {
	const char *name;
	/* What the mix of types means to it, before its first question; NULL: nothing. */
	void (*learn)(struct place *p);
	/*
	 * How bad it is to place this type there, where it fits; of a fraction also on which device. Which whole devices
	 * are taken is node_whole()'s.
	 */
	float (*score)(
	        struct place *p, struct place_node *n, struct place_type *t, uint32_t *ret_device);
};

struct place_gaps;
struct place_fgd;

/* What `fragment` is set to; settings.c makes struct sched_settings of it. */
struct place_params {
	double offers;        /* requests that a gap will be offered to */
	double cpu, cpu_mean; /* price of CPUs; part of the mean need that counts */
	double mem, mem_mean;
	double deviation; /* of needs, in standard deviations */
	double sets;      /* price of sets that do not come out even */
	double left;      /* of what stays free, to break ties */
	double scarce;    /* price of a device that those want who cannot go elsewhere */
	double empty;     /* price, once little is free, of the first on an empty node */
	bool by_sale;     /* need follows what gaps will sell, not what is free */
};

struct place_account {
	char *name;
	UT_hash_handle hh;
};

struct place {
	const struct place_policy *policy;
	struct place_node **nodes;
	uint32_t n_nodes, cap_nodes;
	struct place_kind *kinds;
	uint32_t n_kinds, cap_kinds;
	struct place_site *sites;
	uint32_t n_sites, cap_sites;
	struct place_type **types;
	struct place_type *types_by_key;
	struct place_account *accounts;
	uint32_t n_types, cap_types;
	uint32_t *log; /* nodes in the order in which they changed; the last cap_log of `changes` */
	uint32_t cap_log;
	uint64_t changes;
	uint64_t
	        mix; /* counts up with every place_learn(): scores of an earlier one are not right */
	uint64_t free_milli, all_milli; /* of all nodes */
	bool is_full;                   /* little is free: who asks for whole nodes comes first */
	struct place_params params;
	struct place_gaps *gaps; /* of fragment */
	struct place_fgd *fgd;   /* of fgd */
};

extern const struct place_params place_params_usual;
extern const struct place_policy place_pack, place_spread, place_by_fgd, place_fragment;
void place__free_gaps(struct place_gaps *g);
void place__free_fgd(struct place_fgd *f);

/* settings.c */
struct sched_settings place__settings(const struct place_params *params);

/* place_type.c */
/* What a type is given on one device of this kind, NULL: nothing ever. */
const struct slice *type_share(struct place *p, struct place_type *t, uint32_t kind);
/* Those that were counted, in an order that does not depend on who was asked about when: sums over them come out the same. */
struct place_mix {
	struct place_type **v;
	uint32_t n;
};
struct place_mix place__mix(const struct place *p); /* v is the caller's */

/* Devices' worth of it, by the first kind that has it. */
double type_devices(struct place *p, struct place_type *t);

/* What of a device can still be given away, in thousandths, when `less` (or NULL) is taken: the scarcer of memory and compute. */
uint32_t device_gap(const struct place *p, const struct place_device *d, const struct slice *less);
/* What the type would hold of the device, one that is given whole only, and have no use for; in thousandths. */
uint32_t device_surplus(
        const struct place *p, const struct place_device *d, const struct place_type *t);
/* A device that takes one slice of a fraction, which type_share() gave. */
static inline bool device_takes(
        const struct place_device *d, const struct place_type *t, const struct slice *s)
{
	return s && s->share_milli <= d->free_milli && s->mem_bytes <= d->free_bytes &&
	       (!d->owner || d->owner == t->ask.user);
}
/* Whether the node has CPUs and memory, and devices enough. */
bool node_takes(struct place *p, const struct place_node *n, struct place_type *t);
/*
 * The whole devices of the node that the type would get: the first of the one part of the machine where enough are, and fewest
 * stay over; else the first of all. Returns how many of those asked for there are.
 */
uint32_t node_whole(struct place *p, const struct place_node *n, struct place_type *t,
        uint32_t devices[NODE_DEVICES_MAX]);
