/*
 * Control groups of version 1, of version 2, or both side by side: what this machine has, a group of our own in it, and
 * groups below that one, which are taken, limited, joined, killed, read and left for the next. Knows no jobs. libc only.
 * Structs are the caller's; descriptors of a struct cgroup are closed by cgroup_leave, or with the process. One thread; a
 * forked process goes on with what its parent found. What a machine lacks is no failure: `can` says what there is.
 *
 * DESIGN. Making a group costs more than starting a process, so groups are numbered and used again. Whoever has taken one holds an
 * flock on its directory, which ends with his process: so nobody needs to remember who has which. What is known of each
 * lies in a memo that all who take groups share; without a memo everything is set anew.
 * A process that moves to another group of version 2 waits up to 20 ms for the kernel where nobody did so lately; so it is
 * born there (cgroup_fork). In version 1 a single thread moves in microseconds: on a machine with both, version 1 is asked first.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

enum cgroup_can {
	CGROUP_MEMORY = 1 << 0,
	CGROUP_PIDS = 1 << 1, /* threads count, too */
	CGROUP_CPU = 1 << 2,
	CGROUP_IO = 1 << 3,
	CGROUP_DEVICES = 1 << 4,
	CGROUP_KILL = 1 << 5,
	CGROUP_ALL = (1 << 6) - 1, /* what machines have as a rule */
	CGROUP_GPU = 1 << 6,       /* memory of devices, in version 2 of new kernels */
};

#define CGROUP_DIRS   8
#define CGROUP_PATH   400
#define CGROUP_MINORS 256
#define CGROUP_CAPS   2304
#define CGROUP_REGION 96 /* bytes of the name of a region of dmem */

/* One directory of ours in one hierarchy. */
struct cgroup_dir {
	bool is_v2;
	unsigned serves; /* enum cgroup_can */
	char path[CGROUP_PATH];
};

struct cgroup_tree {
	struct cgroup_dir dirs
	        [CGROUP_DIRS]; /* a group has the same name in each; the first one carries the lock */
	size_t n;
	unsigned can;
	bool has_v2_devices; /* CGROUP_DEVICES by a BPF filter, not by version 1's controller */
	char why_not[200];   /* what stands against the rest, or "" */
};

struct cgroup_limits {
	uint64_t mem_bytes; /* 0: none; swap is not added to it */
	uint64_t pids;      /* 0: none */
	uint32_t
	        cpu_weight; /* hundredths of the share that a group has by default; 0: left alone */
	uint32_t cpu_max_milli; /* thousandths of a CPU, 0: none */
	uint32_t io_weight;     /* 1 to 1000, 100 by default; 0: left alone */
	uint32_t device_major;  /* of character devices with minor numbers up to device_last */
	uint32_t device_last;   /* below CGROUP_MINORS */
	bool has_devices; /* only those of the minors below may be opened; other majors are left alone */
	uint64_t minors[CGROUP_MINORS / 64];
	uint32_t
	        caps_major; /* with has_devices: of this major only these may be opened, too; 0: left alone */
	uint64_t caps[CGROUP_CAPS / 64];
};

/* What is known of a group while nobody has it. All zero: nothing. */
struct cgroup_memo {
	bool is_clean; /* left in good order */
	struct cgroup_limits limits;
	unsigned held;
	uint64_t peak_bytes; /* of all its users: only what is beyond it is the present one's */
};

struct cgroup {
	const struct cgroup_tree *tree;
	struct cgroup_memo *memo; /* or NULL */
	unsigned number;
	unsigned held; /* enum cgroup_can: what cgroup_limit has set */
	int lock_fd;
	int kill_fd; /* cgroup.kill, or freezer.state */
	bool has_kill_file;
	bool is_spent; /* not to be used again */
	uint64_t mem_bytes, peak_before;
	int join_fds[CGROUP_DIRS];
	size_t n_join;
	int v2_fd; /* directory of version 2, or -1 */
};

struct cgroup_usage {
	uint64_t peak_bytes; /* 0: not known */
	uint64_t oom_kills;  /* processes that the kernel ended for memory */
};

/* -- life of the tree -- */
/*
 * parent: a path below each hierarchy's root, made when it is not there; NULL or "": the group that this process is in,
 * or the root, where that cannot have groups below it because of the processes in it (version 2).
 * name: of our group in it. `only`: as if the machine had no other things than these (CGROUP_ALL), and versions 1 or 2 (0: both).
 * Makes our group; what it may not make is not there.
 */
void cgroup_tree_make(const char *parent, const char *name, unsigned only, int version,
        struct cgroup_tree *ret_tree);
/* Removes every group that nobody has taken and nobody runs in, and ours if it is empty then: true, as without any. */
bool cgroup_tree_remove(const struct cgroup_tree *t);
/* "memory, processes": of a set of enum cgroup_can; "" for none. */
const char *cgroup_names(unsigned set, char room[96]);

/* -- life of a group -- */
/*
 * Group `number`, or a later one if that is taken or not empty; made if need be. memos: of n_memos groups by number.
 */
MUST_CHECK int cgroup_take(const struct cgroup_tree *t, unsigned number, struct cgroup_memo *memos,
        size_t n_memos, struct cgroup *ret_group, struct err *err);
/* Nobody runs in it any more, and this is what was read of it: the next one may have it. NULL: made anew for the next. */
void cgroup_leave(struct cgroup *g, const struct cgroup_usage *u);

/* -- commands -- */
/* Sets what can be set, and says what that is: g->held. */
void cgroup_limit(struct cgroup *g, const struct cgroup_limits *l);
/*
 * The most of the memory of devices: "REGION BYTES", a line for each. After cgroup_limit; false with errno when one is refused, and
 * nothing is said to be held then.
 */
MUST_CHECK bool cgroup_dmem_set(struct cgroup *g, const char *limits);
/* Opens what cgroup_join needs; negative with nothing opened. */
MUST_CHECK int cgroup_open(struct cgroup *g, struct err *err);
/*
 * As _Fork, but the child is born in the group of version 2, and we sleep until it has exec'ed or ended.
 * -1 with errno ENOSYS: there is none, or the kernel does not know how; fork otherwise, then.
 */
pid_t cgroup_fork(const struct cgroup *g);
/* The calling process, which has one thread; only system calls. False with errno. */
MUST_CHECK bool cgroup_join(const struct cgroup *g, bool is_born_in_v2);
void cgroup_close(struct cgroup *g); /* what cgroup_open opened: nobody else joins */
/* SIGKILL to everything in it, so that nothing forks away; false when that is not possible, or nobody was there. */
bool cgroup_kill(const struct cgroup *g);
/* The same, in every group that nobody has taken; in how many somebody was. */
size_t cgroup_kill_unheld(const struct cgroup_tree *t);

/* -- queries -- */
void cgroup_read(struct cgroup *g, struct cgroup_usage *ret_usage);
/* The group below t that a process is in; false when it is in none. It is not taken. */
bool cgroup_of(const struct cgroup_tree *t, pid_t pid, unsigned *ret_number);
/* Whether this kernel can limit memory of devices, if one registers its own. */
bool cgroup_dmem_is_there(void);
/* The region of a GPU, by its address on the bus as NVML writes it. root: of version 2; NULL: this machine's. */
MUST_CHECK bool cgroup_dmem_find(const char *root, const char *pci, char ret_region[CGROUP_REGION]);
/* A group that somebody else has taken, to be joined or killed beside him. */
void cgroup_beside(const struct cgroup_tree *t, unsigned number, struct cgroup *ret_group);
