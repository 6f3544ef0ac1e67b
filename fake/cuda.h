/*
 * Inside of the fake libcuda.so.1: what one process has of the simulated cards, and how every call of it begins.
 * The library owns every object that it hands out; one lock guards them all, and is never held while a call waits.
 * Any thread. Failures are CUDA's result codes. What several processes share is in share.h and sim.h.
 */
#pragma once

#include "share.h"
#include "sim.h"

#include "../tables/cuda_abi.h"
#include "../tables/fake_clock.h"

#include <pthread.h>

#pragma GCC visibility push(default)
#define CUDA(use, since, symbol, name, stream, params, args) enum cu_result symbol params;
#include "../tables/cuda.def"
#undef CUDA
#pragma GCC visibility pop

#define GRANULE    (UINT64_C(2) << 20)
#define PLACE      512 /* what is smaller than a granule shares one, in places of this size */
#define CTXS_DEPTH 32  /* of a thread's stack of contexts */

/* Every object begins with this. Ended ones are kept for reuse, so that an old handle is known as one. */
enum kind {
	KIND_FREE,
	KIND_CTX,
	KIND_GREEN,
	KIND_STREAM,
	KIND_EVENT,
	KIND_MODULE,
	KIND_FUNC,
	KIND_BLOCK,
	KIND_PHYSICAL,
	KIND_POOL,
	KIND_ARRAY,
	KIND_MIPMAP,
	KIND_EXTERNAL,
	KIND_GRAPH,
	KIND_EXEC,
	KIND_NODE,
	KINDS
};

struct object {
	enum kind kind;
	struct object *next;
	struct object *made_before; /* the driver knows all that it ever made */
};

struct cu_ctx {
	struct object o;
	struct cu_ctx *next;
	unsigned card;
	int dev;
	unsigned flags, api;
	bool primary;
	unsigned n_held;    /* of a primary context */
	uint32_t line;      /* in the card's timeline */
	uint64_t id, bytes; /* that it takes by itself, modules with it */
	size_t limits[3];
	struct cu_stream *streams;
	struct cu_module *modules;
};

struct cu_stream {
	struct object o;
	struct cu_stream *next;
	struct cu_ctx *ctx;
	unsigned flags;
	int priority;
	pthread_t owner; /* of a thread's own default stream */
	enum { STREAM_MADE, STREAM_LEGACY, STREAM_OWN } kind;
	uint32_t line;           /* in the card's timeline */
	struct capture *capture; /* what it is told is kept, and not done; NULL: it is done */
};

struct cu_event {
	struct object o;
	struct cu_ctx *ctx;
	unsigned flags;
	uint32_t mark;             /* in the card's timeline */
	uint64_t n_records, first; /* records asked for; as many as that: none yet */
	uint32_t line;             /* the stream of the last record, and its number there */
	uint64_t number;
	struct capture *capture; /* in which it was recorded last; NULL: it really was */
};

struct cu_module {
	struct object o;
	struct cu_module *next;
	struct cu_ctx *ctx;
	struct cu_func *funcs;
	struct global *globals;
};

struct cu_func {
	struct object o;
	struct cu_module *module;
	struct cu_func *next;
	char name[256];
	uint64_t key;   /* of a collective; 0: it is none */
	uint64_t ns[8]; /* how long it runs, each launch the next of them */
	unsigned n_ns;
	_Atomic unsigned turn;
};

enum block_kind {
	BLOCK_DEVICE,
	BLOCK_MANAGED,
	BLOCK_HOST,
	BLOCK_REGISTERED,
	BLOCK_POOL,   /* of a pool */
	BLOCK_GRAPH,  /* of an allocation node */
	BLOCK_MAPPED, /* physical memory of cuMemCreate */
	BLOCK_IMPORT, /* somebody else's, mapped here */
};

/* A range of addresses that somebody was given. */
struct block {
	struct object o;
	cu_ptr at;
	uint64_t bytes; /* as it was asked for */
	uint64_t taken; /* of the card; 0: a small one, whose granule counts for it */
	struct cu_ctx *ctx;
	enum block_kind kind;
	unsigned card;
	uint64_t shared;             /* its number, once others may hold it too */
	int64_t offset;              /* in the file behind device memory; -1: it is not there */
	struct physical *physical;   /* BLOCK_MAPPED */
	struct pool_part *part;      /* BLOCK_POOL */
	struct graph_memory *memory; /* BLOCK_GRAPH */
};

struct driver {
	pthread_mutex_t lock;
	enum { DRIVER_NEW, DRIVER_READY, DRIVER_FORKED, DRIVER_ENDED } phase;
	pthread_mutex_t
	        state_lock; /* one thread at a time may have the state in hand; inside of `lock` */
	struct sim *sim;
	uint32_t place;
	struct share *share;
	unsigned n_devs;
	unsigned cards[SIM_CARDS_MAX]; /* by ordinal */
	struct cu_ctx *ctxs;
	struct cu_ctx *primary[SIM_CARDS_MAX]; /* by card */
	unsigned primary_flags[SIM_CARDS_MAX];
	uint64_t ctx_seq;
	int mps_fd;                        /* to the simulated MPS daemon; not above 0: none */
	uint64_t mps_limit[SIM_CARDS_MAX]; /* of this process's memory, by card; 0: none */
	double mps_percent;                /* of multiprocessors */
};

extern struct driver driver;

/* What CUDA_VISIBLE_DEVICES lets through: cards, or one MIG instance; how many. */
unsigned visible_devices(struct sim *s, unsigned cards[SIM_CARDS_MAX]);

/* -- how calls begin -- */
/* Of a call that needs no cuInit: its faults alone. */
enum cu_result call_begin(const char *function);
enum cu_result call_ready(const char *function);
enum cu_result call_device(const char *function, int dev); /* driver.cards[dev] is there */
/* The calling thread's context, and that its card is not lost. */
enum cu_result call_context(const char *function, struct cu_ctx **ret_ctx);

int cuda_version(void); /* 12040 */
bool driver_attach(
        void); /* joins those who use the cards, before cuInit too; false: there are none to join */

/* -- the state of all processes: as sim_begin and sim_end, for any thread -- */
int state_begin(struct sim_state *ret_state);
int state_end(const struct sim_state *changed);

/* -- objects, under the driver's lock -- */
void *object_new(enum kind kind, size_t size); /* zeroed; NULL: no memory */
void object_end(void *object);
bool object_is(const void *object, enum kind kind);

/* -- contexts, under the driver's lock -- */
struct cu_ctx *ctx_current(void); /* NULL: there is none, or it has ended */
void ctx_push(struct cu_ctx *ctx);
int card_ordinal(unsigned card); /* of the device that shows it; -1 */

/* -- simulated MPS -- */
void mps_begin(void); /* with each new place among the users of cards */
bool mps_allows(const struct sim_state *st, unsigned card, uint64_t bytes);

/* -- physical memory of cards, which all processes share -- */
enum cu_result physical_take(unsigned card, uint64_t bytes);
void physical_give(unsigned card, uint64_t bytes);
void physical_look(unsigned card, uint64_t *ret_free, uint64_t *ret_total);
/* Addresses for bytes, whole granules, with memory behind them that is there once it is touched. 0: none left. */
void *address_space(uint64_t bytes); /* nothing behind it yet; NULL: none left */
cu_ptr backing_new(uint64_t bytes, int64_t *ret_offset); /* offset may be NULL; -1: in no file */
int backing_fd(void); /* of the file that memory lies in; -1: there is none */
/* Memory of a file of somebody else. */
cu_ptr backing_map(int fd, int64_t offset, uint64_t bytes);
void backing_end(cu_ptr at, uint64_t bytes);
uint64_t granules(uint64_t bytes); /* rounded up to whole granules; 0 when that cannot be */

/* -- blocks, under the driver's lock -- */
enum cu_result block_new(
        struct cu_ctx *ctx, enum block_kind kind, uint64_t bytes, struct block **ret_block);
enum cu_result block_add(struct block *b); /* one that was made elsewhere */
/* Memory of a file; what lies before it in its page is mapped with it. */
enum cu_result block_of_file(struct cu_ctx *ctx, unsigned card, int fd, int64_t offset,
        uint64_t bytes, struct block **ret_block);
struct block *block_at(cu_ptr inside);
void block_remove(struct block *b); /* from the tree alone */
void block_end(struct block *b);
void blocks_end_of(struct cu_ctx *ctx);

/* -- memory that several processes hold; all return false when the table of them is full, or has it not -- */
bool shared_new(
        unsigned card, uint64_t bytes, uint64_t *ret_id); /* this process paid for it already */
bool shared_join(uint64_t id, unsigned *ret_card);
void shared_leave(uint64_t id);

/* -- pools -- */
void pools_settle(void); /* a synchronisation: what pools hold beyond their threshold goes back */
enum cu_result pool_take_on(
        struct cu_pool *p, struct cu_stream *s, uint64_t bytes, struct block **ret_block);
void pool_give(struct block *b);
void graph_give(struct block *b);

void arrays_end_of(struct cu_ctx *ctx); /* under the driver's lock */

/* -- modules -- */
void modules_end_of(struct cu_ctx *ctx);

/* -- streams: what a card does in order -- */
enum work_kind { WORK_KERNEL, WORK_COPY, WORK_EVENT, WORK_WAIT, WORK_HOST };

struct work {
	enum work_kind kind;
	uint64_t ns;            /* of a kernel */
	uint64_t key;           /* of a collective; 0: it is none */
	uint64_t bytes;         /* of a copy */
	struct cu_event *event; /* to record, or to wait for */
	struct cu_func *func;   /* of a kernel */
};

/* The next launch of a function. */
struct work func_work(struct cu_func *f);

/* The stream of a handle; NULL is the default stream, each thread's own where per_thread. Takes the driver's lock. */
enum cu_result stream_find(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        struct cu_stream **ret_stream);
enum cu_result stream_do(struct cu_ctx *ctx, struct cu_stream *handle, bool per_thread,
        const struct work *work, bool wait);
/* Queues it, and waits while the queue is full. */
enum cu_result stream_put(struct cu_stream *s, const struct work *work, uint64_t *ret_number);
enum cu_result stream_wait(struct cu_stream *s);
bool stream_is_done(struct cu_stream *s);
enum cu_result ctx_wait(struct cu_ctx *ctx);
enum cu_result event_wait(struct cu_event *e);
bool event_is_done(struct cu_event *e, uint64_t *ret_at_ns);
struct cu_event *event_new(struct cu_ctx *ctx, unsigned flags);
void event_end(struct cu_event *e);
/* under the driver's lock */
struct cu_stream *stream_new(struct cu_ctx *ctx, unsigned flags, int kind);
void stream_end(struct cu_stream *s);
void streams_end_of(struct cu_ctx *ctx);

/* -- what streams are told while they are captured -- */
enum cu_result capture_alloc(struct cu_stream *s, unsigned card, uint64_t bytes, cu_ptr *ret_at);
enum cu_result capture_free(struct cu_stream *s, cu_ptr at);
enum cu_result capture_work(struct cu_stream *s, const struct work *work);
enum cu_result capture_host(struct cu_stream *s, cu_host_fn fn, void *data);
void capture_join(
        struct cu_stream *s, const struct cu_event *e); /* one that waits for an event of it */
/* A call that no capturing stream bears spoils its capture. */
enum cu_result capture_forbids(struct cu_stream *s);
/* The stream goes, and with it the capture that it began. */
void capture_drop(const struct cu_stream *s);
/* One that might wait for what is captured: it spoils all captures whose mode forbids it. */
enum cu_result capture_unsafe(void);

/* -- functions of the host that streams call -- */
enum cu_result host_put(struct cu_stream *s, bool (*ready)(void *data), cu_host_fn fn, void *data);
