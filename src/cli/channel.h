/*
 * Bytes to and from one peer: a Unix socket, or TCP and TLS through libcurl, which is opened when first needed.
 * The opener owns the channel until channel_close(). One thread. Nothing here blocks but opening: who waits polls
 * channel_fd(), after channel_recv() has returned 0 (TLS may hold bytes that poll does not see).
 */
#pragma once

#include "base/cc.h"
#include "base/err.h"

struct channel;

struct channel_remote {
	const char *url;     /* "http://host:port" or "https://host:port" */
	const char *ca_path; /* certificates to trust instead of the system's, or NULL */
	const char *pin_hex; /* SHA-256 of the peer's certificate: that one and no other, or NULL */
};

/* path may be longer than what a socket address can hold. */
MUST_CHECK int channel_open_unix(const char *path, struct channel **ret_channel, struct err *err);
MUST_CHECK int channel_open_remote(
        const struct channel_remote *r, struct channel **ret_channel, struct err *err);
void channel_close(struct channel *c); /* NULL is fine */

/* Bytes taken, 0 when none can be now, negative on failure (UNAVAILABLE when the peer has gone). */
MUST_CHECK long channel_send(struct channel *c, const void *data, size_t len, struct err *err);
/* Bytes read; 0 when there are none now, or at the end (channel_ended). */
MUST_CHECK long channel_recv(struct channel *c, void *data, size_t size, struct err *err);

int channel_fd(const struct channel *c);
bool channel_ended(const struct channel *c);
