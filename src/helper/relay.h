/*
 * The helper's loop: launch messages from the agent, checked, on to the keepers' parent, which it starts and starts again.
 * Owns the sockets it makes; the parent outlives it, unless it is asked to end. One thread. Ends on SIGTERM.
 */
#pragma once

#include "helper/policy.h"

struct relay_options {
	struct policy *policy;
	const char *data;
	const char *keeper; /* program of the keepers' parent */
	int listen_fd;
	int signal_fd; /* SIGTERM, SIGCHLD */
};

void relay_run(const struct relay_options *o);
