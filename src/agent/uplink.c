#include "agent/uplink.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>

#include "base/mem.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "plat/net.h"

#define RETRY_MIN_MS 20
#define RETRY_MAX_MS 1000
#define TOKEN_MAX    4096

struct uplink {
	struct loop *loop;
	struct outbox *outbox;
	struct uplink_options o;
	struct net_ws *ws; /* NULL: none, nor one that is being made */
	struct loop_timer *retry;
	uint64_t retry_ms;
	bool is_finished;
	char last_why[200]; /* so that a server that is away is told of once */
};

static void connect_later(struct uplink *u)
{
	loop_timer_start(u->retry, u->retry_ms, 0);
	u->retry_ms = MIN(u->retry_ms * 2, RETRY_MAX_MS);
}

static void log_once(struct uplink *u, const char *why)
{
	if (strncmp(u->last_why, why, sizeof(u->last_why) - 1) == 0)
		return;
	snprintf(u->last_why, sizeof(u->last_why), "%s", why);
	log_warn("link.down", "url=\"%s\" why=\"%s\"", u->o.url, why);
}

/* Sending */

static void flush(struct uplink *u)
{
	const struct buf *b = &u->outbox->buf;
	size_t at = 0;

	if (!u->outbox->is_open || !b->len)
		return;
	if (b->overflow) {
		uplink_restart(u, "more was to be said than the outbox holds");
		return;
	}
	while (at < b->len) {
		size_t n = link_piece(b->data + at, b->len - at);

		(void)!net_ws_send(u->ws, b->data + at, n, false);
		at += n;
	}
	buf_reset(&u->outbox->buf);
	/* After a HELLO of a thousand attempts the memory is not needed any more. */
	if (b->cap > MIB)
		buf_done(&u->outbox->buf);
}

static void on_turn_end(void *data)
{
	flush(data);
}

/* The connection */

static void on_open(void *data, struct net_ws *ws)
{
	struct uplink *u = data;

	u->outbox->is_open = true;
	buf_reset(&u->outbox->buf);
	u->last_why[0] = '\0';
	log_info("link.open", "url=\"%s\"", u->o.url);
	u->o.on_open(u->o.data);
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct uplink *u = data;
	const uint8_t *p = bytes, *end = p + len;
	struct link_message m;
	struct err err;
	int rc = 1;

	while (rc > 0) {
		void *ctx = talloc_new(NULL);

		/* What one message says may break the link. */
		rc = u->outbox->is_open ? link_next(&p, end, ctx, &m, &err) : 0;
		if (rc > 0)
			u->o.on_message(u->o.data, &m);
		talloc_free(ctx);
	}
	if (rc < 0)
		uplink_restart(u, err.text);
}

static void close_down(struct uplink *u)
{
	bool was_open = u->outbox->is_open;

	u->outbox->is_open = false;
	if (was_open)
		u->o.on_close(u->o.data);
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct uplink *u = data;

	u->ws = NULL;
	if (!u->is_finished)
		log_once(u, why->kind == ERR_NONE ? "closed by the server" : why->text);
	close_down(u);
	if (u->is_finished)
		u->o.on_gone(u->o.data);
	else
		connect_later(u);
}

/* The token's file ends in a line break, as files do. */
static int read_token(const char *path, struct buf *b, struct err *err)
{
	int rc = fs_read(path, b, err);

	if (rc < 0)
		return rc;
	while (b->len && strchr(" \t\r\n", b->data[b->len - 1]))
		b->len--;
	buf_str(b);
	return b->len ? 0 : err_set(err, ERR_INVALID, "token file '%s' is empty", path);
}

static void on_retry(void *data)
{
	static const struct net_ws_handlers handlers = {
	        .on_open = on_open,
	        .on_message = on_message,
	        .on_close = on_close,
	};
	CLEANUP_BUF struct buf token = BUF_INIT(TOKEN_MAX);
	struct uplink *u = data;
	struct net_ws_options o = {
	        .url = u->o.url,
	        .protocol = "berth-link-1",
	        .ca_path = u->o.ca_path,
	        .pin_sha256_hex = u->o.pin_hex,
	};
	struct err err;
	int rc = 0;

	if (u->o.token_file) {
		rc = read_token(u->o.token_file, &token, &err);
		o.bearer = buf_str(&token);
	}
	if (rc == 0)
		rc = net_ws_connect(u->loop, &o, &handlers, u, &u->ws, &err);
	if (rc < 0) {
		u->ws = NULL;
		log_once(u, err.text);
		connect_later(u);
	}
}

/* Life */

/* It is used all the same: whoever could read it has read it by now. */
static void look_at_token_file(const char *path)
{
	struct stat st;

	if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
		log_warn("link.token",
		        "file=\"%s\" text=\"others may read or write it: chmod 600, and make another token\"",
		        path);
}

struct uplink *uplink_new(struct loop *loop, struct outbox *outbox, const struct uplink_options *o)
{
	struct uplink *u = mem_zalloc(sizeof(*u));

	u->loop = loop;
	u->outbox = outbox;
	u->o = *o;
	u->retry_ms = RETRY_MIN_MS;
	look_at_token_file(o->token_file);
	u->retry = loop_timer_new(loop, on_retry, u);
	loop_on_turn_end(loop, on_turn_end, u);
	loop_timer_start(u->retry, 0, 0);
	return u;
}

void uplink_free(struct uplink *u)
{
	if (!u)
		return;
	BUG_IF(u->ws);
	loop_off_turn_end(u->loop, on_turn_end, u);
	loop_timer_free(u->retry);
	free(u);
}

void uplink_welcomed(struct uplink *u)
{
	u->retry_ms = RETRY_MIN_MS;
}

void uplink_restart(struct uplink *u, const char *why)
{
	log_once(u, why);
	/* on_close follows, and connects again. */
	if (u->ws)
		net_ws_close(u->ws, 1002, why);
	close_down(u);
}

void uplink_finish(struct uplink *u)
{
	flush(u);
	u->is_finished = true;
	loop_timer_stop(u->retry);
	if (u->ws)
		net_ws_close(u->ws, 1000, "goodbye");
	else
		u->o.on_gone(u->o.data);
}

bool uplink_is_gone(const struct uplink *u)
{
	return !u->ws;
}
