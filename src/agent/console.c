#include "agent/console.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define STREAMS_MAX 256
#define HEAD_BYTES  5
/* From the server, not taken by the console yet: a window, typed key by key. */
#define TYPED_MAX (8 * LINK_WINDOW)

struct stream {
	struct consoles *owner;
	uint64_t id;
	struct engine_attachment *attachment; /* while not connected */
	int fd;                               /* -1: not connected yet */
	struct loop_poll *poll;
	uint64_t credit; /* bytes that may still be sent to the server */
	uint64_t untold; /* bytes from the server that it was not told are taken */
	struct buf in;   /* from the console: part of a frame, or what must wait for credit */
	struct buf out;  /* to the console */
	bool is_over;    /* the console has closed: what is in `in` is all */
	bool is_deaf;    /* the console takes nothing more */
	UT_hash_handle hh;
};

struct consoles {
	struct consoles_options o;
	struct stream *streams;
};

static void free_stream(struct stream *s)
{
	HASH_DEL(s->owner->streams, s);
	if (s->attachment)
		engine_detach(s->owner->o.engine, s->attachment);
	loop_poll_free(s->poll);
	if (s->fd >= 0)
		close(s->fd);
	buf_done(&s->in);
	buf_done(&s->out);
	free(s);
}

static void say_close(struct consoles *cs, uint64_t stream, const struct err *why)
{
	struct link_stream_close m = {.stream = stream};

	if (why) {
		m.kind = why->kind;
		m.text = (char *)(uintptr_t)why->text;
	}
	link_put_stream_close(outbox_buf(cs->o.outbox), &m);
}

static void end_stream(struct stream *s, const struct err *why)
{
	say_close(s->owner, s->id, why);
	free_stream(s);
}

/* From the console to the server */

static size_t frame_len(const uint8_t *head)
{
	return (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
}

/* Passes on whole frames; false when the stream has ended. */
static bool pass_frames(struct stream *s)
{
	size_t at = 0;

	while (s->in.len - at >= HEAD_BYTES) {
		const uint8_t *p = s->in.data + at;
		struct link_stream_data m = {
		        .stream = s->id,
		        .frame = (enum console_frame)p[0],
		        .data = p + HEAD_BYTES,
		        .len = frame_len(p),
		};
		struct err err;

		if (m.len > CONSOLE_FRAME_MAX || p[0] > CONSOLE_ERROR) {
			if (err_set(&err, ERR_CORRUPT,
			            "the console sent something that is no frame") < 0)
				end_stream(s, &err);
			return false;
		}
		if (s->in.len - at < HEAD_BYTES + m.len || s->credit < m.len)
			break;
		s->credit -= m.len;
		at += HEAD_BYTES + m.len;
		link_put_stream_data(outbox_buf(s->owner->o.outbox), &m);
		if (m.frame == CONSOLE_EXIT || m.frame == CONSOLE_ERROR) {
			end_stream(s, NULL);
			return false;
		}
	}
	buf_consume(&s->in, at);
	return true;
}

static void set_poll(struct stream *s)
{
	bool has_room = s->in.len < HEAD_BYTES + CONSOLE_FRAME_MAX;

	if (s->poll)
		loop_poll_set(s->poll, (has_room && !s->is_over ? LOOP_READ : 0) |
		                               (s->out.len && !s->is_over ? LOOP_WRITE : 0));
}

/* A whole frame that only waits for credit? */
static bool is_waiting(const struct stream *s)
{
	return s->in.len >= HEAD_BYTES && s->in.len >= HEAD_BYTES + frame_len(s->in.data);
}

/* Passes on what there is; false when the stream has ended. */
static bool pass(struct stream *s)
{
	struct err err;

	if (!pass_frames(s))
		return false;
	if (!s->is_over || is_waiting(s))
		return true;
	if (err_set(&err, ERR_UNAVAILABLE, "the console was closed") < 0)
		end_stream(s, &err);
	return false;
}

static bool read_console(struct stream *s)
{
	while (!s->is_over) {
		size_t room = HEAD_BYTES + CONSOLE_FRAME_MAX - s->in.len;
		ssize_t n;

		if (room == 0)
			return true;
		n = recv(s->fd, buf_reserve(&s->in, room), room, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		s->is_over = n <= 0;
		buf_commit(&s->in, (size_t)MAX(n, 0));
		if (!pass(s))
			return false;
	}
	return true;
}

/* From the server to the console */

/* The console has taken everything: the server may send as much again. */
static void give_back(struct stream *s)
{
	struct link_stream_window m = {.stream = s->id, .bytes = s->untold};

	s->untold = 0;
	if (m.bytes)
		link_put_stream_window(outbox_buf(s->owner->o.outbox), &m);
}

static void write_console(struct stream *s)
{
	while (s->out.len && !s->is_deaf) {
		ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* What it said last may still be there to be read. */
		s->is_deaf = n < 0;
		buf_consume(&s->out, (size_t)MAX(n, 0));
	}
	if (s->is_deaf)
		buf_reset(&s->out);
	give_back(s);
}

static void on_ready(void *data, int events)
{
	struct stream *s = data;

	if ((events & (LOOP_READ | LOOP_ERROR)) && !read_console(s))
		return;
	if (events & LOOP_WRITE)
		write_console(s);
	set_poll(s);
}

/* Opening */

static void on_open(void *data, int fd, const struct err *why)
{
	struct stream *s = data;
	struct err err;

	s->attachment = NULL;
	if (fd < 0) {
		end_stream(s, why);
		return;
	}
	s->fd = fd;
	if (loop_poll_new(s->owner->o.loop, s->fd, LOOP_READ, on_ready, s, &s->poll, &err) < 0) {
		end_stream(s, &err);
		return;
	}
	write_console(s);
	set_poll(s);
}

static struct stream *find_stream(const struct consoles *cs, uint64_t id)
{
	struct stream *s;

	HASH_FIND(hh, cs->streams, &id, sizeof(id), s);
	return s;
}

static struct stream *add_stream(struct consoles *cs, uint64_t id)
{
	struct stream *s = mem_zalloc(sizeof(*s));

	s->owner = cs;
	s->id = id;
	s->fd = -1;
	s->credit = LINK_WINDOW;
	s->in = BUF_INIT(HEAD_BYTES + CONSOLE_FRAME_MAX);
	s->out = BUF_INIT(TYPED_MAX);
	HASH_ADD(hh, cs->streams, id, sizeof(s->id), s);
	return s;
}

static int attach(struct stream *s, const struct link_stream_open *m, struct err *err)
{
	struct engine_attach a = {
	        .epoch = m->epoch,
	        .is_exec = m->kind == LINK_STREAM_EXEC,
	        .argv = m->argv,
	        .env = m->env,
	        .tty = m->tty,
	        .rows = m->rows,
	        .columns = m->columns,
	        .grant = m->grant,
	        .on_open = on_open,
	        .data = s,
	};

	if (a.is_exec && s->owner->o.slices_of)
		a.slices = s->owner->o.slices_of(s->owner->o.data, m->epoch);
	return engine_attach(s->owner->o.engine, &a, &s->attachment, err);
}

static int open_stream(struct consoles *cs, const struct link_stream_open *m, struct err *err)
{
	const struct known_attempt *a = attempts_find(cs->o.attempts, m->epoch);
	struct stream *s;
	int rc;

	if (find_stream(cs, m->stream))
		return err_set(err, ERR_CONFLICT, "stream %llu is open already",
		        (unsigned long long)m->stream);
	if (HASH_COUNT(cs->streams) >= STREAMS_MAX)
		return err_set(err, ERR_LIMIT, "%d consoles are open here already", STREAMS_MAX);
	if (!a || a->state == ATTEMPT_ENDED || a->state == ATTEMPT_TOLD)
		return err_set(err, ERR_CONFLICT, "it does not run any more");
	s = add_stream(cs, m->stream);
	rc = attach(s, m, err);
	if (rc < 0)
		free_stream(s);
	return rc;
}

void consoles_open(struct consoles *cs, const struct link_stream_open *m)
{
	struct err err;

	if (open_stream(cs, m, &err) < 0)
		say_close(cs, m->stream, &err);
}

bool consoles_data(struct consoles *cs, const struct link_stream_data *m)
{
	struct stream *s = find_stream(cs, m->stream);
	struct err err;

	if (!s)
		return false;
	s->untold += m->len;
	console_put(&s->out, m->frame, m->data, (uint32_t)m->len);
	if (s->out.overflow) {
		if (err_set(&err, ERR_LIMIT, "more was typed than the window allows") < 0)
			end_stream(s, &err);
		return true;
	}
	if (s->fd >= 0)
		write_console(s);
	set_poll(s);
	return true;
}

bool consoles_window(struct consoles *cs, const struct link_stream_window *m)
{
	struct stream *s = find_stream(cs, m->stream);

	if (!s)
		return false;
	s->credit = MIN(s->credit + MIN(m->bytes, LINK_WINDOW), LINK_WINDOW);
	if (pass(s))
		set_poll(s);
	return true;
}

bool consoles_close(struct consoles *cs, uint64_t stream)
{
	struct stream *s = find_stream(cs, stream);

	if (!s)
		return false;
	free_stream(s);
	return true;
}

void consoles_close_all(struct consoles *cs)
{
	struct stream *s, *next;

	HASH_ITER (hh, cs->streams, s, next)
		free_stream(s);
}

size_t consoles_count(const struct consoles *cs)
{
	return HASH_COUNT(cs->streams);
}

struct consoles *consoles_new(const struct consoles_options *o)
{
	struct consoles *cs = mem_zalloc(sizeof(*cs));

	cs->o = *o;
	return cs;
}

void consoles_free(struct consoles *cs)
{
	if (!cs)
		return;
	consoles_close_all(cs);
	free(cs);
}
