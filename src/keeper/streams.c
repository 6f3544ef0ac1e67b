#include "keeper/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "plat/pty.h"

/*
 * DESIGN. Our copies of the ends that the job writes to stay open. So these descriptors never come to an end: nothing
 * wakes us but output, and the end of output is that no process is left and nothing can be read at once. A terminal
 * then lives on whatever the job closes and opens again.
 */

static int open_terminal(
        struct streams *io, const struct keeper_base *base, const struct launch *l, struct err *err)
{
	uid_t owner = base->is_root ? l->uid : (uid_t)-1;
	int slave, rc = pty_open(l->rows, l->cols, owner, &io->out_fd, &slave, err);

	if (rc < 0)
		return rc;
	fcntl(io->out_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	io->in_fd = io->out_fd;
	io->job[0] = io->job[1] = io->job[2] = slave;
	io->is_tty = true;
	return 0;
}

static int open_pipe(int *ret_ours, int *ret_job, bool is_input, struct err *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "opening a pipe");
	*ret_ours = fds[is_input];
	*ret_job = fds[!is_input];
	return 0;
}

int streams_open(struct streams *io, const struct keeper_base *base, const struct launch *l,
        const struct console *console, label_put *put, void *ctx, struct err *err)
{
	/* One pipe keeps the order of both streams, as one file of the user would have it; two tell them apart. */
	bool has_output = l->out_path || console;
	bool is_split = l->err_path || console || (l->out_path && l->out_internal);
	int rc = 0;

	*io = STREAMS_NONE;
	if (l->tty)
		return open_terminal(io, base, l, err);
	io->job[0] = io->job[1] = FD_NULL;
	if (console) {
		rc = open_pipe(&io->in_fd, &io->job[0], true, err);
		if (rc == 0)
			fcntl(io->in_fd, F_SETFL, O_WRONLY | O_NONBLOCK);
	}
	if (rc == 0 && l->label && has_output) {
		rc = label_open(MAX(l->ranks, 1U), is_split, put, ctx, &io->label, err);
		if (rc == 0)
			io->out_fd = label_fd(io->label);
		return rc;
	}
	if (rc == 0 && has_output)
		rc = open_pipe(&io->out_fd, &io->job[1], false, err);
	io->job[2] = io->job[1];
	if (rc == 0 && is_split)
		rc = open_pipe(&io->err_fd, &io->job[2], false, err);
	return rc;
}

int streams_of_rank(struct streams *io, uint32_t rank, int ret_stdio[3], struct err *err)
{
	memcpy(ret_stdio, io->job, sizeof(io->job));
	if (rank)
		ret_stdio[0] = FD_NULL;
	return io->label ? label_open_rank(io->label, rank, &ret_stdio[1], &ret_stdio[2], err) : 0;
}

void streams_let_go_rank(struct streams *io)
{
	if (io->label)
		label_let_go(io->label);
}

void streams_let_go(struct streams *io)
{
	if (io->is_tty || io->in_fd < 0)
		return;
	close(io->job[0]);
	io->job[0] = -1;
}
