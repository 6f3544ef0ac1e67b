/*
 * The barrier: nothing that follows from a change is let out before the change is durable. One batch gathers while
 * another is being committed. Loop thread; the store thread sees only the finished bytes.
 */
#pragma once

#include "server/server.h"

typedef void barrier_fn(struct server *s, void *data);

/* Calls fn when everything applied so far is durable: at once when it is already. */
void batch_after(struct server *s, barrier_fn *fn, void *data);
/*
 * The same for who is to be answered in bounded time: called early when that cannot be now, and server_is_stuck() says so
 * then. Who only reads, as soon as that is known; who asked for a change, after s->answer_ms.
 */
void batch_after_read(struct server *s, barrier_fn *fn, void *data);
void batch_after_change(struct server *s, barrier_fn *fn, void *data);
/* What memory has of this job is not durable yet. */
bool batch_has_job(const struct server *s, const struct job *j);
/*
 * So much waits for the store that nobody may add to it: who asks for a change is refused, lines wait. Ends of jobs are
 * taken all the same: there are not more of them than of jobs that run.
 */
bool batch_is_full(struct server *s);
/* Before anything is changed for somebody: UNAVAILABLE when it is full; as server_is_stuck() says when nothing can be kept now. */
MUST_CHECK int batch_check_room(struct server *s, struct err *err);
/* Nobody was told yet of this attempt, and nobody will be. */
void batch_drop_effects(struct server *s, uint64_t epoch);
/* The effects of the batch that gathers, for core_apply(). */
struct effects *batch_effects(struct server *s);
/* Rows beside those of jobs, which the world lists by itself. */
void batch_add_node(struct server *s, uint64_t num);
void batch_add_queue(struct server *s, const char *name);
void batch_add_token(struct server *s, uint64_t num, bool removed);
void batch_add_blob(struct server *s, uint64_t num);
void batch_add_bytes(struct server *s, enum row_kind kind, uint64_t key, int64_t sub,
        const void *data, size_t len);
void batch_remove_row(struct server *s, enum row_kind kind, uint64_t key, int64_t sub);
/* The idempotency key of a request, of which job num was made; no key, no row. */
void batch_add_idem(struct server *s, const struct request *r, uint64_t num);
void batch_remove_idem(struct server *s, const struct request *r, uint64_t num);
/* The text of such a row, malloced, and its key. */
char *idem_text(const char *user, const char *key);
uint64_t idem_row_key(const char *text);
/* The blob is named now, or a job that names it ends now: it is kept for server.retain from here on. */
void batch_use_blob(struct server *s, uint64_t num);
/* End of a turn of the loop: plan, then hand over if the store is free. */
void batch_turn_end(void *server);
/* Timer: the store has not answered for too long, and still does not. */
void batch_is_late(void *server);
/* Timer: hands a batch that failed to the store again. */
void batch_retry(void *server);
void batch_pace(void *server);
bool batch_is_idle(const struct server *s); /* nothing gathered, nothing in flight */
void batch_init(struct server *s);
void batch_done(struct server *s);
