/*
 * How the world looks from outside: JSON in the shapes of doc/http.md. Pure but for jansson; new references are returned.
 */
#pragma once

#include "server/api.h"

json_t *view_job(const struct server *s, const struct world *w, const struct job *j);
/* The same with request, transitions and attempts; env only for those who may see it. */
json_t *view_job_whole(
        const struct server *s, const struct world *w, const struct job *j, bool with_env);
/* Why it waits, or why it ended. */
json_t *view_reasons(const struct server *s, const struct world *w, const struct job *j);
/* view_why.c: everything about its wait; and of a request that is not submitted, where it would run, and when. */
json_t *view_why(const struct server *s, const struct world *w, const struct job *j);
json_t *view_dry_run(const struct server *s, const struct request *r);
json_t *view_device(const struct node *n, const struct device *d, uint32_t place);
json_t *view_node(const struct server *s, const struct node *n);
json_t *view_queue(const struct conf *conf, const struct queue *q); /* view_queue.c */
json_t *view_token(const struct token *t);
/* What a request with GPUs comes to on each model that is there. */
json_t *view_resolved(const struct world *w, const struct gpu_ask *ask);
json_t *view_time(int64_t wall_ms);  /* null for 0 */
json_t *view_list(const char *text); /* "a,b" as a list */
