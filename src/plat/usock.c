#include "plat/usock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

enum { BACKLOG = 128 };

/* The directory is opened, and the name is looked up behind its descriptor. *ret_dir is to be closed after use. */
static int make_address(
        const char *path, struct sockaddr_un *ret_addr, int *ret_dir, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *dir;
	int fd, n;

	dir = mem_dup(path, (size_t)(name - path) + 1);
	dir[name - path] = '\0';
	fd = open(slash ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return err_sys(err, errno, "looking for the directory of socket '%s'", path);
	n = snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", fd, name);
	if (!*name || n < 0 || (size_t)n >= sizeof(addr.sun_path)) {
		close(fd);
		return err_set(err, ERR_INVALID, "'%s' is no path for a socket", path);
	}
	*ret_addr = addr;
	*ret_dir = fd;
	return 0;
}

int usock_listen(const char *path, int *ret_fd, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), dir, rc;
	struct sockaddr_un addr;

	if (fd < 0)
		return err_sys(err, errno, "making a socket");
	rc = make_address(path, &addr, &dir, err);
	if (rc == 0) {
		unlink(addr.sun_path);
		/* The mode of the socket becomes that of its name. */
		if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		        listen(fd, BACKLOG) < 0)
			rc = err_sys(err, errno, "listening at '%s'", path);
		close(dir);
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* type: of the socket, with its flags. */
static int connect_to(const char *path, int type, int *ret_fd, struct err *err)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), dir, rc;
	struct sockaddr_un addr;

	if (fd < 0)
		return err_sys(err, errno, "making a socket");
	rc = make_address(path, &addr, &dir, err);
	if (rc == 0) {
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			rc = errno == EAGAIN ? err_set(err, ERR_UNAVAILABLE,
			                               "'%s' takes no more callers now", path)
			                     : err_sys(err, errno, "connecting to '%s'", path);
		close(dir);
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int usock_connect(const char *path, int *ret_fd, struct err *err)
{
	return connect_to(path, SOCK_STREAM, ret_fd, err);
}

int usock_connect_now(const char *path, int *ret_fd, struct err *err)
{
	return connect_to(path, SOCK_STREAM | SOCK_NONBLOCK, ret_fd, err);
}

bool usock_peer(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || len != sizeof(peer))
		return false;
	*ret_uid = peer.uid;
	*ret_pid = peer.pid;
	return true;
}
