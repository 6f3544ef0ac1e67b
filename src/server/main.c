/* `berth server`: serves one data directory until it is told to stop. */
#include "server/server.h"
#include "server/links.h"
#include "server/settings.h"
#include "base/num.h"
#include "base/version.h"

#include <argp.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define OPEN_FILES 1048576

struct args {
	const char *data, *config, *listen;
	bool insecure;
	bool has_helper;
	bool goes_down;
	enum settings_question question; /* instead of serving */
	bool asks_can_serve;
	const char *key;
};

enum { OPT_INSECURE = 1000, OPT_HELPER, OPT_CHECK, OPT_SHOW, OPT_GET, OPT_CAN, OPT_SHUTDOWN };

/* Each connection is a file; what is started by others keeps the limit that it had. */
static void raise_open_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = MIN(files.rlim_max, OPEN_FILES);
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

static int ended_by; /* a signal, 0: a shutdown */

static const struct argp_option options[] = {
        {"data", 'd', "DIR", 0, "The data directory", 0},
        {"config", 'c', "FILE", 0, "The configuration, instead of DIR/berth.yaml", 0},
        {"listen", 'l', "HOST:PORT", 0, "Serve TCP too, with TLS", 0},
        {"insecure", OPT_INSECURE, NULL, 0, "Take plain HTTP beyond loopback too", 0},
        {"helper", OPT_HELPER, NULL, 0, "Root's helper is there: jobs run as their submitters", 0},
        {"shutdown", OPT_SHUTDOWN, NULL, 0, "Start nothing, end what runs here, and end", 0},
        {"check-config", OPT_CHECK, NULL, 0, "Check the configuration and end", 0},
        {"show-config", OPT_SHOW, NULL, 0, "Print the configuration and end", 0},
        {"can-serve", OPT_CAN, NULL, 0,
                "Check the configuration and whether the store is of a version known here, and end",
                0},
        {"get-config", OPT_GET, "KEY", 0,
                "Print where one setting comes from and its value, and end", 0},
        {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case 'd':
		a->data = arg;
		return 0;
	case 'c':
		a->config = arg;
		return 0;
	case 'l':
		a->listen = arg;
		return 0;
	case OPT_INSECURE:
		a->insecure = true;
		return 0;
	case OPT_HELPER:
		a->has_helper = true;
		return 0;
	case OPT_SHUTDOWN:
		a->goes_down = true;
		return 0;
	case OPT_CHECK:
		a->question = SETTINGS_CHECK;
		return 0;
	case OPT_SHOW:
		a->question = SETTINGS_SHOW;
		return 0;
	case OPT_CAN:
		a->asks_can_serve = true;
		return 0;
	case OPT_GET:
		a->question = SETTINGS_GET;
		a->key = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->data)
			argp_error(state, "--data DIR is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void on_signal(void *server, int signo)
{
	struct server *s = server;

	log_info("signal", "signo=%d", signo);
	ended_by = signo;
	s->shutting_down = true;
	server_stop(s);
}

static int fail(const struct err *err)
{
	fprintf(stderr, "berth server: %s%s%s\n", err->text, err->hint[0] ? "; " : "", err->hint);
	return err->kind == ERR_CONFLICT ? 3 : err_exit_code(err->kind);
}

/* What else may be wrong with a store is wrong for who serves it now, too. */
static int can_serve(const struct args *a)
{
	struct settings_source from = {a->data, a->config, a->listen, a->insecure};
	CLEANUP_CONF struct conf *conf = NULL;
	struct store *store = NULL;
	char url[4200];
	struct err err;

	if (settings_load(&from, &conf, &err))
		return fail(&err);
	snprintf(url, sizeof(url), "sqlite:%s/berth.db", a->data);
	if (store_open_reader(url, &store, &err) &&
	        (err.kind == ERR_VERSION || err.kind == ERR_CORRUPT))
		return fail(&err);
	store_close(store);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {.options = options,
	        .parser = parse,
	        .doc = "The control plane of Berth. Started by `berth up`."};
	struct args a = {0};
	bool fenced;
	struct server *s;
	struct loop_signal *term = NULL, *intr = NULL;
	struct err err;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (a.asks_can_serve)
		return can_serve(&a);
	if (a.question != SETTINGS_NONE)
		return settings_answer(
		        &(struct settings_source){a.data, a.config, a.listen, a.insecure},
		        a.question, a.key);
	(void)prctl(PR_SET_NAME, "berth server");
	raise_open_files();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write, not an end */
	/* Freed memory goes back soon: an idle server is small. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 128 * 1024);
	if (sodium_init() < 0)
		return 1;
	if (server_open(a.data, a.config, a.listen, a.insecure, a.has_helper, &s, &err))
		return fail(&err);
	s->shutting_down = a.goes_down;
	if (loop_signal_new(s->loop, SIGTERM, on_signal, s, &term, &err) ||
	        loop_signal_new(s->loop, SIGINT, on_signal, s, &intr, &err))
		log_error("signal", "text=\"%s\"", err.text);
	log_info("server.up", "version=%s data=\"%s\" jobs=%llu", berth_version, s->data_dir,
	        (unsigned long long)s->world->n_living);
	loop_run(s->loop);
	log_info("server.down", "data=\"%s\"", s->data_dir);
	loop_signal_free(term);
	loop_signal_free(intr);
	fenced = s->fenced;
	server_close(s);
	/* The supervisor goes down with a server that was told to shut down, and with no other. */
	return fenced ? 3 : ended_by ? 128 + ended_by : 0;
}
