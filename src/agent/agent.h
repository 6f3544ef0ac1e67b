/*
 * The agent of a node: keeps the attempts that the server gives it and tells what becomes of them (wire/link.h), through
 * keepers that outlive it. Its only state is the spool: it may be killed at any moment, and finds everything again.
 * The agent owns all its parts. One loop thread; the devices have a worker of their own (inventory.h). What cannot be
 * done at the start is an error; afterwards everything that fails is logged and tried again.
 *
 * DESIGN. Parts know each other only through this file: attempts.h is the table of what runs, engine.h runs it;
 * uplink.h is the server; output.h and console.h serve its streams; inventory.h, release.h,
 * watchdog.h, procs.h look after devices. Messages to the server gather in the outbox for one turn of the loop.
 */
#pragma once

#include "base/err.h"

#define AGENT_ALLOWED_MAX 64

struct agent;

struct agent_options {
	const char *data_dir; /* absolute */
	const char *server_url;
	const char *token_file;
	const char *ca_path;
	const char *pin_hex;
	const char *name;     /* NULL: the host's */
	const char *simulate; /* "2x8GiB", or a file; NULL: the devices of this machine */
	const char *nvml;     /* NULL: the driver's, or the fake one beside this program */
	const char *allowed[AGENT_ALLOWED_MAX]; /* devices to use; none: all */
	size_t n_allowed;
	const char *
	        launcher; /* socket of the helper; NULL: the agent starts the keepers' parent itself */
	const char *keeper; /* the program that is that; NULL: the one beside this program */
};

/* Life. Strings of o are borrowed. */
MUST_CHECK int agent_new(const struct agent_options *o, struct agent **ret_agent, struct err *err);
void agent_run(
        struct agent *a); /* until SIGTERM or SIGINT, or until the server has shut this node down */
/* False when something still holds a part of it (a driver that does not answer): the process can only end then. */
bool agent_free(struct agent *a);
