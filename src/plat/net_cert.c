#include "plat/net.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/num.h"
#include "plat/fs.h"

#define TEN_YEARS_S (3653L * 24 * 3600)
#define DAY_S       (24L * 3600)

static bool is_address(const char *name)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len && len < 254 &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-*_") ==
	               len;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return false;
	ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok == 1;
}

static bool set_serial(X509 *cert)
{
	uint8_t bytes[16];
	BIGNUM *number;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive and of full length */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

static bool fill_certificate(
        X509 *cert, EVP_PKEY *key, const char *common_name, const char *alt_names)
{
	X509_NAME *name = X509_get_subject_name(cert);

	/* Clocks of two machines differ: valid from yesterday on. */
	return X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), TEN_YEARS_S) &&
	       X509_set_pubkey(cert, key) &&
	       X509_NAME_add_entry_by_txt(
	               name, "O", MBSTRING_ASC, (const uint8_t *)"Berth", -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(
	               name, "CN", MBSTRING_ASC, (const uint8_t *)common_name, -1, -1, 0) &&
	       X509_set_issuer_name(cert, name) &&
	       add_extension(cert, NID_subject_alt_name, alt_names) &&
	       add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, NID_ext_key_usage, "serverAuth") &&
	       X509_sign(cert, key, EVP_sha256());
}

static int list_names(const char *const *names, size_t n_names, struct buf *list, struct err *err)
{
	if (n_names == 0)
		return err_set(err, ERR_INVALID, "a certificate needs a name");
	for (size_t i = 0; i < n_names; i++) {
		bool is_ip = is_address(names[i]);

		if (!is_ip && !is_name(names[i]))
			return err_set(err, ERR_INVALID, "'%s' is not a name of a host", names[i]);
		buf_addf(list, "%s%s:%s", i ? "," : "", is_ip ? "IP" : "DNS", names[i]);
	}
	return list->overflow ? err_set(err, ERR_TOO_LARGE, "too many names for a certificate") : 0;
}

static int write_pem(BIO *pem, const char *path, mode_t mode, struct err *err)
{
	char *data;
	long len = BIO_get_mem_data(pem, &data);

	return fs_write_atomic(path, data, (size_t)len, mode, err);
}

static int write_pair(
        X509 *cert, EVP_PKEY *key, const char *cert_path, const char *key_path, struct err *err)
{
	BIO *key_pem = BIO_new(BIO_s_secmem());
	BIO *cert_pem = BIO_new(BIO_s_mem());
	int rc;

	if (!key_pem || !cert_pem ||
	        !PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) ||
	        !PEM_write_bio_X509(cert_pem, cert))
		rc = err_set(err, ERR_INTERNAL, "writing a certificate");
	else
		rc = write_pem(key_pem, key_path, 0600, err);
	if (rc == 0)
		rc = write_pem(cert_pem, cert_path, 0644, err);
	BIO_free(key_pem);
	BIO_free(cert_pem);
	return rc;
}

int net_make_certificate(const char *cert_path, const char *key_path, const char *const *names,
        size_t n_names, struct err *err)
{
	CLEANUP_BUF struct buf list = BUF_INIT(8 * KIB);
	EVP_PKEY *key;
	X509 *cert;
	int rc;

	rc = list_names(names, n_names, &list, err);
	if (rc < 0)
		return rc;
	key = EVP_EC_gen("P-256");
	cert = X509_new();
	/* A common name is at most 64 characters long; who is meant stands in the alternative names anyway. */
	if (key && cert &&
	        fill_certificate(
	                cert, key, strlen(names[0]) <= 64 ? names[0] : "berth", buf_str(&list)))
		rc = write_pair(cert, key, cert_path, key_path, err);
	else
		rc = err_set(err, ERR_INTERNAL, "making a certificate");
	ERR_clear_error();
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

static int read_certificate(const char *path, X509 **ret_cert, struct err *err)
{
	CLEANUP_BUF struct buf text = BUF_INIT(MIB);
	BIO *pem;
	int rc = fs_read(path, &text, err);

	if (rc < 0)
		return rc;
	pem = BIO_new_mem_buf(text.data, (int)text.len);
	*ret_cert = pem ? PEM_read_bio_X509(pem, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	BIO_free(pem);
	return *ret_cert ? 0 : err_set(err, ERR_INVALID, "'%s' is not a certificate", path);
}

int net_certificate_pin(const char *cert_path, char ret_hex[65], struct err *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;
	X509 *cert;
	int rc = read_certificate(cert_path, &cert, err);

	if (rc < 0)
		return rc;
	if (X509_digest(cert, EVP_sha256(), digest, &len) == 1 && len == 32)
		num_format_hex(digest, len, ret_hex);
	else
		rc = err_set(err, ERR_INVALID, "'%s' is not a certificate", cert_path);
	ERR_clear_error();
	X509_free(cert);
	return rc;
}

/* A name with a NUL in it is nobody's. */
static bool name_of(const GENERAL_NAME *g, char *out, size_t size)
{
	const ASN1_STRING *s = g->type == GEN_DNS ? g->d.dNSName : g->d.iPAddress;
	const uint8_t *data = ASN1_STRING_get0_data(s);
	size_t len = (size_t)ASN1_STRING_length(s);

	if (g->type == GEN_IPADD)
		return (len == 4 || len == 16) &&
		       inet_ntop(len == 4 ? AF_INET : AF_INET6, data, out, (socklen_t)size);
	if (g->type != GEN_DNS || len >= size || memchr(data, '\0', len))
		return false;
	memcpy(out, data, len);
	out[len] = '\0';
	return is_name(out);
}

int net_certificate_names(const char *cert_path, void (*fn)(void *data, const char *name),
        void *data, struct err *err)
{
	GENERAL_NAMES *names;
	char name[256];
	X509 *cert;
	int rc = read_certificate(cert_path, &cert, err);

	if (rc < 0)
		return rc;
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++)
		if (name_of(sk_GENERAL_NAME_value(names, i), name, sizeof(name)))
			fn(data, name);
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	X509_free(cert);
	return 0;
}
