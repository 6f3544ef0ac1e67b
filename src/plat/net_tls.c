#include "plat/net_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/*
 * DESIGN. OpenSSL reads and writes through a BIO of our own: reading takes from the bytes that tls_take was given, writing appends to
 * `wire`, which takes everything. So OpenSSL never has to wait for room, nothing is copied into memory BIOs, and tls_take always uses up
 * what it got.
 */

#define PLAIN_BYTES    16384
#define WIRE_MAX_BYTES GIB

struct tls_ctx {
	SSL_CTX *ssl;
	unsigned n_users;
	bool has_pin;
	bool has_ca;
	uint8_t pin[SHA256_DIGEST_LENGTH];
};

/* The first thing that OpenSSL has to say, in words. */
static const char *reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return text ? text : "not to be had";
}

static int bio_read(BIO *bio, char *out, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = MIN((size_t)len, t->raw_len);

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, t->raw, n);
	t->raw += n;
	t->raw_len -= n;
	return (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	buf_add(&t->wire, data, (size_t)len);
	return t->wire.overflow ? -1 : len;
}

static long bio_ctrl(BIO *bio, int what, long number, void *data)
{
	return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static BIO *bio_new(struct tls *t)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
		BUG_IF(!method);
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	bio = BIO_new(method);
	BUG_IF(!bio);
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	return bio;
}

static int ctx_new(const SSL_METHOD *method, struct tls_ctx **ret_ctx, struct err *err)
{
	struct tls_ctx *ctx;
	SSL_CTX *ssl = SSL_CTX_new(method);

	if (!ssl)
		return err_set(err, ERR_INTERNAL, "starting TLS: %s", reason());
	SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20");
	SSL_CTX_set_options(
	        ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ssl, 0);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	ctx = mem_zalloc(sizeof(*ctx));
	ctx->ssl = ssl;
	ctx->n_users = 1;
	*ret_ctx = ctx;
	return 0;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
	if (!ctx || --ctx->n_users)
		return;
	SSL_CTX_free(ctx->ssl);
	free(ctx);
}

/* A key is its owner's, and he is we or root; root's may be read by a group, too. */
static int check_key_file(int fd, const char *path, struct err *err)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "the key '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "the key '%s' is not a file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(err, ERR_FORBIDDEN,
		        "the key '%s' belongs to user id %u, neither to us nor to root", path,
		        st.st_uid);
	if (!(st.st_mode & (st.st_uid == 0 ? 037 : 077)))
		return 0;
	rc = err_set(err, ERR_FORBIDDEN, "the key '%s' is open to others: its mode is %04o", path,
	        st.st_mode & 07777);
	return rc ? err_hint(err, "chmod 600 '%s', and if others could read it, make a new key",
	                    path)
	          : rc;
}

/* What was checked is what is read. */
static int use_key(SSL_CTX *ssl, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	BIO *bio = fd < 0 ? NULL : BIO_new_fd(fd, BIO_CLOSE);
	EVP_PKEY *key = NULL;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "the key '%s'", path);
	BUG_IF(!bio);
	rc = check_key_file(fd, path, err);
	if (rc == 0)
		key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
	if (rc == 0 && (!key || SSL_CTX_use_PrivateKey(ssl, key) != 1))
		rc = err_set(err, ERR_INVALID, "the key '%s': %s", path, reason());
	EVP_PKEY_free(key);
	BIO_free(bio);
	return rc;
}

int tls_ctx_new_server(
        const struct tls_server_options *o, struct tls_ctx **ret_ctx, struct err *err)
{
	struct tls_ctx *ctx;
	int rc;

	rc = ctx_new(TLS_server_method(), &ctx, err);
	if (rc < 0)
		return rc;
	if (o->needs_1_3)
		SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_3_VERSION);
	if (SSL_CTX_use_certificate_chain_file(ctx->ssl, o->cert_path) != 1)
		rc = err_set(err, ERR_INVALID, "the certificate '%s': %s", o->cert_path, reason());
	else
		rc = use_key(ctx->ssl, o->key_path ? o->key_path : o->cert_path, err);
	if (rc < 0) {
		tls_ctx_free(ctx);
		return rc;
	}
	*ret_ctx = ctx;
	return 0;
}

static int verify(X509_STORE_CTX *store, void *data)
{
	const struct tls_ctx *ctx = data;
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;

	if (ctx->has_pin) {
		X509 *cert = X509_STORE_CTX_get0_cert(store);

		if (!cert || X509_digest(cert, EVP_sha256(), digest, &len) != 1 ||
		        len != sizeof(ctx->pin) ||
		        memcmp(digest, ctx->pin, sizeof(ctx->pin)) != 0) {
			X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
			return 0;
		}
		if (!ctx->has_ca) {
			X509_STORE_CTX_set_error(store, X509_V_OK);
			return 1;
		}
	}
	return X509_verify_cert(store);
}

static int parse_pin(const char *hex, uint8_t ret_pin[SHA256_DIGEST_LENGTH], struct err *err)
{
	size_t len;

	if (strlen(hex) == 2 * SHA256_DIGEST_LENGTH &&
	        OPENSSL_hexstr2buf_ex(ret_pin, SHA256_DIGEST_LENGTH, &len, hex, '\0') == 1)
		return 0;
	ERR_clear_error();
	return err_set(err, ERR_INVALID, "the pin is not 64 hexadecimal digits");
}

int tls_ctx_new_client(
        const char *ca_path, const char *pin_sha256_hex, struct tls_ctx **ret_ctx, struct err *err)
{
	struct tls_ctx *ctx;
	int rc;

	rc = ctx_new(TLS_client_method(), &ctx, err);
	if (rc < 0)
		return rc;
	ctx->has_ca = ca_path != NULL;
	ctx->has_pin = pin_sha256_hex != NULL;
	if (pin_sha256_hex)
		rc = parse_pin(pin_sha256_hex, ctx->pin, err);
	if (rc == 0 && ca_path && SSL_CTX_load_verify_file(ctx->ssl, ca_path) != 1)
		rc = err_set(err, ERR_INVALID, "the authorities in '%s': %s", ca_path, reason());
	if (rc == 0 && !ca_path && !pin_sha256_hex &&
	        SSL_CTX_set_default_verify_paths(ctx->ssl) != 1)
		rc = err_set(err, ERR_IO, "the authorities of the system: %s", reason());
	if (rc < 0) {
		tls_ctx_free(ctx);
		return rc;
	}
	SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx->ssl, verify, ctx);
	*ret_ctx = ctx;
	return 0;
}

static bool is_address(const char *host)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool expect_host(SSL *ssl, const char *host)
{
	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

int tls_new(struct tls_ctx *ctx, const char *host, struct tls **ret_tls, struct err *err)
{
	struct tls *t;
	SSL *ssl = SSL_new(ctx->ssl);
	BIO *bio;

	if (!ssl)
		return err_set(err, ERR_INTERNAL, "starting TLS: %s", reason());
	if (host && !expect_host(ssl, host)) {
		SSL_free(ssl);
		return err_set(err, ERR_INVALID, "the host '%s': %s", host, reason());
	}
	t = mem_zalloc(sizeof(*t));
	t->ssl = ssl;
	t->ctx = ctx;
	ctx->n_users++;
	t->wire = BUF_INIT(WIRE_MAX_BYTES);
	bio = bio_new(t);
	SSL_set_bio(ssl, bio, bio);
	if (host) {
		SSL_set_connect_state(ssl);
		SSL_do_handshake(ssl); /* writes the first message and then wants to read */
		ERR_clear_error();
	} else {
		SSL_set_accept_state(ssl);
	}
	*ret_tls = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	tls_ctx_free(t->ctx);
	buf_done(&t->wire);
	free(t);
}

static int fail(struct tls *t, struct err *err)
{
	long result = SSL_get_verify_result(t->ssl);

	if (result == X509_V_ERR_CERT_REJECTED) {
		ERR_clear_error();
		return err_set(
		        err, ERR_UNAUTHENTICATED, "the peer's certificate is not the pinned one");
	}
	if (result != X509_V_OK) {
		ERR_clear_error();
		return err_set(err, ERR_UNAUTHENTICATED, "the peer's certificate: %s",
		        X509_verify_cert_error_string(result));
	}
	return err_set(err, ERR_INVALID, "TLS: %s", reason());
}

int tls_take(struct tls *t, const uint8_t *raw, size_t len, tls_sink_fn *sink, void *data,
        struct err *err)
{
	uint8_t plain[PLAIN_BYTES];
	int rc = 0;
	size_t n;

	t->raw = raw;
	t->raw_len = len;
	for (;;) {
		ERR_clear_error();
		if (SSL_read_ex(t->ssl, plain, sizeof(plain), &n) == 1) {
			sink(data, plain, n);
			continue;
		}
		switch (SSL_get_error(t->ssl, 0)) {
		case SSL_ERROR_WANT_READ:
			break;
		case SSL_ERROR_ZERO_RETURN:
			rc = 1;
			break;
		default:
			rc = fail(t, err);
			break;
		}
		break;
	}
	t->is_open = SSL_is_init_finished(t->ssl);
	t->raw = NULL;
	t->raw_len = 0;
	return rc;
}

int tls_put(struct tls *t, struct buf *plain, struct err *err)
{
	size_t n;

	if (!t->is_open || plain->len == 0)
		return 0;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, plain->data, plain->len, &n) != 1 || n != plain->len)
		return fail(t, err);
	buf_reset(plain);
	return 0;
}

void tls_end(struct tls *t)
{
	if (!t->is_open)
		return;
	SSL_shutdown(t->ssl);
	ERR_clear_error();
}

void tls_ws_accept(const char *key, char ret_accept[29])
{
	static const char suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t digest[EVP_MAX_MD_SIZE];
	char text[128];
	unsigned len;

	snprintf(text, sizeof(text), "%s%s", key, suffix);
	BUG_IF(EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1);
	EVP_EncodeBlock((uint8_t *)ret_accept, digest, (int)len);
}
