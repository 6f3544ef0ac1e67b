#include "server/guard.h"
#include "server/hosts.h"
#include "server/rate.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLERS_MAX   4096
#define ADDRESSES_MAX 4096
/* What so many rows of a listing cost us is about what another request does. */
#define ROWS_PER_REQUEST 10

struct guard {
	struct hosts *hosts;  /* NULL: the socket only */
	struct rate *callers; /* NULL: as often as they like */
	struct rate *failures;
};

static void add_name(void *hosts, const char *name)
{
	hosts_add(hosts, name);
}

int guard_new(const struct conf *c, const char *host, const char *cert_path,
        struct guard **ret_guard, struct err *err)
{
	struct guard *g = mem_zalloc(sizeof(*g));
	char machine[256] = "";
	int rc = 0;

	if (host) {
		g->hosts = hosts_new(host, &c->server_hosts);
		/* A certificate may be older than the machine's name. */
		if (gethostname(machine, sizeof(machine) - 1) == 0 && machine[0])
			hosts_add(g->hosts, machine);
		rc = net_certificate_names(cert_path, add_name, g->hosts, err);
	}
	if (c->server_rate)
		g->callers = rate_new(c->server_rate * 60, c->server_rate_burst, CALLERS_MAX);
	if (c->server_auth_failures)
		g->failures =
		        rate_new(c->server_auth_failures, c->server_auth_failures, ADDRESSES_MAX);
	if (rc) {
		guard_free(g);
		return rc;
	}
	*ret_guard = g;
	return 0;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	hosts_free(g->hosts);
	rate_free(g->callers);
	rate_free(g->failures);
	free(g);
}

static bool is_write(const struct net_request *r)
{
	enum net_method m = net_request_method(r);

	return (m != NET_GET && m != NET_HEAD) || net_request_header_in(r, "Upgrade");
}

/* A cookie goes along by itself, whichever page makes the browser ask; a token does not. */
static int check_page(const struct net_request *r, const char *host, struct err *err)
{
	const char *origin = net_request_header_in(r, "Origin");
	const char *site = net_request_header_in(r, "Sec-Fetch-Site");

	if (!is_write(r) || !net_request_header_in(r, "Cookie") ||
	        net_request_header_in(r, "Authorization"))
		return 0;
	if (origin ? host && hosts_is_same(origin, host) : site && strcmp(site, "same-origin") == 0)
		return 0;
	return err_set(err, ERR_FORBIDDEN,
	        "a page of another origin may not ask for this: '%.100s'",
	        origin ? origin : "no Origin");
}

int guard_check_origin(const struct guard *g, const struct net_request *r, struct err *err)
{
	const char *host = net_request_header_in(r, "Host");
	int rc;

	if (net_request_peer(r)->is_unix)
		return 0;
	/* Without any, as HTTP/1.0 may be, it is no browser. */
	if (!host || !g->hosts || hosts_has(g->hosts, host))
		return check_page(r, host, err);
	rc = err_set(err, ERR_FORBIDDEN, "'%.100s' is not a name of this server", host);
	return rc ? err_hint(err, "if it is one, say so in server.hosts") : rc;
}

static int refuse_for(struct net_request *r, int64_t wait_ms, const char *what, struct err *err)
{
	char text[24];
	int64_t wait_s = (wait_ms + 999) / 1000;
	int rc;

	snprintf(text, sizeof(text), "%lld", (long long)wait_s);
	net_request_header(r, "Retry-After", text);
	rc = err_set(err, ERR_LIMIT, "%s", what);
	return rc ? err_hint(err, "try again in %lld s", (long long)wait_s) : rc;
}

/* Root and who owns the server administer it: on the socket they are not counted. */
static bool is_counted(const struct server *s, const struct caller *who)
{
	return s->guard->callers && who->is_known &&
	       !(who->over_socket && (who->uid == 0 || who->uid == s->owner_uid));
}

static const char *name_of(const struct caller *who, char out[RATE_NAME_MAX])
{
	snprintf(out, RATE_NAME_MAX, who->over_socket ? "uid %llu" : "token %llu",
	        who->over_socket ? (unsigned long long)who->uid : (unsigned long long)who->token);
	return out;
}

void guard_count_rows(const struct server *s, const struct caller *who, size_t n)
{
	char name[RATE_NAME_MAX];

	if (is_counted(s, who))
		rate_charge(s->guard->callers, name_of(who, name), server_now(s).mono_ms,
		        (uint32_t)MIN(n / ROWS_PER_REQUEST, UINT32_MAX));
}

int guard_identify(
        const struct server *s, struct net_request *r, struct caller *ret, struct err *err)
{
	const struct guard *g = s->guard;
	int64_t now_ms = server_now(s).mono_ms, wait_ms;
	char name[RATE_NAME_MAX], what[100];
	int rc = auth_identify(s, r, ret, err);

	if (rc && g->failures) {
		net_peer_group(net_request_peer(r), name);
		if (!rate_take(g->failures, name, now_ms, &wait_ms))
			return refuse_for(
			        r, wait_ms, "too many from here could not say who they are", err);
	}
	if (rc || !is_counted(s, ret))
		return rc;
	if (rate_take(g->callers, name_of(ret, name), now_ms, &wait_ms))
		return 0;
	snprintf(what, sizeof(what), "'%.60s' asks too often", ret->name);
	return refuse_for(r, wait_ms, what, err);
}
