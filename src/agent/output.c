#include "agent/output.h"

#include <stdlib.h>
#include <uthash.h>

#include "engine/reader.h"
#include "base/mem.h"

#define STREAMS_MAX 1024
#define FOLLOW_MS   50 /* how late followed output may be while its attempt lives */

struct stream {
	uint64_t id;
	uint64_t epoch;
	uint64_t credit; /* bytes that may still be sent */
	bool follow;
	bool is_over;
	struct reader *reader;
	UT_hash_handle hh;
};

struct outputs {
	struct outputs_options o;
	struct stream *streams;
	struct loop_timer *timer; /* runs while something is followed */
	char *bytes;              /* CONSOLE_FRAME_MAX, while there are streams */
};

static void free_stream(struct outputs *os, struct stream *s)
{
	HASH_DEL(os->streams, s);
	reader_close(s->reader);
	free(s);
	if (os->streams)
		return;
	loop_timer_stop(os->timer);
	free(os->bytes);
	os->bytes = NULL;
}

static void say_close(struct outputs *os, uint64_t stream, const struct err *why)
{
	struct link_stream_close m = {.stream = stream};

	if (why) {
		m.kind = why->kind;
		m.text = (char *)(uintptr_t)why->text;
	}
	link_put_stream_close(outbox_buf(os->o.outbox), &m);
}

/* Sends what is there and may be sent; a stream that has come to its end is closed and gone: false. */
static bool pump(struct outputs *os, struct stream *s)
{
	struct link_stream_data m = {.stream = s->id, .data = os->bytes};
	struct err err;
	int rc;

	while (s->credit) {
		rc = reader_next(s->reader, os->bytes, (size_t)MIN(s->credit, CONSOLE_FRAME_MAX),
		        &m.frame, &m.len, &err);
		if (rc > 0) {
			s->credit -= m.len;
			link_put_stream_data(outbox_buf(os->o.outbox), &m);
			continue;
		}
		if (rc == 0 && s->follow && !s->is_over)
			return true;
		say_close(os, s->id, rc < 0 ? &err : NULL);
		free_stream(os, s);
		return false;
	}
	return true;
}

static void set_over(struct stream *s)
{
	s->is_over = true;
	reader_set_over(s->reader);
}

static void on_timer(void *data)
{
	struct outputs *os = data;
	struct stream *s, *next;
	bool is_following = false;

	HASH_ITER (hh, os->streams, s, next) {
		if (!s->follow || s->is_over)
			continue;
		if (os->o.is_over(os->o.data, s->epoch))
			set_over(s);
		if (pump(os, s))
			is_following = true;
	}
	if (!is_following)
		loop_timer_stop(os->timer);
}

static struct stream *find_stream(const struct outputs *os, uint64_t id)
{
	struct stream *s;

	HASH_FIND(hh, os->streams, &id, sizeof(id), s);
	return s;
}

static int make_stream(struct outputs *os, const struct link_stream_open *m, struct err *err)
{
	struct reader_options o = {
	        .data_dir = os->o.data_dir,
	        .id = m->id,
	        .attempt = m->attempt,
	        .want_stdout = m->want_stdout,
	        .want_stderr = m->want_stderr,
	        .offset = m->offset,
	        .tail_lines = m->tail_lines,
	        .is_over = m->ended || os->o.is_over(os->o.data, m->epoch),
	        .check_owner = os->o.check_owner,
	        .helper = os->o.helper,
	        .user = m->user,
	};
	struct reader *reader;
	struct stream *s;
	int rc;

	if (find_stream(os, m->stream))
		return err_set(err, ERR_CONFLICT, "stream %llu is open already",
		        (unsigned long long)m->stream);
	if (HASH_COUNT(os->streams) >= STREAMS_MAX)
		return err_set(
		        err, ERR_LIMIT, "%d outputs are being read here already", STREAMS_MAX);
	rc = reader_open(&o, &reader, err);
	if (rc < 0)
		return rc;
	s = mem_zalloc(sizeof(*s));
	s->id = m->stream;
	s->epoch = m->epoch;
	s->credit = LINK_WINDOW;
	s->follow = m->follow;
	s->is_over = o.is_over;
	s->reader = reader;
	HASH_ADD(hh, os->streams, id, sizeof(s->id), s);
	if (!os->bytes)
		os->bytes = mem_realloc(NULL, CONSOLE_FRAME_MAX, 1);
	if (pump(os, s) && s->follow && !s->is_over && !loop_timer_is_running(os->timer))
		loop_timer_start(os->timer, FOLLOW_MS, FOLLOW_MS);
	return 0;
}

void outputs_open(struct outputs *os, const struct link_stream_open *m)
{
	struct err err;

	if (make_stream(os, m, &err) < 0)
		say_close(os, m->stream, &err);
}

bool outputs_window(struct outputs *os, const struct link_stream_window *m)
{
	struct stream *s = find_stream(os, m->stream);

	if (!s)
		return false;
	/* More than a whole window is never on its way. */
	s->credit = MIN(s->credit + MIN(m->bytes, LINK_WINDOW), LINK_WINDOW);
	(void)!pump(os, s);
	return true;
}

bool outputs_close(struct outputs *os, uint64_t stream)
{
	struct stream *s = find_stream(os, stream);

	if (!s)
		return false;
	free_stream(os, s);
	return true;
}

void outputs_close_all(struct outputs *os)
{
	struct stream *s, *next;

	HASH_ITER (hh, os->streams, s, next)
		free_stream(os, s);
}

void outputs_on_ended(struct outputs *os, uint64_t epoch)
{
	struct stream *s, *next;

	HASH_ITER (hh, os->streams, s, next) {
		if (s->epoch != epoch || s->is_over)
			continue;
		set_over(s);
		(void)!pump(os, s);
	}
}

size_t outputs_count(const struct outputs *os)
{
	return HASH_COUNT(os->streams);
}

struct outputs *outputs_new(const struct outputs_options *o)
{
	struct outputs *os = mem_zalloc(sizeof(*os));

	os->o = *o;
	os->timer = loop_timer_new(o->loop, on_timer, os);
	return os;
}

void outputs_free(struct outputs *os)
{
	if (!os)
		return;
	outputs_close_all(os);
	loop_timer_free(os->timer);
	free(os);
}
