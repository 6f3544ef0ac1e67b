/* Consoles of jobs (attach, exec): a WebSocket on one side, a stream of the node's link on the other. */
#include "server/batch.h"
#include "server/links.h"
#include "server/streams.h"
#include "base/num.h"

#include <string.h>
#include <talloc.h>

struct console {
	struct server *s;
	struct net_ws *ws;
	struct stream *stream;
	uint64_t owed;
	uint64_t typed; /* on its way to the job */
	uint64_t token; /* of who types */
	LIST_ENTRY(console) link;
};

static void console_send(struct console *k, enum console_frame frame, const void *bytes, size_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(CONSOLE_FRAME_MAX + 64);

	buf_add_byte(&b, (uint8_t)frame);
	buf_add(&b, bytes, len);
	k->owed += len;
	if (net_ws_send(k->ws, b.data, b.len, false) && k->owed >= LINK_WINDOW / 4) {
		stream_taken(k->stream, k->owed);
		k->owed = 0;
	}
}

static void console_frame_in(void *data, enum console_frame frame, const void *bytes, size_t len)
{
	console_send(data, frame, bytes, len);
}

static void console_stream_closed(void *data, enum err_kind kind, const char *text)
{
	struct console *k = data;

	k->stream = NULL;
	if (kind != ERR_NONE) {
		CLEANUP_BUF struct buf b = BUF_INIT(1024);
		buf_add_byte(&b, CONSOLE_ERROR);
		buf_addf(&b, "%.900s", text ? text : err_code(kind));
		(void)net_ws_send(k->ws, b.data, b.len, false);
	}
	net_ws_close(k->ws, 1000, "");
}

/* Typed faster than the job reads: the peer waits. */
static void console_taken(void *data, uint64_t bytes)
{
	struct console *k = data;

	k->typed -= MIN(k->typed, bytes);
	if (k->typed <= LINK_WINDOW / 2)
		net_ws_pause(k->ws, false);
}

static const struct stream_handlers console_stream_handlers = {
        .on_frame = console_frame_in, .on_taken = console_taken, .on_close = console_stream_closed};

static void console_message(
        void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct console *k = data;
	const uint8_t *p = bytes;

	(void)is_text;
	if (!len || !k->stream ||
	        (p[0] != CONSOLE_STDIN && p[0] != CONSOLE_STDIN_EOF && p[0] != CONSOLE_RESIZE))
		return;
	stream_send(k->stream, (enum console_frame)p[0], p + 1, len - 1);
	k->typed += len - 1;
	if (k->typed > LINK_WINDOW)
		net_ws_pause(ws, true);
}

static void console_drain(void *data, struct net_ws *ws)
{
	struct console *k = data;

	(void)ws;
	if (k->stream)
		stream_taken(k->stream, k->owed);
	k->owed = 0;
}

static void console_closed(void *data, struct net_ws *ws, const struct err *why)
{
	struct console *k = data;

	(void)ws;
	(void)why;
	stream_close(STEAL(k->stream));
	LIST_REMOVE(k, link);
	talloc_free(k);
}

void consoles_drop_token(struct server *s, uint64_t token, const char *why)
{
	struct console *k;

	LIST_FOREACH (k, &s->consoles, link)
		if (k->token == token)
			net_ws_close(k->ws, 4006, why);
}

static const struct net_ws_handlers console_handlers = {
        .on_message = console_message, .on_drain = console_drain, .on_close = console_closed};

/* The words of the query that are called `arg`, in their order. */
static char **args_of(struct call *c, uint32_t *ret_n)
{
	char **v = NULL;
	uint32_t n = 0;
	char key[24];
	const char *value;

	for (;; n++) {
		snprintf(key, sizeof(key), "arg%u", n);
		value = net_request_query(c->r, key);
		v = talloc_realloc(c->ctx, v, char *, n + 1);
		v[n] = NULL;
		if (!value)
			break;
		v[n] = talloc_strdup(v, value);
	}
	*ret_n = n;
	return v;
}

/* Of a terminal; what is not said stays. */
static int parse_size(struct call *c, const char *key, uint32_t *size, struct err *err)
{
	const char *text = net_request_query(c->r, key);
	uint64_t n = *size;

	if (text && num_parse_u64(text, 10000, &n, err))
		return err_wrap(err, "'%s'", key);
	*size = (uint32_t)n;
	return 0;
}

static void open_console(struct call *c, struct job *j, enum link_stream_kind kind)
{
	const struct attempt *a = job_attempt(j);
	struct link_stream_open o = {.kind = kind, .id = j->id, .rows = 24, .columns = 80};
	const char *text;
	struct console *k;
	struct err err;
	uint32_t n_args = 0;
	int rc = 0;

	if (!call_may_touch(c, j))
		return;
	if (!net_request_wants_ws(c->r))
		rc = err_set(&err, ERR_INVALID, "a terminal is a WebSocket");
	else if (!a)
		rc = err_set(&err, ERR_CONFLICT, "job %s does not run (%s)", c->arg,
		        strtab_name(job_state_names, j->state));
	else if (!links_has_node(c->s, a->node))
		rc = err_set(&err, ERR_UNAVAILABLE, "the job's node is not connected");
	if (rc) {
		call_fail(c, &err);
		return;
	}
	o.attempt = a->n;
	o.epoch = a->epoch;
	if (kind == LINK_STREAM_EXEC) {
		o.argv = args_of(c, &n_args);
		o.grant = talloc_strdup(c->ctx, net_request_query(c->r, "grant"));
	}
	o.tty = (text = net_request_query(c->r, "tty")) && strcmp(text, "0") != 0;
	if (parse_size(c, "rows", &o.rows, &err) || parse_size(c, "columns", &o.columns, &err)) {
		call_fail(c, &err);
		return;
	}
	if (kind == LINK_STREAM_EXEC && n_args == 0) {
		(void)!err_set(&err, ERR_INVALID, "exec needs a command: arg0, arg1, ...");
		call_fail(c, &err);
		return;
	}
	k = talloc_zero(NULL, struct console);
	k->s = c->s;
	if (net_request_accept_ws(c->r, "berth-console", &console_handlers, k, &k->ws, &err)) {
		call_fail(c, &err);
		talloc_free(k);
		return;
	}
	k->token = c->who.token;
	LIST_INSERT_HEAD(&c->s->consoles, k, link);
	k->stream = stream_open(c->s, a->node, &o, &console_stream_handlers, k);
	if (!k->stream)
		console_stream_closed(k, ERR_UNAVAILABLE, "the job's node is not connected");
	call_taken_over(c);
}

struct console_wait {
	struct call *c;
	struct job_id id;
	enum link_stream_kind kind;
};

static void console_start_is_sent(struct server *s, void *data)
{
	struct console_wait *w = data;
	struct call *c = w->c;
	struct job *j = world_find_job(s->world, w->id);

	struct err err;

	if (c->r && j) {
		open_console(c, j, w->kind);
	} else {
		(void)!err_set(&err, ERR_CONFLICT, "job %s has ended", c->arg);
		call_fail(c, &err);
	}
	call_drop(c);
}

/* The agent knows an attempt by its START, which must go before. */
static void begin_console(struct call *c, struct job *j, enum link_stream_kind kind)
{
	const struct attempt *a = job_attempt(j);
	struct console_wait *w;

	if (!a || a->started_ms) {
		open_console(c, j, kind);
		return;
	}
	w = talloc(c->ctx, struct console_wait);
	*w = (struct console_wait){c, j->id, kind};
	call_hold(c);
	batch_after(c->s, console_start_is_sent, w);
}

static void begin_attach(struct call *c, struct job *j)
{
	begin_console(c, j, LINK_STREAM_ATTACH);
}

static void begin_exec(struct call *c, struct job *j)
{
	begin_console(c, j, LINK_STREAM_EXEC);
}

void api_job_attach(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, begin_attach);
}

void api_job_exec(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, begin_exec);
}
