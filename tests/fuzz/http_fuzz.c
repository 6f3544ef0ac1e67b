/*
 * Whole exchanges with a server, on connections without a socket. The first byte says where the bytes are cut; what the
 * handlers see must be the same as when all comes at once, or two readers would see two requests where one was sent.
 */
#include <string.h>
#include <strings.h>

#include "fuzz.h"
#include "base/text.h"
#include "plat/loop_priv.h"
#include "plat/net_http.h"

#define BODY_MAX  512
#define HEAD_MAX  1024
#define SETTLINGS 16

/* What the handlers saw, one exchange after the other. */
static struct buf seen = {.max = 16 * MIB}, first = {.max = 16 * MIB};
static struct buf streamed = {.max = 16 * MIB};
static unsigned n_requests, n_closed, n_accepted;
static struct loop *loop;
static struct net_server *server;

static void on_close(void *data, struct net_request *r)
{
	n_closed++;
}

static void on_whole(void *data, struct net_request *r, const void *body, size_t len)
{
	const size_t *max = data;

	FUZZ_MUST(len <= *max);
	buf_addf(&seen, "body %zu:", len);
	buf_add(&seen, body, len);
	net_request_reply(r, 200, "text/plain", body, len);
}

static void on_data(void *data, struct net_request *r, const void *bytes, size_t len)
{
	buf_add(&streamed, bytes, len);
	if (len)
		return;
	buf_addf(&seen, "stream %zu:", streamed.len);
	buf_add(&seen, streamed.data, streamed.len);
	net_request_reply(r, 200, "text/plain", "", 0);
}

static void on_line(void *data, struct net_request *r, const void *bytes, size_t len)
{
	if (len) {
		net_request_send(r, bytes, len);
		return;
	}
	buf_add_str(&seen, "lines");
	net_request_end(r);
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	FUZZ_MUST(len <= HEAD_MAX);
	FUZZ_MUST(!is_text || text_is_utf8(bytes, len));
	buf_addf(&seen, "message %d %zu:", is_text, len);
	buf_add(&seen, bytes, len);
	net_ws_send(ws, bytes, len, is_text);
}

static void on_ws_close(void *data, struct net_ws *ws, const struct err *why)
{
	n_closed++;
}

static void accept_ws(struct net_request *r)
{
	static const struct net_ws_handlers handlers = {
	        .on_message = on_message, .on_close = on_ws_close};
	struct net_ws *ws;
	struct err err;
	int rc;

	fuzz_err_init(&err);
	rc = net_request_accept_ws(r, NULL, &handlers, NULL, &ws, &err);
	if (rc == 0) {
		n_accepted++;
		return;
	}
	fuzz_err_check(rc, &err);
	net_request_fail(r, &err);
}

static void check_head(const struct net_request *r)
{
	const char *path = net_request_path(r);

	FUZZ_MUST(*path == '/' && !strstr(path, "/../") && !strstr(path, "//"));
	FUZZ_MUST(text_is_utf8(path, strlen(path)) && !text_has_control(path, strlen(path)));
	FUZZ_MUST(r->head.n_fields <= HEAD_FIELDS_MAX);
	FUZZ_MUST(!(r->head.is_chunked && r->head.has_length));
	FUZZ_MUST(r->head.minor == 0 || net_request_header_in(r, "host"));
	for (unsigned i = 0; i < r->head.n_fields; i++) {
		buf_addf(&seen, "%s:%s\n", r->head.fields[i].name, r->head.fields[i].value);
		FUZZ_MUST(!strpbrk(r->head.fields[i].value, "\r\n"));
	}
}

static void on_request(void *data, struct net_request *r)
{
	static const size_t body_max = BODY_MAX, small_max = 10;
	const char *path = net_request_path(r), *key;

	n_requests++;
	buf_addf(&seen, "\n%d %s ", (int)net_request_method(r), path);
	for (unsigned i = 0; (key = net_request_query_key(r, i)); i++)
		buf_addf(&seen, "%s&", key);
	check_head(r);
	buf_reset(&streamed);
	net_request_on_close(r, on_close, NULL);
	if (strcmp(path, "/e") == 0) {
		net_request_read_all(r, 0, on_whole, (void *)(uintptr_t)&body_max);
	} else if (strcmp(path, "/s") == 0) {
		net_request_read_all(r, small_max, on_whole, (void *)(uintptr_t)&small_max);
	} else if (strcmp(path, "/c") == 0) {
		net_request_read_stream(r, on_data, NULL);
	} else if (strcmp(path, "/l") == 0) {
		net_request_begin(r, 200, "application/x-ndjson");
		net_request_read_stream(r, on_line, NULL);
	} else if (strcmp(path, "/w") == 0) {
		accept_ws(r);
	} else if (strcmp(path, "/n") != 0) {
		net_request_header(r, "X-Saw", path);
		net_request_reply(r, 200, "text/plain", path, strlen(path));
	}
}

static void start(void)
{
	static const struct net_handlers handlers = {.on_request = on_request};
	static const struct net_limits limits = {
	        .head_bytes = HEAD_MAX, .body_bytes = BODY_MAX, .ws_message_bytes = HEAD_MAX};
	struct err err;

	FUZZ_MUST(loop_new(&loop, &err) == 0);
	FUZZ_MUST(net_server_new(loop, &limits, &handlers, NULL, &server, &err) == 0);
}

/* One connection from its first byte to its end. cut 0: all at once. */
static void converse(const uint8_t *data, size_t size, size_t cut)
{
	struct conn *c = server_conn_new_socketless(server);

	buf_reset(&seen);
	n_requests = n_closed = n_accepted = 0;
	for (size_t at = 0, n; at < size && !c->is_closing; at += n) {
		n = MIN(cut ? 1 + (cut + at * 7) % cut : size, size - at);
		conn_feed(c, data + at, n);
		conn_settle(c);
	}
	for (unsigned i = 0; i < SETTLINGS; i++)
		conn_settle(c);
	conn_lose(c, NULL);
	uv_run(loop_uv(loop), UV_RUN_NOWAIT);
	FUZZ_MUST(n_closed == n_requests);
	FUZZ_MUST(n_accepted <= n_requests);
	FUZZ_MUST(!seen.overflow);
}

/* A peer that waits for 100 Continue and gets an answer instead may be told to go before its body has come. */
static bool may_end_early(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + 6 <= size; i++)
		if (strncasecmp((const char *)data + i, "expect", 6) == 0)
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = fuzz_byte(&data, &size);

	if (!loop)
		start();
	converse(data, size, 0);
	buf_reset(&first);
	buf_add(&first, seen.data, seen.len);
	converse(data, size, 1 + cut);
	if (may_end_early(data, size))
		first.len = seen.len = MIN(first.len, seen.len);
	FUZZ_MUST(fuzz_is_same(&first, &seen));
	return 0;
}
