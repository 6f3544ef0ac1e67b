#include "agent/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A name too long for an address is reached through its directory's descriptor. */
static int make_address(const char *path, struct sockaddr_un *a, int *ret_dir_fd, struct err *err)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int fd, n;

	a->sun_family = AF_UNIX;
	*ret_dir_fd = -1;
	if (strlen(path) < sizeof(a->sun_path)) {
		memcpy(a->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash || (size_t)(slash - path) >= sizeof(dir))
		return err_set(err, ERR_INVALID, "socket path '%.60s...' is too long", path);
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "opening '%s'", dir);
	n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d%s", fd, slash);
	if (n < 0 || (size_t)n >= sizeof(a->sun_path)) {
		close(fd);
		return err_set(err, ERR_INVALID, "socket name '%s' is too long", slash + 1);
	}
	*ret_dir_fd = fd;
	return 0;
}

int sock_connect(const char *path, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = {0};
	int fd, dir_fd, rc = make_address(path, &address, &dir_fd, err);

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* A Unix socket connects at once or not at all; EAGAIN means that the listener's line is full. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		rc = errno == EAGAIN
		             ? err_set(err, ERR_UNAVAILABLE, "'%s' takes no more callers now", path)
		             : err_sys(err, errno, "connecting to '%s'", path);
	if (dir_fd >= 0)
		close(dir_fd);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

pid_t sock_peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}
