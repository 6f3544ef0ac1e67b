#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/greet.h"
#include "cli/interrupt.h"
#include "cli/lock.h"
#include "cli/parts.h"
#include "cli/procs.h"
#include "cli/supervisor.h"
#include "cli/takeover.h"
#include "plat/clock.h"

#define POLL_MS       20
#define AGENT_MS      10000
#define SAY_FIRST_MS  1000
#define SAY_MOST_MS   60000
#define ASK_AGAIN_MS  500
#define ALONE_MS      500   /* after the supervisor has gone */
#define STRAGGLERS_MS 15000 /* the same */

enum { KEY_KEEP = 0x1000, KEY_NO_RETRY };

struct down {
	bool keep, no_retry;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct down *d = input;

	switch (key) {
	case KEY_KEEP:
		d->keep = true;
		return 0;
	case KEY_NO_RETRY:
		d->no_retry = true;
		return 0;
	case ARGP_KEY_END:
		return d->keep && d->no_retry
		               ? err_set(err, ERR_INVALID,
		                         "--keep leaves jobs running, --no-retry cancels them: not both")
		               : 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* Tells the server, and its supervisor that it was told. */
static int ask(const struct cli *cli, const char *data_dir, const struct down *d, struct err *err)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *body =
	        json_pack("{s:b,s:b}", "keep", d->keep, "no_retry", d->no_retry);
	struct client_call call = {.method = "POST", .path = "/v1/shutdown", .body = body};
	struct lock_holder holder;
	int rc = client_open(cli, &c, err);

	if (rc == 0)
		rc = client_call(c, &call, NULL, err);
	if (rc == 0 && lock_find_holder(data_dir, &holder) && holder.pid > 0)
		kill(holder.pid, d->keep ? SUPERVISOR_TOLD_KEEP : SUPERVISOR_TOLD);
	return rc;
}

/* Processes that must be gone; with --keep keepers, and the parent that they are forked from, stay. */
static size_t count_left(const char *data_dir, const struct down *d, struct buf *names)
{
	struct procs p;
	size_t n = 0;

	procs_find(data_dir, &p);
	for (size_t i = 0; i < p.n; i++) {
		if (d->keep && p.v[i].role == PROCS_KEEPER)
			continue;
		n++;
		buf_addf(names, "%s%s %d", names->len ? ", " : "", procs_role_names[p.v[i].role],
		        (int)p.v[i].pid);
	}
	procs_done(&p);
	return n;
}

/* A keeper whose client never came would wait for it; all of them are to end, and this one has nobody else to say so. */
static void end_keepers(const char *data_dir)
{
	struct procs p;

	procs_find(data_dir, &p);
	for (size_t i = 0; i < p.n; i++)
		if (p.v[i].role == PROCS_KEEPER)
			kill(p.v[i].pid, SIGTERM);
	procs_done(&p);
}

/* The server's process, 0 when there is none. */
static pid_t find_server(const char *data_dir)
{
	struct procs p;
	pid_t pid = 0;

	procs_find(data_dir, &p);
	for (size_t i = 0; i < p.n; i++)
		if (p.v[i].role == PROCS_SERVER)
			pid = p.v[i].pid;
	procs_done(&p);
	return pid;
}

static int wait_until_gone(
        const struct cli *cli, const char *data_dir, const struct down *d, struct err *err)
{
	uint64_t start_ms = clock_mono_ms(), say_ms = SAY_FIRST_MS, alone_ms = start_ms;
	pid_t told = find_server(data_dir), server;
	struct lock_holder holder;

	for (;;) {
		CLEANUP_BUF struct buf names = BUF_INIT(4096);
		uint64_t now_ms = clock_mono_ms();
		bool held = lock_find_holder(data_dir, &holder);
		size_t left = count_left(data_dir, d, &names);

		if (!held && left == 0)
			return 0;
		if (held)
			alone_ms = now_ms;
		if (!d->keep && now_ms - alone_ms >= ALONE_MS)
			end_keepers(data_dir);
		if (now_ms - alone_ms >= STRAGGLERS_MS)
			return err_set(err, ERR_TIMEOUT, "still there: %s", buf_str(&names));
		if (now_ms - start_ms >= say_ms) {
			cli_say("waiting for: %s", left ? buf_str(&names) : "the supervisor");
			say_ms = MIN(say_ms * 3, say_ms + SAY_MOST_MS);
		}
		server = find_server(data_dir);
		if (server && server != told && now_ms - start_ms > ASK_AGAIN_MS) {
			/* It fell over on the way, and the one that came after it does not know. */
			told = server;
			(void)!ask(cli, data_dir, d, err);
		}
		interrupt_poll(NULL, 0, POLL_MS);
	}
}

/* Runs this program with these words, silent on stdout; 0 when it succeeded. */
static int run_self(const struct parts_argv *words, struct err *err)
{
	char *self = parts_self();
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, STDOUT_FILENO);
		execv(self, words->v);
		_exit(127);
	}
	free(self);
	if (pid < 0)
		return err_sys(err, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? err_set(err, ERR_UNAVAILABLE,
	                        "jobs run here, but no Berth could be started to end them")
	              : 0;
}

/* Jobs run without a Berth (after --keep, or its supervisor was killed): one is started to end them. */
static int revive(const char *data_dir, struct err *err)
{
	CLEANUP_BUF struct buf flags = BUF_INIT(LOCK_TEXT_MAX);
	struct parts_argv words = {0};
	char version[TAKEOVER_VERSION_SIZE];

	parts_argv_add(&words, "berth");
	parts_argv_add(&words, "up");
	parts_argv_add(&words, "-d");
	if (lock_read_text(data_dir, &flags, err))
		parts_argv_add_option(&words, "--data", data_dir);
	char *rest = (char *)takeover_flags(buf_str(&flags), version), *word;
	while ((word = strsep(&rest, "\n")))
		if (word[0])
			parts_argv_add(&words, word);
	int rc = run_self(&words, err);
	parts_argv_done(&words);
	return rc;
}

struct present {
	bool held; /* a supervisor holds the directory */
	size_t parts, keepers;
};

static struct present look(const char *data_dir)
{
	struct lock_holder holder;
	struct procs p;

	procs_find(data_dir, &p);
	size_t keepers = procs_count(&p, PROCS_KEEPER);
	struct present now = {lock_find_holder(data_dir, &holder), p.n - keepers, keepers};
	procs_done(&p);
	return now;
}

/* Parts whose supervisor was killed end by themselves; a server that was started alone answers, and stays. */
static int settle(const struct cli *cli, const char *data_dir, struct present *now, struct err *err)
{
	uint64_t until_ms = clock_mono_ms() + AGENT_MS;

	for (;;) {
		CLEANUP_CLIENT struct client *c = NULL;
		*now = look(data_dir);
		if (now->held || now->parts == 0)
			return 0;
		int rc = client_open(cli, &c, err);
		if (rc || client_get(c, "/v1/server", NULL, err) == 0)
			return rc;
		if (clock_mono_ms() >= until_ms)
			return err_set(err, ERR_CONFLICT,
			        "parts of a Berth are left in %s, and do not answer", data_dir);
		interrupt_poll(NULL, 0, POLL_MS);
	}
}

static int bring_down(struct cli *cli, const char *data_dir, const struct down *d, struct err *err)
{
	struct present now;
	int rc = settle(cli, data_dir, &now, err);

	if (rc)
		return rc;
	bool serves = now.held || now.parts;
	if (!serves && (now.keepers == 0 || d->keep)) {
		cli_say("no Berth is running in %s", data_dir);
		return 0;
	}
	if (!serves)
		rc = revive(data_dir, err);
	/* Jobs are ended by the agent: it shall be there. */
	if (rc == 0 && !d->keep)
		(void)greet_wait(cli, data_dir, AGENT_MS, err);
	if (rc == 0)
		rc = ask(cli, data_dir, d, err);
	return rc ? rc : wait_until_gone(cli, data_dir, d, err);
}

int verb_down(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"keep", KEY_KEEP, NULL, 0,
	                "stop only Berth: jobs run on, and are found again by the next up", 1},
	        {"no-retry", KEY_NO_RETRY, NULL, 0,
	                "cancel jobs, instead of starting them again at the next up", 1},
	        {0},
	};
	struct down d = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &d,
	        .doc = "Stops everything in a directory and leaves nothing behind. Jobs that run wait for the next up."};
	char *data_dir = NULL;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = target_own_data(cli, &data_dir, &err);
	if (rc == 0) {
		cli->data_option = data_dir;
		rc = bring_down(cli, data_dir, &d, &err);
	}
	if (rc)
		rc = cli_fail(cli, &err);
	free(data_dir);
	return rc;
}
