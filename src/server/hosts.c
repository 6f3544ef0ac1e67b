#include "server/hosts.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_BYTES 256

struct hosts {
	char **patterns; /* lower case */
	size_t n, cap;
	bool is_any_address;
};

/* An address as bytes, so that all its spellings are one; IPv4 as it is mapped into IPv6. */
static bool parse_address(const char *name, struct in6_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
	return inet_pton(AF_INET, name, &ret->s6_addr[12]) == 1 ||
	       inet_pton(AF_INET6, name, ret) == 1;
}

static bool is_loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static bool is_unspecified(const struct in6_addr *a)
{
	static const uint8_t zeros[4];

	return IN6_IS_ADDR_UNSPECIFIED(a) ||
	       (IN6_IS_ADDR_V4MAPPED(a) && memcmp(&a->s6_addr[12], zeros, 4) == 0);
}

struct hosts *hosts_new(const char *listen, const struct conf_list *patterns)
{
	struct hosts *h = mem_zalloc(sizeof(*h));
	struct in6_addr a;

	h->is_any_address = parse_address(listen, &a) && is_unspecified(&a);
	hosts_add(h, "localhost");
	hosts_add(h, "*.localhost");
	if (!h->is_any_address)
		hosts_add(h, listen);
	for (size_t i = 0; i < patterns->n; i++)
		hosts_add(h, patterns->v[i]);
	return h;
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++)
		free(h->patterns[i]);
	free(h->patterns);
	free(h);
}

void hosts_add(struct hosts *h, const char *pattern)
{
	MEM_GROW(h->patterns, h->n, h->cap);
	h->patterns[h->n++] = mem_strdup(pattern);
}

/* "name:7311", "[::1]:7311", "name." and "[::1]" without what is around the name. */
static bool cut_name(const char *header, char name[NAME_MAX_BYTES])
{
	const char *end;
	size_t n;

	if (header[0] == '[') {
		header++;
		end = strchr(header, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		n = (size_t)(end - header);
		end++;
	} else {
		n = strcspn(header, ":");
		end = header + n;
		while (n && header[n - 1] == '.')
			n--;
	}
	if (*end == ':' && strspn(end + 1, "0123456789") != strlen(end + 1))
		return false;
	if (n == 0 || n >= NAME_MAX_BYTES)
		return false;
	memcpy(name, header, n);
	name[n] = '\0';
	return true;
}

static bool fits_address(const char *pattern, const struct in6_addr *a)
{
	struct in6_addr b;

	return parse_address(pattern, &b) && memcmp(a, &b, sizeof(b)) == 0;
}

bool hosts_has(const struct hosts *h, const char *header)
{
	char name[NAME_MAX_BYTES];
	struct in6_addr a;
	bool is_address;

	if (!cut_name(header, name))
		return false;
	is_address = parse_address(name, &a);
	if (is_address && (is_loopback(&a) || h->is_any_address))
		return true;
	for (size_t i = 0; i < h->n; i++)
		if (is_address ? fits_address(h->patterns[i], &a)
		               : fnmatch(h->patterns[i], name, FNM_CASEFOLD) == 0)
			return true;
	return false;
}

bool hosts_is_same(const char *origin, const char *header)
{
	const char *name = strstr(origin, "://");

	return name && header[0] && strcasecmp(name + 3, header) == 0;
}
