#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/parts.h"
#include "cli/target.h"

/* `berth server` and `berth agent`: one program alone, in the foreground, under the name that ps shows. */

enum {
	KEY_LISTEN = 0x1000,
	KEY_INSECURE,
	KEY_JOIN,
	KEY_TOKEN_FILE,
	KEY_NAME,
	KEY_GPUS,
	KEY_SIMULATE
};

struct program {
	const char *listen, *join, *token_file, *name, *gpus, *simulate;
	bool insecure;
	bool is_agent;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct program *p = input;

	switch (key) {
	case KEY_LISTEN:
		p->listen = arg;
		return 0;
	case KEY_INSECURE:
		p->insecure = true;
		return 0;
	case KEY_JOIN:
		p->join = arg;
		return 0;
	case KEY_TOKEN_FILE:
		p->token_file = arg;
		return 0;
	case KEY_NAME:
		p->name = arg;
		return 0;
	case KEY_GPUS:
		p->gpus = arg;
		return 0;
	case KEY_SIMULATE:
		p->simulate = arg;
		return 0;
	case ARGP_KEY_END:
		if (p->is_agent && !p->join)
			return err_set(err, ERR_INVALID, "--join is missing")
			               ? err_hint(err,
			                         "berth up starts the agent of this machine; --join URL is for a server elsewhere")
			               : 0;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static int start(const char *program, char **argv, struct err *err)
{
	char *path;
	int rc = parts_find(program, &path, err);

	if (rc)
		return rc;
	execv(path, argv);
	rc = err_sys(err, errno, "starting %s", path);
	free(path);
	return rc;
}

int verb_server(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"listen", KEY_LISTEN, "HOST:PORT", 0, "serve TCP besides the socket", 1},
	        {"insecure", KEY_INSECURE, NULL, 0, "plain HTTP beyond loopback too", 1},
	        {0},
	};
	struct program p = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &p,
	        .doc = "Starts the server alone, in the foreground. berth up starts everything."};
	struct parts_argv words = {0};
	char *data_dir = NULL;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &data_dir, &err);
	if (rc == 0) {
		parts_argv_add(&words, "berth server");
		parts_argv_add_option(&words, "--data", data_dir);
		parts_argv_add_option(&words, "--config", cli->config_path);
		parts_argv_add_option(&words, "--listen", p.listen);
		if (p.insecure)
			parts_argv_add(&words, "--insecure");
		rc = start("berth-server", words.v, &err);
	}
	parts_argv_done(&words);
	free(data_dir);
	return rc ? cli_fail(cli, &err) : 0;
}

int verb_agent(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"join", KEY_JOIN, "URL", 0, "the server: https://HOST:PORT", 1},
	        {"token-file", KEY_TOKEN_FILE, "FILE", 0, "its token for agents", 1},
	        {"name", KEY_NAME, "NAME", 0, "of this node, instead of the host's name", 1},
	        {"gpus", KEY_GPUS, "LIST", 0, "only these GPUs: 0,1,2", 1},
	        {"simulate", KEY_SIMULATE, "SPEC", 0, "simulated GPUs: 2x8GiB, or a file", 1},
	        {0},
	};
	struct program p = {.is_agent = true};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &p,
	        .doc = "Starts an agent alone, in the foreground. berth up starts this machine's."};
	struct parts_argv words = {0};
	char *data_dir = NULL;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &data_dir, &err);
	if (rc == 0) {
		parts_argv_add(&words, "berth agent");
		parts_argv_add_option(&words, "--data", data_dir);
		parts_argv_add_option(&words, "--server", p.join);
		parts_argv_add_option(&words, "--token-file", p.token_file);
		parts_argv_add_option(&words, "--name", p.name);
		parts_argv_add_option(&words, "--gpus", p.gpus);
		parts_argv_add_option(&words, "--simulate", p.simulate);
		rc = start("berth-agent", words.v, &err);
	}
	parts_argv_done(&words);
	free(data_dir);
	return rc ? cli_fail(cli, &err) : 0;
}
