#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "helper/relay.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "plat/proc.h"
#include "plat/usock.h"

enum { PATH_SIZE = 4096 };

struct options {
	const char *data;
	const char *config; /* NULL: DATA/helper.conf */
	const char *sock;   /* NULL: DATA/run/helper.sock */
	const char *keeper; /* NULL: beside us */
	uid_t server_uid;
	gid_t server_gid;
	bool has_server;
	/* Settings of the supervisor, which come before those of the file. */
	const char *allow_root;
	const char *min_uid;
	const char *users;
};

static NORETURN void die(const struct err *err)
{
	log_error("helper.start", "error=\"%s\"", err->text);
	exit(1);
}

static NORETURN void usage(int code)
{
	fputs("usage: berth-helper --data DIR --server-uid UID --server-gid GID [--config FILE] [--allow-root yes|no] [--min-uid N]\n"
	      "                    [--users NAME,NAME...] [--sock PATH] [--keeper PROGRAM]\n"
	      "Starts jobs under their accounts, where root started Berth: started by `berth up`; not for people.\n",
	        code ? stderr : stdout);
	exit(code);
}

static uint32_t parse_id(const char *text)
{
	uint64_t id;
	struct err err;

	if (num_parse_u64(text, UINT32_MAX - 1, &id, &err) < 0)
		die(&err);
	return (uint32_t)id;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
	        {"data", required_argument, NULL, 'd'},
	        {"config", required_argument, NULL, 'c'},
	        {"sock", required_argument, NULL, 'k'},
	        {"keeper", required_argument, NULL, 'p'},
	        {"server-uid", required_argument, NULL, 'U'},
	        {"server-gid", required_argument, NULL, 'G'},
	        {"allow-root", required_argument, NULL, 'r'},
	        {"min-uid", required_argument, NULL, 'm'},
	        {"users", required_argument, NULL, 'u'},
	        {"help", no_argument, NULL, 'h'},
	        {0},
	};
	const struct {
		int c;
		const char **to;
	} texts[] = {{'d', &o->data}, {'c', &o->config}, {'k', &o->sock}, {'p', &o->keeper},
	        {'r', &o->allow_root}, {'m', &o->min_uid}, {'u', &o->users}};

	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		bool is_text = false;

		for (size_t i = 0; i < ARRAY_LEN(texts); i++)
			if (texts[i].c == c) {
				*texts[i].to = optarg;
				is_text = true;
			}
		if (c == 'U')
			o->server_uid = parse_id(optarg), o->has_server = true;
		else if (c == 'G')
			o->server_gid = parse_id(optarg);
		else if (!is_text)
			usage(c == 'h' ? 0 : 2);
	}
	/* Its starter may name it as ps shall show it: "berth helper --data DIR". */
	if (optind < argc && strcmp(argv[optind], "helper") == 0)
		optind++;
	if (optind < argc || !o->data || *o->data != '/' || !o->has_server)
		usage(2);
}

static int take_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	/* Ctrl-C in the terminal of `berth up` is for the supervisor, which then tells us. */
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigdelset(&set, SIGINT);
	sigdelset(&set, SIGHUP);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	BUG_IF(fd < 0);
	return fd;
}

static void set_policy(struct policy *p, const struct options *o)
{
	const struct {
		const char *key, *value;
	} given[] = {{"allow_root", o->allow_root}, {"min_uid", o->min_uid}, {"users", o->users}};
	char path[PATH_SIZE];
	struct err err;
	int rc;

	snprintf(path, sizeof(path), "%s/helper.conf", o->data);
	rc = policy_read(p, o->config ? o->config : path, &err);
	for (size_t i = 0; i < ARRAY_LEN(given) && rc == 0; i++)
		if (given[i].value)
			rc = policy_set(p, given[i].key, given[i].value, &err);
	if (rc < 0)
		die(&err);
	p->server_uid = o->server_uid;
	p->server_gid = o->server_gid;
}

/* The program that was built and installed with us. */
static void find_keeper(char path[PATH_SIZE])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_SIZE - 32);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	snprintf(slash ? slash + 1 : path, 32, "berth-keeper");
}

/* With the rights of the server, which owns the directory: a link in it leads us nowhere that it cannot go itself. */
static int listen_at(const struct options *o, const char *sock)
{
	char lock[PATH_SIZE + 8];
	int fd, lock_fd, rc;
	struct err err;

	snprintf(lock, sizeof(lock), "%s.lock", sock);
	if (setegid(o->server_gid) < 0 || seteuid(o->server_uid) < 0) {
		if (err_sys(&err, errno, "becoming account %u", (unsigned)o->server_uid))
			die(&err);
	}
	rc = fs_lock(lock, &lock_fd, &err);
	if (rc == 0)
		rc = usock_listen(sock, &fd, &err);
	if (rc < 0)
		die(&err);
	BUG_IF(seteuid(0) < 0 || setegid(0) < 0);
	return fd;
}

int main(int argc, char **argv)
{
	char sock[PATH_SIZE], keeper[PATH_SIZE];
	struct options o = {0};
	struct relay_options r;
	struct policy policy;
	struct err err;
	int death_signal = 0;
	pid_t starter = getppid();

	parse(argc, argv, &o);
	if (getuid() != 0) {
		if (err_set(&err, ERR_FORBIDDEN, "the helper is for root; others need none"))
			die(&err);
	}
	close_range(3, ~0u, 0);
	proc_begin("berth helper");
	(void)prctl(PR_GET_PDEATHSIG, &death_signal);
	umask(022);
	if (chdir("/") < 0)
		errno = 0;
	policy_init(&policy, o.data);
	set_policy(&policy, &o);
	snprintf(sock, sizeof(sock), "%s", o.sock ? o.sock : "");
	if (!o.sock)
		snprintf(sock, sizeof(sock), "%s/run/helper.sock", o.data);
	find_keeper(keeper);
	r = (struct relay_options){
	        .policy = &policy,
	        .data = o.data,
	        .keeper = o.keeper ? o.keeper : keeper,
	        .signal_fd = take_signals(),
	        .listen_fd = listen_at(&o, sock),
	};
	/* Who started it may want it to end with him: a change of account makes the kernel forget that. */
	if (death_signal && (prctl(PR_SET_PDEATHSIG, death_signal) < 0 || getppid() != starter))
		return 1;
	log_info("helper.ready", "socket=\"%s\" allow_root=%d min_uid=%u users=%zu", sock,
	        policy.allow_root, (unsigned)policy.min_uid, policy.n_users);
	relay_run(&r);
	policy_done(&policy);
	BUG_IF(setegid(o.server_gid) < 0 || seteuid(o.server_uid) < 0);
	unlink(sock);
	log_info("helper.end", "socket=\"%s\"", sock);
	return 0;
}
