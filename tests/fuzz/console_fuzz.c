/*
 * Frames that a client sends to a keeper's console, over its real socket. The first byte says how the bytes are cut: the
 * same must come out as when they come in one piece.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "keeper/console.h"

/* What the process behind the console would see. */
struct seen {
	struct buf input;
	bool is_over;
	uint32_t rows, cols;
	bool is_dropped;
};

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	FUZZ_MUST(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	FUZZ_MUST(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

/* As the keeper: polls once, takes what there is. */
static void turn(struct console *c, struct seen *s)
{
	struct pollfd fds[CONSOLE_POLLS];
	size_t n = console_polls(c, fds);
	struct buf *in;

	FUZZ_MUST(n <= CONSOLE_POLLS);
	poll(fds, n, 0);
	console_on_polls(c, fds, n);
	in = console_input(c);
	buf_add(&s->input, in->data, in->len);
	buf_consume(in, in->len);
	s->is_over = console_take_eof(c) || s->is_over;
	console_take_size(c, &s->rows, &s->cols);
}

static void run(const uint8_t *data, size_t size, size_t cut, struct seen *s)
{
	struct keeper_base base = {.server_uid = geteuid(), .server_gid = getegid()};
	struct console *c;
	char dir[] = "/tmp/berth-fuzz-XXXXXX", path[64];
	struct err err;
	int fd;

	FUZZ_MUST(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/c", dir);
	*s = (struct seen){.input = BUF_INIT(16 * MIB)};
	FUZZ_MUST(console_open(&base, path, true, false, &c, &err) == 0);
	fd = connect_to(path);
	turn(c, s);
	while (size && !console_is_deserted(c)) {
		size_t n = MIN(cut, size);
		ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		FUZZ_MUST(sent > 0);
		data += sent;
		size -= (size_t)sent;
		turn(c, s);
	}
	turn(c, s);
	s->is_dropped = console_is_deserted(c);
	close(fd);
	turn(c, s);
	FUZZ_MUST(console_is_deserted(c));
	console_end(c, CONSOLE_ERROR, NULL, 0);
	FUZZ_MUST(rmdir(dir) == 0);
}

/* A length that no frame has ends a client. */
static bool has_nonsense(const uint8_t *data, size_t size)
{
	while (size >= 5) {
		size_t len = (size_t)data[1] << 24 | (size_t)data[2] << 16 | (size_t)data[3] << 8 |
		             data[4];
		if (len > CONSOLE_FRAME_MAX)
			return true;
		if (size - 5 < len)
			return false;
		data += 5 + len;
		size -= 5 + len;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = 1 + fuzz_byte(&data, &size);
	struct seen whole, pieces;

	size = MIN(size, (size_t)8192);
	run(data, size, 8192, &whole);
	run(data, size, cut, &pieces);
	FUZZ_MUST(whole.input.len <= size);
	/* What is typed behind an end of input counts only once the process has seen that end. */
	if (whole.is_over)
		whole.input.len = pieces.input.len = MIN(whole.input.len, pieces.input.len);
	FUZZ_MUST(fuzz_is_same(&whole.input, &pieces.input));
	FUZZ_MUST(whole.is_over == pieces.is_over && whole.is_dropped == pieces.is_dropped);
	FUZZ_MUST(whole.is_dropped == has_nonsense(data, size));
	FUZZ_MUST(whole.rows == pieces.rows && whole.cols == pieces.cols);
	buf_done(&whole.input);
	buf_done(&pieces.input);
	return 0;
}
