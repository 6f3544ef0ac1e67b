#include <stdio.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/grant.h"
#include "cli/interact.h"
#include "cli/jobs.h"
#include "cli/terminal.h"

static int attach_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	char **ids = input;

	if (key == ARGP_KEY_ARG && !ids[0]) {
		ids[0] = arg;
		return 0;
	}
	if (key == ARGP_KEY_END && !ids[0])
		return err_set(err, ERR_INVALID, "no job was named")
		               ? err_hint(err, "berth ps lists the ids")
		               : 0;
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

int verb_attach(struct cli *cli, int argc, char **argv)
{
	char *ids[1] = {NULL};
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .parse = attach_parse,
	        .input = ids,
	        .args_doc = "ID",
	        .doc = "Connects this terminal to that of a job. Ctrl-P Ctrl-Q lets go; from elsewhere than a terminal, Ctrl-C.",
	};
	struct interact how = {.with_stdin = true, .may_detach = true};
	enum interact_end end;
	struct err err;
	int code;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc)
		return cli_fail(cli, &err);
	how.raw = isatty(STDIN_FILENO);
	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, ids[0]);
	buf_add_str(&path, "/attach");
	rc = interact_run(c, buf_str(&path), &how, &end, &code, &err);
	if (rc)
		return cli_fail(cli, &err);
	if (end == INTERACT_LET_GO)
		cli_say("let go of job %s; it goes on", ids[0]);
	return end == INTERACT_EXITED ? code : 0;
}

struct exec {
	bool want_stdin, want_tty;
	char **argv; /* the id, then the command */
	int argc;
};

static int exec_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct exec *e = input;

	switch (key) {
	case 'i':
		e->want_stdin = true;
		return 0;
	case 't':
		e->want_tty = true;
		return 0;
	case ARGP_KEY_ARG:
		args_take_rest(state, &e->argv, &e->argc);
		/* berth exec ID -- CMD: the two dashes divide, they are not the command. */
		if (e->argc > 1 && e->argv[1][0] == '-' && e->argv[1][1] == '-' && !e->argv[1][2]) {
			e->argv[1] = e->argv[0];
			e->argv++;
			e->argc--;
		}
		return 0;
	case ARGP_KEY_END:
		if (e->argc < 2)
			return err_set(err, ERR_INVALID, "a job and a command are needed")
			               ? err_hint(err, "such as: berth exec 17 -- nvidia-smi")
			               : 0;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void make_exec_path(const struct exec *e, const char *grant, struct buf *path)
{
	struct terminal_size size = terminal_size();

	buf_add_str(path, "/v1/jobs/");
	client_add_encoded(path, e->argv[0]);
	buf_add_str(path, "/exec?");
	for (int i = 1; i < e->argc; i++) {
		buf_addf(path, "arg%d=", i - 1);
		client_add_encoded(path, e->argv[i]);
		buf_add_byte(path, '&');
	}
	buf_addf(path, "tty=%d", e->want_tty);
	if (*grant)
		buf_addf(path, "&grant=%s", grant);
	if (e->want_tty)
		buf_addf(path, "&rows=%u&columns=%u", size.rows, size.columns);
}

int verb_exec(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"interactive", 'i', NULL, 0, "connect standard input", 1},
	        {"tty", 't', NULL, 0, "in a terminal", 1},
	        {0},
	};
	struct exec e = {0};
	CLEANUP_BUF struct buf path = BUF_INIT(1 * MIB);
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .options = options,
	        .parse = exec_parse,
	        .input = &e,
	        .args_doc = "ID -- CMD...",
	        .doc = "Runs a command beside a running job, with its environment and limits.",
	        .command_follows = true,
	};
	struct interact how;
	enum interact_end end;
	struct err err;
	int code, grants = -1;
	char grant[40] = "";

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0) {
		grants = grant_open(c);
		rc = grant_exec(grants, e.argv[0], e.argv + 1, e.want_tty, grant, &err);
	}
	if (rc == 0) {
		make_exec_path(&e, grant, &path);
		how = (struct interact){
		        .with_stdin = e.want_stdin, .raw = e.want_tty && e.want_stdin};
		rc = interact_run(c, buf_str(&path), &how, &end, &code, &err);
	}
	/* Of a job that is not root's. */
	grant_take_back(grants, grant);
	if (grants >= 0)
		close(grants);
	if (rc) {
		cli_fail(cli, &err);
		return CLI_EXIT_FAILED; /* other codes are the command's */
	}
	return end == INTERACT_EXITED ? code : CLI_EXIT_INTERRUPTED;
}
