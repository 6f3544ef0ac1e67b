#include "plat/net_http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uthash.h>

#include "base/mem.h"

/*
 * DESIGN. Every connection of a server stands in the list of what it waits for. A newcomer that finds no room takes the place of the
 * oldest whose own doing it is that it is still there; whoever waits for an answer of ours is never sent away. So who floods us, or says
 * half a request and no more, stands in the way of himself: an honest request is whole in a turn or two, long before its turn to go.
 */

/* Of the connections without a whole request, younger ones are let be: their request may lie in the socket already. */
#define FRESH_MS 200
/* Less than that is bounded by the number of connections. */
#define BIG_BYTES MIB
/* Files that the process needs for other things than connections. */
#define OTHER_FILES 128

struct peer_count {
	char group[64];
	unsigned n;
	UT_hash_handle hh;
};

void net_peer_group(const struct net_peer *p, char out[64])
{
	struct in6_addr in6;
	char text[INET6_ADDRSTRLEN];

	if (p->is_unix) {
		snprintf(out, 64, "uid %u", p->uid);
	} else if (inet_pton(AF_INET6, p->addr, &in6) == 1) {
		memset(&in6.s6_addr[8], 0, 8);
		inet_ntop(AF_INET6, &in6, text, sizeof(text));
		snprintf(out, 64, "%s/64", text);
	} else {
		snprintf(out, 64, "%s", p->addr);
	}
}

unsigned server_max_connections(const struct net_limits *limits)
{
	struct rlimit files;
	rlim_t other = OTHER_FILES + limits->reserve;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY)
		return limits->connections;
	if (files.rlim_cur < 2 * other)
		return (unsigned)MAX(MIN(limits->connections, files.rlim_cur / 2), 1);
	return (unsigned)MIN(limits->connections, files.rlim_cur - other);
}

void server_set_wait(struct conn *c, enum conn_wait wait)
{
	struct net_server *s = c->server;

	if (c->is_closing)
		wait = CONN_BUSY;
	if (wait == c->wait)
		return;
	if (c->wait != CONN_BUSY) {
		TAILQ_REMOVE(&s->waits[c->wait], c, wait_link);
		s->n_waits[c->wait]--;
	}
	c->wait = wait;
	c->wait_ms = hub_now_ms(c->hub);
	if (wait != CONN_BUSY) {
		TAILQ_INSERT_TAIL(&s->waits[wait], c, wait_link);
		s->n_waits[wait]++;
	}
}

static bool is_trusted(const struct net_peer *p)
{
	return p->is_unix && (p->uid == 0 || p->uid == geteuid());
}

static void count(struct conn *c)
{
	struct net_server *s = c->server;
	char group[64];

	net_peer_group(&c->peer, group);
	HASH_FIND_STR(s->peers, group, c->counted);
	if (!c->counted) {
		c->counted = mem_zalloc(sizeof(*c->counted));
		memcpy(c->counted->group, group, sizeof(group));
		HASH_ADD_STR(s->peers, group, c->counted);
	}
	c->counted->n++;
}

static void uncount(struct conn *c)
{
	struct peer_count *p = STEAL(c->counted);

	if (!p || --p->n)
		return;
	HASH_DEL(c->server->peers, p);
	free(p);
}

void server_conn_lost(struct conn *c)
{
	server_set_wait(c, CONN_BUSY);
	uncount(c);
	c->server->n_conns--;
}

/* What it had to say at once has been read: it came before the last turn. */
static bool was_heard(const struct conn *c)
{
	return c->server->turn > c->since_turn + 1;
}

/* The oldest that waits so, of this group alone unless that is NULL. */
static struct conn *oldest(
        const struct net_server *s, enum conn_wait wait, const struct peer_count *group)
{
	struct conn *c;

	TAILQ_FOREACH (c, &s->waits[wait], wait_link)
		if (was_heard(c) && (!group || c->counted == group))
			return c;
	return NULL;
}

/* Who goes first when somebody has to go, or NULL. Young ones may be about to say what they want, and who is kept alive may be about to
 * ask again: of these kinds it is the one that there are most of, for a flood is of one kind. */
static struct conn *choose(const struct net_server *s, const struct peer_count *group)
{
	struct conn *first = NULL, *c = oldest(s, CONN_FRESH, group);
	unsigned most = 0;

	if (c && hub_now_ms(s->hub) >= c->wait_ms + FRESH_MS)
		return c;
	for (enum conn_wait wait = CONN_FRESH; wait <= CONN_LEAVING; wait++) {
		c = oldest(s, wait, group);
		if (c && s->n_waits[wait] > most) {
			most = s->n_waits[wait];
			first = c;
		}
	}
	return first ? first : oldest(s, CONN_BODY, group);
}

static bool send_away(struct conn *c, const char *text)
{
	struct err why;

	if (!c)
		return false;
	(void)!err_set(&why, ERR_LIMIT, "%s", text);
	conn_lose(c, &why);
	return true;
}

bool server_admit(struct conn *c, const char **ret_text)
{
	struct net_server *s = c->server;
	const struct net_limits *limits = &s->limits;
	bool trusted = is_trusted(&c->peer);
	struct conn *fresh;

	count(c);
	if (!trusted && limits->connections_per_peer &&
	        c->counted->n > limits->connections_per_peer &&
	        !send_away(choose(s, c->counted), "too many connections of one peer")) {
		*ret_text = "too many connections from here are open already";
		return false;
	}
	if (s->n_conns > limits->connections) {
		if (send_away(choose(s, NULL), "too many connections"))
			return true;
		*ret_text = "the server has as many connections as it may have";
		return trusted && s->n_conns <= limits->connections + limits->reserve;
	}
	fresh = oldest(s, CONN_FRESH, NULL);
	if (fresh && s->n_waits[CONN_FRESH] > MAX(limits->connections / 4, 1u) &&
	        hub_now_ms(s->hub) >= fresh->wait_ms + FRESH_MS)
		send_away(fresh, "too many connections without a request");
	return true;
}

/* Of the big ones, and which of them has stood still for longest; one whose answer has not gone anywhere yet has not. */
static size_t sum_unsent(const struct net_server *s, struct conn **ret_slowest)
{
	size_t sum = 0;
	struct conn *c;

	*ret_slowest = NULL;
	TAILQ_FOREACH (c, &s->hub->conns, link) {
		size_t unsent = c->server == s && !c->is_closing ? conn_unsent(c) : 0;

		if (unsent < BIG_BYTES)
			continue;
		sum += unsent;
		if (c->is_writing && (!*ret_slowest || c->sent_ms < (*ret_slowest)->sent_ms))
			*ret_slowest = c;
	}
	return sum;
}

void server_bound_unsent(struct net_server *s, size_t bytes)
{
	struct conn *slowest;
	struct err why;

	if (bytes < BIG_BYTES)
		return;
	(void)!err_set(&why, ERR_TIMEOUT, "others take their answers faster");
	while (sum_unsent(s, &slowest) > s->limits.unsent_bytes && slowest)
		conn_lose(slowest, &why);
}
