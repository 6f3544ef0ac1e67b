/*
 * What the files of the engines' contract suite share: an engine in a directory of its own, and short ways to ask and to hear.
 * The scene belongs to the test's setup and teardown; a case may close its engine and open another.
 * One thread. Helpers fail the test themselves, also when something does not come.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/engine.h"
#include "engine/reader.h"

#define SCENE_RECORDS 256
#define SCENE_WAIT_MS 20000
#define GRACE_MS      400

struct scene {
	const struct engine_ops *ops;
	char dir[64];
	struct loop *loop;
	struct loop_timer *timer;
	struct engine *e; /* NULL between scene_close and scene_open */
	void *ctx;        /* for the length of the test */
	/* What was reported */
	struct spool_record records[SCENE_RECORDS];
	size_t n_records;
	size_t n_with_machine;
	uint64_t lost[8];
	size_t n_lost;
	void (*on_ended)(struct scene *s, uint64_t epoch); /* inside of the report; or NULL */
	/* Waiting */
	bool (*is_there)(struct scene *s, uint64_t arg);
	uint64_t arg, deadline_ms;
	bool has_come;
	struct err err;
};

/* Setup and teardown of a case; *state is the table of the engine, and then the scene. */
int scene_setup(void **state);
int scene_teardown(void **state);

void scene_options(struct scene *s, struct engine_options *o);
void scene_open(struct scene *s, bool is_rebooted); /* and resumes; forgets what was reported */
void scene_close(struct scene *s);
const char *scene_path(
        const struct scene *s, const char *name); /* good until the 8th call from now */

/* Runs the loop. */
void scene_run(struct scene *s, uint64_t ms);
void scene_until(struct scene *s, bool (*is_there)(struct scene *s, uint64_t arg), uint64_t arg);
bool has_started(struct scene *s, uint64_t epoch);
bool has_ended(struct scene *s, uint64_t epoch);
bool has_lost(struct scene *s, uint64_t epoch);

/* A job of `sh -c SCRIPT` in the scene's directory; its argv is good until the next. */
struct link_start scene_job(const struct scene *s, uint64_t epoch, const char *script);
/* As prepare says, and prepare and start. */
int scene_prepare(struct scene *s, const struct link_start *m);
void scene_start(struct scene *s, const struct link_start *m);
void scene_sh(struct scene *s, uint64_t epoch, const char *script);
/* Waits for a file that a script makes in the scene's directory. */
void scene_wait_file(struct scene *s, const char *name);
void scene_make_file(struct scene *s, const char *name);
void scene_signal(struct scene *s, uint64_t epoch, enum spool_cause cause, bool force);
void scene_clean(struct scene *s, uint64_t epoch);
struct engine_state scene_state(struct scene *s, uint64_t epoch);

/* What was reported: the last; NULL, and how many. */
const struct spool_record *scene_record(
        const struct scene *s, uint64_t epoch, enum spool_kind kind);
size_t scene_count(const struct scene *s, uint64_t epoch, enum spool_kind kind);
/* Its end, waited for. */
const struct spool_record *scene_end(struct scene *s, uint64_t epoch);
int scene_code(struct scene *s, uint64_t epoch); /* of its end: 128+n for a signal */

/* Output of the first attempt of that job, all that there is. */
const char *scene_output(struct scene *s, uint64_t epoch, bool want_stdout, bool want_stderr);
bool is_running(pid_t pid);

/* The cases. */
#define CASE(name) void case_##name(void **state);
#include "engine_cases.def"
#undef CASE
