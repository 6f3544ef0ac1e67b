#include "server/door.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "base/text.h"
#include "plat/usock.h"
#include "wire/launch.h"

#define TRIES   250
#define WAIT_MS 20 /* the helper is started at the same moment */
#define WORD_S  5

int door_find_group(const char *name, uint32_t *ret_gid, struct err *err)
{
	const struct group *g = name[0] ? getgrnam(name) : NULL;
	char shown[TEXT_SHOW_SIZE];
	uint64_t number = UINT32_MAX;

	if (g)
		number = g->gr_gid;
	else if (name[0] && num_parse_u64(name, UINT32_MAX - 1, &number, err))
		return err_set(err, ERR_INVALID, "socket.group: there is no group '%s'",
		        text_show(name, shown));
	*ret_gid = (uint32_t)number;
	return 0;
}

static int connect_helper(const char *data_dir, int *ret_sock, struct err *err)
{
	const struct timespec wait = {.tv_nsec = WAIT_MS * 1000000};
	char path[4200];
	int rc = -1;

	snprintf(path, sizeof(path), "%s/run/helper.sock", data_dir);
	for (int i = 0; rc < 0 && i < TRIES; i++) {
		if (i)
			nanosleep(&wait, NULL);
		rc = usock_connect(path, ret_sock, err);
	}
	return rc;
}

int door_ask_helper(const char *data_dir, uint32_t gid, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct launch l = {.kind = LAUNCH_DOOR, .task = -1, .gid = gid};
	struct timeval patience = {.tv_sec = WORD_S};
	char answer[1 + sizeof(err->text)];
	int sock, rc = connect_helper(data_dir, &sock, err);
	ssize_t n;

	if (rc < 0)
		return err_wrap(err, "giving the socket to its group");
	launch_encode(&l, &b);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = send(sock, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len
	            ? recv(sock, answer, sizeof(answer) - 1, 0)
	            : -1;
	close(sock);
	if (n <= 0)
		rc = err_set(err, ERR_UNAVAILABLE, "the helper does not answer");
	else if (answer[0] > 0 && answer[0] < ERR_MAX)
		rc = err_set(err, (enum err_kind)answer[0], "%.*s", (int)n - 1, answer + 1);
	return rc < 0 ? err_wrap(err, "giving the socket to its group") : 0;
}
