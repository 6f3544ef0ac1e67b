/*
 * Frames of a keeper as an agent reads them, over a real socket, with what the server says in between: more window, something typed, a
 * close. The bytes are a list of steps. What goes to the server is what a plain count of the frames says, however it came.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <talloc.h>
#include <unistd.h>

#include "agent/console.h"
#include "fuzz.h"

#define STREAM    7
#define EPOCH     3
#define HEAD      5
#define BYTES_MAX (256 * KIB)

enum step { BYTES, BIG_FRAME, WINDOW, TYPED, HANG_UP, CLOSE, STEPS };

/* An engine that does nothing but attach. */
struct engine_attachment {
	int fd; /* -1: it cannot be reached */
	void (*on_open)(void *data, int fd, const struct err *why);
	void *data;
};

static struct engine_attachment knocking;
static size_t n_attachments;

static int attach(struct engine *e, const struct engine_attach *a,
        struct engine_attachment **ret_attachment, struct err *err)
{
	FUZZ_MUST(a->epoch == EPOCH && n_attachments == 0);
	knocking.on_open = a->on_open;
	knocking.data = a->data;
	n_attachments++;
	*ret_attachment = &knocking;
	return 0;
}

static void detach(struct engine *e, struct engine_attachment *at)
{
	FUZZ_MUST(at == &knocking && n_attachments == 1);
	n_attachments--;
}

static const struct engine_ops ops = {.name = "fuzz", .attach = attach, .detach = detach};

/* What the server is told. */
struct told {
	struct buf frames; /* as they came from the keeper */
	uint64_t n_bytes;  /* of payload */
	uint64_t window;   /* given back */
	bool is_closed;
	enum err_kind kind;
};

struct life {
	struct loop *loop;
	struct outbox outbox;
	struct attempts *attempts;
	struct consoles *consoles;
	struct engine engine;
	int keeper; /* its end of the socket; -1: hung up */
	struct told told;
	bool was_closed; /* by the server */
	/* By counting */
	struct buf sent; /* by the keeper, all of it */
	size_t at;       /* of that must have gone to the server */
	uint64_t credit, window, typed;
	bool is_over; /* by a frame; with a kind when that is no frame */
	enum err_kind over_kind;
};

static bool is_open(const struct life *l)
{
	return !l->told.is_closed && !l->was_closed;
}

static size_t frame_len(const uint8_t *p)
{
	return (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
}

/* A frame is there, all of it. */
static bool is_whole(const struct life *l)
{
	size_t rest = l->sent.len - l->at;

	return rest >= HEAD && rest - HEAD >= frame_len(l->sent.data + l->at);
}

/* The frames that must go to the server now. */
static void count_frames(struct life *l)
{
	while (is_open(l) && !l->is_over && l->sent.len - l->at >= HEAD) {
		const uint8_t *p = l->sent.data + l->at;
		size_t len = frame_len(p);

		l->is_over = len > CONSOLE_FRAME_MAX || p[0] > CONSOLE_ERROR;
		if (l->is_over)
			l->over_kind = ERR_CORRUPT;
		if (l->is_over || !is_whole(l) || l->credit < len)
			return;
		l->credit -= len;
		l->at += HEAD + len;
		l->is_over = p[0] == CONSOLE_EXIT || p[0] == CONSOLE_ERROR;
	}
}

/* What the server was told is what it had to be told. */
static void check(const struct life *l)
{
	const struct told *t = &l->told;

	FUZZ_MUST(consoles_count(l->consoles) == is_open(l));
	FUZZ_MUST(t->n_bytes <= l->window && t->window <= l->typed);
	FUZZ_MUST(t->frames.len == l->at);
	FUZZ_MUST(!l->at || memcmp(t->frames.data, l->sent.data, l->at) == 0);
	if (l->was_closed)
		return;
	if (l->is_over)
		FUZZ_MUST(t->is_closed && t->kind == l->over_kind);
	else if (l->keeper < 0 && !is_whole(l))
		FUZZ_MUST(t->is_closed && t->kind == ERR_UNAVAILABLE);
	else
		FUZZ_MUST(!t->is_closed || t->kind == ERR_LIMIT);
}

static void take_message(struct told *t, const struct link_message *m)
{
	FUZZ_MUST(!t->is_closed);
	switch (m->type) {
	case LINK_STREAM_DATA:
		FUZZ_MUST(m->stream_data.stream == STREAM);
		console_put(&t->frames, m->stream_data.frame, m->stream_data.data,
		        (uint32_t)m->stream_data.len);
		t->n_bytes += m->stream_data.len;
		break;
	case LINK_STREAM_WINDOW:
		FUZZ_MUST(m->stream_window.stream == STREAM && m->stream_window.bytes > 0);
		t->window += m->stream_window.bytes;
		break;
	case LINK_STREAM_CLOSE:
		FUZZ_MUST(m->stream_close.stream == STREAM);
		FUZZ_MUST(
		        !m->stream_close.kind == !(m->stream_close.text && *m->stream_close.text));
		t->is_closed = true;
		t->kind = m->stream_close.kind;
		break;
	default:
		FUZZ_MUST(!"a message about something else");
	}
}

/* Every message that was put into the outbox is one that the server takes. */
static void read_outbox(struct life *l)
{
	const uint8_t *p = l->outbox.buf.data, *end = p + l->outbox.buf.len;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;

	FUZZ_MUST(!l->outbox.buf.overflow);
	while (p && p < end) {
		FUZZ_MUST(link_next(&p, end, ctx, &m, &err) == 1);
		take_message(&l->told, &m);
	}
	buf_reset(&l->outbox.buf);
	talloc_free(ctx);
}

static void stop(void *data)
{
	loop_stop(data);
}

/* Two turns, each of which does what is ready and sleeps for nothing: what the first leads to may need the second. */
static void turn(struct life *l)
{
	for (int i = 0; i < 2; i++)
		loop_run(l->loop);
	read_outbox(l);
}

static void send_bytes(struct life *l, const void *data, size_t len, size_t cut)
{
	const uint8_t *p = data;

	while (l->keeper >= 0 && len) {
		ssize_t n = send(l->keeper, p, MIN(len, cut), MSG_NOSIGNAL | MSG_DONTWAIT);

		/* Full, because the agent waits for credit; or the agent has closed it. */
		if (n <= 0)
			return;
		buf_add(&l->sent, p, (size_t)n);
		count_frames(l);
		p += n;
		len -= (size_t)n;
		turn(l);
	}
}

static void send_big(struct life *l, uint8_t type, size_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(BYTES_MAX);
	static const uint8_t zeros[CONSOLE_FRAME_MAX];

	console_put(&b, type, zeros, (uint32_t)MIN(len, sizeof(zeros)));
	send_bytes(l, b.data, b.len, b.len);
}

static void type(struct life *l, uint8_t frame, const void *data, size_t len)
{
	struct link_stream_data m = {
	        .stream = STREAM, .frame = frame % (CONSOLE_ERROR + 1), .data = data, .len = len};
	uint8_t bytes[4 * KIB];

	FUZZ_MUST(consoles_data(l->consoles, &m) == is_open(l));
	l->typed += len;
	turn(l);
	/* A keeper reads; what the agent was rid of it gives back to the server. */
	while (l->keeper >= 0 && recv(l->keeper, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	turn(l);
}

static void widen(struct life *l, uint64_t bytes)
{
	struct link_stream_window m = {.stream = STREAM, .bytes = bytes};

	l->window += bytes;
	l->credit = MIN(l->credit + MIN(bytes, LINK_WINDOW), LINK_WINDOW);
	FUZZ_MUST(consoles_window(l->consoles, &m) == is_open(l));
	count_frames(l);
	turn(l);
}

static void do_step(struct life *l, const uint8_t **data, size_t *size)
{
	uint8_t how = fuzz_byte(data, size);
	const uint8_t *piece;
	size_t len;

	switch ((enum step)(how % STEPS)) {
	case BYTES:
		if (fuzz_piece(data, size, &piece, &len))
			send_bytes(l, piece, len, 1 + how / STEPS);
		break;
	case BIG_FRAME:
		send_big(l, fuzz_byte(data, size), (size_t)how * KIB);
		break;
	case WINDOW:
		widen(l, (uint64_t)fuzz_byte(data, size) << how / STEPS);
		break;
	case TYPED:
		if (fuzz_piece(data, size, &piece, &len))
			type(l, how / STEPS, piece, len);
		break;
	case HANG_UP:
		if (l->keeper >= 0)
			close(l->keeper);
		l->keeper = -1;
		turn(l);
		break;
	default:
		if (how / STEPS % 4 == 0) {
			FUZZ_MUST(consoles_close(l->consoles, STREAM) == is_open(l));
			l->was_closed |= !l->told.is_closed;
		}
		break;
	}
}

static void begin(struct life *l)
{
	struct spool_record started = {
	        .kind = SPOOL_STARTED, .job = 1, .task = -1, .attempt = 1, .epoch = EPOCH};
	struct attempts_options ao = {.outbox = &l->outbox, .cores = 1};
	struct link_stream_open open = {
	        .stream = STREAM, .epoch = EPOCH, .kind = LINK_STREAM_ATTACH};
	struct consoles_options co = {.outbox = &l->outbox, .engine = &l->engine};
	struct err err;
	int fds[2];

	*l = (struct life){.engine = {&ops},
	        .outbox = {BUF_INIT(OUTBOX_MAX), true},
	        .sent = BUF_INIT(64 * MIB),
	        .told.frames = BUF_INIT(64 * MIB),
	        .credit = LINK_WINDOW,
	        .window = LINK_WINDOW};
	FUZZ_MUST(loop_new(&l->loop, &err) == 0);
	loop_on_turn_end(l->loop, stop, l->loop);
	FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	l->keeper = fds[0];
	l->attempts = attempts_new(&ao);
	attempts_set_engine(l->attempts, &l->engine);
	attempts_on_started(l->attempts, &started);
	co.loop = l->loop;
	co.attempts = l->attempts;
	l->consoles = consoles_new(&co);
	buf_reset(&l->outbox.buf); /* that it started */
	consoles_open(l->consoles, &open);
	FUZZ_MUST(n_attachments == 1 && consoles_count(l->consoles) == 1);
	n_attachments = 0;
	knocking.on_open(knocking.data, fds[1], NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct life l;

	begin(&l);
	turn(&l);
	check(&l);
	while (size) {
		do_step(&l, &data, &size);
		check(&l);
	}
	consoles_close_all(l.consoles);
	FUZZ_MUST(consoles_count(l.consoles) == 0);
	consoles_free(l.consoles);
	attempts_free(l.attempts);
	loop_off_turn_end(l.loop, stop, l.loop);
	loop_free(l.loop);
	if (l.keeper >= 0)
		close(l.keeper);
	buf_done(&l.outbox.buf);
	buf_done(&l.sent);
	buf_done(&l.told.frames);
	return 0;
}
