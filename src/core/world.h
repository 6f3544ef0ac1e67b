/*
 * All state of the control plane and its indexes. One writer: core_apply(). Everybody else holds it const.
 * The world owns everything in it; world_free() releases it all. Loop thread. Pure: no I/O, no clock.
 */
#pragma once

#include "core/job.h"

/* uthash calls exit() when there is no memory. */
#include <uthash.h>
#undef uthash_fatal
#define uthash_fatal(what) bug_at(__FILE__, __LINE__, what)

/* Settings that rules depend on; copied in, from the configuration. */
struct policy_model {
	char model[96]; /* part of the model's name */
	uint32_t fgpu_per_device;
};
struct policy_label {
	char node[256]; /* pattern of names */
	char label[LABEL_MAX];
};
struct policy {
	uint32_t fgpu_per_device;
	struct policy_label *labels; /* borrowed */
	uint32_t n_labels;
	struct policy_model *models; /* borrowed */
	uint32_t n_models;
	int64_t backoff_min_ms;
	int64_t backoff_max_ms;
	int64_t silence_ms;  /* a remote node silent for so long is lost */
	uint32_t keep_ended; /* ended jobs in memory */
};

struct queue {
	char name[64];
	bool paused;
	bool strict; /* nobody passes who comes first; else whoever does not delay it may */
	uint64_t
	        patience_ms; /* who has waited so long without a provable start has a node kept free; 0: never */
	int32_t priority;
	uint32_t default_cpus;
	uint64_t time_limit_ms;   /* longest allowed, 0: none */
	uint64_t default_time_ms; /* when a job says nothing, 0: none */
	uint32_t default_retry;
	/* 0: any number. Who is at one waits for it; others go on. */
	uint32_t max_waiting, max_running, max_running_per_user;
	uint32_t max_gpus;  /* devices' worth, fractions added up */
	bool configured;    /* named in the configuration now, or set at run time */
	uint64_t n_running; /* attempts that hold resources */
	uint64_t gpu_milli; /* thousandths of devices that these hold */
	uint64_t n_waiting; /* jobs and tasks that are PENDING, also those that never started */
	UT_hash_handle hh;
	struct queue_user *users;           /* those with attempts that hold resources */
	LIST_HEAD(queue_jobs, job) running; /* the same, one by one */
	char *nodes;   /* where its jobs go: as node_is_listed() reads it; "" or NULL: anywhere */
	char *overlay; /* what was set at run time, as conf_queue_make() takes it; NULL: nothing */
};

RB_HEAD(job_times, job); /* not_before up */
RB_HEAD(job_ids, job);
TAILQ_HEAD(job_ends, job);
TAILQ_HEAD(node_list, node);

/* Everything that decides where a job can go: jobs that are alike are asked about once per plan. */
struct sched_shape {
	struct queue *queue;
	char *user;         /* where the queue bounds what each account runs, else "" */
	struct gpu_ask gpu; /* model is a pointer of its own block */
	char *constraint;   /* NULL: none */
	uint32_t cpus;      /* of all its tasks */
	uint64_t mem_bytes;
	uint64_t time_limit_ms;
};
struct sched_class {
	struct sched_shape shape;
	char *key; /* text of the shape, for the hash */
	struct job_order ready;
	struct job *first_ready, *last_ready; /* its ends, or NULL */
	uint64_t n_jobs;                      /* all jobs of this shape that live */
	UT_hash_handle hh;
};

/* Bytes kept once by content: environments. */
struct blob {
	uint64_t num;
	uint8_t hash[16];
	uint32_t refs;   /* of jobs in memory */
	int64_t used_ms; /* wall; see world_use_blob() */
	size_t len;
	UT_hash_handle hh; /* by hash */
	UT_hash_handle hh_num;
	uint8_t data[];
};

enum role { ROLE_USER, ROLE_ADMIN, ROLE_AGENT };

struct token {
	uint64_t num;
	char name[64];
	uint8_t hash[32];
	enum role role;
	char user[64]; /* account that its jobs run as; "": the server's job_user */
	char node
	        [64]; /* of an agent: the only node that it may join as; "": any that nobody else is */
	int64_t made_ms;
	int64_t expires_ms; /* wall, 0: never */
	TAILQ_ENTRY(token) link;
};

/* Everybody who waits for one job number, or for tasks of it: see deps.c. */
struct dep_list {
	uint64_t num;
	LIST_HEAD(, dep_link) links;
	bool is_walked;
	UT_hash_handle hh;
};

struct idem {
	char *key; /* "USER\x1fKEY" */
	uint64_t num;
	UT_hash_handle hh;
};

struct world {
	struct policy policy;
	uint64_t next_job, next_epoch, next_order, next_blob, next_node, next_token;
	bool counters_dirty;

	struct job_ids by_id;
	struct job *last_by_id; /* its greatest, or NULL */
	struct job_times backoff;
	struct job_ends ended;
	uint32_t n_ended;
	uint64_t n_living; /* jobs (an array counts once) that are not final */
	struct queue *queues;
	struct sched_class *classes;
	struct sched_class *last_class; /* looked up last, or NULL */
	/* Living jobs that stand in no class's order, and all living arrays; no tasks. With the orders of the classes: all that live. */
	LIST_HEAD(jobs_apart, job) apart;
	struct node_list nodes;
	uint32_t n_nodes;
	uint64_t node_changes; /* counts up */
	uint64_t n_events;     /* counts up with every event: the same number is the same world */
	struct blob *blobs, *blobs_by_num;
	TAILQ_HEAD(token_list, token) tokens;
	struct dep_list *deps;
	struct idem *idems;
	bool keys_are_away; /* the store may know idempotency keys that are not here */

	/* what changed since the last world_take_dirty() */
	struct job **dirty_jobs;
	uint32_t n_dirty, cap_dirty;
	bool plan_wanted; /* something changed that may let a job start */
};

int job_id_cmp(const struct job *a, const struct job *b);
int job_time_cmp(const struct job *a, const struct job *b);
RB_PROTOTYPE(job_ids, job, by_id, job_id_cmp)
RB_PROTOTYPE(job_times, job, by_time, job_time_cmp)

struct world *world_new(const struct policy *p);
void world_free(struct world *w);

/* Queries */
struct job *world_find_job(const struct world *w, struct job_id id);
struct job *world_next_job(const struct world *w,
        const struct job *after); /* in order of id; NULL begins; NULL ends */
struct job *world_prev_job(const struct world *w, const struct job *before); /* the other way */
/*
 * A task that never became a job of its own, as it would be shown if it were one: PENDING, or CANCELLED with its array.
 * False: it is none of those. What it points to is its array's; *ret is not in the world and must not move.
 */
struct unstarted_task {
	struct job job;
	struct transition last;
};
bool world_find_unstarted(const struct world *w, struct job_id id, struct unstarted_task *ret);
struct queue *world_find_queue(const struct world *w, const char *name);
uint64_t queue_user_running(const struct queue *q, const char *user);
struct node *world_find_node(const struct world *w, const char *name);
struct node *world_find_node_num(const struct world *w, uint64_t num);
struct token *world_find_token(const struct world *w, const uint8_t hash[32]);
struct blob *world_find_blob(const struct world *w, const uint8_t hash[16]);
struct blob *world_find_blob_num(const struct world *w, uint64_t num);
/* The job that this key made before, 0 when none. */
uint64_t world_find_idem(const struct world *w, const char *user, const char *key);
/* Of the sets that wait: the earliest moment at which core_apply(EVENT_TICK) has something to do, wall; INT64_MAX: none. */
int64_t world_next_tick(const struct world *w);
/* Position among the waiting jobs of its queue, 1-based. */
uint64_t world_position(const struct world *w, const struct job *j);

int job_order_cmp(const struct job *a, const struct job *b);
/* How many of them stand before a job, which need not be one of them; NULL: all. At the price of a search. */
uint64_t job_order_count(const struct job_order *o, const struct job *before);
RB_PROTOTYPE(job_order, job, by_order, job_order_cmp)
