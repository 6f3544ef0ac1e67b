#include "cli/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/greet.h"
#include "base/num.h"
#include "cli/lock.h"
#include "cli/procs.h"
#include "cli/rights.h"
#include "cli/setup.h"
#include "cli/supervisor_part.h"
#include "cli/takeover.h"
#include "plat/clock.h"
#include "plat/fs.h"

#define READY_MS     60000 /* to answer for the first time */
#define AGENT_MS     10000 /* for the agent to be there, when jobs are to be ended */
#define STOP_PART_MS 10000 /* from TERM to KILL of a part */
#define ASK_AGAIN_MS 500   /* after a shutdown that could not be asked for */
#define ASK_MOST_MS  30000 /* until the parts are ended without the server's help */
#define LAST_LINES   15
#define GOODBYES     3 /* starts that a server gets to end the jobs, when it falls over at that */

/*
 * DESIGN. STARTING until the greeter, a child that waits for /readyz, ends with 0; a part that gives up by itself
 * before that ends the whole start, because starting it again would give up again. Then UP: what dies is started
 * again, however often. The server ends with 0 after a shutdown: then STOPPING, which ends the other parts and is done
 * when none is left. A signal asks the server for the shutdown (the asker, a child, because the answer may take time).
 */
enum phase { STARTING, UP, STOPPING };

enum { SERVER, AGENT, HELPER, N_PARTS };

struct supervisor {
	const struct supervisor_options *o;
	struct lock lock;
	enum phase phase;
	struct part parts[N_PARTS]; /* in use where name is set */
	pid_t greeter, asker;
	int signals;
	bool told;         /* the server knows that it shall go down (supervisor.h) */
	unsigned goodbyes; /* how often it may fall over at that */
	int ready_fd;      /* -1: told, or nobody to tell */
	bool asked;        /* a signal wants it down */
	uint64_t asked_ms; /* since when */
	uint64_t ask_again_ms;
	uint64_t kill_ms; /* STOPPING: when what is left is killed */
	bool failed;      /* the start did not succeed */
};

static void tell_caller(struct supervisor *s, uint8_t exit_code)
{
	if (s->ready_fd < 0)
		return;
	fflush(stdout);
	ssize_t ignored = write(s->ready_fd, &exit_code, 1);
	(void)ignored;
	close(s->ready_fd);
	s->ready_fd = -1;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

/* The child, too, returns: -1 there. 0: there is none. */
static pid_t fork_child(struct supervisor *s)
{
	pid_t parent = getpid(), pid;
	sigset_t none;

	fflush(stdout);
	pid = fork();
	if (pid)
		return MAX(pid, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_IGN); /* of the terminal: the supervisor's affair */
	if (s->ready_fd >= 0)
		close(s->ready_fd);
	return -1;
}

static void start_greeter(struct supervisor *s)
{
	const struct cli *cli = s->o->cli;
	struct err err;
	int rc;

	s->greeter = fork_child(s);
	if (s->greeter >= 0)
		return;
	if (greet_wait(cli, s->o->data_dir, READY_MS, &err) != GREET_READY)
		_exit(cli_fail(cli, &err));
	rc = greet_print(cli, &err);
	_exit(rc ? cli_fail(cli, &err) : 0);
}

static void start_asker(struct supervisor *s)
{
	CLEANUP_CLIENT struct client *c = NULL;
	struct client_call call = {.method = "POST", .path = "/v1/shutdown"};
	struct err err;

	s->asker = fork_child(s);
	if (s->asker >= 0)
		return;
	int rc = client_open(s->o->cli, &c, &err);
	/* Jobs are ended by the agent: it shall be there. */
	if (rc == 0)
		(void)greet_wait(s->o->cli, s->o->data_dir, AGENT_MS, &err);
	if (rc == 0)
		rc = client_call(c, &call, NULL, &err);
	_exit(rc ? 1 : 0);
}

/* In order: the helper serves the agent until it has gone. */
static void stop_parts(struct supervisor *s)
{
	if (s->phase != STOPPING)
		s->kill_ms = clock_mono_ms() + STOP_PART_MS;
	s->phase = STOPPING;
	for (int i = 0; i < N_PARTS; i++)
		s->parts[i].restart_ms = 0;
	if (s->parts[SERVER].pid)
		part_signal(&s->parts[SERVER], SIGTERM);
	if (s->parts[AGENT].pid)
		part_signal(&s->parts[AGENT], SIGTERM);
	if (!s->parts[SERVER].pid && !s->parts[AGENT].pid)
		part_signal(&s->parts[HELPER], SIGTERM);
}

static void print_last_lines(const struct supervisor *s)
{
	for (int i = 0; i < N_PARTS; i++) {
		const struct part *p = &s->parts[i];
		size_t len;
		if (!p->name)
			continue;
		const char *lines = rotlog_last_lines(&p->log, LAST_LINES, &len);
		if (len)
			fprintf(stderr, "%s says:\n%.*s%s", p->name, (int)len, lines,
			        lines[len - 1] == '\n' ? "" : "\n");
	}
}

static void give_up_start(struct supervisor *s, const char *what)
{
	if (s->failed)
		return;
	s->failed = true;
	for (int i = 0; i < N_PARTS; i++)
		part_read(&s->parts[i]);
	print_last_lines(s);
	fprintf(stderr, "berth up: %s; the logs are in %s/logs\n", what, s->o->data_dir);
	stop_parts(s);
}

/* A server that was told to go down and fell over instead is not asked for ever. */
static bool is_goodbye(struct supervisor *s, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (!s->told || s->phase == STARTING)
		return false;
	return s->goodbyes-- == 0;
}

static void on_part_exit(struct supervisor *s, struct part *p, int status)
{
	bool by_itself = WIFEXITED(status);
	char what[128], how[64];

	if (s->phase == STOPPING) {
		part_on_exit(p, status, false);
		stop_parts(s);
		return;
	}
	if (p == &s->parts[SERVER] && is_goodbye(s, status)) {
		part_on_exit(p, status, false);
		stop_parts(s);
		return;
	}
	bool gives_up = s->phase == STARTING && by_itself && WEXITSTATUS(status) != 0;
	part_on_exit(p, status, !gives_up);
	if (!gives_up)
		return;
	part_describe_exit(status, how);
	snprintf(what, sizeof(what), "the %s %s", p->name, how);
	give_up_start(s, what);
}

static void on_greeter_exit(struct supervisor *s, int status)
{
	s->greeter = 0;
	if (s->phase != STARTING)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		s->phase = UP;
		tell_caller(s, 0);
		return;
	}
	give_up_start(s, "it did not become ready");
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->greeter)
			on_greeter_exit(s, status);
		if (pid == s->asker) {
			s->asker = 0;
			if (status && s->phase != STOPPING)
				s->ask_again_ms = clock_mono_ms() + ASK_AGAIN_MS;
		}
		for (int i = 0; i < N_PARTS; i++)
			if (s->parts[i].name && s->parts[i].pid == pid)
				on_part_exit(s, &s->parts[i], status);
	}
}

/* Without the server's help; jobs go on. */
static void leave(struct supervisor *s)
{
	if (s->phase == STARTING)
		s->failed = true;
	stop_parts(s);
}

static void on_stop_signal(struct supervisor *s)
{
	/* A second one, or nothing to be asked yet. */
	if (s->asked || s->phase == STARTING) {
		leave(s);
		return;
	}
	s->asked = true;
	s->asked_ms = clock_mono_ms();
	/* The server may have got the same signal: one that is started again shall not start jobs again. */
	parts_argv_add(&s->parts[SERVER].argv, "--shutdown");
	if (s->ready_fd < 0 && isatty(STDERR_FILENO))
		cli_say("going down; once more leaves the jobs running");
	if (s->phase == UP)
		start_asker(s);
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap(s);
			break;
		case SUPERVISOR_LEAVE:
			leave(s);
			break;
		case SUPERVISOR_TOLD:
		case SUPERVISOR_TOLD_KEEP:
			if (!s->told)
				s->goodbyes = info.ssi_signo == SUPERVISOR_TOLD ? GOODBYES : 0;
			s->told = true;
			break;
		default:
			on_stop_signal(s);
		}
	}
}

/* What is due by now; returns how long until something else is. */
static int run_timers(struct supervisor *s)
{
	uint64_t now_ms = clock_mono_ms(), next_ms = now_ms + 60000;
	struct err err;

	for (int i = 0; i < N_PARTS; i++) {
		struct part *p = &s->parts[i];
		if (!p->name || p->pid || !p->restart_ms)
			continue;
		if (now_ms >= p->restart_ms && part_start(p, &err)) {
			rotlog_say(&p->log, "error up.start text=\"%s\"", err.text);
			p->restart_ms = now_ms + PART_BACKOFF_MOST_MS;
		}
		if (p->restart_ms)
			next_ms = MIN(next_ms, p->restart_ms);
	}
	if (s->asked && s->phase == UP) {
		if (now_ms - s->asked_ms >= ASK_MOST_MS && !s->parts[SERVER].pid)
			stop_parts(s);
		else if (!s->asker && s->ask_again_ms && now_ms >= s->ask_again_ms) {
			s->ask_again_ms = 0;
			start_asker(s);
		}
		next_ms = MIN(next_ms, now_ms + ASK_AGAIN_MS);
	}
	if (s->phase == STOPPING) {
		if (now_ms >= s->kill_ms)
			for (int i = 0; i < N_PARTS; i++)
				part_signal(&s->parts[i], SIGKILL);
		next_ms = MIN(next_ms, MAX(s->kill_ms, now_ms + 100));
	}
	return (int)(next_ms - now_ms);
}

static bool is_over(const struct supervisor *s)
{
	for (int i = 0; i < N_PARTS; i++)
		if (s->parts[i].pid)
			return false;
	return s->phase == STOPPING;
}

static void loop(struct supervisor *s)
{
	while (!is_over(s)) {
		struct pollfd fds[1 + N_PARTS] = {{.fd = s->signals, .events = POLLIN}};
		int wait_ms = run_timers(s);

		for (int i = 0; i < N_PARTS; i++)
			fds[1 + i] = (struct pollfd){
			        .fd = s->parts[i].name ? s->parts[i].pipe : -1, .events = POLLIN};
		poll(fds, ARRAY_LEN(fds), wait_ms);
		for (int i = 0; i < N_PARTS; i++)
			if (fds[1 + i].revents)
				part_read(&s->parts[i]);
		if (fds[0].revents)
			read_signals(s);
	}
}

static int prepare_parts(struct supervisor *s, struct err *err)
{
	const struct supervisor_options *o = s->o;
	struct part *server = &s->parts[SERVER], *agent = &s->parts[AGENT];
	char *url = NULL;
	int rc = part_init(server, "server", o->data_dir, err);

	if (rc)
		return rc;
	parts_argv_add_option(&server->argv, "--config", o->config_path);
	parts_argv_add_option(&server->argv, "--listen", o->listen);
	if (o->insecure)
		parts_argv_add(&server->argv, "--insecure");
	rc = part_init(agent, "agent", o->data_dir, err);
	if (rc)
		return rc;
	BUG_IF(asprintf(&url, "unix:%s/" TARGET_SOCKET_NAME ":/v1/link", o->data_dir) < 0);
	parts_argv_add_option(&agent->argv, "--server", url);
	free(url);
	parts_argv_add_option(&agent->argv, "--gpus", o->gpus);
	parts_argv_add_option(&agent->argv, "--simulate", o->simulate);
	return rights_assign(o, server, agent, &s->parts[HELPER], err);
}

static int start_all(struct supervisor *s, struct err *err)
{
	static const int order[] = {HELPER, SERVER, AGENT};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(order); i++)
		if (s->parts[order[i]].name)
			rc = part_start(&s->parts[order[i]], err);
	if (rc)
		return rc;
	start_greeter(s);
	return s->greeter ? 0 : err_sys(err, errno, "fork");
}

/* What the holder was started with is what we were. */
static int check_flags(const struct supervisor_options *o, const char *theirs, struct err *err)
{
	CLEANUP_BUF struct buf line = BUF_INIT(LOCK_TEXT_MAX);

	if (!theirs[0] || strcmp(theirs, o->flags) == 0)
		return 0;
	for (const char *c = theirs; *c; c++)
		buf_add_byte(&line, *c == '\n' ? ' ' : (uint8_t)*c);
	return err_set(err, ERR_CONFLICT, "%s is served already, by: berth up %s", o->data_dir,
	               buf_str(&line))
	               ? err_hint(err, "berth down --keep first, if it shall be served differently")
	               : 0;
}

/* Somebody else has the directory. 0: not any more. 1: it is ready, and what it serves was printed. */
static int meet_holder(const struct supervisor_options *o, struct err *err)
{
	CLEANUP_BUF struct buf text = BUF_INIT(LOCK_TEXT_MAX);
	char version[TAKEOVER_VERSION_SIZE];
	struct lock_holder holder;
	int rc = lock_read_text(o->data_dir, &text, err);

	if (rc)
		return err->kind == ERR_NOT_FOUND ? 0 : rc;
	if (!lock_find_holder(o->data_dir, &holder))
		return 0;
	rc = check_flags(o, takeover_flags(buf_str(&text), version), err);
	if (rc)
		return rc;
	if (text.len && takeover_is_due(holder.pid, version))
		return takeover_run(o->data_dir, o->config_path, holder.pid, version, err);
	switch (greet_wait(o->cli, o->data_dir, READY_MS, err)) {
	case GREET_READY:
		rc = greet_print(o->cli, err);
		/* It may just be going down. */
		return rc == 0 ? 1 : err->kind == ERR_UNAVAILABLE ? 0 : rc;
	case GREET_TOO_LATE:
		return -(int)err->kind;
	default:
		return 0; /* it went down meanwhile: our turn */
	}
}

/* 0: the directory is ours. 1: somebody else serves it, and it is ready. */
static int take_directory(struct supervisor *s, struct err *err)
{
	const struct supervisor_options *o = s->o;
	char *text = takeover_text(o->flags);
	int rc;

	do {
		rc = lock_take(o->data_dir, text, &s->lock, err);
		if (rc && err->kind == ERR_CONFLICT)
			rc = meet_holder(o, err);
		else
			break;
	} while (rc == 0);
	free(text);
	return rc;
}

static void catch_signals(struct supervisor *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SUPERVISOR_LEAVE);
	sigaddset(&set, SUPERVISOR_TOLD);
	sigaddset(&set, SUPERVISOR_TOLD_KEEP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	BUG_IF(s->signals < 0);
	/* Keepers' parents whose agent died become children of this process, and are reaped. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static int supervise(struct supervisor *s)
{
	struct err err;
	int rc;

	for (int i = 0; i < N_PARTS; i++)
		s->parts[i] = (struct part){.pipe = -1, .log.fd = -1};
	catch_signals(s);
	rc = setup_wait_for_old(s->o->data_dir, &err);
	if (rc == 0) {
		takeover_renew_keepers_parent(s->o->data_dir);
		rc = prepare_parts(s, &err);
	}
	if (rc == 0)
		rc = start_all(s, &err);
	if (rc) {
		s->failed = true;
		cli_fail(s->o->cli, &err);
		stop_parts(s);
	}
	loop(s);
	if (s->failed)
		setup_end_keepers_parent(s->o->data_dir);
	for (int i = 0; i < N_PARTS; i++)
		part_done(&s->parts[i]);
	close(s->signals);
	lock_drop(&s->lock);
	return s->failed;
}

int supervisor_run(const struct supervisor_options *o)
{
	struct supervisor s = {.o = o, .ready_fd = o->ready_fd};
	struct err err;
	int rc = take_directory(&s, &err);

	if (rc == 1)
		rc = 0;
	else if (rc == 0)
		rc = supervise(&s);
	else
		rc = cli_fail(o->cli, &err);
	tell_caller(&s, (uint8_t)rc);
	return rc;
}
