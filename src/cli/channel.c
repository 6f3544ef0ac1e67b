#include "cli/channel_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

static long unix_send(struct channel *c, const void *data, size_t len, struct err *err)
{
	ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return err_sys(err, errno, "sending to the server");
}

static long unix_recv(struct channel *c, void *data, size_t size, struct err *err)
{
	ssize_t n = recv(c->fd, data, size, MSG_DONTWAIT);

	if (n > 0)
		return n;
	if (n == 0) {
		c->ended = true;
		return 0;
	}
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return err_sys(err, errno, "reading from the server");
}

static void unix_close(struct channel *c)
{
	close(c->fd);
	free(c);
}

static const struct channel_kind unix_kind = {unix_send, unix_recv, unix_close};

/* Connects through a descriptor of the directory when the path does not fit into an address. */
static int connect_path(int fd, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int rc;

	if (strlen(path) < sizeof(addr.sun_path)) {
		memcpy(addr.sun_path, path, strlen(path));
		return connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	char *for_dir = mem_strdup(path), *for_base = mem_strdup(path);
	int dir = open(dirname(for_dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		rc = -1;
	} else if (snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir,
	                   basename(for_base)) >= (int)sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		rc = -1;
	} else {
		rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	int sys = errno;
	if (dir >= 0)
		close(dir);
	free(for_dir);
	free(for_base);
	errno = sys;
	return rc;
}

int channel_open_unix(const char *path, struct channel **ret_channel, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(err, errno, "socket");
	if (connect_path(fd, path) < 0) {
		int sys = errno;
		close(fd);
		return err_sys(err, sys, "connecting to %s", path);
	}
	struct channel *c = mem_zalloc(sizeof(*c));
	c->kind = &unix_kind;
	c->fd = fd;
	*ret_channel = c;
	return 0;
}

void channel_close(struct channel *c)
{
	if (c)
		c->kind->close(c);
}

long channel_send(struct channel *c, const void *data, size_t len, struct err *err)
{
	return c->kind->send(c, data, len, err);
}

long channel_recv(struct channel *c, void *data, size_t size, struct err *err)
{
	return c->kind->recv(c, data, size, err);
}

int channel_fd(const struct channel *c)
{
	return c->fd;
}

bool channel_ended(const struct channel *c)
{
	return c->ended;
}
