#include "cli/queues.h"

#include <string.h>

#include "base/text.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"

struct change {
	const char *name;
	json_t *body; /* NULL: no settings are taken */
};

/* The server knows which keys there are, and what they take. */
static int add_setting(json_t *body, const char *word, struct err *err)
{
	char key[TEXT_SHOW_SIZE], shown[TEXT_SHOW_SIZE];
	const char *value;
	int rc = args_split_setting(word, key, sizeof(key), &value, err);

	if (rc)
		return rc;
	if (json_object_get(body, key))
		return err_set(err, ERR_INVALID, "'%s' is said twice", text_show(key, shown));
	if (json_object_set_new(body, key, *value ? json_string(value) : json_null()))
		return err_set(err, ERR_INVALID, "'%s' is not UTF-8", text_show(word, shown));
	return 0;
}

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct change *k = input;

	if (key == ARGP_KEY_ARG && k->name)
		return k->body ? add_setting(k->body, arg, err) : ARGP_ERR_UNKNOWN;
	if (key == ARGP_KEY_ARG) {
		k->name = arg;
		return 0;
	}
	if (key != ARGP_KEY_END)
		return ARGP_ERR_UNKNOWN;
	if (k->name)
		return 0;
	(void)!err_set(err, ERR_INVALID, "no queue was named");
	return err_hint(err, "berth queues lists them");
}

static int call(struct client *c, const struct change *k, const char *method, json_t **ret_answer,
        struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	/* Once more, `rm` would find nothing. */
	struct client_call call = {.method = method, .body = k->body, .once = !k->body};

	buf_add_str(&path, "/v1/queues/");
	client_add_encoded(&path, k->name);
	call.path = buf_str(&path);
	return client_call(c, &call, ret_answer, err);
}

/* A name with a slip of the finger makes a queue, too: that is said. */
static int is_there(struct client *c, const char *name, bool *ret_there, struct err *err)
{
	CLEANUP_JSON json_t *answer = NULL;
	const json_t *row;
	size_t i;
	int rc = client_get(c, "/v1/queues", &answer, err);

	*ret_there = false;
	json_array_foreach(json_object_get(answer, "queues"), i, row)
	{
		const char *s = json_string_value(json_object_get(row, "queue"));
		*ret_there |= s && strcmp(s, name) == 0;
	}
	return rc;
}

int queues_set(struct cli *cli, int argc, char **argv)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *body = json_object();
	CLEANUP_JSON json_t *answer = NULL;
	struct change k = {.body = body};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "NAME [K=V...]",
	        .doc = "Sets of a queue what the configuration may say of it (see: berth config show), over that and at once, until K= takes it back. "
	               "A queue that is not there is made, and stays until berth queues rm.",
	        .is_listing = true};
	struct err err;
	bool was_there = true;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = is_there(c, k.name, &was_there, &err);
	if (rc == 0)
		rc = call(c, &k, "PATCH", &answer, &err);
	if (rc)
		return cli_fail(cli, &err);
	if (!was_there)
		cli_say("queue %s is new", k.name);
	if (cli->format_given && cli->format == OUTPUT_JSON)
		output_json(answer);
	return 0;
}

int queues_rm(struct cli *cli, int argc, char **argv)
{
	CLEANUP_CLIENT struct client *c = NULL;
	struct change k = {0};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "NAME",
	        .doc = "Removes a queue that was made by berth queues set, and that no job waits or runs in."};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = call(c, &k, "DELETE", NULL, &err);
	if (rc && err.kind == ERR_NOT_FOUND)
		rc = err_hint(&err, "berth queues lists them");
	return rc ? cli_fail(cli, &err) : 0;
}
