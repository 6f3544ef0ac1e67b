/*
 * Who is next on a device, and when: the rules by which a table of a pace page becomes the next one. A function of the table,
 * of what was seen of the tenants and of the time, for whoever judges: a process of a job, or the agent.
 * Nothing is owned, kept or called; the tables are the caller's copies. Any thread. Nothing fails: what makes no sense in a
 * table, which may be anybody's, is put right.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "berth/pace.h"

/* Of one tenant, as its processes' lines have it. */
struct pace_seen {
	uint32_t weight_milli, cap_milli, flags;
	uint64_t job;            /* the same on all its devices */
	bool is_here;            /* has a live process */
	uint64_t want_ns;        /* as in its line: 0 when nobody waits */
	uint64_t outstanding_ns; /* 0: the device has nothing of it */
	uint64_t remaining_ns;   /* of that, expected */
	uint64_t done_ns;        /* when the last of it was done, or what runs now began */
	uint32_t gap_ns;
};

struct pace_case {
	struct pace_head head;
	struct pace_seen seen[PACE_TENANTS];
	uint64_t now_ns;
};

struct pace_verdict {
	unsigned owner; /* before and after; PACE_NOBODY with PACE_FREE */
	unsigned state;
	uint32_t wake;    /* a bit for each tenant that is to look again */
	uint64_t look_ns; /* nothing changes before, unless somebody comes or is done; PACE_NEVER */
	bool is_unused; /* a turn was given back of which nothing was seen: its tenant may be dead */
};

/*
 * What is seen, from what stands in a page (pace_seen.c): a tenant's row, then each of its processes' lines, which may change
 * meanwhile; at last whether anybody need be held. A tenant of lines without a row counts as a light one.
 */
void pace_see_tenant(const struct pace_tenant *row, struct pace_seen *s);
void pace_see_line(const struct pace_proc *line, uint64_t now_ns, struct pace_seen *s);
bool pace_see_all(struct pace_case *c);
/* What is expected of the owner is so late that it may be dead. */
bool pace_is_late(const struct pace_table *t, unsigned state, uint64_t now_ns);

/* Everything but abi, uuid, clock and boot, from the cost of a switch; 0: not known. */
void pace_parameters(struct pace_head *head, uint32_t switch_ns);
/* Brings parameters that anybody may have written into their ranges. */
void pace_sanitize(struct pace_head *head);
void pace_decide(const struct pace_case *c, struct pace_table *t, struct pace_verdict *v);
/* How long an owner that does nothing is waited for. */
uint32_t pace_patience(const struct pace_head *head, uint32_t gap_ns);
