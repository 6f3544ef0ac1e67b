/*
 * Who waits for a job to change: long polls, followers of output, `down`. Called after the change is durable.
 * A watch belongs to the server; the handle is dead after its callback asked for no more, or after watch_remove. Loop thread.
 */
#pragma once

#include "server/server.h"

struct watch;
/* Return true to keep watching. */
typedef bool watch_fn(struct server *s, void *data);

struct watch *watch_add(struct server *s, struct job_id id, watch_fn *fn, void *data);
void watch_remove(
        struct server *s, struct watch *w); /* NULL is fine; not from inside its own callback */
void watch_notify(struct server *s, struct job_id id);
void watch_init(struct server *s);
void watch_done(struct server *s);
