/*
 * POST /v1/backup. The copy is made in steps of a few milliseconds, and between two of them others have the store thread. It
 * goes on without its caller, and ends with the server.
 */
#include "server/api.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#define AGAIN_MS 5 /* when the store thread has too much to do */

struct backup {
	struct call *c;
	char *path;
	struct store_copy *copy; /* NULL: not begun */
	struct loop_timer *again;
	bool is_complete, is_over;
	int rc;
	struct err err;
};

/* Store thread, or the loop when no thread is there any more. */
static void end_copy(struct backup *b)
{
	struct err second;

	b->is_over = true;
	/* After a failed step its error is the one to read. */
	if (b->copy && store_copy_end(STEAL(b->copy), b->rc ? &second : &b->err) && !b->rc)
		b->rc = -(int)b->err.kind;
}

/* Store thread. */
static void step(void *data)
{
	struct backup *b = data;

	if (!b->copy)
		b->rc = store_copy_begin(b->c->s->store, b->path, &b->copy, &b->err);
	else
		b->rc = store_copy_step(b->copy, &b->is_complete, &b->err);
	if (b->rc || b->is_complete)
		end_copy(b);
}

static void answer(struct backup *b)
{
	struct stat st = {0};

	loop_timer_free(STEAL(b->again));
	if (b->rc) {
		call_fail(b->c, &b->err);
	} else {
		(void)!stat(b->path, &st);
		log_info("backup", "path=\"%s\" bytes=%lld", b->path, (long long)st.st_size);
		call_reply_json(b->c, 200,
		        json_pack("{s:i, s:s, s:I}", "schema", 1, "path", b->path, "bytes",
		                (json_int_t)st.st_size));
	}
	call_drop(b->c);
}

static void go_on(void *data);

static void stepped(void *data)
{
	struct backup *b = data;

	if (!b->is_over && b->c->s->stopped) {
		b->rc = err_set(&b->err, ERR_UNAVAILABLE, "Berth went down");
		end_copy(b);
	}
	if (b->is_over)
		answer(b);
	else
		go_on(b);
}

static void go_on(void *data)
{
	struct backup *b = data;

	if (!worker_submit(b->c->s->worker, step, stepped, b))
		loop_timer_start(b->again, AGAIN_MS, 0);
}

static void on_backup(struct call *c, json_t *body)
{
	const char *path = json_string_value(json_object_get(body, "path"));
	struct backup *b = talloc_zero(c->ctx, struct backup);
	struct err err;

	if (!path || path[0] != '/') {
		(void)!err_set(&err, ERR_INVALID,
		        "'path' must be an absolute path of a file that does not exist yet");
		call_fail(c, &err);
		return;
	}
	if (geteuid() == 0 && !(c->who.over_socket && c->who.uid == 0)) {
		(void)!err_set(&err, ERR_FORBIDDEN,
		        "this server is root: only root itself, over the socket, names files for it to write");
		(void)!err_hint(&err, "berth backup on the server's machine, as root");
		call_fail(c, &err);
		return;
	}
	b->c = c;
	b->path = talloc_strdup(c->ctx, path);
	b->again = loop_timer_new(c->s->loop, go_on, b);
	call_hold(c);
	go_on(b);
}

void api_backup(struct call *c)
{
	static const struct body_key keys[] = {{"path", false}, {0}};

	call_read_json(c, keys, on_backup);
}
