/* Daemons of the accounts of jobs: root's helper starts, finds and ends them, and gives a descriptor of their process. */
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/mps_priv.h"
#include "base/buf.h"
#include "plat/usock.h"
#include "wire/launch.h"

/* Sends one message, on a connection of its own, where the answer will come. */
static int ask(
        const struct daemon *d, enum launch_kind kind, bool force, int *ret_sock, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	struct launch l = {
	        .kind = kind,
	        .force = force,
	        .user = d->account,
	        .device = d->uuid,
	        .place = d->number,
	        .simulated = d->of->o.fake_gpus != NULL,
	};
	int sock;

	launch_encode(&l, &b);
	if (usock_connect_now(d->of->helper, &sock, err) < 0)
		return err_set(err, ERR_UNAVAILABLE, "the helper is not there");
	/* Small enough to be taken at once. */
	if (send(sock, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len) {
		*ret_sock = sock;
		return 0;
	}
	close(sock);
	return err_set(err, ERR_UNAVAILABLE, "the helper takes nothing");
}

static int find(struct daemon *d, int *ret_fd, struct err *err)
{
	int rc = ask(d, LAUNCH_MPS_FIND, false, ret_fd, err);

	return rc < 0 ? rc : 1;
}

static int start(struct daemon *d, int *ret_fd, struct err *err)
{
	int rc = ask(d, LAUNCH_MPS_START, false, ret_fd, err);

	return rc < 0 ? rc : 1;
}

/* Nobody needs the answer. */
static void say_end(const struct daemon *d, bool force)
{
	struct err err;
	int sock;

	if (ask(d, LAUNCH_MPS_END, force, &sock, &err) == 0)
		close(sock);
}

static void tell(struct daemon *d)
{
	say_end(d, false);
}

static void kill_all(struct daemon *d)
{
	say_end(d, true);
}

/* Where it has its pipes and logs is root's word. */
static int take(struct daemon *d, bool is_late, int *ret_fd, struct err *err)
{
	char bytes[1 + MPS_PATH];
	ssize_t n;

	n = usock_recv_fd(d->fd, ret_fd, bytes, sizeof(bytes) - 1);
	bytes[MAX(n, 0)] = '\0';
	if (n > 1 && bytes[0] == 0 && *ret_fd >= 0 && strlen(bytes + 1) < sizeof(d->dir)) {
		mps_place_at(bytes + 1, &d->place);
		return 0;
	}
	if (*ret_fd >= 0)
		close(*ret_fd);
	if (n <= 0)
		return err_set(
		        err, is_late ? ERR_TIMEOUT : ERR_UNAVAILABLE, "the helper does not answer");
	if (bytes[0] <= 0 || bytes[0] >= ERR_MAX)
		return err_set(err, ERR_INTERNAL, "the helper's answer is not understood");
	return err_set(err, (enum err_kind)bytes[0], "%s", bytes + 1);
}

/* That is the helper's affair. */
static void clean(struct daemon *d)
{
}

/* The helper has less patience. */
const struct mps_way mps_asked = {.find = find,
        .start = start,
        .take = take,
        .tell = tell,
        .kill = kill_all,
        .clean = clean,
        .start_ms = 8000};
