#include "keeper/label.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

enum { READY = 16, ROOM = 1 << 16, CHUNK = 1 << 14, PREFIX_MAX = 16, FILES_BESIDE = 64 };

/* One pipe. */
struct lane {
	int fd; /* -1: nobody writes to it any more */
	uint32_t rank;
	enum spool_stream stream;
	uint8_t *line; /* LABEL_LINE_MAX bytes, once a line has come in parts */
	size_t len;
};

struct label {
	int epoll_fd;
	int job[2]; /* what the task that is being started writes to; both may be one */
	uint32_t n_lanes;
	uint32_t n_streams;
	label_put *put;
	void *ctx;
	uint8_t out[ROOM];
	size_t out_len;
	struct lane lanes[];
};

/* Before any task begins; and what ends them, where one cannot, opens files, too. */
static int check_files(uint32_t n_lanes, struct err *err)
{
	struct rlimit files;
	int rc;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || n_lanes + FILES_BESIDE <= files.rlim_cur)
		return 0;
	rc = err_set(err, ERR_LIMIT, "lines of so many tasks need %u open files, %ju are allowed",
	        n_lanes + FILES_BESIDE, (uintmax_t)files.rlim_cur);
	return rc ? err_hint(err, "see ulimit -n where Berth is started") : rc;
}

int label_open(uint32_t n_ranks, bool is_split, label_put *put, void *ctx, struct label **ret_label,
        struct err *err)
{
	uint32_t n_streams = is_split ? 2 : 1;
	struct label *l;
	int rc = check_files(n_ranks * n_streams, err);

	if (rc < 0)
		return rc;
	l = mem_zalloc(sizeof(*l) + n_ranks * n_streams * sizeof(*l->lanes));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		free(l);
		return err_sys(err, errno, "opening an epoll descriptor");
	}
	l->job[0] = l->job[1] = -1;
	l->n_lanes = n_ranks * n_streams;
	l->n_streams = n_streams;
	l->put = put;
	l->ctx = ctx;
	for (uint32_t i = 0; i < l->n_lanes; i++)
		l->lanes[i] = (struct lane){.fd = -1,
		        .rank = i / n_streams,
		        .stream = i % n_streams ? SPOOL_STDERR : SPOOL_STDOUT};
	*ret_label = l;
	return 0;
}

int label_open_rank(struct label *l, uint32_t rank, int *ret_out, int *ret_err, struct err *err)
{
	for (uint32_t i = 0; i < l->n_streams; i++) {
		uint32_t at = rank * l->n_streams + i;
		struct epoll_event want = {.events = EPOLLIN, .data.u32 = at};
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return err_sys(err, errno, "opening a pipe for rank %u", rank);
		l->lanes[at].fd = fds[0];
		l->job[i] = fds[1];
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fds[0], &want) < 0)
			return err_sys(err, errno, "watching the output of rank %u", rank);
	}
	*ret_out = l->job[0];
	*ret_err = l->job[l->n_streams - 1];
	return 0;
}

void label_let_go(struct label *l)
{
	for (uint32_t i = 0; i < l->n_streams; i++) {
		if (l->job[i] >= 0)
			close(l->job[i]);
		l->job[i] = -1;
	}
}

int label_fd(const struct label *l)
{
	return l->epoll_fd;
}

static void flush(struct label *l, const struct lane *lane)
{
	if (l->out_len)
		l->put(l->ctx, lane->stream, l->out, l->out_len);
	l->out_len = 0;
}

/* What was kept of the line and these bytes are one. */
static void say(struct label *l, struct lane *lane, const uint8_t *data, size_t len)
{
	if (l->out_len + PREFIX_MAX + lane->len + len + 1 > ROOM)
		flush(l, lane);
	l->out_len += (size_t)snprintf((char *)l->out + l->out_len, PREFIX_MAX, "%u: ", lane->rank);
	if (lane->len)
		memcpy(l->out + l->out_len, lane->line, lane->len);
	l->out_len += lane->len;
	memcpy(l->out + l->out_len, data, len);
	l->out_len += len;
	l->out[l->out_len++] = '\n';
	lane->len = 0;
}

static void keep(struct lane *lane, const uint8_t *data, size_t len)
{
	if (!lane->line)
		lane->line = mem_zalloc(LABEL_LINE_MAX);
	memcpy(lane->line + lane->len, data, len);
	lane->len += len;
}

static void feed(struct label *l, struct lane *lane, const uint8_t *data, size_t len)
{
	while (len) {
		const uint8_t *end = memchr(data, '\n', len);
		size_t line = end ? (size_t)(end - data) : len;
		size_t n = MIN(line, LABEL_LINE_MAX - lane->len);
		bool is_whole = end && n == line;

		if (!is_whole && n == len) {
			keep(lane, data, n);
			return;
		}
		say(l, lane, data, n);
		data += n + is_whole;
		len -= n + is_whole;
	}
}

static void end_line(struct label *l, struct lane *lane)
{
	if (lane->len)
		say(l, lane, (const uint8_t *)"", 0);
	flush(l, lane);
}

static size_t take_lane(struct label *l, struct lane *lane)
{
	static uint8_t chunk[CHUNK];
	ssize_t n = read(lane->fd, chunk, sizeof(chunk));

	if (n > 0) {
		feed(l, lane, chunk, (size_t)n);
		flush(l, lane);
		return (size_t)n;
	}
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	end_line(l, lane);
	close(lane->fd); /* and it is watched no more */
	lane->fd = -1;
	return 0;
}

size_t label_take(struct label *l)
{
	struct epoll_event ready[READY];
	int n = epoll_wait(l->epoll_fd, ready, READY, 0);
	size_t total = 0;

	for (int i = 0; i < n; i++)
		total += take_lane(l, &l->lanes[ready[i].data.u32]);
	return total;
}

void label_finish(struct label *l)
{
	for (uint32_t i = 0; i < l->n_lanes; i++)
		end_line(l, &l->lanes[i]);
}
