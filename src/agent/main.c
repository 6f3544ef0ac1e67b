/*
 * berth-agent, shown as `berth agent --data DIR`: see agent.h.
 */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "plat/log.h"
#include "plat/proc.h"

enum {
	OPT_DATA = 1000,
	OPT_SERVER,
	OPT_TOKEN,
	OPT_CA,
	OPT_PIN,
	OPT_NAME,
	OPT_SIMULATE,
	OPT_GPUS,
	OPT_LAUNCHER,
	OPT_KEEPER,
	OPT_NVML,
	OPT_LOG
};

static const struct argp_option options[] = {
        {"data", OPT_DATA, "DIR", 0, "the data directory", 0},
        {"server", OPT_SERVER, "URL", 0, "unix:PATH:/v1/link, or https://HOST:PORT/v1/link", 0},
        {"token-file", OPT_TOKEN, "FILE", 0, "file with the token of this agent", 0},
        {"ca", OPT_CA, "FILE", 0, "certificates to trust instead of the system's", 0},
        {"pin", OPT_PIN, "HEX", 0, "SHA-256 of the server's certificate", 0},
        {"name", OPT_NAME, "NAME", 0, "name of this node instead of the host's", 0},
        {"simulate", OPT_SIMULATE, "SPEC", 0, "simulated devices: 2x8GiB, or a file", 0},
        {"gpus", OPT_GPUS, "0,1,...", 0, "use these devices only, by index or UUID", 0},
        {"launcher", OPT_LAUNCHER, "SOCKET", 0, "a helper there starts the keepers", 0},
        {"keeper", OPT_KEEPER, "PROGRAM", 0,
                "the keepers' parent, instead of the one beside this program", 0},
        {"nvml", OPT_NVML, "FILE", 0, "an NVML instead of the driver's", 0},
        {"log-level", OPT_LOG, "LEVEL", 0, "error, warn, info or debug", 0},
        {0},
};

struct arguments {
	struct agent_options o;
	char data_dir[PATH_MAX];
};

/* Into the argument itself, which lives as long as the process. */
static void split_devices(struct agent_options *o, char *list, struct argp_state *state)
{
	char *item;

	while ((item = strsep(&list, ",")) != NULL) {
		if (!*item)
			argp_error(state, "--gpus: an empty entry");
		if (o->n_allowed == AGENT_ALLOWED_MAX)
			argp_error(state, "--gpus: at most %d devices", AGENT_ALLOWED_MAX);
		o->allowed[o->n_allowed++] = item;
	}
}

static void set_log_level(const char *name, struct argp_state *state)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i], name) == 0) {
			log_init((enum log_level)i);
			return;
		}
	}
	argp_error(state, "--log-level: error, warn, info or debug, not '%s'", name);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case OPT_DATA:
		/* Jobs see paths of it, from directories of their own. */
		if (!realpath(arg, a->data_dir))
			argp_error(state, "--data: '%s': %s", arg, strerror(errno));
		a->o.data_dir = a->data_dir;
		return 0;
	case OPT_SERVER:
		a->o.server_url = arg;
		return 0;
	case OPT_TOKEN:
		a->o.token_file = arg;
		return 0;
	case OPT_CA:
		a->o.ca_path = arg;
		return 0;
	case OPT_PIN:
		a->o.pin_hex = arg;
		return 0;
	case OPT_NAME:
		a->o.name = arg;
		return 0;
	case OPT_SIMULATE:
		a->o.simulate = arg;
		return 0;
	case OPT_GPUS:
		split_devices(&a->o, arg, state);
		return 0;
	case OPT_LAUNCHER:
		a->o.launcher = arg;
		return 0;
	case OPT_KEEPER:
		a->o.keeper = arg;
		return 0;
	case OPT_NVML:
		a->o.nvml = arg;
		return 0;
	case OPT_LOG:
		set_log_level(arg, state);
		return 0;
	case ARGP_KEY_END:
		if (!a->o.data_dir || !a->o.server_url)
			argp_error(state, "--data and --server are needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {options, parse_option, NULL,
	        "The part of Berth that runs on every node; started by `berth up`.", NULL, NULL,
	        NULL};
	static struct arguments arguments;
	struct agent *agent;
	struct err err;

	proc_begin("berth agent");
	/* A log that nobody reads any more, or a peer that is gone, is no reason to end. */
	signal(SIGPIPE, SIG_IGN);
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (agent_new(&arguments.o, &agent, &err) < 0) {
		log_error("agent.start", "error=\"%s\"%s%s", err.text, err.hint[0] ? " hint=" : "",
		        err.hint);
		return err_exit_code(err.kind);
	}
	log_info("agent.start", "data=\"%s\" pid=%d", arguments.o.data_dir, (int)getpid());
	agent_run(agent);
	log_info("agent.end", "pid=%d", (int)getpid());
	if (!agent_free(agent))
		_exit(0);
	return 0;
}
