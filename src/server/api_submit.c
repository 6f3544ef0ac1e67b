/* POST /v1/jobs: one job, or one per line while the lines still come; POST /v1/environments. */
#include "server/batch.h"
#include "server/submit.h"
#include "server/view.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

/* One job. */

struct single {
	struct call *c;
	json_t *json;
	bool fetched; /* the last round brought something; the same id again means that it does not exist */
	bool key_was_fetched;
	struct job_id last;
};

static void single_try(struct single *one);

static void single_fetched(struct server *s, void *data, int rc, const struct err *err)
{
	struct single *one = data;

	(void)s;
	if (!one->c->r) {
		json_decref(one->json);
	} else if (rc && err->kind != ERR_NOT_FOUND) {
		call_fail(one->c, err);
		json_decref(one->json);
	} else {
		single_try(one);
	}
	call_drop(one->c);
}

static void no_dep(struct job_id id, struct err *err)
{
	char text[48];

	(void)!err_set(err, ERR_NOT_FOUND, "job %s, which is depended on, does not exist",
	        job_id_format(id, text));
}

static void single_try(struct single *one)
{
	struct call *c = one->c;
	struct submitted out;
	struct err err;
	json_t *o;

	const struct submit_with with = {
	        net_request_header_in(c->r, "Idempotency-Key"), one->key_was_fetched};

	if (submit_one(c->s, &c->who, one->json, &with, &out, &err)) {
		call_fail(c, &err);
	} else if (out.fetch_key) {
		one->key_was_fetched = true;
		call_hold(c);
		fetch_key(c->s, out.fetch_key, single_fetched, one);
		return;
	} else if (out.fetch.num && one->fetched && job_id_eq(out.fetch, one->last)) {
		no_dep(out.fetch, &err);
		call_fail(c, &err);
	} else if (out.fetch.num) {
		one->fetched = true;
		one->last = out.fetch;
		call_hold(c);
		fetch_job(c->s, out.fetch, single_fetched, one);
		return;
	} else if (out.dry_run) {
		call_reply_json(c, 200, out.dry_run);
	} else {
		o = view_job(c->s, c->world, out.job);
		json_object_set_new(o, "resolved", view_resolved(c->world, &out.job->req->gpu));
		if (out.is_repeat)
			call_reply_job(c, out.job, o);
		else
			call_reply_new_job(c, out.job, o);
	}
	json_decref(one->json);
}

static void on_single(struct call *c, json_t *body)
{
	struct single *one = talloc_zero(c->ctx, struct single);

	one->c = c;
	one->json = json_incref(body);
	single_try(one);
}

/* Lines. Answers go out in the order of the lines: each batch of lines is answered when it is durable. */

#define ANSWER_MAX (1 * MIB)

/* A job that a line stands for, and where in the answers that is said. */
struct line_job {
	uint64_t line;
	struct job_id id;
	size_t at;
	bool is_repeat; /* another one made it */
};

struct lines {
	struct call *c;
	struct buf in;      /* the line that is not whole yet */
	struct buf answers; /* of the lines since the last barrier */
	struct line_job *made;
	uint32_t n_made, cap_made;
	uint64_t line;
	unsigned unsent; /* pieces at the barrier */
	bool ended;
	/* the rest of `in` waits: */
	bool waiting;   /* for a fetch */
	bool is_late;   /* for the store, which has too much to do */
	bool is_unread; /* for the peer, who does not take the answers */
	bool begun;
	bool refused; /* a line was too large: what follows is not looked at */
	struct job_id last_fetch;
	bool key_was_fetched; /* of the line that is next */
};

struct piece {
	struct lines *l;
	struct buf bytes;
	struct line_job *made;
	uint32_t n_made;
};

static int lines_free(struct lines *l)
{
	buf_done(&l->in);
	buf_done(&l->answers);
	free(l->made);
	return 0;
}

static void lines_finish(struct lines *l)
{
	if (l->c->r && l->ended && !l->waiting && !l->unsent && !l->in.len && !l->answers.len)
		net_request_end(l->c->r);
}

static bool must_wait(const struct lines *l)
{
	return l->waiting || l->is_late || l->is_unread;
}

static void lines_pace(struct lines *l)
{
	if (l->c->r)
		net_request_pause(l->c->r, must_wait(l) || l->unsent >= 4);
}

static void add_error(struct buf *b, uint64_t line, const struct err *err);

/* It does not become durable in time: the jobs that these lines made are withdrawn, and the answers are errors. */
static void withdraw(struct server *s, struct piece *p)
{
	struct buf all = BUF_INIT(256 * MIB);
	struct err why;
	size_t at = 0;

	for (uint32_t i = 0; i < p->n_made && server_is_stuck(s, &why); i++) {
		const struct line_job *m = &p->made[i];
		const uint8_t *end = memchr(p->bytes.data + m->at, '\n', p->bytes.len - m->at);

		if (!m->is_repeat)
			submit_withdraw(s, m->id, &why);
		buf_add(&all, p->bytes.data + at, m->at - at);
		add_error(&all, m->line, &why);
		at = (size_t)(end - p->bytes.data) + 1;
	}
	buf_add(&all, p->bytes.data + at, p->bytes.len - at);
	buf_done(&p->bytes);
	p->bytes = all;
}

static void lines_send(struct server *s, void *data)
{
	struct piece *p = data;
	struct lines *l = p->l;
	struct err ignored;

	l->unsent--;
	if (server_is_stuck(s, &ignored))
		withdraw(s, p);
	if (l->c->r) {
		l->is_unread |= !net_request_send(l->c->r, p->bytes.data, p->bytes.len);
		lines_pace(l);
		lines_finish(l);
	}
	buf_done(&p->bytes);
	call_drop(l->c);
	free(p->made);
	free(p);
}

/* What was answered since the last time goes to the barrier. */
static void lines_push(struct lines *l)
{
	struct piece *p;

	if (!l->answers.len)
		return;
	p = mem_zalloc(sizeof(*p));
	p->l = l;
	p->bytes = l->answers;
	l->answers = BUF_INIT(64 * MIB);
	p->made = STEAL(l->made);
	p->n_made = l->n_made;
	l->n_made = l->cap_made = 0;
	l->unsent++;
	call_hold(l->c);
	lines_pace(l);
	batch_after_change(l->c->s, lines_send, p);
}

static void add_error(struct buf *b, uint64_t line, const struct err *err)
{
	json_t *o = json_pack("{s:{s:s, s:s}, s:I}", "error", "code", err_code(err->kind),
	        "message", err->text, "line", (json_int_t)line);
	char *text;

	if (!o)
		o = json_pack("{s:{s:s, s:s}, s:I}", "error", "code", err_code(err->kind),
		        "message", "not UTF-8", "line", (json_int_t)line);
	if (err->hint[0])
		json_object_set_new(json_object_get(o, "error"), "hint", json_string(err->hint));
	text = json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);
	buf_add_str(b, text);
	buf_add_byte(b, '\n');
	free(text);
	json_decref(o);
}

static void line_error(struct lines *l, const struct err *err)
{
	add_error(&l->answers, l->line, err);
}

static void lines_work(struct lines *l);

static void line_fetched(struct server *s, void *data, int rc, const struct err *err)
{
	struct lines *l = data;

	(void)s;
	(void)rc;
	(void)err;
	l->waiting = false;
	if (l->c->r) {
		lines_pace(l);
		lines_work(l);
	}
	call_drop(l->c);
}

static void line_wait(struct lines *l)
{
	l->waiting = true;
	lines_pace(l);
	call_hold(l->c);
}

/* False: the line must wait for a fetch and come again. */
static bool line_submit(struct lines *l, const char *text, size_t len)
{
	json_error_t why;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	struct submitted out = {0};
	struct err err;
	char id[48];
	int rc;

	if (!json)
		rc = err_set(&err, ERR_INVALID, "line %llu is not JSON: %s",
		        (unsigned long long)l->line, why.text);
	else
		rc = submit_one(l->c->s, &l->c->who, json,
		        &(struct submit_with){NULL, l->key_was_fetched}, &out, &err);
	json_decref(json);
	if (rc == 0 && out.fetch_key) {
		l->key_was_fetched = true;
		line_wait(l);
		fetch_key(l->c->s, out.fetch_key, line_fetched, l);
		return false;
	}
	if (rc == 0 && out.fetch.num) {
		if (!job_id_eq(out.fetch, l->last_fetch)) {
			l->last_fetch = out.fetch;
			line_wait(l);
			fetch_job(l->c->s, out.fetch, line_fetched, l);
			return false;
		}
		no_dep(out.fetch, &err);
		rc = -1;
	}
	if (rc) {
		line_error(l, &err);
	} else if (out.dry_run) {
		char *dumped = json_dumps(out.dry_run, JSON_COMPACT);
		buf_addf(&l->answers, "%s\n", dumped);
		free(dumped);
		json_decref(out.dry_run);
	} else {
		MEM_GROW(l->made, l->n_made, l->cap_made);
		l->made[l->n_made++] =
		        (struct line_job){l->line, out.job->id, l->answers.len, out.is_repeat};
		buf_addf(&l->answers, "{\"id\":\"%s\"}\n", job_id_format(out.job->id, id));
	}
	return true;
}

static void lines_in_time(struct server *s, void *data)
{
	struct lines *l = data;

	(void)s;
	l->is_late = false;
	if (l->c->r) {
		lines_pace(l);
		lines_work(l);
	}
	call_drop(l->c);
}

/* While the store is in trouble, lines are refused instead. */
static bool wait_for_room(struct lines *l)
{
	struct err ignored;

	if (server_is_stuck(l->c->s, &ignored) || !batch_is_full(l->c->s))
		return false;
	l->is_late = true;
	lines_pace(l);
	call_hold(l->c);
	batch_after_change(l->c->s, lines_in_time, l);
	return true;
}

static void lines_drained(void *data, struct net_request *r)
{
	struct lines *l = data;

	(void)r;
	l->is_unread = false;
	lines_pace(l);
	lines_work(l);
}

/* Every whole line that is there. */
static void lines_work(struct lines *l)
{
	size_t at = 0;

	while (!must_wait(l) && at < l->in.len && !wait_for_room(l)) {
		const char *from = (const char *)l->in.data + at;
		const char *nl = memchr(from, '\n', l->in.len - at);
		size_t len = nl ? (size_t)(nl - from) : l->in.len - at;
		if (!nl && !l->ended)
			break;
		l->line++;
		if (strspn(from, " \t\r") < len && !line_submit(l, from, len)) {
			l->line--;
			break;
		}
		l->last_fetch = (struct job_id){0};
		l->key_was_fetched = false;
		at += len + (nl ? 1 : 0);
		if (l->answers.len > ANSWER_MAX)
			lines_push(l);
	}
	buf_consume(&l->in, at);
	lines_push(l);
	lines_finish(l);
}

static void on_lines(void *data, struct net_request *r, const void *bytes, size_t len)
{
	struct lines *l = data;
	struct err err;

	if (!l->begun) {
		net_request_begin(r, 200, "application/x-ndjson");
		l->begun = true;
	}
	if (l->refused)
		return;
	if (len == 0)
		l->ended = true;
	buf_add(&l->in, bytes, len);
	if (l->in.overflow) {
		(void)!err_set(&err, ERR_TOO_LARGE, "line %llu is larger than a line may be",
		        (unsigned long long)l->line + 1);
		l->line++;
		line_error(l, &err);
		buf_reset(&l->in);
		l->ended = l->refused = true;
		lines_push(l);
		return;
	}
	/* buf_str: the bytes end in NUL, so that no scan runs past them. */
	(void)buf_str(&l->in);
	lines_work(l);
}

void api_jobs_submit(struct call *c)
{
	const char *type = net_request_header_in(c->r, "Content-Type");
	struct lines *l;

	if (!type || strncmp(type, "application/x-ndjson", 20) != 0) {
		call_read_json(c, NULL, on_single);
		return;
	}
	l = talloc_zero(c->ctx, struct lines);
	talloc_set_destructor(l, lines_free);
	l->c = c;
	l->in = BUF_INIT(c->s->conf->server_max_body_bytes + 64 * KIB);
	l->answers = BUF_INIT(64 * MIB);
	net_request_on_drain(c->r, lines_drained, l);
	net_request_read_stream(c->r, on_lines, l);
}

static void on_environment(struct call *c, json_t *body)
{
	uint64_t num;
	struct err err;
	char id[SUBMIT_ENV_NAME];

	if (submit_keep_env(c->s, json_object_get(body, "environment"), &num, &err)) {
		call_fail(c, &err);
		return;
	}
	submit_name_env(c->s, num, id);
	call_reply_json(c, 201, json_pack("{s:i, s:s}", "schema", 1, "environment", id));
}

void api_environments(struct call *c)
{
	static const struct body_key keys[] = {{"environment", false}, {0}};

	call_read_json(c, keys, on_environment);
}
