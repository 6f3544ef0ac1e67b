#include <string.h>

#include "base/text.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"

/* drain and resume of nodes, pause and resume of queues. */
struct admin {
	const char *name;
	bool is_node, is_queue; /* said on the line */
};

/* Where the names stand; returns the kind of err. */
static int hint_names(const struct admin *a, struct err *err)
{
	return err_hint(err, "%s",
	        a->is_node    ? "berth nodes lists them"
	        : a->is_queue ? "berth queues lists them"
	                      : "berth nodes and berth queues list them");
}

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct admin *a = input;

	switch (key) {
	case 'n':
		a->is_node = true;
		return 0;
	case 'q':
		a->is_queue = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->name)
			return ARGP_ERR_UNKNOWN;
		a->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->name && err_set(err, ERR_INVALID, "no name was given"))
			return hint_names(a, err);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static int post(struct client *c, const char *kind, const char *name, const char *action,
        json_t **ret_answer, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	struct client_call call = {.method = "POST"};

	buf_addf(&path, "/v1/%s/", kind);
	client_add_encoded(&path, name);
	buf_addf(&path, "/%s", action);
	call.path = buf_str(&path);
	return client_call(c, &call, ret_answer, err);
}

static int has(struct client *c, const char *path, const char *rows, const char *key,
        const char *name, bool *ret_has, struct err *err)
{
	CLEANUP_JSON json_t *answer = NULL;
	const json_t *row;
	size_t i;

	int rc = client_get(c, path, &answer, err);
	if (rc)
		return rc;
	*ret_has = false;
	json_array_foreach(json_object_get(answer, rows), i, row)
	{
		const char *s = json_string_value(json_object_get(row, key));
		if (s && strcmp(s, name) == 0)
			*ret_has = true;
	}
	return 0;
}

/* `resume` takes either; a name that is both must say which. */
static int find_kind(struct client *c, struct admin *a, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	int rc = has(c, "/v1/nodes", "nodes", "node", a->name, &a->is_node, err);

	if (rc == 0)
		rc = has(c, "/v1/queues", "queues", "queue", a->name, &a->is_queue, err);
	if (rc)
		return rc;
	text_show(a->name, shown);
	if (!a->is_node && !a->is_queue)
		return err_set(err, ERR_NOT_FOUND, "there is no node and no queue '%s'", shown)
		               ? hint_names(a, err)
		               : 0;
	if (a->is_node && a->is_queue)
		return err_set(err, ERR_INVALID, "'%s' is a node and a queue", shown)
		               ? err_hint(err, "say --node or --queue")
		               : 0;
	return 0;
}

static int act(struct cli *cli, int argc, char **argv, const struct args *args, struct admin *a,
        const char *action)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct err err;

	int rc = args_parse(cli, args, argc, argv, &err);
	if (rc == 0 && a->is_node && a->is_queue)
		rc = err_set(&err, ERR_INVALID, "--node or --queue, not both");
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0 && !a->is_node && !a->is_queue)
		rc = find_kind(c, a, &err);
	if (rc == 0)
		rc = post(c, a->is_node ? "nodes" : "queues", a->name, action, &answer, &err);
	if (rc && err.kind == ERR_NOT_FOUND && !err.hint[0])
		rc = hint_names(a, &err);
	if (rc)
		return cli_fail(cli, &err);
	if (cli->format_given && cli->format == OUTPUT_JSON)
		output_json(answer);
	return 0;
}

int verb_drain(struct cli *cli, int argc, char **argv)
{
	struct admin a = {.is_node = true};
	struct args args = {.parse = parse,
	        .input = &a,
	        .args_doc = "NODE",
	        .doc = "Gives a node no new jobs; those that run there go on.",
	        .is_listing = true};

	return act(cli, argc, argv, &args, &a, "drain");
}

int verb_pause(struct cli *cli, int argc, char **argv)
{
	struct admin a = {.is_queue = true};
	struct args args = {.parse = parse,
	        .input = &a,
	        .args_doc = "QUEUE",
	        .doc = "Starts nothing more from a queue; jobs that run go on.",
	        .is_listing = true};

	return act(cli, argc, argv, &args, &a, "pause");
}

int verb_resume(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"node", 'n', NULL, 0, "the name is a node's", 1},
	        {"queue", 'q', NULL, 0, "the name is a queue's", 1},
	        {0},
	};
	struct admin a = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &a,
	        .args_doc = "NODE|QUEUE",
	        .doc = "Ends a drain of a node, or a pause of a queue.",
	        .is_listing = true};

	return act(cli, argc, argv, &args, &a, "resume");
}
