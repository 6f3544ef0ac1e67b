/*
 * Addresses: sockets by path of any length, hosts and ports, who is at the other end. For net*.c only.
 * Descriptors belong to the caller. Loop thread only (addr_resolve may block and is for the start of a server).
 * Failures name the path or the host.
 */
#pragma once

#include "plat/net.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addr {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* What is not short enough for a socket's address is reached through its directory, open as *ret_dir_fd until the address has been
 * used; -1 otherwise. */
MUST_CHECK int addr_unix(
        const char *path, struct sockaddr_un *ret_sun, int *ret_dir_fd, struct err *err);
/* A connection to a Unix socket: it succeeds or fails at once. */
MUST_CHECK int addr_connect_unix(const char *path, int *ret_fd, struct err *err);
/* Bound, not yet listening. A stale socket is replaced. */
MUST_CHECK int addr_bind_unix(
        const char *path, uint32_t mode, uint32_t gid, int *ret_fd, struct err *err);

/* "127.0.0.1", "::1", "[::1]". */
bool addr_parse(const char *host, uint16_t port, struct addr *ret_addr);
MUST_CHECK int addr_resolve(
        const char *host, uint16_t port, struct addr *ret_addr, struct err *err);
uint16_t addr_port(const struct sockaddr_storage *sa);
/* Fills addr, and for a Unix socket who it is. */
void addr_peer(int fd, struct net_peer *peer);
