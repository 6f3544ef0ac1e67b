#include "cli/interact.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/ws.h"
#include "plat/fs.h"

#define UNSENT_MOST (256 * KIB) /* above it standard input is not read */
#define READ_SIZE   (16 * KIB)
#define KEY_CTRL_P  0x10
#define KEY_CTRL_Q  0x11

struct session {
	struct ws *ws;
	const struct interact *how;
	bool reading_stdin;
	bool ctrl_p; /* was typed last, and is kept back */
	bool let_go;
	bool exited;
	int exit_code;
	bool failed; /* the other side could not do it, or writing here failed */
	struct err err;
};

static void on_frame(void *data, enum console_frame type, const uint8_t *payload, size_t len)
{
	struct session *s = data;
	uint32_t code;

	if (s->failed || s->exited)
		return;
	switch (type) {
	case CONSOLE_STDOUT:
	case CONSOLE_STDERR:
		if (fs_write_all(type == CONSOLE_STDERR ? STDERR_FILENO : STDOUT_FILENO, payload,
		            len, &s->err))
			s->failed = true;
		return;
	case CONSOLE_EXIT:
		if (len < sizeof(code))
			return;
		memcpy(&code, payload, sizeof(code));
		s->exit_code = (int)ntohl(code);
		s->exited = true;
		return;
	case CONSOLE_ERROR:
		s->failed = err_set(&s->err, ERR_CONFLICT, "%.*s", (int)MIN(len, 300),
		                    (const char *)payload) != 0;
		return;
	default:
		return;
	}
}

static int send_size(struct session *s, struct err *err)
{
	struct terminal_size size = terminal_size();
	uint16_t wire[2] = {htons(size.rows), htons(size.columns)};

	return ws_send(s->ws, CONSOLE_RESIZE, wire, sizeof(wire), err);
}

/* Takes Ctrl-P Ctrl-Q out of what was typed; the rest goes on. */
static size_t take_keys(struct session *s, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		if (s->ctrl_p && in[i] == KEY_CTRL_Q) {
			s->let_go = true;
			return used;
		}
		if (s->ctrl_p)
			out[used++] = KEY_CTRL_P;
		s->ctrl_p = in[i] == KEY_CTRL_P;
		if (!s->ctrl_p)
			out[used++] = in[i];
	}
	return used;
}

static int pass_stdin(struct session *s, struct err *err)
{
	uint8_t in[READ_SIZE], kept[READ_SIZE + 1], *bytes = in;
	ssize_t n = read(STDIN_FILENO, in, sizeof(in));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		s->reading_stdin = false;
		return ws_send(s->ws, CONSOLE_STDIN_EOF, NULL, 0, err);
	}
	if (s->how->raw && s->how->may_detach) {
		n = (ssize_t)take_keys(s, in, (size_t)n, kept);
		bytes = kept;
	}
	return n ? ws_send(s->ws, CONSOLE_STDIN, bytes, (size_t)n, err) : 0;
}

static int wait_and_move(struct session *s, struct err *err)
{
	bool want_stdin = s->reading_stdin && ws_unsent(s->ws) < UNSENT_MOST;
	struct pollfd fds[2] = {
	        {.fd = ws_fd(s->ws), .events = ws_events(s->ws)},
	        {.fd = want_stdin ? STDIN_FILENO : -1, .events = POLLIN},
	};
	int rc;

	rc = ws_move(s->ws, on_frame, s, err);
	if (rc || s->exited || s->failed)
		return s->exited || s->failed ? 0 : MIN(rc, 0);
	fds[0].events = ws_events(s->ws);
	interrupt_poll(fds, 2, -1);
	if (interrupt_take_winch() && s->how->raw) {
		rc = send_size(s, err);
		if (rc)
			return rc;
	}
	if (interrupt_count())
		s->let_go = true;
	return fds[1].revents ? pass_stdin(s, err) : 0;
}

int interact_run(struct client *c, const char *path, const struct interact *how,
        enum interact_end *ret_end, int *ret_exit_code, struct err *err)
{
	struct session s = {.how = how, .reading_stdin = how->with_stdin};
	int rc = ws_open(c, path, "berth-console", &s.ws, err);

	if (rc)
		return rc;
	interrupt_catch(true);
	if (how->raw) {
		rc = terminal_raw(err);
		if (rc == 0)
			rc = send_size(&s, err);
	}
	while (rc == 0 && !s.let_go && !s.exited && !s.failed)
		rc = wait_and_move(&s, err);
	terminal_restore();
	ws_free(s.ws);
	if (rc)
		return rc;
	if (s.failed) {
		*err = s.err;
		return -(int)err->kind;
	}
	*ret_end = s.exited ? INTERACT_EXITED : INTERACT_LET_GO;
	*ret_exit_code = s.exit_code;
	return 0;
}
