/*
 * The recording of a server (wire/recording.h), when server.record names a file: what happens is appended there as it happens,
 * and is written at the end of a turn of the loop. Not synced: a recording is no store. Loop thread. When the file takes no
 * more, that is logged once and the recording ends at its last whole line; the server goes on.
 * Every call takes NULL for "nothing is recorded" and does nothing then.
 */
#pragma once

#include "core/apply.h"

struct recorder;

/* Begins with the world as it is. */
MUST_CHECK int recorder_open(const char *path, const struct world *w, int64_t now_ms,
        const char *placement, struct recorder **ret_recorder, struct err *err);
void recorder_close(struct recorder *r);

/* Before it is applied to w; where that fails, what was appended is taken back. */
size_t recorder_event(
        struct recorder *r, int64_t now_ms, const struct event *e, const struct world *w);
void recorder_take_back(struct recorder *r, size_t mark);
void recorder_job(
        struct recorder *r, int64_t now_ms, const struct job *j); /* back from the store */
void recorder_plan(
        struct recorder *r, int64_t now_ms, size_t max, const struct placement *v, size_t n);
void recorder_learn(struct recorder *r, int64_t now_ms);
void recorder_adopt(struct recorder *r, int64_t now_ms, const double *settings, size_t n);
void recorder_flush(struct recorder *r);
