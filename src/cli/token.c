#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"

enum { KEY_NAME = 0x1000, KEY_ROLE, KEY_USER, KEY_EXPIRES, KEY_AGENT };

struct token {
	json_t *body;
	const char *name; /* of a token to revoke */
};

static int set(struct token *t, const char *key, const char *value, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	if (json_object_set_new(t->body, key, json_string(value)))
		return err_set(
		        err, ERR_INVALID, "--%s: '%s' is not UTF-8", key, text_show(value, shown));
	return 0;
}

static int create_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct token *t = input;
	uint64_t seconds;

	switch (key) {
	case KEY_NAME:
		return set(t, "name", arg, err);
	case KEY_ROLE:
		return set(t, "role", arg, err);
	case KEY_AGENT:
		return set(t, "role", "agent", err);
	case KEY_USER:
		return set(t, "user", arg, err);
	case KEY_EXPIRES:
		if (num_parse_duration(arg, &seconds, err))
			return err_wrap(err, "--expires");
		return set(t, "expires", arg, err);
	case ARGP_KEY_END:
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static int create(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"name", KEY_NAME, "NAME", 0, "what to revoke it by; of an agent: its node", 1},
	        {"role", KEY_ROLE, "ROLE", 0, "user, admin or agent; user", 1},
	        {"agent", KEY_AGENT, NULL, 0, "the same as --role agent", 1},
	        {"user", KEY_USER, "NAME", 0, "account that its jobs run as", 1},
	        {"expires", KEY_EXPIRES, "TIME", 0, "how long it is good for: 30d", 1},
	        {0},
	};
	CLEANUP_JSON json_t *body = json_object();
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct token t = {.body = body};
	struct args args = {.options = options,
	        .parse = create_parse,
	        .input = &t,
	        .doc = "Makes a token and prints it; it is shown this once and kept nowhere.",
	        .is_listing = true};
	struct client_call call = {
	        .method = "POST", .path = "/v1/tokens", .body = body, .once = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = client_call(c, &call, &answer, &err);
	if (rc)
		return cli_fail(cli, &err);
	const char *secret = json_string_value(json_object_get(answer, "token"));
	if (!secret) {
		rc = err_set(&err, ERR_CORRUPT, "the server's answer holds no token");
		return rc ? cli_fail(cli, &err) : 0;
	}
	const char *name = json_string_value(json_object_get(answer, "name"));
	const char *expires = json_string_value(json_object_get(answer, "expires_at"));
	if (cli->format == OUTPUT_JSON) {
		output_json(answer);
		return 0;
	}
	cli_say("token %s, %s%s", name ? name : "?", expires ? "until " : "without an end",
	        expires ? expires : "");
	output_line(secret);
	return 0;
}

#define CELL(fn, key, kind)                                                \
	static void fn(const json_t *row, bool plain, struct buf *out)     \
	{                                                                  \
		output_cell_##kind(json_object_get(row, key), plain, out); \
	}
CELL(cell_name, "name", string)
CELL(cell_role, "role", string)
CELL(cell_user, "user", string)
CELL(cell_created, "created_at", time)
CELL(cell_expires, "expires_at", time)

static int ls(struct cli *cli, int argc, char **argv)
{
	static const struct output_column columns[] = {{"NAME", cell_name}, {"ROLE", cell_role},
	        {"USER", cell_user}, {"CREATED", cell_created}, {"EXPIRES", cell_expires}};
	static const struct output_listing l = {.array_key = "tokens",
	        .name_key = "name",
	        .columns = columns,
	        .n_columns = ARRAY_LEN(columns),
	        .when_empty = "no tokens"};
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {.doc = "Lists tokens, without their secrets.", .is_listing = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = client_get(c, "/v1/tokens", &answer, &err);
	if (rc)
		return cli_fail(cli, &err);
	output_listing(cli, &l, answer);
	return 0;
}

static int revoke_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct token *t = input;

	if (key == ARGP_KEY_ARG && !t->name) {
		t->name = arg;
		return 0;
	}
	if (key == ARGP_KEY_END)
		return t->name ? 0
		       : err_set(err, ERR_INVALID, "no token was named")
		               ? err_hint(err, "berth token ls lists them")
		               : 0;
	return ARGP_ERR_UNKNOWN;
}

static int revoke(struct cli *cli, int argc, char **argv)
{
	struct token t = {0};
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {.parse = revoke_parse,
	        .input = &t,
	        .args_doc = "NAME",
	        .doc = "Revokes a token at once."};
	struct client_call call = {.method = "DELETE", .once = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0) {
		buf_add_str(&path, "/v1/tokens/");
		client_add_encoded(&path, t.name);
		call.path = buf_str(&path);
		rc = client_call(c, &call, NULL, &err);
	}
	return rc ? cli_fail(cli, &err) : 0;
}

int verb_token(struct cli *cli, int argc, char **argv)
{
	static const struct args_sub subs[] = {
	        {"create", create}, {"ls", ls}, {"revoke", revoke}, {NULL, NULL}};

	return args_run_sub(cli, subs, argc, argv);
}
