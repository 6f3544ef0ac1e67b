/*
 * What simulated cards do, in time: contexts take turns by slices, streams are queues, kernels last. All processes share it
 * in the mapped file (share.h); whoever holds that file's lock brings it forward. It has no clock and no memory of its own.
 * Contexts, streams and events are numbers of a card. Nothing here fails but by a full table, and nothing waits.
 *
 * The model: contexts of different processes never overlap. Who can run runs for a slice, then the next, round robin; a
 * change costs a switch, also from idle. In a context one kernel runs at a time: first in, first out in each stream, round
 * robin over streams; the legacy default stream waits for all blocking ones and they for it. A kernel keeps its progress
 * when its slice ends. Copies have an engine of their own, one for each stream. A collective runs only while one with the
 * same key runs on another card. A context whose process has died is taken away when its turn, or somebody else's, comes.
 */
#pragma once

#include "sim.h"

#define TL_CONTEXTS 256
#define TL_STREAMS  512
#define TL_EVENTS   8192
#define TL_QUEUE    1024
#define TL_SAMPLES  32
#define TL_SAMPLE   UINT64_C(50000000) /* ns between two samples of how busy a card was */
#define TL_NONE     UINT32_MAX

enum tl_op_kind { TL_KERNEL, TL_COLLECTIVE, TL_COPY, TL_EVENT, TL_WAIT, TL_HOST };

struct tl_op {
	uint32_t kind;  /* enum tl_op_kind */
	uint32_t event; /* TL_EVENT: to be stamped; TL_WAIT: waited for, on card `card` */
	uint32_t card;
	uint32_t unused;
	uint64_t ns;    /* that it lasts */
	uint64_t key;   /* of a collective; TL_EVENT, TL_WAIT: the number of the record */
	uint64_t order; /* its place among all of the context */
};

enum tl_stream_kind { TL_BLOCKING, TL_NON_BLOCKING, TL_LEGACY };

struct tl_stream {
	uint32_t used, next; /* the context's next stream */
	uint32_t ctx, kind;
	uint32_t closing;    /* free once it is empty */
	uint32_t started;    /* the head has been begun */
	uint64_t head, tail; /* numbers of operations, from 0: what is below head is done */
	uint64_t left_ns;    /* of the head, when begun; of a copy: when it ends */
	uint64_t wake_at;    /* somebody waits until head is so high; UINT64_MAX: nobody */
	struct tl_op ring[TL_QUEUE];
};

struct tl_event {
	uint32_t place; /* whose; 0: free */
	uint32_t unused;
	uint64_t asked, done; /* numbers of records */
	uint64_t at_ns;       /* of the one that is done */
};

struct tl_sample {
	uint64_t at_ns, busy_ns;
};

struct tl_ctx {
	uint32_t place; /* of the process; 0: free */
	uint32_t first; /* stream */
	uint32_t turn;  /* stream that ran last */
	uint32_t n_queued;
	uint64_t orders;
	uint64_t busy_ns;
	uint64_t queued_ns; /* what kernels in its queues still need */
	struct tl_sample samples[TL_SAMPLES];
};

enum tl_phase { TL_IDLE, TL_SWITCH, TL_RUN };

struct tl_card {
	uint32_t phase;
	uint32_t ctx,
	        stream;  /* that runs, or will after the switch; in TL_IDLE ctx is who ran last */
	uint32_t n_ctxs; /* places of the table that have ever been used */
	uint32_t n_events;
	uint32_t unused;
	uint64_t until_ns; /* TL_SWITCH: its end; TL_RUN: of the slice */
	uint64_t random;
	uint64_t busy_ns;
	uint64_t owed_ns; /* until what the dead left is cleared away */
	struct tl_sample samples[TL_SAMPLES];
	struct tl_ctx ctxs[TL_CONTEXTS];
	struct tl_event events[TL_EVENTS];
	struct tl_stream streams[TL_STREAMS];
};

struct tl {
	const struct sim_pace *pace;
	struct tl_card *cards;
	unsigned n_cards;
	uint64_t *at_ns;      /* how far it has come */
	uint32_t *host_ready; /* by place: host functions whose turn has come */
	bool (*lives)(uint32_t place);
};

/* -- commands -- */
/* Brings everything forward to a time, or to the moment that somebody waits for; when that was. */
uint64_t tl_advance(struct tl *t, uint64_t to_ns);
uint32_t tl_ctx_new(struct tl *t, unsigned card, uint32_t place); /* TL_NONE: full */
void tl_ctx_end(struct tl *t, unsigned card, uint32_t ctx);       /* what is queued goes */
uint32_t tl_stream_new(struct tl *t, unsigned card, uint32_t ctx, enum tl_stream_kind kind);
void tl_stream_end(struct tl *t, unsigned card, uint32_t stream); /* what is queued is still done */
uint32_t tl_event_new(struct tl *t, unsigned card, uint32_t place);
void tl_event_end(struct tl *t, unsigned card, uint32_t event);
/* Queues an operation; its number. There must be room: tail - head < TL_QUEUE. */
uint64_t tl_put(struct tl *t, unsigned card, uint32_t stream, struct tl_op op);
void tl_host_done(
        struct tl *t, unsigned card, uint32_t stream, uint64_t number); /* it was called */
void tl_drop_place(struct tl *t, uint32_t place);

/* -- queries -- */
/* When something ends next, once what is due now is done; UINT64_MAX: nothing does. */
uint64_t tl_next(struct tl *t);
/* At least so long until the operation is done, if nothing else runs. */
uint64_t tl_least_ns(const struct tl *t, unsigned card, uint32_t stream, uint64_t number);
