#include "plat/net_addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int addr_unix(const char *path, struct sockaddr_un *ret_sun, int *ret_dir_fd, struct err *err)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	int fd;

	memset(ret_sun, 0, sizeof(*ret_sun));
	ret_sun->sun_family = AF_UNIX;
	*ret_dir_fd = -1;
	if (strlen(path) < sizeof(ret_sun->sun_path)) {
		memcpy(ret_sun->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash || (size_t)(slash - path) >= sizeof(dir) || strlen(slash) > 64)
		return err_sys(err, ENAMETOOLONG, "the socket '%.100s...'", path);
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	fd = open(slash == path ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "opening the directory of the socket '%s'", path);
	snprintf(ret_sun->sun_path, sizeof(ret_sun->sun_path), "/proc/self/fd/%d%s", fd, slash);
	*ret_dir_fd = fd;
	return 0;
}

static int new_unix(struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? err_sys(err, errno, "making a socket") : fd;
}

/* 0 or an errno; the descriptor stays as it is. */
static int try_connect(int fd, const struct sockaddr_un *sun)
{
	int rc;

	do
		rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? errno : 0;
}

static void close_some(int fd)
{
	if (fd >= 0)
		close(fd);
}

int addr_connect_unix(const char *path, int *ret_fd, struct err *err)
{
	struct sockaddr_un sun;
	int dir_fd;
	int sys;
	int fd;
	int rc;

	rc = addr_unix(path, &sun, &dir_fd, err);
	if (rc < 0)
		return rc;
	fd = new_unix(err);
	if (fd < 0) {
		close_some(dir_fd);
		return fd;
	}
	sys = try_connect(fd, &sun);
	close_some(dir_fd);
	if (sys == 0) {
		*ret_fd = fd;
		return 0;
	}
	close(fd);
	if (sys == EAGAIN)
		return err_set(err, ERR_UNAVAILABLE,
		        "connecting to '%s': too many are waiting there already", path);
	return err_sys(err, sys, "connecting to '%s'", path);
}

/* After EADDRINUSE: makes room when nobody listens there. */
static int remove_stale(const char *path, const struct sockaddr_un *sun, struct err *err)
{
	struct stat st;
	int sys;
	int fd;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "looking at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_CONFLICT, "'%s' is there and is not a socket", path);
	fd = new_unix(err);
	if (fd < 0)
		return fd;
	sys = try_connect(fd, sun);
	close(fd);
	if (sys == 0 || sys == EAGAIN)
		return err_set(err, ERR_CONFLICT, "somebody serves the socket '%s' already", path);
	if (sys != ECONNREFUSED && sys != ENOENT)
		return err_sys(err, sys, "looking at the socket '%s'", path);
	if (unlink(sun->sun_path) < 0 && errno != ENOENT)
		return err_sys(err, errno, "removing the stale socket '%s'", path);
	return 0;
}

static int bind_at(int fd, const char *path, const struct sockaddr_un *sun, struct err *err)
{
	int rc;

	if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0)
		return 0;
	if (errno == EADDRINUSE) {
		rc = remove_stale(path, sun, err);
		if (rc < 0)
			return rc;
		if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0)
			return 0;
	}
	return err_sys(err, errno, "making the socket '%s'", path);
}

/* Linux 6.16; headers may be older. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/*
 * A descriptor that somebody sends along is closed by who reads or closes the connection, and closing may wait as long as its
 * sender likes (SO_LINGER). What is accepted inherits this; an older kernel has no way to refuse.
 */
static void refuse_descriptors(int fd)
{
	int off = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

int addr_bind_unix(const char *path, uint32_t mode, uint32_t gid, int *ret_fd, struct err *err)
{
	struct sockaddr_un sun;
	int dir_fd;
	int fd;
	int rc;

	rc = addr_unix(path, &sun, &dir_fd, err);
	if (rc < 0)
		return rc;
	fd = new_unix(err);
	if (fd < 0) {
		close_some(dir_fd);
		return fd;
	}
	/* The file appears with the mode of the descriptor, so at no moment may anybody else open it. */
	fchmod(fd, 0600);
	refuse_descriptors(fd);
	rc = bind_at(fd, path, &sun, err);
	if (rc == 0 && gid != UINT32_MAX && chown(sun.sun_path, (uid_t)-1, gid) < 0)
		rc = err_sys(err, errno, "giving the socket '%s' to group %u", path, gid);
	if (rc == 0 && chmod(sun.sun_path, mode) < 0)
		rc = err_sys(err, errno, "setting the mode of the socket '%s'", path);
	close_some(dir_fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

bool addr_parse(const char *host, uint16_t port, struct addr *ret_addr)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)&ret_addr->sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret_addr->sa;
	char bare[INET6_ADDRSTRLEN];
	size_t n = strlen(host);

	memset(ret_addr, 0, sizeof(*ret_addr));
	if (inet_pton(AF_INET, host, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		ret_addr->len = sizeof(*in4);
		return true;
	}
	if (n > 2 && n < sizeof(bare) && host[0] == '[' && host[n - 1] == ']') {
		memcpy(bare, host + 1, n - 2);
		bare[n - 2] = '\0';
		host = bare;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		return false;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	ret_addr->len = sizeof(*in6);
	return true;
}

int addr_resolve(const char *host, uint16_t port, struct addr *ret_addr, struct err *err)
{
	struct addrinfo hints = {
	        .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	struct addrinfo *best;
	char service[8];
	int rc;

	if (addr_parse(host, port, ret_addr))
		return 0;
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc != 0)
		return err_set(err, ERR_NOT_FOUND, "the host '%s': %s", host, gai_strerror(rc));
	/* One socket is bound: of a name that stands for both, the address that every client tries. */
	best = found;
	for (struct addrinfo *a = found; a; a = a->ai_next) {
		if (a->ai_family == AF_INET) {
			best = a;
			break;
		}
	}
	memcpy(&ret_addr->sa, best->ai_addr, best->ai_addrlen);
	ret_addr->len = best->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

uint16_t addr_port(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
	return ntohs(((const struct sockaddr_in *)sa)->sin_port);
}

void addr_peer(int fd, struct net_peer *peer)
{
	struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;
	socklen_t len = sizeof(sa);
	struct ucred cred;

	snprintf(peer->addr, sizeof(peer->addr), "?");
	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0)
		return;
	if (sa.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&sa)->sin_addr, peer->addr,
		        sizeof(peer->addr));
	} else if (sa.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], peer->addr, sizeof(peer->addr));
	} else if (sa.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, peer->addr, sizeof(peer->addr));
	} else if (sa.ss_family == AF_UNIX) {
		snprintf(peer->addr, sizeof(peer->addr), "unix");
		len = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
			peer->is_unix = true;
			peer->uid = cred.uid;
			peer->gid = cred.gid;
			peer->pid = cred.pid;
		}
	}
}
