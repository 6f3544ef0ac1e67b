#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/parts.h"

/* The configuration is known to the server program; without a running one it is asked directly. */

struct config {
	const char *file;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct config *k = input;

	if (key == ARGP_KEY_ARG && !k->file) {
		k->file = arg;
		return 0;
	}
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

/* Becomes `berth-server --data DIR [--config FILE] ACTION`. */
static int exec_server(const struct cli *cli, const char *file, const char *action, struct err *err)
{
	struct parts_argv words = {0};
	char *path = NULL, *data_dir = NULL;
	int rc = parts_find("berth-server", &path, err);

	if (rc == 0)
		rc = target_own_data(cli, &data_dir, err);
	if (rc == 0) {
		parts_argv_add(&words, "berth server");
		parts_argv_add_option(&words, "--data", data_dir);
		parts_argv_add_option(&words, "--config", file);
		parts_argv_add(&words, action);
		execv(path, words.v);
		rc = err_sys(err, errno, "starting %s", path);
	}
	parts_argv_done(&words);
	free(path);
	free(data_dir);
	return rc;
}

static int check(struct cli *cli, int argc, char **argv)
{
	struct config k = {0};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "[FILE]",
	        .doc = "Checks a configuration file: every key, every value, and whether they agree."};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = exec_server(cli, k.file ? k.file : cli->config_path, "--check-config", &err);
	return rc ? cli_fail(cli, &err) : 0;
}

#define CELL(fn, key)                                                      \
	static void fn(const json_t *row, bool plain, struct buf *out)     \
	{                                                                  \
		output_cell_string(json_object_get(row, key), plain, out); \
	}
CELL(cell_key, "key")
CELL(cell_value, "value")
CELL(cell_from, "from")

static int show(struct cli *cli, int argc, char **argv)
{
	static const struct output_column columns[] = {
	        {"KEY", cell_key}, {"FROM", cell_from}, {"VALUE", cell_value}};
	static const struct output_listing l = {.array_key = "settings",
	        .name_key = "key",
	        .columns = columns,
	        .n_columns = ARRAY_LEN(columns)};
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {
	        .doc = "Shows the configuration in force and where each value comes from.",
	        .is_listing = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = client_get(c, "/v1/config", &answer, &err);
	if (rc && err.kind == ERR_UNAVAILABLE && !client_is_remote(c)) {
		cli_say("%s; this is what one would use", err.text);
		rc = exec_server(cli, cli->config_path, "--show-config", &err);
	}
	if (rc)
		return cli_fail(cli, &err);
	output_listing(cli, &l, answer);
	return 0;
}

int verb_config(struct cli *cli, int argc, char **argv)
{
	static const struct args_sub subs[] = {{"check", check}, {"show", show}, {NULL, NULL}};

	return args_run_sub(cli, subs, argc, argv);
}
