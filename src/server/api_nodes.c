/* Devices, nodes, tokens. */
#include "server/batch.h"
#include "server/view.h"
#include "base/mem.h"
#include "base/num.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static void reply_list(struct call *c, const char *key, json_t *take_list)
{
	call_reply_json(c, 200, json_pack("{s:i, s:o}", "schema", 1, key, take_list));
}

void api_devices(struct call *c)
{
	json_t *list = json_array();
	const struct node *n;

	TAILQ_FOREACH (n, &c->world->nodes, link)
		for (uint32_t i = 0; i < n->n_devices; i++)
			if (!n->devices[i].absent || n->devices[i].n_slices)
				json_array_append_new(list, view_device(n, &n->devices[i], i));
	reply_list(c, "devices", list);
}

void api_nodes(struct call *c)
{
	json_t *list = json_array();
	const struct node *n;

	TAILQ_FOREACH (n, &c->world->nodes, link)
		json_array_append_new(list, view_node(c->s, n));
	reply_list(c, "nodes", list);
}

static void node_command(struct call *c, enum event_kind kind)
{
	struct event e = {.kind = kind, .name = c->arg, .actor = c->who.name};
	const struct node *n;
	struct applied out;
	struct err err;

	if (batch_check_room(c->s, &err) || server_apply(c->s, &e, &out, &err)) {
		call_fail(c, &err);
		return;
	}
	n = world_find_node(c->s->world, c->arg);
	batch_add_node(c->s, n->num);
	call_reply_json(c, 200, view_node(c->s, n));
}

void api_node_drain(struct call *c)
{
	node_command(c, EVENT_NODE_DRAIN);
}

void api_node_resume(struct call *c)
{
	node_command(c, EVENT_NODE_RESUME);
}

void api_tokens(struct call *c)
{
	json_t *list = json_array();
	const struct token *t;

	TAILQ_FOREACH (t, &c->world->tokens, link)
		json_array_append_new(list, view_token(t));
	reply_list(c, "tokens", list);
}

static int copy_name(json_t *v, const char *key, char out[64], struct err *err)
{
	const char *text = json_string_value(v);

	if (!text || !*text || strlen(text) >= 56 ||
	        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
	                strlen(text))
		return err_set(err, ERR_INVALID,
		        "'%s' must be 1 to 55 letters, digits, '.', '_' or '-'", key);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

/* An account that no job of a token could run as is refused here already, not at its first job. */
static int check_token_account(const struct server *s, const char *user, struct err *err)
{
	uint32_t uid, gid;
	int rc = auth_uid_of_account(user, &uid, &gid, err);

	if (rc)
		return rc;
	if (!s->is_root_install && uid != s->owner_uid)
		return err_set(err, ERR_FORBIDDEN,
		        "this Berth was not started by root and runs jobs only as its own account");
	if (uid == 0 && s->is_root_install)
		return err_set(err, ERR_FORBIDDEN,
		               "a token cannot stand for '%s': only root itself may run jobs as root, over the socket",
		               user)
		               ? err_hint(err, "name the account that its jobs run as: --user NAME")
		               : 0;
	return 0;
}

static int parse_token_field(
        struct call *c, const char *key, json_t *v, struct token *t, struct err *err)
{
	static const char *const roles[] = {"user", "admin", "agent"};
	uint64_t seconds;
	int rc;

	if (strcmp(key, "name") == 0)
		return copy_name(v, key, t->name, err);
	if (strcmp(key, "user") == 0) {
		rc = copy_name(v, key, t->user, err);
		return rc ? rc : check_token_account(c->s, t->user, err);
	}
	if (strcmp(key, "role") == 0) {
		int role =
		        json_is_string(v) ? strtab_find(STRTAB(roles), json_string_value(v)) : -1;
		t->role = (enum role)role;
		return role < 0 ? err_set(err, ERR_INVALID, "'role' must be user, admin or agent")
		                : 0;
	}
	if (strcmp(key, "expires") == 0) {
		if (!json_is_string(v))
			return err_set(
			        err, ERR_INVALID, "'expires' must be a duration like \"30d\"");
		rc = num_parse_duration(json_string_value(v), &seconds, err);
		t->expires_ms = rc ? 0 : server_now(c->s).wall_ms + (int64_t)seconds * 1000;
		return rc ? err_wrap(err, "'expires'") : 0;
	}
	return err_set(err, ERR_UNKNOWN_KEY, "unknown key '%.60s' in a token", key);
}

static void on_token(struct call *c, json_t *body)
{
	struct token t = {.made_ms = server_now(c->s).wall_ms};
	struct event e = {.kind = EVENT_TOKEN_ADD, .token = &t, .actor = c->who.name};
	struct applied out;
	struct err err;
	char secret[64];
	const char *key;
	json_t *v, *o;

	json_object_foreach(body, key, v) if (parse_token_field(c, key, v, &t, &err))
	{
		call_fail(c, &err);
		return;
	}
	/* An agent's name is its node's. */
	if (t.role == ROLE_AGENT)
		memcpy(t.node, t.name, sizeof(t.node));
	if (!t.name[0])
		snprintf(t.name, sizeof(t.name), "token-%llu",
		        (unsigned long long)c->s->world->next_token);
	auth_token_make(secret);
	auth_token_hash(secret, t.hash);
	if (batch_check_room(c->s, &err) || server_apply(c->s, &e, &out, &err)) {
		call_fail(c, &err);
		return;
	}
	batch_add_token(c->s, out.num, false);
	expiry_look(c->s);
	o = view_token(&t);
	json_object_set_new(o, "token", json_string(secret));
	sodium_memzero(secret, sizeof(secret));
	log_info("token.create", "name=%s role=%d by=\"%s\"", t.name, (int)t.role, c->who.name);
	call_reply_json(c, 201, o);
}

void api_token_create(struct call *c)
{
	call_read_json(c, NULL, on_token);
}

/* After the answer to whoever revoked his own. */
static void drop_revoked(struct server *s, void *data)
{
	uint64_t *num = data;

	api_drop_token(s, *num, "the token was revoked");
	free(num);
}

void api_token_revoke(struct call *c)
{
	struct event e = {.kind = EVENT_TOKEN_REMOVE, .name = c->arg, .actor = c->who.name};
	struct applied out;
	struct err err;
	uint64_t *revoked;

	if (batch_check_room(c->s, &err) || server_apply(c->s, &e, &out, &err)) {
		call_fail(c, &err);
		return;
	}
	batch_add_token(c->s, out.num, true);
	log_info("token.revoke", "name=\"%s\" by=\"%s\"", c->arg, c->who.name);
	call_reply_text(c, 204, "text/plain", "");
	revoked = mem_zalloc(sizeof(*revoked));
	*revoked = out.num;
	batch_after(c->s, drop_revoked, revoked);
}
