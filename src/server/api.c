#include "server/api.h"
#include "server/batch.h"
#include "server/guard.h"
#include "server/kept.h"
#include "server/links.h"
#include "server/submit.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* What only looks, and can look at the world as the store has it. */
static const struct look {
	void (*route)(struct call *c), (*again)(struct call *c);
} looks[] = {
        {api_jobs_list, api_jobs_list},
        {api_job_show, api_job_show},
        {api_job_why, api_job_why},
        {api_job_wait, api_job_now},
        {api_devices, api_devices},
        {api_nodes, api_nodes},
        {api_queues, api_queues},
        {api_tokens, api_tokens},
};

struct route {
	enum net_method method;
	const char *path;
	void (*fn)(struct call *c);
	enum scope scope;
	const char *name;
};

static const struct route routes[] = {
#define ROUTE(method, path, handler, who, summary) \
	{NET_##method, path, api_##handler, SCOPE_##who, #handler},
#include "../../tables/routes.def"
#undef ROUTE
};

/* What may stand beside the path. */
static const struct param {
	const char *route, *place, *name;
} params[] = {
#define PARAM(handler, place, name, type, text) {#handler, place, name},
#include "../../tables/shapes.def"
};

/* Does the path fit the pattern; what stands for {x} goes to arg. */
static bool match(const char *pattern, const char *path, char *arg, size_t size)
{
	while (*pattern && *path) {
		if (*pattern == '{') {
			size_t n = strcspn(path, "/");
			if (n == 0 || n >= size)
				return false;
			memcpy(arg, path, n);
			arg[n] = '\0';
			path += n;
			pattern = strchr(pattern, '}') + 1;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*pattern && !*path;
}

static const struct route *find_route(
        const struct net_request *r, char *arg, size_t size, bool *ret_path_exists)
{
	*ret_path_exists = false;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!match(routes[i].path, net_request_path(r), arg, size))
			continue;
		*ret_path_exists = true;
		if (routes[i].method == net_request_method(r) ||
		        (routes[i].method == NET_GET && net_request_method(r) == NET_HEAD))
			return &routes[i];
	}
	return NULL;
}

static int check_scope(const struct caller *who, enum scope scope, struct err *err)
{
	static const char *const needs[] = {"anyone", "a user", "an administrator", "an agent"};

	if (scope == SCOPE_ANYONE)
		return 0;
	if (!who->is_known) {
		int rc = err_set(err, ERR_UNAUTHENTICATED, "a token is needed here");
		return rc ? err_hint(err,
		                    "send it as 'Authorization: Bearer TOKEN'; make one with: berth token create")
		          : rc;
	}
	if ((scope == SCOPE_ADMIN && who->role != ROLE_ADMIN) ||
	        (scope == SCOPE_USER && who->role == ROLE_AGENT) ||
	        (scope == SCOPE_AGENT && who->role == ROLE_USER))
		return err_set(err, ERR_FORBIDDEN, "%s is needed for this, and '%s' is not",
		        needs[scope], who->name);
	return 0;
}

static bool is_param(const struct param *p, const struct route *route, const char *key)
{
	if (strcmp(p->route, route->name) != 0 || strcmp(p->place, "query") != 0)
		return false;
	/* arg0 stands for arg1 and so on. */
	return strcmp(p->name, key) == 0 ||
	       (strcmp(p->name, "arg0") == 0 && strncmp(key, "arg", 3) == 0 && key[3] &&
	               strspn(key + 3, "0123456789") == strlen(key + 3));
}

static int refuse_query_key(const struct route *route, const char *key, struct err *err)
{
	CLEANUP_BUF struct buf known = BUF_INIT(KIB);
	int rc = err_set(err, ERR_UNKNOWN_KEY, "unknown key '%.60s' in the query", key);

	for (size_t i = 0; i < ARRAY_LEN(params); i++)
		if (is_param(&params[i], route, params[i].name))
			buf_addf(&known, "%s%s", known.len ? ", " : "", params[i].name);
	return rc && known.len ? err_hint(err, "known here: %s", buf_str(&known))
	       : rc            ? err_hint(err, "no key is known here")
	                       : rc;
}

/* Nothing that was asked for is passed over in silence. */
static int check_query(const struct route *route, const struct net_request *r, struct err *err)
{
	const char *key;

	for (unsigned n = 0; (key = net_request_query_key(r, n)) != NULL; n++) {
		size_t i = 0;
		while (i < ARRAY_LEN(params) && !is_param(&params[i], route, key))
			i++;
		if (i == ARRAY_LEN(params))
			return refuse_query_key(route, key, err);
	}
	return 0;
}

static void on_close(void *data, struct net_request *r)
{
	struct call *c = data;

	(void)r;
	c->r = NULL;
	LIST_REMOVE(c, link);
	if (c->on_gone)
		c->on_gone(c);
	call_drop(c);
}

static void begin_call(struct call *c, const struct route *route)
{
	struct err ignored;

	for (size_t i = 0; i < ARRAY_LEN(looks); i++)
		if (looks[i].route == route->fn)
			c->again = looks[i].again;
	/* Who waits is told by memory that there is something to look at. */
	if (c->again == route->fn && server_is_stuck(c->s, &ignored))
		kept_ask(c, route->fn);
	else
		route->fn(c);
}

void api_on_request(void *server, struct net_request *r)
{
	struct server *s = server;
	bool path_exists;
	char arg[sizeof(((struct call *)0)->arg)] = "";
	const struct route *route = find_route(r, arg, sizeof(arg), &path_exists);
	struct caller who = {0};
	struct err err;
	struct call *c;

	if (guard_check_origin(s->guard, r, &err)) {
		net_request_fail(r, &err);
		return;
	}
	if (!route) {
		if (path_exists)
			(void)!err_set(&err, ERR_METHOD, "%s does not take this method",
			        net_request_path(r));
		else
			(void)!err_set(&err, ERR_NOT_FOUND, "there is nothing at %.100s",
			        net_request_path(r));
		net_request_fail(r, &err);
		return;
	}
	if (guard_identify(s, r, &who, &err) || check_scope(&who, route->scope, &err) ||
	        check_query(route, r, &err)) {
		net_request_fail(r, &err);
		return;
	}
	c = talloc_zero(NULL, struct call);
	*c = (struct call){.s = s, .world = s->world, .r = r, .who = who, .ctx = c, .refs = 1};
	memcpy(c->arg, arg, sizeof(arg));
	LIST_INSERT_HEAD(&s->calls, c, link);
	net_request_on_close(r, on_close, c);
	begin_call(c, route);
}

void call_taken_over(struct call *c)
{
	LIST_REMOVE(c, link);
	c->r = NULL;
	call_drop(c);
}

void api_drop_token(struct server *s, uint64_t token, const char *why)
{
	struct call *c;
	struct err err;

	(void)!err_set(&err, ERR_UNAUTHENTICATED, "%s", why);
	LIST_FOREACH (c, &s->calls, link)
		if (c->who.token == token)
			net_request_fail(c->r, &err);
	consoles_drop_token(s, token, why);
	links_drop_token(s, token, why);
}

void call_hold(struct call *c)
{
	c->refs++;
}

void call_drop(struct call *c)
{
	if (--c->refs)
		return;
	kept_drop(c->kept);
	talloc_free(c);
}

/* Answers wait at the barrier. */
struct answer {
	struct call *c;
	bool is_read;
	bool is_new;             /* the job was made for it */
	const struct job_id *id; /* of this job alone; NULL: of more; on the call */
	int status;
	const char *type;
	char *body; /* malloc */
};

static bool is_durable(const struct server *s, const struct job_id *id)
{
	const struct job *j = id ? world_find_job(s->world, *id) : NULL;

	if (id && !j)
		j = world_find_job(s->world, (struct job_id){id->num, TASK_NONE});
	return j && !batch_has_job(s, j);
}

/* Early, and of something that is not durable. */
static void give_up_answer(struct server *s, struct answer *a, struct err *err)
{
	if (a->is_new)
		submit_withdraw(s, *a->id, err);
	if (a->is_read && a->c->again && a->c->r)
		kept_ask(a->c, a->c->again);
	else
		call_fail(a->c, err);
}

static void give_answer(struct server *s, void *data)
{
	struct answer *a = data;
	struct err err;

	if (server_is_stuck(s, &err) && (a->is_new || !is_durable(s, a->id)))
		give_up_answer(s, a, &err);
	else if (a->c->r)
		net_request_reply(a->c->r, a->status, a->type, a->body, strlen(a->body));
	free(a->body);
	call_drop(a->c);
	free(a);
}

static bool is_read(enum net_method m)
{
	return m == NET_GET || m == NET_HEAD;
}

static char *json_line(json_t *take_json)
{
	char *text = json_dumps(take_json, JSON_COMPACT | JSON_ENSURE_ASCII);
	size_t n = text ? strlen(text) : 0;

	json_decref(take_json);
	BUG_IF(!text);
	text = mem_realloc(text, n + 2, 1);
	memcpy(text + n, "\n", 2);
	return text;
}

/* What is from the store while memory is ahead of it says so. */
static char *shown_line(struct call *c, json_t *take_json)
{
	struct err why;

	if (c->kept && server_is_stuck(c->s, &why))
		json_object_set_new(take_json, "store_trouble", json_string(why.text));
	return json_line(take_json);
}

static struct answer *answer_new(struct call *c, int status, const char *type, char *take_body)
{
	struct answer *a = mem_zalloc(sizeof(*a));

	call_hold(c);
	*a = (struct answer){.c = c, .status = status, .type = type, .body = take_body};
	a->is_read = c->r && is_read(net_request_method(c->r));
	return a;
}

static void answer(struct answer *a)
{
	struct call *c = a->c;

	if (!c->kept) {
		(a->is_read ? batch_after_read : batch_after_change)(c->s, give_answer, a);
		return;
	}
	if (c->r)
		net_request_reply(c->r, a->status, a->type, a->body, strlen(a->body));
	free(a->body);
	free(a);
	call_drop(c);
}

void call_reply_json(struct call *c, int status, json_t *take_json)
{
	answer(answer_new(c, status, "application/json", shown_line(c, take_json)));
}

void call_reply_json_now(struct call *c, int status, json_t *take_json)
{
	char *text = json_line(take_json);

	if (c->r)
		net_request_reply(c->r, status, "application/json", text, strlen(text));
	free(text);
}

void call_reply_job(struct call *c, const struct job *j, json_t *take_json)
{
	struct answer *a = answer_new(c, 200, "application/json", shown_line(c, take_json));

	a->id = talloc_memdup(c->ctx, &j->id, sizeof(j->id));
	answer(a);
}

void call_reply_new_job(struct call *c, const struct job *j, json_t *take_json)
{
	struct answer *a = answer_new(c, 201, "application/json", json_line(take_json));

	a->id = talloc_memdup(c->ctx, &j->id, sizeof(j->id));
	a->is_new = true;
	answer(a);
}

void call_reply_text(struct call *c, int status, const char *type, const char *text)
{
	answer(answer_new(c, status, type, mem_strdup(text)));
}

void call_fail(struct call *c, const struct err *err)
{
	if (c->r)
		net_request_fail(c->r, err);
}

struct json_reader {
	struct call *c;
	const struct body_key *keys;
	void (*fn)(struct call *c, json_t *body);
};

static int check_body(json_t *body, const struct body_key *keys, struct err *err)
{
	const char *name;
	json_t *value;

	json_object_foreach(body, name, value)
	{
		const struct body_key *k = keys;
		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			return err_set(err, ERR_UNKNOWN_KEY, "unknown key '%.60s' here", name);
		if (k->is_bool ? !json_is_boolean(value)
		               : !json_is_string(value) && !json_is_object(value))
			return err_set(err, ERR_INVALID, "'%s' must be %s", name,
			        k->is_bool ? "true or false" : "of another form");
	}
	return 0;
}

static void on_json_body(void *data, struct net_request *r, const void *body, size_t len)
{
	struct json_reader *reader = data;
	json_error_t why;
	json_t *json = len ? json_loadb(body, len, JSON_REJECT_DUPLICATES, &why) : json_object();
	struct err err;

	(void)r;
	if (!json || !json_is_object(json)) {
		(void)!err_set(&err, ERR_INVALID, "the body is not a JSON object: %s",
		        json ? "something else stands there" : why.text);
		call_fail(reader->c, &err);
	} else if (reader->keys && check_body(json, reader->keys, &err)) {
		call_fail(reader->c, &err);
	} else {
		reader->fn(reader->c, json);
	}
	json_decref(json);
}

void call_read_json(
        struct call *c, const struct body_key *keys, void (*fn)(struct call *c, json_t *body))
{
	struct json_reader *reader = talloc(c->ctx, struct json_reader);

	*reader = (struct json_reader){c, keys, fn};
	net_request_read_all(c->r, c->s->conf->server_max_body_bytes, on_json_body, reader);
}

bool call_job_id(struct call *c, struct job_id *ret_id)
{
	struct err err;

	if (job_id_parse(c->arg, ret_id, &err)) {
		call_fail(c, &err);
		return false;
	}
	return true;
}

struct job_wait_for {
	struct call *c;
	struct job_id id;
	void (*fn)(struct call *c, struct job *j);
};

static void fail_no_job(struct call *c, struct job_id id)
{
	struct err err;
	char text[48];

	(void)!err_set(&err, ERR_NOT_FOUND, "job %s does not exist", job_id_format(id, text));
	(void)!err_hint(&err, "see what there is: berth ps -a");
	call_fail(c, &err);
}

struct job *call_find_job(struct call *c, struct job_id id)
{
	struct job *j = world_find_job(c->world, id);
	struct unstarted_task *t;

	if (j || id.task == TASK_NONE)
		return j;
	t = talloc(c->ctx, struct unstarted_task);
	if (world_find_unstarted(c->world, id, t))
		return &t->job;
	talloc_free(t);
	return NULL;
}

static void on_fetched(struct server *s, void *data, int rc, const struct err *err)
{
	struct job_wait_for *w = data;
	struct job *j = call_find_job(w->c, w->id);

	(void)s;
	if (w->c->r) {
		if (rc && err->kind != ERR_NOT_FOUND)
			call_fail(w->c, err);
		else if (j)
			w->fn(w->c, j);
		else
			fail_no_job(w->c, w->id);
	}
	call_drop(w->c);
}

/* Not in the world as the store has it: too new to be shown, or so long ended that it is read by itself. */
static bool may_fetch(struct call *c, struct job_id id, struct err *err)
{
	c->world = c->s->world;
	return !server_is_stuck(c->s, err) || (!call_find_job(c, id) && !c->s->store_is_slow);
}

void call_with_job(struct call *c, struct job_id id, void (*fn)(struct call *c, struct job *j))
{
	struct job *j = call_find_job(c, id);
	struct job_wait_for *w;
	struct err err;

	if (j) {
		fn(c, j);
		return;
	}
	if (!may_fetch(c, id, &err)) {
		call_fail(c, &err);
		return;
	}
	w = talloc(c->ctx, struct job_wait_for);
	*w = (struct job_wait_for){c, id, fn};
	call_hold(c);
	fetch_job(c->s, id, on_fetched, w);
}

bool caller_owns(const struct caller *who, const struct job *j)
{
	return who->role == ROLE_ADMIN || strcmp(who->account, j->req->user) == 0;
}

bool call_may_touch(struct call *c, const struct job *j)
{
	struct err err;
	char id[48];

	if (caller_owns(&c->who, j))
		return true;
	(void)!err_set(&err, ERR_FORBIDDEN, "job %s belongs to %s", job_id_format(j->id, id),
	        j->req->user);
	call_fail(c, &err);
	return false;
}
