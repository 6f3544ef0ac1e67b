/*
 * Output of jobs over HTTP.
 *
 * DESIGN. Bytes stay on the job's node and come by a stream of its link. A follower lives through everything that can happen
 * to a job: it waits until an attempt runs, follows it, goes on with the next attempt after a retry, opens its stream again
 * where it stopped when the link broke, and ends when the job is final. The window of a stream is given back only as the
 * peer takes the bytes, so a slow reader holds its own stream and nothing else.
 */
#include "server/batch.h"
#include "server/links.h"
#include "server/streams.h"
#include "server/watch.h"
#include "server/view.h"
#include "base/num.h"

#include <string.h>
#include <talloc.h>

struct follower {
	struct call *c;
	struct job_id id;
	uint32_t attempt; /* the one that is read; 0: none yet */
	uint32_t only;    /* 0: the last, and further ones */
	bool follow, framed, want_out, want_err;
	bool at_barrier; /* goes on when START of its attempt has been sent, or the job was fetched */
	uint64_t skip;   /* as asked, of the first attempt */
	uint64_t tail;
	uint64_t passed; /* bytes of the attempt that were sent on */
	uint64_t owed;   /* taken from the stream, window not given back */
	struct stream *stream;
	/* of the job, and of a task that has not started its array's, which may be cancelled before */
	struct watch *watches[2];
	struct loop_timer *again;
	bool is_over;    /* nothing more is read; how the job ended is still to be said */
	bool is_fetched; /* it was asked for in the store */
};

static void advance(struct follower *f);
static void go_on(struct follower *f, bool start_was_sent);

static void finish(struct follower *f, const struct job *j)
{
	uint8_t code[4];
	CLEANUP_BUF struct buf b = BUF_INIT(64);
	uint32_t n = j && job_state_is_final(j->state) ? (uint32_t)job_result_code(j) : 0;

	if (f->framed && j && job_state_is_final(j->state) && f->follow) {
		for (int i = 0; i < 4; i++)
			code[i] = (uint8_t)(n >> (24 - 8 * i));
		console_put(&b, CONSOLE_EXIT, code, sizeof(code));
		(void)net_request_send(f->c->r, b.data, b.len);
	}
	net_request_end(f->c->r);
}

static void give_window(struct follower *f)
{
	if (f->stream)
		stream_taken(f->stream, f->owed);
	f->owed = 0;
}

static void on_frame(void *data, enum console_frame frame, const void *bytes, size_t len)
{
	struct follower *f = data;
	bool room;

	if (frame != CONSOLE_STDOUT && frame != CONSOLE_STDERR)
		return;
	f->passed += len;
	f->owed += len;
	if (f->framed) {
		CLEANUP_BUF struct buf b = BUF_INIT(CONSOLE_FRAME_MAX + 64);
		console_put(&b, frame, bytes, (uint32_t)len);
		room = net_request_send(f->c->r, b.data, b.len);
	} else {
		room = net_request_send(f->c->r, bytes, len);
	}
	/* Given back in pieces: most of the window is open meanwhile. */
	if (room && f->owed >= LINK_WINDOW / 4)
		give_window(f);
}

static void on_drain(void *data, struct net_request *r)
{
	(void)r;
	give_window(data);
}

static void fail(struct follower *f, enum err_kind kind, const char *text)
{
	struct err err;

	/* What was sent is not the whole output, and must not look like it. */
	(void)!err_set(&err, kind, "%s", text);
	net_request_fail(f->c->r, &err);
}

/* An attempt's output cannot be read: said between the frames, and the next attempt's may be there. */
static void say_unreadable(struct follower *f, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(CONSOLE_FRAME_MAX + 64);

	console_put(&b, CONSOLE_ERROR, text, (uint32_t)strlen(text));
	(void)net_request_send(f->c->r, b.data, b.len);
}

static bool has_begun(const struct follower *f)
{
	const struct job *j = call_find_job(f->c, f->id);

	return !j || f->attempt > j->n_attempts || j->attempts[f->attempt - 1].started_ms;
}

static void on_stream_close(void *data, enum err_kind kind, const char *text)
{
	struct follower *f = data;

	f->stream = NULL;
	f->owed = 0;
	if (kind == ERR_UNAVAILABLE) {
		/* The link broke; it comes back. */
		loop_timer_start(f->again, 100, 0);
		return;
	}
	/* What never ran has no output; that it did not run is said elsewhere. */
	if (kind != ERR_NONE && has_begun(f)) {
		text = text && *text ? text : "the output cannot be read";
		if (!f->framed) {
			fail(f, kind, text);
			return;
		}
		say_unreadable(f, text);
	}
	f->attempt = f->only ? f->attempt : f->attempt + 1;
	f->passed = 0;
	f->skip = 0;
	f->tail = 0;
	f->is_over = f->only || !f->follow;
	advance(f);
}

static const struct stream_handlers log_handlers = {
        .on_frame = on_frame, .on_close = on_stream_close};

static bool open_stream(struct follower *f, const struct job *j)
{
	const struct attempt *a = &j->attempts[f->attempt - 1];
	bool lives = job_attempt(j) == a;
	struct link_stream_open o = {.kind = LINK_STREAM_LOG,
	        .id = j->id,
	        .attempt = a->n,
	        .epoch = a->epoch,
	        .output = j->req->output,
	        .error = j->req->error,
	        .user = j->req->user,
	        .want_stdout = f->want_out,
	        .want_stderr = f->want_err,
	        .follow = f->follow && lives,
	        .ended = !lives,
	        .offset = f->skip + f->passed,
	        .tail_lines = f->passed ? 0 : f->tail};

	f->stream = stream_open(f->c->s, a->node, &o, &log_handlers, f);
	return f->stream != NULL;
}

static bool on_change(struct server *s, void *data)
{
	struct follower *f = data;

	(void)s;
	f->watches[0] = NULL;
	advance(f);
	return false;
}

static bool on_array_change(struct server *s, void *data)
{
	struct follower *f = data;

	(void)s;
	f->watches[1] = NULL;
	advance(f);
	return false;
}

static void wait_for_change(struct follower *f)
{
	struct server *s = f->c->s;

	if (!f->watches[0])
		f->watches[0] = watch_add(s, f->id, on_change, f);
	if (!f->watches[1] && f->id.task != TASK_NONE && !world_find_job(s->world, f->id))
		f->watches[1] =
		        watch_add(s, (struct job_id){f->id.num, TASK_NONE}, on_array_change, f);
}

/* It ended, and has left memory. */
static void on_fetched(struct server *s, void *data, int rc, const struct err *err)
{
	struct follower *f = data;

	(void)s;
	(void)rc;
	(void)err;
	f->at_barrier = false;
	go_on(f, false);
	call_drop(f->c);
}

static void fetch(struct follower *f)
{
	f->is_fetched = f->at_barrier = true;
	call_hold(f->c);
	fetch_job(f->c->s, f->id, on_fetched, f);
}

static void start_is_sent(struct server *s, void *data)
{
	struct follower *f = data;

	(void)s;
	f->at_barrier = false;
	go_on(f, true);
	call_drop(f->c);
}

/* An agent that is asked for an attempt before its START takes it for one that is over. */
static bool wait_for_start(struct follower *f, const struct attempt *a)
{
	if (a->started_ms || a->ended_ms || batch_is_idle(f->c->s))
		return false;
	f->at_barrier = true;
	call_hold(f->c);
	batch_after(f->c->s, start_is_sent, f);
	return true;
}

static void go_on(struct follower *f, bool start_was_sent)
{
	const struct job *j;

	if (!f->c->r || f->stream || f->at_barrier)
		return;
	if (!f->attempt)
		f->attempt = f->only ? f->only : 1;
	j = call_find_job(f->c, f->id);
	if (!j && !f->is_fetched) {
		fetch(f);
	} else if (!j || f->is_over) {
		finish(f, j);
	} else if (f->attempt <= j->n_attempts) {
		if ((!start_was_sent && wait_for_start(f, &j->attempts[f->attempt - 1])) ||
		        open_stream(f, j))
			return;
		if (f->follow)
			loop_timer_start(f->again, 100, 0);
		else
			fail(f, ERR_UNAVAILABLE, "the job's node is not connected");
	} else if (job_state_is_final(j->state) || !f->follow) {
		finish(f, j);
	} else {
		wait_for_change(f);
	}
}

/* What there is to do now: read an attempt, wait for one, or end. */
static void advance(struct follower *f)
{
	go_on(f, false);
}

static void again(void *data)
{
	advance(data);
}

static void follower_gone(struct call *c)
{
	struct follower *f = c->data;

	stream_close(STEAL(f->stream));
	for (size_t i = 0; i < ARRAY_LEN(f->watches); i++)
		watch_remove(c->s, STEAL(f->watches[i]));
	loop_timer_free(STEAL(f->again));
}

static int parse_follow(struct follower *f, const struct job *j, struct err *err)
{
	struct net_request *r = f->c->r;
	const char *stream = net_request_query(r, "stream"), *text;
	uint64_t n = 0, from = 0;

	f->follow =
	        net_request_query(r, "follow") && strcmp(net_request_query(r, "follow"), "0") != 0;
	f->framed =
	        net_request_query(r, "framed") && strcmp(net_request_query(r, "framed"), "0") != 0;
	f->want_out = !stream || strcmp(stream, "stderr") != 0;
	f->want_err = !stream || strcmp(stream, "stdout") != 0;
	if (stream && strcmp(stream, "all") != 0 && f->want_out && f->want_err)
		return err_set(err, ERR_INVALID, "'stream' must be stdout, stderr or all");
	if ((text = net_request_query(r, "offset")) &&
	        num_parse_u64(text, INT64_MAX, &f->skip, err))
		return err_wrap(err, "'offset'");
	if ((text = net_request_query(r, "tail")) && num_parse_u64(text, 1000000000, &f->tail, err))
		return err_wrap(err, "'tail'");
	if ((text = net_request_query(r, "attempt")) && num_parse_u64(text, 1000000, &n, err))
		return err_wrap(err, "'attempt'");
	if (n && n > j->n_attempts)
		return err_set(err, ERR_NOT_FOUND,
		        "attempt %llu does not exist; there are %u so far", (unsigned long long)n,
		        j->n_attempts);
	if ((text = net_request_query(r, "from")) && num_parse_u64(text, 1000000, &from, err))
		return err_wrap(err, "'from'");
	f->only = (uint32_t)n;
	/* Without a wish: the last one, and when followed what comes after it. */
	f->attempt = n ? (uint32_t)n : from ? (uint32_t)from : MAX(j->n_attempts, 1);
	return 0;
}

static void begin_logs(struct call *c, struct job *j)
{
	struct follower *f = talloc_zero(c->ctx, struct follower);
	struct err err;

	f->c = c;
	f->id = j->id;
	if (!call_may_touch(c, j))
		return;
	if (j->is_array) {
		(void)!err_set(&err, ERR_INVALID,
		        "job %llu is an array; name one of its tasks, like %llu_%lld",
		        (unsigned long long)j->id.num, (unsigned long long)j->id.num,
		        (long long)request_task_at(j->req, 0));
		call_fail(c, &err);
		return;
	}
	if (parse_follow(f, j, &err)) {
		call_fail(c, &err);
		return;
	}
	if (!f->follow && f->attempt <= j->n_attempts &&
	        !links_has_node(c->s, j->attempts[f->attempt - 1].node)) {
		fail(f, ERR_UNAVAILABLE, "the job's node is not connected");
		return;
	}
	f->again = loop_timer_new(c->s->loop, again, f);
	c->data = f;
	c->on_gone = follower_gone;
	net_request_on_drain(c->r, on_drain, f);
	net_request_begin(c->r, 200,
	        f->framed ? "application/vnd.berth.console" : "application/octet-stream");
	advance(f);
}

void api_job_logs(struct call *c)
{
	struct job_id id;

	if (call_job_id(c, &id))
		call_with_job(c, id, begin_logs);
}
