/*
 * One HTTP exchange inside the server: who calls, and how an answer is given. tables/routes.def names the handlers;
 * each is `void api_NAME(struct call *c)` in the file of its noun (api_jobs.c, api_nodes.c, ...).
 * A call is counted: it lives while its request does, and while somebody holds it for later. Loop thread.
 */
#pragma once

#include "server/server.h"

#include <jansson.h>

enum scope { SCOPE_ANYONE, SCOPE_USER, SCOPE_ADMIN, SCOPE_AGENT };

struct caller {
	enum role role;
	bool is_known; /* false: only ANYONE's routes */
	bool over_socket;
	uint32_t uid; /* over the socket */
	uint32_t gid;
	char name[64];    /* account over the socket, "token:NAME" otherwise */
	char account[64]; /* what its jobs run as */
	uint64_t token;   /* its num; 0: over the socket */
	char node[64];    /* of an agent's token: the only one that it may join as, or "" */
};

struct call {
	struct server *s;
	struct world *world; /* what is shown: the server's own, or the one that the store has */
	struct kept *kept;   /* then that, or NULL */
	void (*again)(struct call *c); /* asks kept->world the same; NULL: it cannot be asked */
	struct net_request *r;         /* NULL: the peer has gone */
	struct caller who;
	char arg[128]; /* what stood for {id} or {name} */
	void *ctx;     /* talloc, lives as long as the call */
	unsigned refs;
	void (*on_gone)(struct call *c); /* the peer has gone before the end, or NULL */
	void *data;
	LIST_ENTRY(call) link; /* of its server, while the peer is there */
};

void api_on_request(void *server, struct net_request *r);

/* Every exchange, terminal and link of this token ends now. */
void api_drop_token(struct server *s, uint64_t token, const char *why);
/* expiry.c: the same for tokens that have ended; a timer, to be called when there is a new one, too. */
void expiry_look(void *server);

void call_hold(struct call *c);
void call_drop(struct call *c);
void call_taken_over(struct call *c); /* by a WebSocket: instead of the last call_drop */

/* Answers, released when everything that happened before is durable. */
void call_reply_json(struct call *c, int status, json_t *take_json);
/* Of one job: when nothing becomes durable it is shown all the same if it is so already. */
void call_reply_job(struct call *c, const struct job *j, json_t *take_json);
/* Of one that was made by this call: when that does not become durable in time it is withdrawn, and the call fails. */
void call_reply_new_job(struct call *c, const struct job *j, json_t *take_json);
/* Not held back: for what says nothing about jobs. */
void call_reply_json_now(struct call *c, int status, json_t *take_json);
void call_reply_text(struct call *c, int status, const char *type, const char *text);
void call_fail(struct call *c, const struct err *err);
/* What a small body may say; the end of a list has no name. */
struct body_key {
	const char *name;
	bool is_bool; /* else a string */
};
/*
 * The body as JSON ({} when empty), then fn; the json is released after it. Malformed, or with a key that is not in keys or
 * not of its type: answered here. keys NULL: fn looks at the keys itself.
 */
void call_read_json(
        struct call *c, const struct body_key *keys, void (*fn)(struct call *c, json_t *body));
/* The {id} of the path; answered here when it is none. */
bool call_job_id(struct call *c, struct job_id *ret_id);
/* In c->world; or a task that has not become a job of its own, as if it had, as long as the call. NULL: neither. */
struct job *call_find_job(struct call *c, struct job_id id);
/* The same, brought back from the store when it has left memory; fn is not called when there is none (answered 404). */
void call_with_job(struct call *c, struct job_id id, void (*fn)(struct call *c, struct job *j));
/* Own jobs and administrators only; answered here otherwise. */
bool call_may_touch(struct call *c, const struct job *j);
bool caller_owns(const struct caller *who, const struct job *j);

/* api_jobs.c: the job as it is, without waiting */
void api_job_now(struct call *c);

/* auth.c */
MUST_CHECK int auth_identify(
        const struct server *s, const struct net_request *r, struct caller *ret, struct err *err);
void auth_token_hash(const char *secret, uint8_t out[32]);
void auth_token_make(char out_secret[64]);
MUST_CHECK int auth_account_of_uid(uint32_t uid, char *out, size_t size, struct err *err);
MUST_CHECK int auth_uid_of_account(
        const char *name, uint32_t *ret_uid, uint32_t *ret_gid, struct err *err);

/* Patterns of accounts, and of the names of their groups as @GROUP; gid: the account's own. */
bool auth_is_among(const struct conf_list *patterns, const char *account, uint32_t gid);

/* api_console.c */
void consoles_drop_token(struct server *s, uint64_t token, const char *why);

/* fetch.c: an ended job out of the store into the world; done(found) later on the loop. */
typedef void fetch_fn(struct server *s, void *data, int rc, const struct err *err);
void fetch_job(struct server *s, struct job_id id, fetch_fn *done, void *data);
/* The job that an idempotency key stands for; take_text is that of its row (batch.h), NOT_FOUND when the key is new. */
void fetch_key(struct server *s, char *take_text, fetch_fn *done, void *data);

#define ROUTE(method, path, handler, who, summary) void api_##handler(struct call *c);
#include "../../tables/routes.def"
#undef ROUTE
