/*
 * The link between a server and an agent: typed messages over one WebSocket (`/v1/link`, protocol "berth-link-1"),
 * the same on one machine and across a fleet. A binary WebSocket message holds one or more link messages, each
 * `type byte, uint32 length in network order, codec run`. Decoded strings and arrays hang on the talloc context that
 * the caller passes. Pure; any thread. Malformed bytes are CORRUPT, and the receiver closes the link.
 *
 * DESIGN. The agent connects, sends HELLO with everything it has: its inventory and every attempt that it knows, living
 * or ended. The server answers WELCOME, and the two are one again: the server sends START again for attempts that it gave
 * here and that HELLO did not name, STOP for those that are not this job's current epoch, ACK for ends it already has.
 * STARTED and ENDED are repeated in full by HELLO + resend after every reconnect, until ACK: the receiver drops repeats by
 * epoch. START is sent only once durable; ACK only once the end is durable; after ACK the agent may forget the attempt.
 * Output stays on the node; it travels by streams, with a window, so that a slow reader holds only its own stream.
 */
#pragma once

#include "core/event.h"
#include "wire/codec.h"
#include "wire/console.h"
#include "wire/spool.h"

#define LINK_VERSION     1
#define LINK_MESSAGE_MAX (8 * MIB)
#define LINK_WINDOW      (256 * KIB) /* bytes of a stream that may be on their way unacknowledged */

enum link_type {
	LINK_HELLO = 1, /* agent -> server */
	LINK_WELCOME,   /* server -> agent */
	LINK_BLOB, /* server -> agent: bytes that a later START names; kept for the life of the link */
	LINK_START,
	LINK_STOP,
	LINK_STARTED,       /* agent -> server: struct spool_record */
	LINK_ENDED,         /* agent -> server: struct spool_record */
	LINK_ACK,           /* server -> agent: the end of this epoch is durable */
	LINK_DEVICES,       /* agent -> server: devices whose health or withheld memory changed */
	LINK_BEAT,          /* both ways, every heartbeat: I live */
	LINK_REMOVE,        /* server -> agent: forget the output of these attempts */
	LINK_STREAM_OPEN,   /* server -> agent */
	LINK_STREAM_DATA,   /* both ways */
	LINK_STREAM_WINDOW, /* both ways: so many bytes were taken */
	LINK_STREAM_CLOSE,  /* both ways */
	LINK_SHUTDOWN, /* server -> agent: end every attempt here with cause SHUTDOWN, then say BYE when none lives */
	LINK_BYE,     /* agent -> server: nothing lives here any more */
	LINK_REMOVED, /* agent -> server: that REMOVE was carried out; until then it comes again */
	LINK_DROP,    /* server -> agent: no START on this link names this blob again */
	LINK_NOTE, /* agent -> server: what was seen of a living attempt; said again after WELCOME */
	LINK_USE, /* agent -> server: what the slices of a living attempt are used for, when that has changed */
	LINK_TYPE_MAX
};

enum link_phase { LINK_LIVING = 1, LINK_ENDED_UNACKED };

struct link_attempt {
	struct job_id id;
	uint64_t epoch;
	uint32_t attempt;
	enum link_phase phase;
};

struct link_hello {
	uint32_t version; /* LINK_VERSION */
	char *program;    /* "0.1.0" */
	char *name;       /* node name */
	char *boot_id;
	char *key; /* who the node is, where its name alone does not tell: agent/identity.h; or NULL */
	struct cpu_set cpus;
	uint64_t mem_bytes;
	struct device_info *devices;
	uint32_t n_devices;
	struct link_attempt *attempts;
	uint32_t n_attempts;
};

/* What is to hold fractions of devices: the best that works there, or this. */
enum link_mechanism {
	LINK_MECHANISM_AUTO,
	LINK_MECHANISM_INTERPOSER,
	LINK_MECHANISM_NONE,
	LINK_MECHANISM_MPS,
	LINK_MECHANISM_KERNEL
};
#define LINK_MODELS_MAX 1000
struct link_model {
	char *model; /* part of its name, in any case of letters; the first that fits counts */
	enum link_mechanism mechanism;
};

struct link_welcome {
	uint64_t node; /* its number */
	uint32_t heartbeat_ms;
	uint64_t grace_ms;
	uint64_t output_max;
	uint32_t start_burst; /* attempts started at the same moment: this times the cores */
	uint32_t watchdog;    /* enum link_watchdog */
	char *server_program;
	/* What holds jobs: struct engine_holds */
	uint64_t max_processes;
	bool cap_cpus;
	uint32_t io_weight;
	char *group_parent;
	enum link_mechanism mechanism; /* of the models that are not named */
	struct link_model *models;
	uint32_t n_models;
	bool cap_compute; /* a fraction of a device gets no more than its share */
};
enum link_watchdog { LINK_WATCHDOG_OFF, LINK_WATCHDOG_REPORT, LINK_WATCHDOG_END };

struct link_start {
	struct job_id id;
	uint32_t attempt;
	uint64_t epoch;
	char *name;
	char *queue;
	char *user;           /* account */
	uint32_t uid;         /* of the submitter over a socket: `user` may be NULL then */
	char **argv;          /* NULL-terminated */
	uint64_t env_blob;    /* 0: none */
	char *chdir;          /* NULL: an empty directory of its own */
	char *output, *error; /* as asked, or NULL: kept by Berth */
	bool tty;
	uint32_t rows, columns;
	uint64_t time_limit_ms;
	uint64_t mem_bytes;
	uint32_t n_cpus;     /* of all its tasks; what BERTH_CPUS says where it has none */
	struct cpu_set cpus; /* bound to these; empty: not bound */
	struct slice_record *slices;
	uint32_t n_slices;
	uint64_t array_size; /* 0: not of an array */
	char *grant;         /* of root's: wire/launch.h; NULL: none */
	uint32_t ranks;      /* tasks, as in wire/launch.h */
	bool label;
};

struct link_stop {
	struct job_id id;
	uint64_t epoch;
	enum spool_cause cause; /* STOPPED, TIMEOUT, SHUTDOWN, GPU_MEMORY, GPU_AROUND */
	bool force;
};

struct link_blob {
	uint64_t num;
	const void *data;
	size_t len;
};

struct link_note {
	struct job_id id;
	uint64_t epoch;
	char *text;
	enum spool_cause
	        cause; /* GPU_MEMORY, GPU_AROUND, MPS_DIED; anything else is taken for the first */
};

struct link_use {
	struct job_id id;
	uint64_t epoch;
	struct slice_record *slices; /* device, used_bytes, driver_bytes */
	uint32_t n_slices;
};

struct link_devices {
	struct device_info *devices;
	uint32_t n_devices;
};

enum link_stream_kind { LINK_STREAM_LOG = 1, LINK_STREAM_ATTACH, LINK_STREAM_EXEC };

struct link_stream_open {
	uint64_t stream; /* chosen by the server, never used twice on a link */
	enum link_stream_kind kind;
	struct job_id id;
	uint32_t attempt;
	uint64_t epoch;
	/* LOG: frames CONSOLE_STDOUT and CONSOLE_STDERR, then STREAM_CLOSE */
	char *output, *error; /* as in START: where the output is */
	char *user;           /* whose job it is */
	bool want_stdout, want_stderr;
	bool follow;     /* until the attempt has ended */
	bool ended;      /* it has ended: what is there is all */
	uint64_t offset; /* bytes to pass over at the front */
	uint64_t
	        tail_lines; /* 0: everything; else only the last so many lines (before following) */
	/* EXEC */
	char **argv;
	char **env; /* added to the job's own, K=V */
	bool tty;
	uint32_t rows, columns;
	char *grant; /* of an EXEC of root's: wire/launch.h; NULL: none */
};

struct link_stream_data {
	uint64_t stream;
	enum console_frame frame;
	const void *data;
	size_t len; /* at most CONSOLE_FRAME_MAX */
};

struct link_stream_window {
	uint64_t stream;
	uint64_t bytes;
};

struct link_stream_close {
	uint64_t stream;
	enum err_kind kind; /* ERR_NONE: in good order */
	char *text;
};

struct link_remove {
	uint64_t number; /* REMOVED answers with it */
	struct link_attempt *attempts;
	uint32_t n_attempts;
};

/* Each appends one whole message to b. */
void link_put_hello(struct buf *b, const struct link_hello *m);
void link_put_welcome(struct buf *b, const struct link_welcome *m);
void link_put_blob(struct buf *b, const struct link_blob *m);
void link_put_start(struct buf *b, const struct link_start *m);
void link_put_stop(struct buf *b, const struct link_stop *m);
void link_put_record(
        struct buf *b, const struct spool_record *m); /* STARTED or ENDED, by its kind */
void link_put_ack(struct buf *b, uint64_t epoch);
void link_put_devices(struct buf *b, const struct link_devices *m);
void link_put_remove(struct buf *b, const struct link_remove *m);
void link_put_removed(struct buf *b, uint64_t number);
void link_put_drop(struct buf *b, uint64_t blob);
void link_put_use(struct buf *b, const struct link_use *m);
void link_put_note(struct buf *b, const struct link_note *m);
void link_put_stream_open(struct buf *b, const struct link_stream_open *m);
void link_put_stream_data(struct buf *b, const struct link_stream_data *m);
void link_put_stream_window(struct buf *b, const struct link_stream_window *m);
void link_put_stream_close(struct buf *b, const struct link_stream_close *m);
void link_put_empty(struct buf *b, enum link_type type); /* BEAT, SHUTDOWN, BYE */

struct link_message {
	enum link_type type;
	union {
		struct link_hello hello;
		struct link_welcome welcome;
		struct link_blob blob;
		struct link_start start;
		struct link_stop stop;
		struct spool_record record;
		uint64_t ack_epoch;
		struct link_devices devices;
		struct link_remove remove;
		uint64_t removed_number;
		uint64_t drop_blob;
		struct link_note note;
		struct link_use use;
		struct link_stream_open stream_open;
		struct link_stream_data stream_data;
		struct link_stream_window stream_window;
		struct link_stream_close stream_close;
	};
};

/*
 * Takes one message from the front of *p; strings and arrays hang on ctx, `data` pointers are borrowed.
 * Returns 1 and moves *p, 0 at the end, negative CORRUPT. A type that this program does not know is passed over.
 */
MUST_CHECK int link_next(const uint8_t **p, const uint8_t *end, void *ctx,
        struct link_message *ret_message, struct err *err);

/*
 * Messages that were put one after the other, cut for sending: the length of the whole messages at the front that make up
 * at most LINK_PIECE bytes together; one message alone may be longer. len is not 0.
 */
#define LINK_PIECE (1 * MIB)
size_t link_piece(const uint8_t *data, size_t len);
