/*
 * TLS as a pure transformation between the bytes of a connection and the bytes of the one who speaks over it. For net*.c only.
 * A context is shared by its connections and counted; a struct tls belongs to its connection. No I/O but reading certificates.
 * Loop thread only. Failures come back as err; what has to be sent all the same (alerts) then lies in `wire`.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct tls_ctx;

struct tls {
	struct buf wire; /* to be sent as it is */
	bool is_open;    /* the handshake is done */
	struct tls_ctx *ctx;
	void *ssl;
	const uint8_t *raw; /* what tls_take was given and has not been read yet */
	size_t raw_len;
};

struct tls_server_options {
	const char *cert_path;
	const char *key_path; /* NULL: it is in cert_path */
	bool needs_1_3;       /* else 1.2 will do */
};
/* FORBIDDEN: the file of the key is open to others. */
MUST_CHECK int tls_ctx_new_server(
        const struct tls_server_options *o, struct tls_ctx **ret_ctx, struct err *err);
/* NULL, NULL: the system's authorities. A pin alone trusts this one certificate and nothing else; with ca_path both must hold. */
MUST_CHECK int tls_ctx_new_client(
        const char *ca_path, const char *pin_sha256_hex, struct tls_ctx **ret_ctx, struct err *err);
void tls_ctx_free(struct tls_ctx *ctx); /* NULL does nothing; connections that use it go on */

/* host: the name or address that the peer's certificate must be for; NULL: we are the server. */
MUST_CHECK int tls_new(
        struct tls_ctx *ctx, const char *host, struct tls **ret_tls, struct err *err);
void tls_free(struct tls *t); /* NULL does nothing */

typedef void tls_sink_fn(void *data, const uint8_t *plain, size_t len);
/* All of raw is used up. 1: the peer has said that nothing follows. */
MUST_CHECK int tls_take(struct tls *t, const uint8_t *raw, size_t len, tls_sink_fn *sink,
        void *data, struct err *err);
/* Encrypts plain into wire and empties it; before is_open nothing happens. */
MUST_CHECK int tls_put(struct tls *t, struct buf *plain, struct err *err);
void tls_end(struct tls *t); /* says that nothing follows */

/* Sec-WebSocket-Accept for a key. */
void tls_ws_accept(const char *key, char ret_accept[29]);
