/*
 * The page of a device on which jobs take turns (pace-N beside slice-N, see slice.h): whose turn it is, what each job has had,
 * and what each of its processes has given to the device and seen done.
 * The agent makes it, at its full size, zeroed, with `head` and a line in `tenants` for each job; it removes it with the last.
 * Jobs of one user map it for writing and judge among themselves. Of different users it is read-only for them (PACE_JUDGED):
 * then the agent alone writes it, and beside pace-N each job has own-N, a page of the same form of which only `top`,
 * `probed_ns` and `procs` are used: a write(2) of the byte at PACE_ASK_AT asks the agent to look, which watches the file. What a
 * job writes there can hurt only itself: the agent reads own-N with pread, within bounds, never maps or writes it, and hears
 * so many writes a second.
 * Nothing in it is to be believed: what is out of range is read as the nearest that makes sense, never followed.
 *
 * DESIGN. All integers are little-endian, aligned, and read and written whole. Times are of one clock for all, in ns.
 * - `word` says whose turn it is, in which state, and by its number which of the two tables is in force. Who judges sets
 *   PACE_LOCKED in it by compare-and-swap, with his slot; works the next state out from the table in force into the other
 *   one; and makes that one the one in force by the compare-and-swap that also takes the lock off. Killed at any point he
 *   has changed nothing: who finds his lock byte free takes the lock over and judges from the same table anew. One who is
 *   stopped, not dead, loses it after PACE_STOPPED_NS, and his last step then fails.
 * - A process holds an OFD write lock on byte PACE_LOCK_BYTE + slot from before it uses the line `procs[slot]` to its end.
 *   The lock is the truth, what stands in the line is not: who gets the lock of a line in use may clear it.
 * - A launch first adds to `submitted_ns`, then reads `word`; who judges first changes `word`, then reads `submitted_ns`; all
 *   four sequentially consistent. So either the launch sees that the turn is over, or the judge sees the launch.
 * - Where the agent judges it first writes `judged_ns`, then reads the lines. Who has asked after that was written asks again,
 *   who asked before has been, or is being, seen. Who has asked for PACE_ABSENT_NS in vain goes on without turns until the
 *   agent looks again, and so does who is not PACE_SEATED: that is all that its death, or its end, does.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_MAGIC      UINT64_C(0x4543415048545242) /* "BRTHPACE" */
#define PACE_ABI        1
#define PACE_TENANTS    32
#define PACE_PROCS      1024
#define PACE_LOCK_BYTE  (1 << 30)
#define PACE_NOBODY     255
#define PACE_NEVER      UINT64_MAX
#define PACE_GRACE_NS   1000000
#define PACE_STOPPED_NS 20000000
#define PACE_ABSENT_NS  100000000

enum pace_flag {
	PACE_JUDGED = 1, /* of the head: the agent judges, the page is read-only */
};

enum pace_tenant_flag {
	PACE_LATENCY = 1, /* may overlap with who does not make way in time */
	PACE_MULTI = 2,   /* holds other devices too, whose kernels may wait for this one's */
	PACE_SEATED =
	        4, /* of PACE_JUDGED: the agent reads its lines; else it does not wait for turns */
};

/* owner:8 | state:4 | slot of who holds the lock:12 | number of the state:40 */
enum pace_state { PACE_FREE = 0, PACE_OPEN = 1, PACE_CLOSING = 2, PACE_LOCKED = 8 };

#define PACE_WORD(owner, state, slot, number)                                         \
	((uint64_t)(owner) << 56 | (uint64_t)(state) << 52 | (uint64_t)(slot) << 40 | \
	        ((uint64_t)(number)&UINT64_C(0xffffffffff)))
#define PACE_OWNER(word)  ((unsigned)((word) >> 56))
#define PACE_STATE(word)  ((unsigned)((word) >> 52 & 15))
#define PACE_SLOT(word)   ((unsigned)((word) >> 40 & 4095))
#define PACE_NUMBER(word) ((word)&UINT64_C(0xffffffffff))

/* Written once, before the first tenant. */
struct pace_head {
	uint64_t magic;
	uint32_t abi;
	uint32_t flags; /* enum pace_flag */
	char uuid[96];
	uint64_t tsc_hz;     /* of the clock; 0: it is CLOCK_MONOTONIC */
	uint32_t switch_ns;  /* what the device needs to go from one context to another */
	uint32_t quantum_ns; /* a turn, when somebody waits */
	uint32_t ahead_ns;   /* how far a process may run ahead of the device */
	uint32_t mark_ns;    /* how much work there is between two marks */
	uint32_t hold_ns;    /* the shortest turn that is cut for one who was away */
	uint32_t
	        overlap_ns; /* so long after a turn's end the next begins though the device is not drained */
	uint32_t multi_ns;     /* the same where PACE_MULTI is concerned */
	uint32_t latency_ns;   /* the same for PACE_LATENCY, from its arrival */
	uint32_t idle_ns;      /* gaps up to this may be waited for */
	uint32_t credit_ns;    /* of who comes back, at most */
	uint32_t cap_depth_ns; /* times the share: what a capped one may save */
	uint32_t cap_need_ns;  /* what it must have before it goes on alone */
	uint32_t spin_ns;      /* so long before its turn the next one looks without sleeping */
	unsigned char boot_id[16];
	uint32_t reserved[9];
};

/* Written by the agent, but for `turn`, which is a futex: it changes with each turn, by who judges. */
struct pace_tenant {
	uint32_t weight_milli; /* 0: nobody */
	uint32_t cap_milli;    /* of all time; 1000: none */
	uint32_t flags;        /* enum pace_tenant_flag */
	uint32_t turn;
	uint64_t epoch; /* whose row it is, on all its devices: gangs are put in order by it */
	uint32_t place; /* which of its grants */
	uint32_t reserved[9];
};

/* What a tenant has had. Its virtual time is what it owned, divided by its weight: who has least is next. */
struct pace_account {
	int64_t virtual_ns;
	int64_t bucket_ns;  /* what a capped one may still use */
	uint64_t arrive_ns; /* when it began to wait; 0: it does not */
	uint64_t leave_ns;  /* when it last gave the device up */
	uint64_t
	        missed_ns; /* when it did not take its turn up; what it wanted before does not count */
	uint64_t owned_ns;  /* in all; for figures only */
	uint32_t holds;     /* 0 nothing, 1 the turn, 2 it runs on after its turn */
	uint32_t exhausted; /* waits for its bucket */
};

/* What `word` is the head of. */
struct pace_table {
	uint64_t at_ns;      /* accounts are right up to here */
	int64_t least_ns;    /* the least virtual time of those who wanted something; never falls */
	uint64_t turn;       /* counts the turns */
	uint64_t granted_ns; /* of this turn */
	uint64_t end_ns;     /* PACE_NEVER while nobody waits */
	uint64_t closed_ns;  /* when launches ended */
	uint64_t drained_ns; /* is expected */
	uint32_t next;       /* PACE_NOBODY */
	uint32_t last;       /* whose kernels ran last */
	uint32_t switched;   /* the turn began with another one's context on the device */
	uint32_t ran_out;    /* it ended because its time was up */
	struct pace_account accounts[PACE_TENANTS];
	uint64_t reserved[7];
};

/* Written by its process alone; cleared by who holds its lock after the process's death. */
struct pace_proc {
	uint32_t pid; /* 0: free; else a number that the line's next process does not have */
	uint32_t tenant;
	uint64_t submitted_ns; /* of work, as estimated */
	uint64_t completed_ns;
	uint64_t done_ns;   /* when what is completed was, or what runs now began */
	uint64_t want_ns;   /* when a thread that waits for the turn last looked; 0: none waits */
	uint32_t oldest_ns; /* estimate of the piece that runs now */
	uint32_t gap_ns;    /* how long it usually leaves the device alone */
	uint32_t kick;      /* futex of its helper */
	uint32_t reserved[3];
};

#define PACE_WORD_AT    512
#define PACE_ASK_AT     600
#define PACE_TABLES_AT  1024
#define PACE_TENANTS_AT 8192
#define PACE_PROCS_AT   16384

struct pace_page {
	struct pace_head head;
	unsigned char pad0[PACE_WORD_AT - sizeof(struct pace_head)];
	uint64_t word;
	unsigned char pad1[56];
	uint32_t is_shared; /* else nobody need be held: one tenant, without a cap */
	uint32_t top;       /* lines of procs from here on were never used */
	uint64_t probed_ns; /* when somebody last looked for the dead among all */
	uint64_t judged_ns; /* of PACE_JUDGED: when the agent last looked */
	unsigned char pad2[PACE_TABLES_AT - PACE_WORD_AT - 88];
	struct pace_table tables[2]; /* by the last bit of the number in `word` */
	unsigned char pad3[PACE_TENANTS_AT - PACE_TABLES_AT - 2 * sizeof(struct pace_table)];
	struct pace_tenant tenants[PACE_TENANTS];
	unsigned char
	        pad4[PACE_PROCS_AT - PACE_TENANTS_AT - PACE_TENANTS * sizeof(struct pace_tenant)];
	struct pace_proc procs[PACE_PROCS];
};

static_assert(sizeof(struct pace_head) == 224, "pace_head");
static_assert(sizeof(struct pace_tenant) == 64, "pace_tenant");
static_assert(sizeof(struct pace_account) == 56, "pace_account");
static_assert(sizeof(struct pace_table) == 128 + PACE_TENANTS * 56, "pace_table");
static_assert(sizeof(struct pace_proc) == 64, "pace_proc");
static_assert(offsetof(struct pace_page, word) == PACE_WORD_AT, "pace_page.word");
static_assert(offsetof(struct pace_page, is_shared) == PACE_WORD_AT + 64, "pace_page.is_shared");
static_assert(offsetof(struct pace_page, top) == PACE_WORD_AT + 68, "pace_page.top");
static_assert(offsetof(struct pace_page, judged_ns) == PACE_WORD_AT + 80, "pace_page.judged_ns");
static_assert(offsetof(struct pace_page, pad2) == PACE_ASK_AT, "pace_page.pad2");
static_assert(offsetof(struct pace_page, tables) == PACE_TABLES_AT, "pace_page.tables");
static_assert(offsetof(struct pace_page, tenants) == PACE_TENANTS_AT, "pace_page.tenants");
static_assert(offsetof(struct pace_page, procs) == PACE_PROCS_AT, "pace_page.procs");
static_assert(sizeof(struct pace_page) == PACE_PROCS_AT + PACE_PROCS * 64, "pace_page");
