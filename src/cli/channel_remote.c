/*
 * DESIGN. libcurl only connects (CURLOPT_CONNECT_ONLY): names, proxies, TLS and the check of the certificate are its
 * business; HTTP and WebSocket are spoken by the same code as on the local socket. The library is opened here, so that
 * a verb on the local socket does not pay for it.
 */
#include "cli/channel_priv.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"

#define CONNECT_TIMEOUT_MS 10000L

struct remote {
	struct channel c;
	CURL *easy;
};

static struct {
	void *library;
	__typeof__(&curl_easy_init) init;
	CURLcode (*setopt)(CURL *, CURLoption, ...);
	CURLcode (*getinfo)(CURL *, CURLINFO, ...);
	__typeof__(&curl_easy_perform) perform;
	__typeof__(&curl_easy_send) send;
	__typeof__(&curl_easy_recv) recv;
	__typeof__(&curl_easy_strerror) strerror;
	__typeof__(&curl_easy_cleanup) cleanup;
} curl;

/* POSIX lets a data pointer of dlsym become a function; C alone does not. */
#define FIND(library, member, name) \
	(*(void **)(void *)&(member) = dlsym((library), (name)), (member) != NULL)

static int load_curl(struct err *err)
{
	if (curl.library)
		return 0;
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		library = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return err_set(err, ERR_UNSUPPORTED, "a server elsewhere needs libcurl: %s",
		               dlerror())
		               ? err_hint(err, "install the package libcurl4")
		               : 0;
	if (!FIND(library, curl.init, "curl_easy_init") ||
	        !FIND(library, curl.setopt, "curl_easy_setopt") ||
	        !FIND(library, curl.getinfo, "curl_easy_getinfo") ||
	        !FIND(library, curl.perform, "curl_easy_perform") ||
	        !FIND(library, curl.send, "curl_easy_send") ||
	        !FIND(library, curl.recv, "curl_easy_recv") ||
	        !FIND(library, curl.strerror, "curl_easy_strerror") ||
	        !FIND(library, curl.cleanup, "curl_easy_cleanup"))
		return err_set(err, ERR_UNSUPPORTED, "libcurl is too old: %s", dlerror());
	curl.library = library;
	return 0;
}

static long remote_send(struct channel *c, const void *data, size_t len, struct err *err)
{
	struct remote *r = (struct remote *)c;
	size_t n = 0;
	CURLcode rc = curl.send(r->easy, data, len, &n);

	if (rc == CURLE_OK)
		return (long)n;
	if (rc == CURLE_AGAIN)
		return 0;
	return err_set(err, ERR_UNAVAILABLE, "sending to the server: %s", curl.strerror(rc));
}

static long remote_recv(struct channel *c, void *data, size_t size, struct err *err)
{
	struct remote *r = (struct remote *)c;
	size_t n = 0;
	CURLcode rc = curl.recv(r->easy, data, size, &n);

	if (rc == CURLE_AGAIN)
		return 0;
	if (rc != CURLE_OK)
		return err_set(
		        err, ERR_UNAVAILABLE, "reading from the server: %s", curl.strerror(rc));
	if (n == 0)
		c->ended = true;
	return (long)n;
}

static void remote_close(struct channel *c)
{
	struct remote *r = (struct remote *)c;

	if (r->easy)
		curl.cleanup(r->easy);
	free(r);
}

static const struct channel_kind remote_kind = {remote_send, remote_recv, remote_close};

/* The SHA-256 of the DER form inside a PEM certificate. */
static int pin_of_pem(const char *pem, char ret_hex[65], struct err *err)
{
	void *library = dlopen("libsodium.so.23", RTLD_NOW | RTLD_LOCAL);
	__typeof__(&sodium_base642bin) decode;
	__typeof__(&crypto_hash_sha256) sha256;
	uint8_t hash[crypto_hash_sha256_BYTES];
	const char *begin = strstr(pem, "-----BEGIN CERTIFICATE-----");
	const char *end = strstr(pem, "-----END");
	size_t len = 0;

	if (!library || !FIND(library, decode, "sodium_base642bin") ||
	        !FIND(library, sha256, "crypto_hash_sha256"))
		return err_set(err, ERR_UNSUPPORTED, "comparing certificates needs libsodium: %s",
		        dlerror());
	if (!begin || !end || end < begin)
		return err_set(err, ERR_CORRUPT, "the peer's certificate cannot be read");
	begin += strlen("-----BEGIN CERTIFICATE-----");
	uint8_t *der = mem_zalloc((size_t)(end - begin) + 1);
	int bad = decode(der, (size_t)(end - begin), begin, (size_t)(end - begin), "\r\n \t", &len,
	        NULL, sodium_base64_VARIANT_ORIGINAL);
	if (!bad)
		sha256(hash, der, len);
	free(der);
	if (bad)
		return err_set(err, ERR_CORRUPT, "the peer's certificate cannot be read");
	num_format_hex(hash, sizeof(hash), ret_hex);
	return 0;
}

static int check_pin(struct remote *r, const char *pin_hex, struct err *err)
{
	struct curl_certinfo *chain = NULL;
	char found[65];

	if (curl.getinfo(r->easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain ||
	        chain->num_of_certs < 1)
		return err_set(err, ERR_UNAVAILABLE,
		        "a pin was given, but the peer has shown no certificate");
	for (const struct curl_slist *l = chain->certinfo[0]; l; l = l->next) {
		if (strncmp(l->data, "Cert:", 5) != 0)
			continue;
		int rc = pin_of_pem(l->data + 5, found, err);
		if (rc)
			return rc;
		if (strcasecmp(found, pin_hex) == 0)
			return 0;
		return err_set(err, ERR_FORBIDDEN,
		        "the server's certificate is %s, not the one in BERTH_PIN", found);
	}
	return err_set(err, ERR_UNAVAILABLE, "the peer's certificate is not known");
}

static void set_options(struct remote *r, const struct channel_remote *o, char *error_text)
{
	curl.setopt(r->easy, CURLOPT_URL, o->url);
	curl.setopt(r->easy, CURLOPT_ERRORBUFFER, error_text);
	curl.setopt(r->easy, CURLOPT_CONNECT_ONLY, 1L);
	curl.setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl.setopt(r->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl.setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl.setopt(r->easy, CURLOPT_TCP_NODELAY, 1L);
	curl.setopt(r->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	if (o->ca_path)
		curl.setopt(r->easy, CURLOPT_CAINFO, o->ca_path);
	if (o->pin_hex) {
		/* The pin is compared before the first byte is sent; who signed it does not matter. */
		curl.setopt(r->easy, CURLOPT_CERTINFO, 1L);
		curl.setopt(r->easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl.setopt(r->easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}

static int connect_remote(struct remote *r, const struct channel_remote *o, struct err *err)
{
	char error_text[CURL_ERROR_SIZE] = "";
	curl_socket_t fd = CURL_SOCKET_BAD;

	set_options(r, o, error_text);
	CURLcode code = curl.perform(r->easy);
	curl.setopt(r->easy, CURLOPT_ERRORBUFFER, NULL);
	if (code != CURLE_OK) {
		int rc = err_set(err, ERR_UNAVAILABLE, "connecting to %s: %s", o->url,
		        error_text[0] ? error_text : curl.strerror(code));
		if (code == CURLE_PEER_FAILED_VERIFICATION)
			rc = err_hint(err,
			        "if it made its own certificate, name that in BERTH_CA, or its fingerprint in BERTH_PIN (berth doctor shows it there)");
		return rc;
	}
	if (curl.getinfo(r->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
		return err_set(err, ERR_UNAVAILABLE, "connecting to %s: no connection", o->url);
	r->c.fd = fd;
	return o->pin_hex && strncasecmp(o->url, "https:", 6) == 0 ? check_pin(r, o->pin_hex, err)
	                                                           : 0;
}

int channel_open_remote(
        const struct channel_remote *o, struct channel **ret_channel, struct err *err)
{
	int rc = load_curl(err);

	if (rc)
		return rc;
	struct remote *r = mem_zalloc(sizeof(*r));
	r->c.kind = &remote_kind;
	r->easy = curl.init();
	rc = r->easy ? connect_remote(r, o, err) : err_set(err, ERR_INTERNAL, "libcurl");
	if (rc) {
		remote_close(&r->c);
		return rc;
	}
	*ret_channel = &r->c;
	return 0;
}
