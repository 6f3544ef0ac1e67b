/*
 * A recording: what a server was told, and what it planned, one line of JSON each, so that the same code can be run over it
 * again. Nothing is in it that no plan depends on: no command, no environment, no file name, no token; names of accounts are.
 * Encoders append a line to the caller's buf. A line that was read is the caller's (recorded_free), and what its parts point to
 * is its own. Pure; any thread. A line that is none of a recording is refused with CORRUPT.
 *
 * Of the order of lines: a server that begins writes BEGIN, its queues and nodes as events, and every job that it has in
 * memory; then what happens. Where a job comes back from the store, it is written again as it is then.
 */
#pragma once

#include "base/buf.h"
#include "core/apply.h"

#include <jansson.h>

#define RECORDING_FORMAT   1
#define RECORDING_LINE_MAX (32 * MIB)

#define RECORDING_SETTINGS_MAX 64

enum recorded_kind {
	RECORDED_BEGIN,
	RECORDED_JOB,
	RECORDED_EVENT,
	RECORDED_PLAN,
	RECORDED_LEARN,
	RECORDED_ADOPT
};

struct recorded {
	enum recorded_kind kind;
	int64_t at_ms; /* wall */
	json_t *json;  /* what texts point into */

	/* BEGIN */
	char placement[32]; /* its policy */
	struct policy policy;
	uint64_t next_job, next_epoch, next_order, next_node;

	/* JOB: as the store has it, but for what no plan depends on */
	uint8_t *record;
	size_t len;

	/* EVENT */
	struct event event;
	struct request request; /* what it points to */
	struct node node;
	struct device_info *devices;
	struct queue queue;
	struct attempt_end end;

	/* PLAN: at most `max` were asked for */
	struct placement *placements;
	size_t n_placements, max;

	/* ADOPT: what the placement policy is set to from then on, as it counts its settings; with the mix learned anew */
	double settings[RECORDING_SETTINGS_MAX];
	size_t n_settings;
};

/* Encoding. */
void recording_put_begin(
        struct buf *b, int64_t at_ms, const struct world *w, const char *placement);
void recording_put_job(struct buf *b, int64_t at_ms, const struct job *j);
/* An event that is about to be applied to w. Of one that no plan depends on nothing is written, nor of START: the plan says it. */
void recording_put_event(
        struct buf *b, int64_t at_ms, const struct event *e, const struct world *w);
void recording_put_plan(
        struct buf *b, int64_t at_ms, size_t max, const struct placement *v, size_t n);
void recording_put_learn(struct buf *b, int64_t at_ms);
void recording_put_adopt(struct buf *b, int64_t at_ms, const double *settings, size_t n);

/* Decoding. */
MUST_CHECK int recorded_parse(
        const char *line, size_t len, struct recorded **ret_line, struct err *err);
void recorded_free(struct recorded *r);

/* A new world as it was at that BEGIN, without what the lines after it bring; its policy points into the line. */
struct world *recorded_world(const struct recorded *begin);
/* A JOB takes its place in the world. One that is there already stays as it is. */
MUST_CHECK int recorded_adopt(const struct recorded *job, struct world *w, struct err *err);
