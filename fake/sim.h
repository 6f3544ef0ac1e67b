/*
 * Simulated GPUs: what a description file says of them, and the state that all processes using them share.
 * A struct sim belongs to its opener; the state lives in a file beside the description and outlives every process.
 * One thread at a time per struct sim. Functions say false, or an errno, and why in the caller's buffer; nothing exits.
 *
 * The state is read and written whole, under a lock on the file that the kernel gives back when its holder dies. It is
 * not mapped: whatever a job does to that file, a reader sees an odd file and never a signal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_CARDS_MAX     32
#define SIM_PROCESSES_MAX 512
#define SIM_RULES_MAX     16
#define SIM_EVENTS_MAX    64
#define SIM_NAME_SIZE     64
#define SIM_CPU_WORDS     16
#define SIM_BYTES_UNKNOWN UINT64_MAX /* of a process: the driver cannot tell */
#define SIM_SHARED_MAX    128
#define SIM_KERNELS_MAX   32
#define SIM_TIMES_MAX     8
#define SIM_SLICES_MAX    7 /* parts that MIG divides a card's compute into */
#define SIM_ERROR_SIZE    240

/* What never changes while a description stands. */
struct sim_card {
	char model[96];
	char uuid[96];
	uint64_t mem_bytes;
	uint64_t reserved_bytes; /* kept by the driver, part of mem_bytes */
	int cc_major, cc_minor;
	unsigned pci_domain, pci_bus, pci_device;
	int numa_node;     /* near it; -1: unknown */
	int gpu_numa_node; /* of its own memory; -1: it is no NUMA node */
	uint64_t cpus[SIM_CPU_WORDS];
	bool ecc;
	bool mig;
	int compute_mode;       /* enum nvml_compute_mode */
	uint64_t context_bytes; /* that a CUDA context takes */
	uint64_t chunk_bytes;   /* that a pool takes at a time */
	int parent;             /* the card that it is a MIG instance of; -1: it is a card */
	unsigned gi, ci;        /* of an instance: its numbers */
	unsigned gi_slices,
	        slices; /* parts of the card's compute, of the GPU instance and of its own */
};

enum sim_list { SIM_COMPUTE = 1, SIM_GRAPHICS = 2, SIM_BOTH = 3 };

struct sim_process {
	int32_t pid; /* 0: free entry */
	uint32_t card;
	uint64_t bytes;
	uint64_t
	        started; /* start time of the process, so that a reused pid is not mistaken; 0: stays until taken away */
	uint32_t lists; /* enum sim_list, which it stands in */
	uint32_t
	        place; /* in the mapped file (share.h) of a user of the fake CUDA; 0: known by pid and start time */
};

/* Physical memory that several processes may hold; the entry of its payer counts it. */
struct sim_shared {
	uint64_t id; /* never 0; 0: free entry */
	uint64_t bytes;
	uint32_t card;
	uint32_t payer;                           /* the place that pays */
	uint64_t holders[SIM_PROCESSES_MAX / 64]; /* places, from 1, one bit each */
};

struct sim_event {
	uint64_t seq;  /* from 1, over all cards */
	uint64_t type; /* NVML_EVENT_... */
	uint64_t data;
	uint32_t card;
	uint32_t unused;
};

enum sim_rule_kind { SIM_RULE_NONE, SIM_RULE_MISSING, SIM_RULE_FAIL, SIM_RULE_SLOW };

struct sim_rule {
	char name[SIM_NAME_SIZE]; /* of a function; "*": each of NVML, "cu*": each of CUDA */
	uint32_t kind;
	uint32_t
	        nth; /* FAIL: the calls until the one that fails, over all processes; 0: every call */
	uint32_t value; /* FAIL: the code; SLOW: milliseconds */
	uint32_t unused;
};

struct sim_card_state {
	uint32_t lost;
	uint32_t lost_after; /* calls that still succeed before it is lost; 0: not counting */
	uint32_t util_percent;
	uint32_t recovery_action;
	uint32_t rows_pending;
	uint32_t rows_failed;
	uint32_t removed; /* a MIG instance that the administrator has taken away */
	uint32_t
	        mig_off; /* a card with MIG mode in the description, which the administrator has switched off */
	uint64_t ecc_corrected;
	uint64_t ecc_uncorrected; /* since the last reset */
	uint64_t ecc_uncorrected_ever;
};

struct sim_state {
	uint64_t magic;
	uint64_t description; /* its hash: another description starts from its own beginning */
	uint64_t event_seq;   /* of the newest event */
	uint64_t
	        events_early; /* so many of the newest came with the description and wait for the first listener */
	struct sim_card_state cards[SIM_CARDS_MAX];
	struct sim_event events[SIM_EVENTS_MAX]; /* event seq is at seq % SIM_EVENTS_MAX */
	struct sim_rule rules[SIM_RULES_MAX];
	struct sim_process processes[SIM_PROCESSES_MAX];
	uint64_t shared_seq; /* the newest id */
	struct sim_shared shared[SIM_SHARED_MAX];
};

/* How cards and drivers spend time. Of what only a virtual clock has to be told, it says so. */
struct sim_pace {
	uint64_t slice_ns, switch_ns;                    /* of contexts on a card */
	unsigned jitter;                                 /* percent, of slices */
	unsigned spread;                                 /* percent, of kernels */
	uint64_t mark_ns;                                /* of an event on the card */
	uint64_t teardown_ns;                            /* of what the dead left */
	uint64_t call_ns, launch_ns, record_ns, sync_ns; /* of calls; virtual */
	uint64_t wake_ns[2]; /* from a wake to the end of the wait, least and most; virtual */
	uint64_t late_ns;    /* that a timer comes too late; virtual */
	bool is_virtual;
};

/* How long the launches of a kernel last, one after the other, and then again from the first. */
struct sim_kernel {
	char name[SIM_NAME_SIZE];
	uint64_t ns[SIM_TIMES_MAX];
	unsigned n_ns;
};

struct sim {
	char driver[80];
	int cuda_version; /* 12040 */
	unsigned n_cards; /* MIG instances too, which stand behind all others */
	unsigned n_gpus;  /* without them */
	struct sim_card cards[SIM_CARDS_MAX];
	struct sim_pace pace;
	struct sim_kernel kernels[SIM_KERNELS_MAX];
	unsigned n_kernels;
	struct sim_state initial;
	int state_fd;
	int share_fd; /* of the mapped file, -1 while it was not needed; never closed: see share.h */
	char path[4096];
	bool read_only; /* this process may not write the state: faults that count calls do not count its own */
};

/* -- life cycle -- */
/* Reads the description and opens its state, PATH.state, which is made when it is missing. False: error says why. */
bool sim_open(struct sim *s, const char *path, char error[SIM_ERROR_SIZE]);
void sim_close(struct sim *s);
/* Reads the description alone; state_fd stays -1. */
bool sim_describe(struct sim *s, const char *path, char error[SIM_ERROR_SIZE]);

/*
 * -- the shared state: 0 or an errno --
 * ETIMEDOUT: somebody does not let go of it. ESTALE: it was spoilt, or the description was replaced; open anew.
 */
int sim_begin(struct sim *s,
        struct sim_state *
                ret_state); /* takes the lock and reads; ended by sim_end, also when nothing changed */
int sim_end(struct sim *s, const struct sim_state *changed); /* writes unless NULL, and lets go */

/* -- changes of a state in hand; false when its table is full -- */
/* Sets what a process uses on a card; 0 bytes takes it away. started 0: it stays until it is taken away. */
bool sim_use(struct sim_state *st, int32_t pid, unsigned card, uint64_t bytes, uint64_t started,
        enum sim_list lists);
bool sim_rule(struct sim_state *st, enum sim_rule_kind kind, const char *name, uint32_t nth,
        uint32_t value);
void sim_event(struct sim_state *st, unsigned card, uint64_t type, uint64_t data);
void sim_xid(struct sim_state *st, unsigned card,
        uint32_t number); /* one that needs a reset also asks for it */
void sim_lose(struct sim_state *st, unsigned card, uint32_t after_calls);
void sim_restore(struct sim_state *st, unsigned card);
void sim_ecc(struct sim_state *st, unsigned card, uint64_t corrected, uint64_t uncorrected);
/* Takes processes away that have ended; what they shared is paid by others who hold it. */
void sim_drop_dead(const struct sim *s, struct sim_state *st);

/*
 * -- memory of users of the fake CUDA, who have a place in the mapped file (share.h); changes of a state in hand --
 * false: the card has not so much left, or a table is full.
 */
bool sim_take(
        const struct sim *s, struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes);
uint64_t sim_held(
        const struct sim_state *st, uint32_t place, unsigned card); /* by its own allocations */
void sim_give(struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes);
/* Lets others hold what the place pays for; its number. 0: the table is full. */
uint64_t sim_share(struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes);
bool sim_join(struct sim_state *st, uint32_t place, uint64_t id, unsigned *ret_card);
void sim_leave(struct sim_state *st, uint32_t place,
        uint64_t id); /* the last one's leaving gives it back */
void sim_drop_place(struct sim_state *st, uint32_t place); /* whatever it had */

/* -- queries -- */
/* How busy a card looks by its timeline, with what one place does on it, or all (0); -1: nobody has worked on it yet. */
int sim_busy_percent(const struct sim *s, unsigned card, uint32_t place);
uint64_t sim_used(const struct sim_state *st, unsigned card);
int sim_find_card(const struct sim *s, const char *index_or_uuid); /* -1 */
bool sim_is_mig(
        const struct sim *s, const struct sim_state *st, unsigned card); /* in MIG mode now */
bool sim_is_gone(const struct sim *s, const struct sim_state *st,
        unsigned card); /* an instance that is not there now */
/* The n-th MIG instance of a card that is there now; -1. */
int sim_instance(const struct sim *s, const struct sim_state *st, unsigned card, unsigned n);
unsigned sim_whole(
        const struct sim *s, unsigned card); /* the card that an instance is of, or itself */
/* As the description says, or the end of its name (`_10us`), or 10 us. */
void sim_kernel(const struct sim *s, const char *name, uint64_t ns[SIM_TIMES_MAX], unsigned *ret_n);
uint64_t sim_started(int32_t pid); /* start time of a living process, never 0; 0 when it is gone */

/* -- words of a description and of fake-gpu's command line -- */
bool sim_parse_lists(const char *text, enum sim_list *ret_lists); /* "": compute, graphics, both */
bool sim_parse_u64(const char *text, uint64_t max, uint64_t *ret_value);
bool sim_parse_time(const char *text, uint64_t *ret_ns);    /* "10us", "500ms", "1.5s" is not one */
bool sim_parse_size(const char *text, uint64_t *ret_bytes); /* "8GiB", "512M", "4096" */
/* A return code by name or number; of CUDA where the function is CUDA's, else of NVML. */
bool sim_parse_code(const char *function, const char *text, uint32_t *ret_code);
bool sim_parse_recovery(
        const char *text, uint32_t *ret_action); /* none, reset, reboot, drain, drain-and-reset */
bool sim_is_function(
        const char *name); /* stands in tables/nvml.def or cuda.def, or is "*" or "cu*" */
bool sim_is_cuda(const char *name);
