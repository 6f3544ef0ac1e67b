/* Who calls: by the socket's peer credentials, or by a token. */
#include "server/api.h"
#include "base/num.h"
#include "plat/clock.h"

#include <fnmatch.h>
#include <grp.h>
#include <pwd.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

void auth_token_hash(const char *secret, uint8_t out[32])
{
	crypto_generichash(out, 32, (const unsigned char *)secret, strlen(secret), NULL, 0);
}

void auth_token_make(char out_secret[64])
{
	uint8_t random[24];

	randombytes_buf(random, sizeof(random));
	memcpy(out_secret, "berth_", 6);
	num_format_hex(random, sizeof(random), out_secret + 6);
	sodium_memzero(random, sizeof(random));
}

/* Every request on the socket asks, and the answer may come from far away. */
#define ACCOUNT_KEPT_MS 5000

int auth_account_of_uid(uint32_t uid, char *out, size_t size, struct err *err)
{
	static struct {
		uint32_t uid;
		uint64_t until_ms;
		char name[64];
	} kept;
	char block[4096];
	struct passwd pw, *found = NULL;

	if (kept.uid == uid && clock_mono_ms() < kept.until_ms && strlen(kept.name) < size) {
		memcpy(out, kept.name, strlen(kept.name) + 1);
		return 0;
	}
	if (getpwuid_r(uid, &pw, block, sizeof(block), &found) || !found)
		return err_set(
		        err, ERR_FORBIDDEN, "user id %u has no account on this machine", uid);
	if (strlen(found->pw_name) >= size)
		return err_set(
		        err, ERR_FORBIDDEN, "the account of user id %u has too long a name", uid);
	memcpy(out, found->pw_name, strlen(found->pw_name) + 1);
	if (strlen(out) < sizeof(kept.name)) {
		memcpy(kept.name, out, strlen(out) + 1);
		kept.uid = uid;
		kept.until_ms = clock_mono_ms() + ACCOUNT_KEPT_MS;
	}
	return 0;
}

int auth_uid_of_account(const char *name, uint32_t *ret_uid, uint32_t *ret_gid, struct err *err)
{
	char block[4096];
	struct passwd pw, *found = NULL;

	if (getpwnam_r(name, &pw, block, sizeof(block), &found) || !found)
		return err_set(
		        err, ERR_INVALID, "there is no account '%.60s' on this machine", name);
	*ret_uid = found->pw_uid;
	*ret_gid = found->pw_gid;
	return 0;
}

#define GROUPS_MAX 1024

static bool is_group(const char *pattern, const gid_t *groups, int n_groups)
{
	char block[4096];
	struct group gr, *found;

	for (int i = 0; i < n_groups; i++)
		if (getgrgid_r(groups[i], &gr, block, sizeof(block), &found) == 0 && found &&
		        fnmatch(pattern, found->gr_name, 0) == 0)
			return true;
	return false;
}

bool auth_is_among(const struct conf_list *patterns, const char *account, uint32_t gid)
{
	gid_t groups[GROUPS_MAX];
	int n_groups = -1;

	for (size_t i = 0; i < patterns->n; i++) {
		const char *p = patterns->v[i];
		int most = GROUPS_MAX;

		if (p[0] != '@' && fnmatch(p, account, 0) == 0)
			return true;
		/* Of one in more groups than that, those that fit count. */
		if (p[0] == '@' && n_groups < 0) {
			(void)getgrouplist(account, gid, groups, &most);
			n_groups = MIN(most, GROUPS_MAX);
		}
		if (p[0] == '@' && is_group(p + 1, groups, n_groups))
			return true;
	}
	return false;
}

static int identify_peer(
        const struct server *s, const struct net_peer *p, struct caller *ret, struct err *err)
{
	bool owns = p->uid == s->owner_uid || p->uid == 0;
	int rc;

	if (!owns && !s->is_root_install)
		return err_set(err, ERR_FORBIDDEN,
		        "this Berth belongs to user id %u and was not started by root; it serves nobody else",
		        s->owner_uid);
	ret->is_known = true;
	ret->over_socket = true;
	ret->uid = p->uid;
	ret->gid = p->gid;
	ret->role = owns ? ROLE_ADMIN : ROLE_USER;
	rc = auth_account_of_uid(p->uid, ret->account, sizeof(ret->account), err);
	memcpy(ret->name, ret->account, sizeof(ret->name));
	return rc;
}

static int identify_token(
        const struct server *s, const char *secret, struct caller *ret, struct err *err)
{
	uint8_t hash[32];
	const struct token *t;

	auth_token_hash(secret, hash);
	t = world_find_token(s->world, hash);
	if (!t)
		return err_set(err, ERR_UNAUTHENTICATED, "the token is not known");
	if (t->expires_ms && t->expires_ms <= server_now(s).wall_ms)
		return err_set(err, ERR_UNAUTHENTICATED, "the token '%s' has expired", t->name);
	ret->is_known = true;
	ret->role = t->role;
	ret->token = t->num;
	memcpy(ret->node, t->node, sizeof(ret->node));
	memcpy(ret->name, "token:", 6);
	memcpy(ret->name + 6, t->name, MIN(strlen(t->name), sizeof(ret->name) - 7));
	if (t->user[0])
		memcpy(ret->account, t->user, sizeof(ret->account));
	else if (s->is_root_install)
		memcpy(ret->account, s->conf->server_job_user,
		        MIN(strlen(s->conf->server_job_user), sizeof(ret->account) - 1));
	else
		return auth_account_of_uid(s->owner_uid, ret->account, sizeof(ret->account), err);
	return 0;
}

int auth_identify(
        const struct server *s, const struct net_request *r, struct caller *ret, struct err *err)
{
	const char *header = net_request_header_in(r, "Authorization");

	if (header) {
		if (strncasecmp(header, "Bearer ", 7) != 0)
			return err_set(err, ERR_UNAUTHENTICATED,
			        "only 'Authorization: Bearer TOKEN' is understood");
		return identify_token(s, header + 7 + strspn(header + 7, " "), ret, err);
	}
	if (net_request_peer(r)->is_unix)
		return identify_peer(s, net_request_peer(r), ret, err);
	return 0;
}
