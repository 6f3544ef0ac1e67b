/*
 * Terminals, and commands beside an attempt: frames over a socket, both ways.
 */
#include "engine_scene.h"

#include <errno.h>
#include <poll.h>
#include <talloc.h>

#include "base/mem.h"

#define UNTIL_GO "while [ ! -e go ]; do sleep 0.02; done; "

struct client {
	int fd;
	bool is_open;
	struct err why;
	char *out, *err;
	int code; /* -1: none yet */
	char *text;
};

static void on_open(void *data, int fd, const struct err *why)
{
	struct client *c = data;

	assert_false(c->is_open);
	c->is_open = true;
	c->fd = fd;
	if (why)
		c->why = *why;
}

static bool is_open(struct scene *s, uint64_t client)
{
	return ((struct client *)(uintptr_t)client)->is_open;
}

static struct client *new_client(struct scene *s)
{
	struct client *c = talloc_zero(s->ctx, struct client);

	c->fd = c->code = -1;
	c->out = talloc_strdup(c, "");
	c->err = talloc_strdup(c, "");
	return c;
}

static struct client *attach(struct scene *s, struct engine_attach *a)
{
	struct client *c = new_client(s);
	struct engine_attachment *at;

	a->on_open = on_open;
	a->data = c;
	assert_int_equal(engine_attach(s->e, a, &at, &s->err), 0);
	assert_false(c->is_open);
	scene_until(s, is_open, (uintptr_t)c);
	assert_string_equal(c->why.text, "");
	assert_true(c->fd >= 0);
	return c;
}

static void type(struct client *c, enum console_frame frame, const void *data, uint32_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	console_put(&b, frame, data, len);
	assert_int_equal(write(c->fd, b.data, b.len), b.len);
}

/* False at the end of the stream. */
static bool read_all(struct client *c, void *out, size_t len)
{
	for (size_t at = 0; at < len;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n;
		int rc;

		/* A child may end meanwhile. */
		while ((rc = poll(&p, 1, SCENE_WAIT_MS)) < 0 && errno == EINTR)
			;
		assert_int_equal(rc, 1);
		n = read(c->fd, (char *)out + at, len - at);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static bool take_frame(struct client *c)
{
	static char bytes[CONSOLE_FRAME_MAX];
	uint8_t head[5];
	size_t len;

	if (!read_all(c, head, sizeof(head)))
		return false;
	len = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
	assert_true(len <= sizeof(bytes));
	assert_true(read_all(c, bytes, len));
	switch (head[0]) {
	case CONSOLE_STDOUT:
		c->out = talloc_strndup_append(c->out, bytes, len);
		break;
	case CONSOLE_STDERR:
		c->err = talloc_strndup_append(c->err, bytes, len);
		break;
	case CONSOLE_EXIT:
		assert_int_equal(len, 4);
		c->code = (uint8_t)bytes[3];
		break;
	case CONSOLE_ERROR:
		c->text = talloc_strndup(c, bytes, len);
		break;
	default:
		fail_msg("a frame of type %d", head[0]);
	}
	return true;
}

/* Until it has said that, or has ended. */
static void read_until(struct client *c, const char *text)
{
	while (!strstr(c->out, text) && take_frame(c))
		;
	assert_non_null(strstr(c->out, text));
}

static void read_to_the_end(struct client *c)
{
	while (c->code < 0 && !c->text && take_frame(c))
		;
	close(c->fd);
}

static void check_terminal(struct scene *s)
{
	struct engine_attach a = {.epoch = 1};
	struct client *c = attach(s, &a), *second;

	read_until(c, "ready");
	/* Two may watch; who comes late sees what was there. */
	second = attach(s, &a);
	read_until(second, "ready");
	type(c, CONSOLE_STDIN, "hello\n", 6);
	read_to_the_end(c);
	assert_non_null(strstr(c->out, "got:hello 24 80"));
	assert_int_equal(c->code, 5);
	read_to_the_end(second);
	assert_non_null(strstr(second->out, "got:hello"));
	assert_int_equal(scene_code(s, 1), 5);
	assert_non_null(strstr(scene_output(s, 1, true, true), "got:hello"));
}

static struct link_start terminal_job(struct scene *s)
{
	struct link_start m =
	        scene_job(s, 1, "echo ready; read a; echo got:$a $(stty size); sleep 0.2; exit 5");

	m.tty = true;
	return m;
}

void case_terminal(void **state)
{
	struct scene *s = *state;
	struct link_start m = terminal_job(s);

	scene_start(s, &m);
	scene_until(s, has_started, 1);
	check_terminal(s);
}

void case_terminal_of_the_starting(void **state)
{
	struct scene *s = *state;
	struct link_start m = terminal_job(s);

	scene_start(s, &m);
	check_terminal(s);
}

void case_no_terminal(void **state)
{
	struct scene *s = *state;
	struct engine_attach a = {.epoch = 1, .on_open = on_open, .data = new_client(s)};
	struct engine_attachment *at;

	scene_sh(s, 1, UNTIL_GO);
	scene_until(s, has_started, 1);
	assert_int_equal(engine_attach(s->e, &a, &at, &s->err), -ERR_CONFLICT);
	scene_make_file(s, "go");
	(void)scene_end(s, 1);
	assert_int_equal(engine_attach(s->e, &a, &at, &s->err), -ERR_CONFLICT);
	scene_run(s, 50);
	assert_false(((struct client *)a.data)->is_open);
}

static void check_exec(struct scene *s)
{
	char *argv[] = {"sh", "-c",
	        "read a; echo $a $OWN $BERTH_JOB_ID $MORE; pwd; echo bad >&2; exit 9", NULL};
	char *env[] = {"MORE=x y", NULL};
	struct engine_attach a = {.epoch = 1, .is_exec = true, .argv = argv, .env = env};
	struct client *c = attach(s, &a);
	char want[128];

	type(c, CONSOLE_STDIN, "typed\n", 6);
	read_to_the_end(c);
	snprintf(want, sizeof(want), "typed mine 1 x y\n%s\n", s->dir);
	assert_string_equal(c->out, want);
	assert_string_equal(c->err, "bad\n");
	assert_int_equal(c->code, 9);
	assert_false(has_ended(s, 1));
}

static void start_for_exec(struct scene *s)
{
	static const char env[] = "OWN=mine";
	struct link_start m = scene_job(s, 1, "touch ready; " UNTIL_GO "exit 3");
	struct engine_request r = {
	        .start = &m, .env = env, .env_len = sizeof(env), .grace_ms = GRACE_MS};

	assert_int_equal(engine_prepare(s->e, &r, &s->err), 0);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	scene_wait_file(s, "ready");
	scene_until(s, has_started, 1);
}

void case_exec(void **state)
{
	struct scene *s = *state;

	start_for_exec(s);
	check_exec(s);
	check_exec(s);
	scene_make_file(s, "go");
	assert_int_equal(scene_code(s, 1), 3);
	assert_string_equal(scene_output(s, 1, true, true), "");
}

/* An engine that did not start it finds out what it was given. */
void case_exec_after_reopening(void **state)
{
	struct scene *s = *state;

	start_for_exec(s);
	scene_close(s);
	scene_open(s, false);
	/* The connection to whom it asks is made in the turns that follow. */
	scene_sh(s, 2, "true");
	(void)scene_end(s, 2);
	check_exec(s);
}

void case_exec_refused(void **state)
{
	struct scene *s = *state;
	char *argv[] = {"true", NULL}, *no_such[] = {"/no/such/command", NULL};
	struct engine_attach a = {.epoch = 1,
	        .is_exec = true,
	        .argv = argv,
	        .on_open = on_open,
	        .data = new_client(s)};
	struct link_start m = scene_job(s, 1, UNTIL_GO);
	struct engine_attachment *at;
	struct client *c;

	assert_int_equal(scene_prepare(s, &m), 0);
	assert_int_equal(engine_attach(s->e, &a, &at, &s->err), -ERR_CONFLICT);
	assert_int_equal(engine_start(s->e, 1, &s->err), 0);
	scene_until(s, has_started, 1);
	a.argv = no_such;
	c = attach(s, &a);
	read_to_the_end(c);
	assert_true(c->code == 127 || c->text);
	scene_make_file(s, "go");
	(void)scene_end(s, 1);
	a.argv = argv;
	assert_int_equal(engine_attach(s->e, &a, &at, &s->err), -ERR_CONFLICT);
}

static struct client *begin_attaching(struct scene *s, struct engine_attachment **ret)
{
	struct client *c = new_client(s);
	struct engine_attach a = {.epoch = 1, .on_open = on_open, .data = c};
	struct link_start m = terminal_job(s);

	scene_start(s, &m);
	assert_int_equal(engine_attach(s->e, &a, ret, &s->err), 0);
	return c;
}

void case_detach(void **state)
{
	struct scene *s = *state;
	struct engine_attachment *at;
	struct client *c = begin_attaching(s, &at);

	engine_detach(s->e, at);
	scene_until(s, has_started, 1);
	scene_run(s, 100);
	assert_false(c->is_open);
	check_terminal(s);
}

/* The engine goes, and what was on its way with it. */
void case_close_attaching(void **state)
{
	struct scene *s = *state;
	struct engine_attachment *at;
	struct client *c = begin_attaching(s, &at);

	scene_until(s, has_started, 1);
	scene_close(s);
	scene_run(s, 50);
	if (c->is_open)
		close(c->fd);
	scene_open(s, false);
	scene_until(s, has_started, 1);
	check_terminal(s);
}
