#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/parts.h"
#include "cli/setup.h"
#include "cli/target.h"

/* `berth server` and `berth agent`: one program alone, in the foreground, under the name that ps shows. */

enum {
	KEY_LISTEN = 0x1000,
	KEY_INSECURE,
	KEY_JOIN,
	KEY_TOKEN_FILE,
	KEY_CA,
	KEY_PIN,
	KEY_NAME,
	KEY_GPUS,
	KEY_SIMULATE
};

struct program {
	const char *listen, *join, *token_file, *ca, *pin, *name, *gpus, *simulate;
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
	case KEY_CA:
		p->ca = arg;
		return 0;
	case KEY_PIN:
		p->pin = arg;
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
	if (rc == 0)
		rc = setup_data_dir(data_dir, &err);
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

/* The server's address as people say it, and the place of the link there. */
static char *link_of(const char *join)
{
	const char *host = strstr(join, "://");
	size_t len = strlen(join);
	char *url = NULL;

	if (!host || (strchr(host + 3, '/') && strcmp(strchr(host + 3, '/'), "/") != 0))
		return mem_strdup(join);
	BUG_IF(asprintf(&url, "%.*s/v1/link", (int)(len - (join[len - 1] == '/')), join) < 0);
	return url;
}

int verb_agent(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"join", KEY_JOIN, "URL", 0, "the server: https://HOST:PORT", 1},
	        {"token-file", KEY_TOKEN_FILE, "FILE", 0, "its token for agents", 1},
	        {"ca", KEY_CA, "FILE", 0,
	                "certificates to trust instead of the system's (BERTH_CA)", 1},
	        {"pin", KEY_PIN, "HEX", 0, "SHA-256 of the server's certificate (BERTH_PIN)", 1},
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
	char *data_dir = NULL, *url = NULL;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &data_dir, &err);
	if (rc == 0)
		rc = setup_data_dir(data_dir, &err);
	if (rc == 0) {
		url = link_of(p.join);
		parts_argv_add(&words, "berth agent");
		parts_argv_add_option(&words, "--data", data_dir);
		parts_argv_add_option(&words, "--server", url);
		parts_argv_add_option(&words, "--ca", p.ca ? p.ca : getenv("BERTH_CA"));
		parts_argv_add_option(&words, "--pin", p.pin ? p.pin : getenv("BERTH_PIN"));
		parts_argv_add_option(&words, "--token-file", p.token_file);
		parts_argv_add_option(&words, "--name", p.name);
		parts_argv_add_option(&words, "--gpus", p.gpus);
		parts_argv_add_option(&words, "--simulate", p.simulate);
		rc = start("berth-agent", words.v, &err);
	}
	parts_argv_done(&words);
	free(url);
	free(data_dir);
	return rc ? cli_fail(cli, &err) : 0;
}
