#include "engine/outside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "plat/usock.h"
#include "wire/launch.h"

static int ask(int sock, const struct launch *l, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct timeval patience = {.tv_usec = OUTSIDE_MS * 1000};

	launch_encode(l, &b);
	if (b.overflow)
		return err_set(err, ERR_TOO_LARGE, "the path of the output is too long");
	/* Small enough to be taken at once. */
	if (fcntl(sock, F_SETFL, O_RDWR) < 0 ||
	        setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	        send(sock, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)b.len)
		return err_sys(err, errno, "asking the helper for the output");
	return 0;
}

static int take(int sock, int *ret_fd, struct err *err)
{
	char bytes[1 + sizeof(err->text)];
	int fd;
	ssize_t n = usock_recv_fd(sock, &fd, bytes, sizeof(bytes) - 1);

	if (n > 0 && bytes[0] == 0 && fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (n < 0 && errno == EAGAIN)
		return err_set(err, ERR_TIMEOUT, "the file system of the output does not answer");
	if (n <= 0)
		return err_set(err, ERR_UNAVAILABLE, "the helper does not answer");
	bytes[n] = '\0';
	if (bytes[0] <= 0 || bytes[0] >= ERR_MAX)
		return err_set(err, ERR_INTERNAL, "the helper's answer is not understood");
	return err_set(err, (enum err_kind)bytes[0], "%s", bytes + 1);
}

int outside_open(const char *helper_sock, const char *user, struct job_id id, const char *path,
        int *ret_fd, struct err *err)
{
	struct launch l = {
	        .kind = LAUNCH_OPEN,
	        .job = id.num,
	        .task = id.task,
	        .user = user,
	        .out_path = path,
	};
	int sock, rc = usock_connect_now(helper_sock, &sock, err);

	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE, "the helper is not there");
	rc = ask(sock, &l, err);
	if (rc == 0)
		rc = take(sock, ret_fd, err);
	close(sock);
	return rc;
}
