/*
 * A scene for tests of the agent: the real program, with the real keepers, and a server's end of the link played here.
 * The test owns the struct; scene_end ends what was started and removes the directory. One thread.
 * What goes wrong fails the test at the line that waited for it.
 */
#pragma once

#include <sys/types.h>

#include "plat/net.h"
#include "shared.h"

#define SCENE_RECORDS 4096
#define SCENE_STREAMS 64
#define SCENE_WAIT_MS 20000 /* for what happens at once on an idle machine */

struct scene_stream {
	struct buf bytes[2]; /* stdout, stderr */
	size_t n_frames;
	uint64_t taken; /* of what was typed */
	bool is_closed;
	enum err_kind kind;
	char text[200];
	int exit_code; /* of a console; -1: none */
};

struct scene {
	char dir[64];
	char sim[64]; /* "" or what to simulate */
	char url[160];
	pid_t agent;
	struct loop *loop;
	struct loop_timer *timer;
	struct net_server *server;
	struct net_ws *ws; /* the last link */
	void *ctx;         /* of hello and devices */
	/* what the server does by itself */
	bool no_ack;
	struct link_welcome welcome;
	/* what came */
	unsigned n_hellos;
	struct link_hello hello;
	struct spool_record records[SCENE_RECORDS];
	size_t n_records;
	struct device_info devices[NODE_DEVICES_MAX]; /* as last told, by HELLO or DEVICES */
	uint32_t n_devices;
	unsigned n_device_messages;
	bool has_bye, has_beat;
	uint64_t removed; /* the last REMOVED */
	unsigned n_notes;
	uint64_t note_epoch; /* the last NOTE */
	char note[256];
	struct scene_stream streams[SCENE_STREAMS];
	uint64_t last_stream;
	/* what is waited for */
	bool (*is_there)(struct scene *s, uint64_t arg);
	uint64_t arg;
	bool has_come;
	uint64_t deadline_ms;
};

void scene_begin(struct scene *s,
        const char *simulate); /* NULL: the machine's devices are not looked for, either */
void scene_end(struct scene *s);
void scene_start_agent(struct scene *s);           /* and waits for its HELLO */
void scene_kill_agent(struct scene *s, int signo); /* and waits for its end */
int scene_wait_agent(struct scene *s);             /* its wait status */
void scene_serve(struct scene *s);                 /* begins to listen, or again after scene_hide */
void scene_hide(struct scene *s);                  /* the server goes */
const char *scene_path(
        const struct scene *s, const char *name); /* good until the 8th call from now */

/* Runs the loop until that is so; fails the test when it takes too long. */
#define scene_until(s, what, x) scene_until_at((s), (what), (x), #what, __FILE__, __LINE__)
void scene_until_at(struct scene *s, bool (*is_there)(struct scene *s, uint64_t arg), uint64_t arg,
        const char *what, const char *file, int line);
void scene_run(struct scene *s, uint64_t ms); /* for as long, whatever happens */

/* A START of `script` by sh, job and epoch of the same number; change it before scene_send_start. */
struct link_start scene_start(uint64_t epoch, const char *script);
void scene_send_start(struct scene *s, const struct link_start *m);
void scene_sh(struct scene *s, uint64_t epoch, const char *script);
void scene_send(struct scene *s, struct buf *b); /* and empties it */
void scene_stop(struct scene *s, uint64_t epoch, enum spool_cause cause, bool force);
/* Opens a stream; returns its number. */
uint64_t scene_open(struct scene *s, struct link_stream_open *m);
/* The whole output of an attempt, as it is: 0 both streams, 1 stdout, 2 stderr; good until the next call. */
const char *scene_output(struct scene *s, uint64_t epoch, int which);
void scene_type(
        struct scene *s, uint64_t stream, enum console_frame frame, const void *data, size_t len);

/* Things to wait for; arg is an epoch or a stream. */
bool has_started(struct scene *s, uint64_t epoch);
bool has_ended(struct scene *s, uint64_t epoch);
bool has_closed(struct scene *s, uint64_t stream);
bool has_hello(struct scene *s, uint64_t n); /* so many */
bool has_said_bye(struct scene *s, uint64_t unused);

const struct spool_record *scene_record(
        const struct scene *s, uint64_t epoch, enum spool_kind kind); /* the first, or NULL */
size_t scene_count(const struct scene *s, uint64_t epoch, enum spool_kind kind);
const struct link_attempt *scene_known(
        const struct scene *s, uint64_t epoch);    /* in the last HELLO, or NULL */
pid_t scene_keepers_parent(const struct scene *s); /* 0: none */
