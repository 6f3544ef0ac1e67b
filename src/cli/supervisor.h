/*
 * The supervisor of `berth up`: holds the data directory, starts the server, this machine's agent and (for root) the
 * helper, starts again what dies, keeps their logs, and ends when the server has been told to shut down.
 * One process, one thread, a poll loop. Options are borrowed for the run. Parts die with the supervisor (their parent
 * death signal is TERM); jobs do not, their keepers are nobody's child of it.
 *
 * What it expects of its parts: TERM ends them and leaves jobs alone; the server exits with 0 only after a shutdown.
 */
#pragma once

#include <signal.h>

#include "cli/cli.h"

/*
 * Sent to the supervisor once the server has been told to shut down (KEEP: leaving the jobs): it may end with whatever code.
 */
#define SUPERVISOR_TOLD      SIGUSR1
#define SUPERVISOR_TOLD_KEEP SIGUSR2
/* Sent by an `up` of another version, which takes over: it ends with its parts and leaves the jobs. Also ^\ in the foreground. */
#define SUPERVISOR_LEAVE SIGQUIT

struct supervisor_options {
	const struct cli *cli;
	const char *data_dir;
	const char *config_path; /* absolute, or NULL */
	const char *listen, *gpus, *simulate;
	bool insecure;
	const char
	        *flags; /* all of the above as one word per line: a second `up` must say the same */
	int ready_fd; /* one byte, the exit code of `up -d`, once it is known; -1: in the foreground */
};

/* Runs until Berth is down; returns the exit code. */
int supervisor_run(const struct supervisor_options *o);
