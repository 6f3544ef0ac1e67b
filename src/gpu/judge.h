/*
 * The judge of a device whose page its jobs may only read (PACE_JUDGED of berth/pace.h): one look at the tenants' lines, what
 * follows from it by shim/pace_judge.h, and when to look again. It never sleeps; judge_thread.h does that for it.
 * The caller owns struct judge and all that the hooks reach; the page must outlive it, and nobody else writes it. One thread at
 * a time. Nothing fails: what stands in a line is its job's own, and is brought into range.
 *
 * DESIGN. There is no lock in the page, for there is one judge: a table that is not in force is written, and one store makes it
 * the one in force. Killed before that, nothing has happened; killed after, those who wait look again by themselves. A line
 * is never written: one whose process is dead is remembered by its number, until it has another one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "berth/pace.h"

struct judge_hooks {
	uint64_t (*now)(void *arg);
	/* The lines of a tenant that were ever used, at most `max`, into ret: how many these are. */
	unsigned (*lines)(void *arg, unsigned tenant, struct pace_proc *ret, unsigned max);
	bool (*is_dead)(void *arg, unsigned tenant, unsigned slot);
	void (*wake)(void *arg, uint32_t *word); /* all who wait on it, in any process */
	void *arg;
};

struct judge {
	struct pace_page *page;
	struct pace_head head; /* in range */
	struct judge_hooks hooks;
	uint32_t *dead[PACE_TENANTS]; /* numbers of lines; NULL: nobody is seated */
	uint64_t probed_ns;           /* when the dead were last looked for everywhere */
	uint64_t aim_ns, late_ns;     /* it was to be awake then; how late timers usually are */
	uint64_t spin_ns;             /* until then it looks without sleeping; 0: it does not */
	uint64_t spun_turn, spun_ns;  /* the last turn for whose end it did; since when */
	struct pace_proc lines[PACE_PROCS];
};

struct judge_wait {
	uint64_t until_ns; /* nothing is to be done before, unless somebody asks; PACE_NEVER */
	bool is_spin;      /* do not sleep: look again at once */
};

/* -- life cycle -- */
void judge_init(struct judge *j, struct pace_page *page, const struct judge_hooks *hooks);
void judge_done(struct judge *j); /* nobody waits for it any more */

/* -- commands -- */
void judge_seat(struct judge *j, unsigned tenant); /* it has lines from now on */
void judge_unseat(struct judge *j, unsigned tenant);
/* is_asked: some tenant has asked since the last look. */
void judge_look(struct judge *j, bool is_asked, struct judge_wait *ret);
