#include "keeper/console.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "keeper/rights.h"
#include "plat/clock.h"
#include "plat/usock.h"

enum {
	HEAD = 5,
	SHARE = 1 << 20,        /* bytes held for one client */
	FULL = 1 << 18,         /* is_single: from here on the process is held up */
	HISTORY = 1 << 16,      /* what a late client is shown */
	INPUT_MAX = 1 << 18,    /* typed and not taken yet */
	INPUT_ENOUGH = 1 << 16, /* from here on clients are not read */
	LAST_MS = 2000,         /* for the last frame */
};

struct client {
	int fd;
	struct buf in;
	struct buf out;
};

struct console {
	const struct keeper_base *base;
	const char *path;
	int listen_fd;
	bool is_single;
	bool has_history;
	bool had_client;
	bool is_input_over;
	bool has_size;
	uint32_t rows, cols;
	struct buf input;
	struct buf history; /* twice HISTORY at most; its end counts */
	struct client clients[CONSOLE_CLIENTS];
	size_t n_clients;
};

int console_open(const struct keeper_base *base, const char *path, bool is_single, bool has_history,
        struct console **ret_console, struct err *err)
{
	struct console *c;
	int fd, rc;

	rights_as_server(base);
	rc = usock_listen(path, &fd, err);
	rights_back(base);
	if (rc < 0)
		return rc;
	c = mem_zalloc(sizeof(*c));
	*c = (struct console){
	        .base = base,
	        .path = path,
	        .listen_fd = fd,
	        .is_single = is_single,
	        .has_history = has_history,
	        .input = BUF_INIT(INPUT_MAX),
	        .history = BUF_INIT(2 * HISTORY + CONSOLE_FRAME_MAX),
	};
	*ret_console = c;
	return 0;
}

static void drop(struct console *c, size_t i)
{
	struct client *k = &c->clients[i];

	close(k->fd);
	buf_done(&k->in);
	buf_done(&k->out);
	c->clients[i] = c->clients[--c->n_clients];
}

/* What the socket takes now; false when the client is gone. */
static bool send_some(struct client *k)
{
	while (k->out.len) {
		ssize_t n = send(k->fd, k->out.data, k->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		buf_consume(&k->out, (size_t)n);
	}
	return true;
}

static bool is_friend(int fd)
{
	uid_t uid;
	pid_t pid;

	return usock_peer(fd, &uid, &pid) && (uid == 0 || uid == geteuid());
}

static void accept_one(struct console *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	size_t skip = c->history.len > HISTORY ? c->history.len - HISTORY : 0;
	struct client *k;

	if (fd < 0)
		return;
	if (c->n_clients == CONSOLE_CLIENTS || (c->is_single && c->had_client) || !is_friend(fd)) {
		close(fd);
		return;
	}
	k = &c->clients[c->n_clients++];
	*k = (struct client){
	        .fd = fd, .in = BUF_INIT(2 * CONSOLE_FRAME_MAX + HEAD), .out = BUF_INIT(SHARE)};
	c->had_client = true;
	if (c->history.len > skip)
		console_put(&k->out, CONSOLE_STDOUT, c->history.data + skip,
		        (uint32_t)(c->history.len - skip));
	if (!send_some(k))
		drop(c, c->n_clients - 1);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take_frame(struct console *c, enum console_frame type, const uint8_t *data, size_t len)
{
	switch (type) {
	case CONSOLE_STDIN:
		if (!c->is_input_over)
			buf_add(&c->input, data, len);
		break;
	case CONSOLE_STDIN_EOF:
		c->is_input_over = true;
		break;
	case CONSOLE_RESIZE:
		if (len != 4)
			break;
		c->rows = (uint32_t)data[0] << 8 | data[1];
		c->cols = (uint32_t)data[2] << 8 | data[3];
		c->has_size = true;
		break;
	default:
		break;
	}
}

/* What is whole and has room; false when the client speaks nonsense. */
static bool take_frames(struct console *c, struct client *k)
{
	size_t used = 0, len;

	while (k->in.len - used >= HEAD && c->input.len < INPUT_ENOUGH) {
		const uint8_t *p = k->in.data + used;

		len = get_u32(p + 1);
		if (len > CONSOLE_FRAME_MAX)
			return false;
		if (k->in.len - used < HEAD + len)
			break;
		take_frame(c, (enum console_frame)p[0], p + HEAD, len);
		used += HEAD + len;
	}
	buf_consume(&k->in, used);
	return true;
}

/* False when the client is gone. */
static bool receive(struct client *k)
{
	uint8_t *room = buf_reserve(&k->in, CONSOLE_FRAME_MAX);
	ssize_t n = room ? recv(k->fd, room, CONSOLE_FRAME_MAX, MSG_DONTWAIT) : 0;

	if (n > 0)
		buf_commit(&k->in, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

size_t console_polls(struct console *c, struct pollfd fds[CONSOLE_POLLS])
{
	bool is_open;

	/* What had no room before may have it now. */
	for (size_t i = c->n_clients; i-- > 0;)
		if (!take_frames(c, &c->clients[i]))
			drop(c, i);
	is_open = c->input.len < INPUT_ENOUGH;
	fds[0] = (struct pollfd){.fd = c->listen_fd, .events = POLLIN};
	for (size_t i = 0; i < c->n_clients; i++)
		fds[i + 1] = (struct pollfd){
		        .fd = c->clients[i].fd,
		        .events = (short)((is_open ? POLLIN : 0) |
		                          (c->clients[i].out.len ? POLLOUT : 0)),
		};
	return c->n_clients + 1;
}

/* From the last client to the first: dropping one moves the last into its place. */
void console_on_polls(struct console *c, const struct pollfd *fds, size_t n)
{
	for (size_t i = n - 1; i-- > 0;) {
		short events = fds[i + 1].revents;
		struct client *k = &c->clients[i];

		if ((events & POLLOUT && !send_some(k)) ||
		        (events & (POLLIN | POLLHUP | POLLERR) &&
		                !(receive(k) && take_frames(c, k))))
			drop(c, i);
	}
	if (fds[0].revents)
		accept_one(c);
}

void console_put_output(struct console *c, enum console_frame type, const void *data, uint32_t len)
{
	if (c->has_history) {
		buf_add(&c->history, data, len);
		if (c->history.len > 2 * HISTORY)
			buf_consume(&c->history, c->history.len - HISTORY);
	}
	for (size_t i = c->n_clients; i-- > 0;) {
		struct client *k = &c->clients[i];

		console_put(&k->out, type, data, len);
		if (k->out.overflow || !send_some(k))
			drop(c, i);
	}
}

struct buf *console_input(struct console *c)
{
	return &c->input;
}

bool console_take_eof(struct console *c)
{
	bool is_over = c->is_input_over && c->input.len == 0;

	c->is_input_over &= !is_over;
	return is_over;
}

bool console_take_size(struct console *c, uint32_t *ret_rows, uint32_t *ret_cols)
{
	bool has_size = c->has_size;

	if (has_size) {
		*ret_rows = c->rows;
		*ret_cols = c->cols;
	}
	c->has_size = false;
	return has_size;
}

bool console_is_full(const struct console *c)
{
	return c->is_single && (c->n_clients ? c->clients[0].out.len >= FULL : !c->had_client);
}

bool console_is_deserted(const struct console *c)
{
	return c->is_single && c->had_client && c->n_clients == 0;
}

void console_close_door(struct console *c)
{
	if (c->listen_fd < 0)
		return;
	close(c->listen_fd);
	c->listen_fd = -1;
	unlink(c->path);
}

void console_end(struct console *c, enum console_frame type, const void *data, uint32_t len)
{
	uint64_t until;

	if (!c)
		return;
	console_close_door(c);
	console_put_output(c, type, data, len);
	until = clock_mono_ms() + LAST_MS;
	for (uint64_t now = until - LAST_MS; c->n_clients && now < until; now = clock_mono_ms()) {
		struct pollfd fds[CONSOLE_POLLS];
		size_t n = 0;

		for (size_t i = c->n_clients; i-- > 0;)
			if (!c->clients[i].out.len || !send_some(&c->clients[i]) ||
			        !c->clients[i].out.len)
				drop(c, i);
		for (; n < c->n_clients; n++)
			fds[n] = (struct pollfd){.fd = c->clients[n].fd, .events = POLLOUT};
		if (n)
			poll(fds, n, (int)(until - now));
	}
	while (c->n_clients)
		drop(c, c->n_clients - 1);
	buf_done(&c->input);
	buf_done(&c->history);
	free(c);
}
