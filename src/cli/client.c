#include "cli/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/interrupt.h"
#include "cli/lock.h"
#include "plat/clock.h"

#define RETRY_FIRST_MS 20
#define RETRY_MOST_MS  500
#define SAY_AFTER_MS   1000
#define IDLE_MS        500
#define SILENT_MS      3000

struct client {
	struct target target;
	struct http *http; /* NULL: not connected */
	bool patient;
	bool said_away, said_silent;
	void (*on_idle)(void *data);
	void *on_idle_data;
};

int client_open(const struct cli *cli, struct client **ret_client, struct err *err)
{
	struct target t;
	int rc = target_find(cli, &t, err);

	if (rc)
		return rc;
	*ret_client = mem_zalloc(sizeof(**ret_client));
	(*ret_client)->target = t;
	return 0;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	http_free(c->http);
	target_done(&c->target);
	free(c);
}

void client_closep(struct client **c)
{
	client_close(*c);
	*c = NULL;
}

void client_be_patient(struct client *c)
{
	c->patient = true;
}

void client_on_idle(struct client *c, void (*fn)(void *data), void *data)
{
	c->on_idle = fn;
	c->on_idle_data = data;
}

bool client_is_remote(const struct client *c)
{
	return c->target.url != NULL;
}

const struct target *client_target(const struct client *c)
{
	return &c->target;
}

/* With an idle function, that one sees to interrupts. */
static bool is_interrupted(const struct client *c)
{
	return !c->on_idle && interrupt_count() > 1;
}

/* Nobody answers on the socket: what to say about it. */
static int explain_socket(const struct target *t, struct err *err)
{
	int sys = err->sys;

	if (sys == EACCES || sys == EPERM)
		return err_hint(err, "its mode and group are settings: socket.mode, socket.group");
	if (sys != ENOENT && sys != ECONNREFUSED && sys != ENOTDIR)
		return -(int)err->kind;
	if (!t->data_dir)
		return err_set(err, ERR_UNAVAILABLE, "no Berth answers on %s", t->socket);
	return err_set(err, ERR_UNAVAILABLE, "no Berth is running in %s", t->data_dir)
	               ? err_hint(err, "start one with: berth up -d")
	               : 0;
}

int client_connect_now(struct client *c, struct http **ret_http, struct err *err)
{
	const struct target *t = &c->target;
	struct channel *channel;
	int rc;

	if (t->url) {
		struct channel_remote r = {t->url, t->ca_path, t->pin_hex};
		rc = channel_open_remote(&r, &channel, err);
	} else {
		rc = channel_open_unix(t->socket, &channel, err);
	}
	if (rc)
		return t->url ? rc : explain_socket(t, err);
	*ret_http = http_new(channel, t->host, t->prefix, t->token);
	return 0;
}

bool client_wait(struct client *c, struct client_wait *w, const char *what)
{
	uint64_t now_ms = clock_mono_ms();
	struct lock_holder holder;

	if (!w->since_ms)
		*w = (struct client_wait){now_ms, RETRY_FIRST_MS};
	if (now_ms - w->since_ms >= (c->patient ? CLIENT_PATIENCE_MS : CLIENT_RESTART_MS))
		return false;
	if (is_interrupted(c))
		return false;
	if (!c->patient && (!c->target.data_dir || !lock_find_holder(c->target.data_dir, &holder)))
		return false;
	if (now_ms - w->since_ms >= SAY_AFTER_MS && !c->said_away) {
		c->said_away = true;
		cli_say("%s; waiting for it to come back", what ? what : "the server is away");
	}
	interrupt_poll(NULL, 0, w->delay_ms);
	if (c->on_idle)
		c->on_idle(c->on_idle_data);
	w->delay_ms = MIN(w->delay_ms * 2, RETRY_MOST_MS);
	return true;
}

int client_connect(struct client *c, struct http **ret_http, struct err *err)
{
	struct client_wait wait = {0};
	int rc;

	do
		rc = client_connect_now(c, ret_http, err);
	while (rc && err->kind == ERR_UNAVAILABLE && client_wait(c, &wait, NULL));
	return rc;
}

int client_refusal(struct http *h, struct err *err)
{
	int status = http_status(h);
	struct buf *body = http_body(h);
	CLEANUP_JSON json_t *answer = json_loadb((const char *)body->data, body->len, 0, NULL);
	json_t *e = json_object_get(answer, "error");
	const char *code = json_string_value(json_object_get(e, "code"));
	const char *message = json_string_value(json_object_get(e, "message"));
	const char *hint = json_string_value(json_object_get(e, "hint"));
	enum err_kind kind = code ? err_kind_find(code) : ERR_NONE;

	if (kind == ERR_NONE)
		kind = status == 401   ? ERR_UNAUTHENTICATED
		       : status == 403 ? ERR_FORBIDDEN
		       : status == 404 ? ERR_NOT_FOUND
		       : status == 503 ? ERR_UNAVAILABLE
		       : status < 500  ? ERR_INVALID
		                       : ERR_INTERNAL;
	int rc = message ? err_set(err, kind, "%s", message)
	                 : err_set(err, kind, "the server answered with status %d", status);
	if (hint)
		return err_hint(err, "%s", hint);
	if (kind == ERR_UNAUTHENTICATED)
		return err_hint(err, "put a token into BERTH_TOKEN; berth token create makes one");
	return rc;
}

static int client_step_for(struct client *c, struct http *h, int timeout_ms, struct err *err)
{
	int rc = http_step(h, c->on_idle ? IDLE_MS : timeout_ms, err);

	if (rc == 0 && c->on_idle)
		c->on_idle(c->on_idle_data);
	else if (rc == 0 && is_interrupted(c))
		return err_set(err, ERR_UNAVAILABLE, "interrupted");
	return rc;
}

int client_step(struct client *c, struct http *h, struct err *err)
{
	return client_step_for(c, h, -1, err);
}

/* Until `done` of the answer is there: its head, or all of it. */
static int step_until(
        struct client *c, struct http *h, bool (*done)(const struct http *h), struct err *err)
{
	while (!done(h)) {
		int rc = client_step(c, h, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Until the head of the answer is there; once, a person hears why nothing happens. */
static int await_head(struct client *c, const struct client_call *call, struct err *err)
{
	uint64_t since_ms = clock_mono_ms();

	while (!http_status(c->http)) {
		bool listens = call->waits || c->said_silent;
		int rc = client_step_for(c, c->http, listens ? -1 : IDLE_MS, err);
		if (rc < 0)
			return rc;
		if (listens || http_status(c->http) || clock_mono_ms() - since_ms < SILENT_MS)
			continue;
		c->said_silent = true;
		cli_say("the server does not answer; waiting for it (berth doctor tells more)");
	}
	return 0;
}

/* One try on the connection that is there, or on a new one; ret_lost: that it failed may pass. */
static int try_once(struct client *c, const struct client_call *call, const char *body,
        bool *ret_lost, struct err *err)
{
	CLEANUP_BUF struct buf headers = BUF_INIT(4096);
	struct http_request r = {.method = call->method,
	        .path = call->path,
	        .body = body,
	        .len = body ? strlen(body) : 0,
	        .type = body ? "application/json" : NULL};
	int rc;

	*ret_lost = true;
	if (c->http && !http_reusable(c->http)) {
		http_free(c->http);
		c->http = NULL;
	}
	if (!c->http) {
		rc = client_connect_now(c, &c->http, err);
		if (rc) {
			*ret_lost = err->kind == ERR_UNAVAILABLE || err->kind == ERR_TIMEOUT;
			return rc;
		}
	}
	if (call->idempotency_key) {
		buf_addf(&headers, "Idempotency-Key: %s\r\n", call->idempotency_key);
		r.headers = buf_str(&headers);
	}
	http_send(c->http, &r);
	rc = await_head(c, call, err);
	if (rc == 0 && http_status(c->http) >= 300) {
		rc = step_until(c, c->http, http_ended, err);
		if (rc == 0) {
			rc = client_refusal(c->http, err);
			*ret_lost = err->kind == ERR_UNAVAILABLE && !is_interrupted(c);
			return rc;
		}
	}
	*ret_lost = rc != 0 && !is_interrupted(c);
	return rc;
}

static int start(
        struct client *c, const struct client_call *call, const char *body, struct err *err)
{
	struct client_wait wait = {0};
	bool fresh, lost;

	for (;;) {
		fresh = !c->http;
		int rc = try_once(c, call, body, &lost, err);
		if (rc == 0)
			return 0;
		bool sent = c->http != NULL, refused = sent && http_status(c->http) >= 300;
		http_free(c->http);
		c->http = NULL;
		if (!lost || (sent && call->once && !call->idempotency_key))
			return rc;
		if (!fresh && !refused)
			continue; /* it was kept too long; a new one may do at once */
		if (!client_wait(c, &wait, refused ? err->text : NULL))
			return rc;
	}
}

int client_start(
        struct client *c, const struct client_call *call, struct http **ret_http, struct err *err)
{
	char *body = call->body ? json_dumps(call->body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	int rc = start(c, call, body, err);

	free(body);
	if (rc == 0)
		*ret_http = c->http;
	return rc;
}

/* The server says of /v1/server's own trouble under the same name: that is for doctor. */
static void say_if_old(const struct client_call *call, const json_t *answer)
{
	static bool was_said;
	const char *why = json_string_value(json_object_get(answer, "store_trouble"));

	if (!why || was_said || strcmp(call->path, "/v1/server") == 0)
		return;
	was_said = true;
	cli_say("only what is durable is shown, because %s; see: berth doctor", why);
}

int client_call(
        struct client *c, const struct client_call *call, json_t **ret_json, struct err *err)
{
	struct http *h;
	json_error_t where;
	json_t *answer = NULL;
	int rc = client_start(c, call, &h, err);

	if (rc)
		return rc;
	rc = step_until(c, h, http_ended, err);
	if (rc && !call->once && http_status(h)) {
		rc = client_start(c, call, &h, err);
		if (rc == 0)
			rc = step_until(c, h, http_ended, err);
	}
	if (rc)
		return rc;
	struct buf *b = http_body(h);
	if (b->len) {
		answer = json_loadb((const char *)b->data, b->len, JSON_DECODE_ANY, &where);
		if (!answer)
			return err_set(err, ERR_CORRUPT, "the server's answer is not JSON: %s",
			        where.text);
	}
	say_if_old(call, answer);
	if (ret_json)
		*ret_json = answer;
	else
		json_decref(answer);
	return 0;
}

int client_get(struct client *c, const char *path, json_t **ret_json, struct err *err)
{
	return client_call(c, &(struct client_call){.method = "GET", .path = path}, ret_json, err);
}

void client_add_encoded(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char u = (unsigned char)*s;
		if (isalnum(u) || strchr("-._~", u))
			buf_add_byte(b, u);
		else
			buf_addf(b, "%%%02X", u);
	}
}

void client_json_decrefp(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}
