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

int usock_bind(const char *path, int *ret_fd, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), dir, rc;
	struct sockaddr_un addr;

	if (fd < 0)
		return err_sys(err, errno, "making a socket");
	rc = make_address(path, &addr, &dir, err);
	if (rc == 0) {
		unlink(addr.sun_path);
		/* The mode of the socket becomes that of its name. */
		if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
			rc = err_sys(err, errno, "making socket '%s'", path);
		close(dir);
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int usock_listen(const char *path, int *ret_fd, struct err *err)
{
	int fd, rc = usock_bind(path, &fd, err);

	if (rc < 0)
		return rc;
	if (listen(fd, BACKLOG) < 0) {
		rc = err_sys(err, errno, "listening at '%s'", path);
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

int usock_send_fd(int sock, int fd, const void *data, size_t len)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1};

	if (fd >= 0) {
		control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(fd)),
		        .cmsg_level = SOL_SOCKET,
		        .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.bytes);
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len ? 0 : -1;
}

ssize_t usock_recv_fd(int sock, int *ret_fd, void *data, size_t size)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec piece = {.iov_base = data, .iov_len = size};
	struct msghdr m = {.msg_iov = &piece,
	        .msg_iovlen = 1,
	        .msg_control = &control,
	        .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

	*ret_fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	        c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
	return n;
}
