/*
 * A process that takes turns on one device with others, by the device's page: what may be launched now, what the device has
 * done of it, and when to look again. It never sleeps: it says until when its caller is to wait, and for what.
 * The caller owns struct pace (zeroed, of any storage) and all that the hooks reach; the page must outlive it.
 * Any thread, any number of them at the same time. Nothing fails: who cannot be held is let through.
 *
 * Life: pace_join; then for each launch pace_try until it says yes, the driver's call, pace_launched; around each call that
 * waits for the device pace_sync_begin and pace_sync_end; and one thread, the helper, that runs pace_serve, waits as it says,
 * and runs it again. After fork a child forgets its struct pace, and joins with a new slot when it first needs it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "berth/pace.h"

#define PACE_STAMP_RESTARTS 1
#define PACE_COSTS          4096
#define PACE_MARKS          32
#define PACE_STREAMS        16 /* between two marks */
#define PACE_KINDS          24 /* of work in one piece whose cost is learnt */

/* The world. None of them may wait; `arg` is handed to each. */
struct pace_hooks {
	uint64_t (*now)(void *arg);
	void (*wake)(void *arg, uint32_t *word); /* all who wait on it, in any process */
	void (*kick)(void *arg); /* the helper is to run, and to be started if need be */
	bool (*seize)(void *arg,
	        unsigned slot); /* takes a slot's lock: true says that its process is dead */
	void (*let_go)(void *arg, unsigned slot);
	/* Has the device tell when what is in these streams now is done; `mark` is below PACE_MARKS. */
	void (*record)(void *arg, unsigned mark, void *const *streams, unsigned n);
	/*
	 * Whether it has told; by which time of the device's own clock, 0: not known, or PACE_STAMP_RESTARTS: not known, and
	 * what follows counts from elsewhere. A mark that failed is done.
	 */
	bool (*query)(void *arg, unsigned mark, uint64_t *ret_ns);
	/* Instead of judging, where the agent does (PACE_JUDGED): it is to look at the page. Else NULL. */
	void (*ask)(void *arg);
	void *arg;
};

/* What one kind of work costs. */
struct pace_cost {
	uint64_t key;
	uint32_t est_ns; /* 0: not known */
	uint32_t dev_ns; /* how far from that it usually is */
	uint32_t piece;  /* the last one that it was in */
	uint32_t place;  /* there, among kinds */
};

/* Work between two marks. */
struct pace_piece {
	uint64_t est_ns, began_ns;
	uint32_t id, n_launches, n_kinds, n_streams;
	bool is_from_idle, is_first; /* on a device without work of ours; in a turn */
	bool is_recorded;
	uint64_t other_ns; /* of launches of whose kinds there was no room */
	uint16_t kinds[PACE_KINDS], counts[PACE_KINDS];
	void *streams[PACE_STREAMS];
};

struct pace {
	struct pace_page *page;  /* NULL: not joined, nothing is held */
	struct pace_page *lines; /* where our line is: `page`, or where the agent judges our own */
	struct pace_proc *me;
	struct pace_head head; /* in range */
	struct pace_hooks hooks;
	unsigned slot, tenant;
	uint32_t pid;      /* of our line */
	uint64_t asked_ns; /* when the agent was last asked to look */
	uint32_t lock;     /* of what is below; held for some instructions only */
	uint32_t reaping;  /* by one thread at a time; nobody waits for it */
	uint32_t n_waiting, n_syncing;
	uint32_t is_parked; /* the helper sleeps until it is kicked */
	uint32_t n_launched, n_done;
	uint64_t balanced_ns; /* when it was last compared with the line, and since then: */
	int64_t over_ns;      /* the least that the line had more */
	uint32_t n_balanced;
	uint32_t n_alone;  /* launches while nobody was held */
	uint64_t alone_ns; /* when it was last looked whether that is right */
	uint64_t given_ns; /* what the device has of us, but for calls that are on their way */
	uint32_t n_served; /* launches as the helper last saw them */
	uint64_t quiet_ns; /* since when it had nothing to do with what it has not */
	uint32_t piece;    /* the last one's number */
	uint64_t turn;     /* the last one in which we launched */
	uint64_t piece_turn;
	uint64_t stuck_word, stuck_ns;
	uint64_t late_ns; /* timers are, usually */
	uint64_t passed_ns,
	        reaped_ns; /* the last mark: when it was passed, and when that was seen */
	int64_t offset_ns; /* from the device's clock to ours */
	bool is_offset;
	uint32_t marks_head, marks_tail;
	struct pace_piece open, marks[PACE_MARKS];
	struct pace_cost costs[PACE_COSTS];
};

/* Of one launch; zeroed but for key, and kept from the first pace_try to pace_launched. */
struct pace_launch {
	uint64_t key; /* what costs alike: function and size, or an instance of a graph */
	uint32_t est_ns;
	bool is_counted, is_waiting, is_known, is_steady;
	struct pace_cost *cost; /* the place of the key */
	uint64_t look_ns, since_ns, slept_ns;
};

struct pace_wait {
	uint32_t *word; /* a futex, shared between processes; sleep while it is `value` */
	uint32_t value;
	uint64_t until_ns;
	bool is_spin; /* do not sleep: look again at once */
};

struct pace_sync {
	uint32_t piece, n_launches;
};

/*
 * Page and lines have been looked at by pace_is_valid, and the slot's lock is held. They are one, but for a page that the
 * agent judges, which is never written; then hooks->ask is there.
 */
void pace_join(struct pace *p, struct pace_page *page, struct pace_page *lines, unsigned slot,
        unsigned tenant, const struct pace_hooks *hooks);
/* The caller lets go of the slot's lock afterwards. */
void pace_part(struct pace *p);
bool pace_is_valid(const struct pace_page *page, uint64_t len);

/* True: launch, then pace_launched. False: wait, then try again, or pace_abandon. */
bool pace_try(struct pace *p, struct pace_launch *l, struct pace_wait *ret);
void pace_abandon(struct pace *p, struct pace_launch *l);
/* The launch is in the stream; or was refused by the driver: then stream is of no matter. */
void pace_launched(struct pace *p, struct pace_launch *l, void *stream);
/* What a key costs is no longer true. */
void pace_forget(struct pace *p, uint64_t key);
/* Puts a mark behind what has been launched; before a stream is destroyed, and where a call waits for an event. */
void pace_mark(struct pace *p);
/* A call begins that waits for the device; all: for all of it, else for `stream`. */
void pace_sync_begin(struct pace *p, void *stream, bool all, struct pace_sync *s);
void pace_sync_end(struct pace *p, const struct pace_sync *s, bool is_done);
/* The helper's round. */
void pace_serve(struct pace *p, struct pace_wait *ret);

/* Judges, or asks who does; returns when to look again. For pace.c and tests. */
uint64_t pace_judge(struct pace *p);
/* The agent does not read our line, or was asked and does not look: until it does we are not held. */
bool pace_is_unjudged(const struct pace *p);
/* Writes what we are into our line anew, should somebody have spoilt it. */
void pace_mend(struct pace *p);
/* Of our own work: what the device has not done, as estimated. */
uint64_t pace_ahead(const struct pace *p);
uint64_t pace_remaining(const struct pace *p, uint64_t now_ns);
