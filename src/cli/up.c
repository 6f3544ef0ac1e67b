#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "cli/args.h"
#include "cli/parts.h"
#include "cli/setup.h"
#include "cli/supervisor.h"
#include "cli/target.h"

/*
 * DESIGN. What serves is always a process `berth up --data DIR FLAGS`, whatever was typed: `berth up` executes itself
 * again with the whole line, in the background a child does. The second start knows itself by READY_FD in its
 * environment, the descriptor to which it reports (-1: the terminal has it).
 */
#define READY_FD "BERTH_UP_READY_FD"

enum { KEY_LISTEN = 0x1000, KEY_INSECURE, KEY_GPUS, KEY_SIMULATE };

struct up {
	char *listen, *gpus, *simulate;
	bool insecure, detach;
};

static const struct argp_option options[] = {
        {"detach", 'd', NULL, 0, "in the background; returns when the service answers", 1},
        {"listen", KEY_LISTEN, "HOST:PORT", 0, "serve TCP besides the socket", 1},
        {"insecure", KEY_INSECURE, NULL, 0, "plain HTTP beyond loopback too", 1},
        {"gpus", KEY_GPUS, "LIST", 0, "only these GPUs: 0,1,2", 1},
        {"simulate", KEY_SIMULATE, "SPEC", 0, "simulated GPUs: 2x8GiB, or a file", 1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct up *u = input;

	switch (key) {
	case 'd':
		u->detach = true;
		return 0;
	case KEY_LISTEN:
		u->listen = arg;
		return 0;
	case KEY_INSECURE:
		u->insecure = true;
		return 0;
	case KEY_GPUS:
		u->gpus = arg;
		return 0;
	case KEY_SIMULATE:
		u->simulate = arg;
		return 0;
	case ARGP_KEY_END:
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* The line of `ps`, and what a second `up` is compared by. */
static void make_line(
        const struct up *u, const char *data_dir, const char *config_path, struct parts_argv *words)
{
	char *file =
	        u->simulate && access(u->simulate, F_OK) == 0 ? target_absolute(u->simulate) : NULL;

	parts_argv_add(words, "berth");
	parts_argv_add(words, "up");
	parts_argv_add_option(words, "--data", data_dir);
	parts_argv_add_option(words, "--config", config_path);
	parts_argv_add_option(words, "--listen", u->listen);
	if (u->insecure)
		parts_argv_add(words, "--insecure");
	parts_argv_add_option(words, "--gpus", u->gpus);
	parts_argv_add_option(words, "--simulate", file ? file : u->simulate);
	free(file);
}

static int exec_self(struct parts_argv *words, int ready_fd, struct err *err)
{
	char *self = parts_self(), fd[16];

	snprintf(fd, sizeof(fd), "%d", ready_fd);
	setenv(READY_FD, fd, 1);
	execv(self, words->v);
	int rc = err_sys(err, errno, "starting %s", self);
	free(self);
	return rc;
}

NORETURN static void become_daemon(const struct cli *cli, struct parts_argv *words, int ready_fd)
{
	struct err err;
	int null = open("/dev/null", O_RDWR);

	setsid();
	dup2(null, STDIN_FILENO);
	/* Nothing that the caller had open is held for ever: a script may wait for its end. */
	if (ready_fd != 3) {
		dup2(ready_fd, 3);
		ready_fd = 3;
	}
	close_range(4, ~0U, 0);
	_exit(exec_self(words, ready_fd, &err) ? cli_fail(cli, &err) : 1);
}

static int detach(const struct cli *cli, struct parts_argv *words, struct err *err)
{
	int pipe[2];
	uint8_t code;
	ssize_t n;

	if (pipe2(pipe, 0) < 0)
		return err_sys(err, errno, "pipe");
	pid_t pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "fork");
	if (pid == 0)
		become_daemon(cli, words, pipe[1]);
	close(pipe[1]);
	do
		n = read(pipe[0], &code, 1);
	while (n < 0 && errno == EINTR);
	close(pipe[0]);
	if (n != 1)
		return err_set(err, ERR_INTERNAL, "the supervisor died before it was ready");
	return code;
}

/* In the process that ps shows. */
static int supervise(struct cli *cli, const struct up *u, const char *data_dir, int ready_fd,
        const struct parts_argv *words)
{
	CLEANUP_BUF struct buf flags = BUF_INIT(64 * KIB);
	struct supervisor_options o = {.cli = cli,
	        .data_dir = data_dir,
	        .config_path = cli->config_path,
	        .listen = u->listen,
	        .gpus = u->gpus,
	        .simulate = u->simulate,
	        .insecure = u->insecure,
	        .ready_fd = ready_fd};

	for (size_t i = 2; i < words->n; i++)
		buf_addf(&flags, "%s%s", i > 2 ? "\n" : "", words->v[i]);
	o.flags = buf_str(&flags);
	prctl(PR_SET_NAME, "berth-up");
	if (chdir("/") < 0)
		return 1;
	return supervisor_run(&o);
}

int verb_up(struct cli *cli, int argc, char **argv)
{
	const char *fd_text = getenv(READY_FD);
	struct up u = {0};
	struct parts_argv words = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &u,
	        .doc = "Starts a server and this machine's agent, and keeps them alive. In the foreground, Ctrl-C is berth down."};
	char *data_dir = NULL, *config = NULL;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &data_dir, &err);
	if (rc == 0 && cli->config_path)
		cli->config_path = config = target_absolute(cli->config_path);
	if (rc == 0) {
		make_line(&u, data_dir, cli->config_path, &words);
		rc = setup_data_dir(data_dir, &err);
	}
	if (rc == 0) {
		unsetenv("BERTH_URL");
		cli->data_option = data_dir;
		if (fd_text) {
			int64_t ready_fd = -1;
			if (num_parse_i64(fd_text, 0, INT32_MAX, &ready_fd, &err))
				ready_fd = -1;
			unsetenv(READY_FD);
			rc = supervise(cli, &u, data_dir, (int)ready_fd, &words);
		} else {
			rc = u.detach ? detach(cli, &words, &err) : exec_self(&words, -1, &err);
		}
	}
	if (rc < 0)
		rc = cli_fail(cli, &err);
	parts_argv_done(&words);
	free(data_dir);
	free(config);
	return rc;
}
