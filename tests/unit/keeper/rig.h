/*
 * A keepers' parent of our own, the real program, in a directory of its own; for tests and for the benchmark.
 * The caller owns the struct; rig_stop ends what was started and removes the directory. One thread.
 * What goes wrong ends the process with a line on stderr: a test has no use for less.
 */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "wire/console.h"
#include "wire/launch.h"
#include "wire/spool.h"

#define RIG_RECORDS 8192
#define RIG_WAIT_MS 20000 /* for what happens at once on an idle machine */
#define NOBODY_UID  65534

enum rig_mode {
	RIG_USER, /* not root: as nobody where the test is root */
	RIG_ROOT, /* as root, with keepers as nobody; only where the test is root */
	RIG_HELPER, /* the same behind a helper, which is then what is started, killed and talked to */
};

struct rig {
	enum rig_mode mode;
	char dir[64];
	char program[128];
	char helper[128];
	const char *helper_options[8]; /* more of them; to be set before rig_start */
	char spool[128];               /* the one that is read */
	pid_t parent;
	int conn;
	int spool_fd;
	int watch_fd;
	struct buf bytes;
	struct spool_record records[RIG_RECORDS];
	size_t n_records;
	uint64_t
	        fsize_limit; /* of the parent, to look like a full disk; 0: none. To be set before rig_start */
	uint64_t files_limit; /* the same, of open files */
};

void rig_start(struct rig *r, enum rig_mode mode);
void rig_stop(struct rig *r);
/* For tests that only root can run: nothing is started, or stopped, for others, whose cases skip by ONLY_ROOT. Returns 0. */
int rig_start_as_root(struct rig *r, enum rig_mode mode);
int rig_stop_as_root(struct rig *r);
#define ONLY_ROOT()                \
	do {                       \
		if (getuid() != 0) \
			skip();    \
	} while (0)
/* The parent alone, in the same directory. */
void rig_start_parent(struct rig *r);
void rig_kill_parent(struct rig *r, int signo); /* and waits for it */
void rig_reconnect(struct rig *r);
int rig_connect(const char *path); /* waits until somebody listens */

const char *rig_path(const struct rig *r,
        const char *name); /* in the directory; good until the 8th call from now */
/* A start of epoch `epoch` that runs `script` with sh, output below the directory. */
struct launch rig_launch(struct rig *r, uint64_t epoch, const char *script);
void rig_send(struct rig *r, const struct launch *l);
void rig_send_stop(struct rig *r, uint64_t epoch, bool force, enum spool_cause cause);
struct launch rig_launch_sweep(uint64_t epoch);

/* Reads what has come; true when something new has. wait_ms: at most, -1: for ever. */
bool rig_read(struct rig *r, int wait_ms);
/* The record of that kind, waiting for it. */
const struct spool_record *rig_wait(struct rig *r, uint64_t epoch, enum spool_kind kind);
size_t rig_count(const struct rig *r, uint64_t epoch, enum spool_kind kind);
bool rig_is_alive(const struct rig *r, uint64_t epoch);
pid_t rig_keeper_pid(const struct rig *r, uint64_t epoch);
pid_t rig_exec_pid(const struct rig *r, uint64_t epoch); /* of one of its execs */

/* The file's content, NUL-terminated, good until the next call but three; "" when it is absent. */
const char *rig_text(const struct rig *r, const char *name);
bool rig_exists(const struct rig *r, const char *name);
void rig_touch(const struct rig *r, const char *name);
/* Waits until the file holds this text. */
void rig_wait_text(const struct rig *r, const char *name, const char *text);

/* How many processes carry this entry in their environment. */
size_t rig_count_marked(const char *entry);
void rig_wait_none_marked(const char *entry);

/* A client of a console. */
struct rig_client {
	int fd;
	struct buf in;
	struct buf out;  /* stdout so far */
	struct buf err;  /* stderr so far */
	int exit_code;   /* -1 until the last frame */
	char error[256]; /* of CONSOLE_ERROR */
	bool is_closed;
};
void rig_attach(struct rig_client *c, const char *path); /* waits for the socket */
void rig_type(struct rig_client *c, enum console_frame type, const void *data, uint32_t len);
/* Reads until stdout holds `text`; NULL: until the end. */
void rig_expect(struct rig_client *c, const char *text);
void rig_detach(struct rig_client *c);
