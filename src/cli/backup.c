#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	const char **path = input;

	if (key == ARGP_KEY_ARG && !*path) {
		*path = arg;
		return 0;
	}
	if (key == ARGP_KEY_END && !*path)
		return err_set(err, ERR_INVALID, "no file was named")
		               ? err_hint(err, "such as: berth backup /backup/berth.db")
		               : 0;
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

int verb_backup(struct cli *cli, int argc, char **argv)
{
	const char *path = NULL;
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *body = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {.parse = parse,
	        .input = &path,
	        .args_doc = "FILE",
	        .doc = "Writes a consistent copy of the state to a file on the server's machine, and prints its name.",
	        .is_listing = true};
	struct client_call call = {.method = "POST", .path = "/v1/backup", .once = true};
	struct err err;
	char size[24];

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0 && client_is_remote(c) && path[0] != '/')
		rc = err_set(&err, ERR_INVALID,
		        "the file is written on the server's machine: an absolute name is needed");
	if (rc == 0) {
		char *whole = target_absolute(path);
		body = json_pack("{s:s}", "path", whole);
		free(whole);
		call.body = body;
		rc = body ? client_call(c, &call, &answer, &err)
		          : err_set(&err, ERR_INVALID, "the name of the file is not UTF-8");
	}
	if (rc)
		return cli_fail(cli, &err);
	if (cli->format == OUTPUT_JSON) {
		output_json(answer);
		return 0;
	}
	cli_say("%s written",
	        num_format_size(
	                (uint64_t)json_integer_value(json_object_get(answer, "bytes")), size));
	puts(json_string_value(json_object_get(answer, "path")));
	return 0;
}
