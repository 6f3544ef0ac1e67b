#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "keeper/driver.h"
#include "keeper/limits.h"
#include "keeper/parent.h"
#include "keeper/rights.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "plat/proc.h"
#include "plat/usock.h"

enum { LOCK_TRIES = 50, LOCK_WAIT_MS = 20, PATH_SIZE = 4096 };

struct options {
	const char *data;
	const char *spool;
	const char *sock; /* NULL: DATA/run/keeper.sock */
	struct parent_options parent;
	uid_t server_uid;
	gid_t server_gid;
	bool has_server;
};

static NORETURN void die(const struct err *err)
{
	log_error("keeper.start", "error=\"%s\"", err->text);
	exit(1);
}

static uint32_t parse_id(const char *text)
{
	uint64_t id;
	struct err err;

	if (num_parse_u64(text, UINT32_MAX - 1, &id, &err) < 0)
		die(&err);
	return (uint32_t)id;
}

static NORETURN void usage(int code)
{
	fputs("usage: berth-keeper --data DIR --spool FILE [--sock PATH] [--allow-uid UID]... [--server-uid UID --server-gid GID]\n"
	      "The keepers' parent: started by `berth up`; not for people.\n",
	        code ? stderr : stdout);
	exit(code);
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
	        {"data", required_argument, NULL, 'd'},
	        {"spool", required_argument, NULL, 's'},
	        {"sock", required_argument, NULL, 'k'},
	        {"allow-uid", required_argument, NULL, 'u'},
	        {"server-uid", required_argument, NULL, 'U'},
	        {"server-gid", required_argument, NULL, 'G'},
	        {"help", no_argument, NULL, 'h'},
	        {0},
	};
	struct parent_options *p = &o->parent;

	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (c == 'd')
			o->data = optarg;
		else if (c == 's')
			o->spool = optarg;
		else if (c == 'k')
			o->sock = optarg;
		else if (c == 'u' && p->n_allowed_uids < PARENT_UIDS)
			p->allowed_uids[p->n_allowed_uids++] = parse_id(optarg);
		else if (c == 'U')
			o->server_uid = parse_id(optarg), o->has_server = true;
		else if (c == 'G')
			o->server_gid = parse_id(optarg);
		else
			usage(c == 'h' ? 0 : 2);
	}
	/* Its starter may name it as ps shall show it: "berth keeper --data DIR". */
	if (optind < argc && strcmp(argv[optind], "keeper") == 0)
		optind++;
	if (optind < argc || !o->data || !o->spool || *o->data != '/' || *o->spool != '/')
		usage(2);
}

/* 0, 1, 2 are there; from FD_PRIVATE on everything is ours alone, so that keepers can close it without looking. */
static void take_descriptors(void)
{
	int fd;

	close_range(3, ~0u, 0);
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd < FD_PRIVATE)
		;
	BUG_IF(fd < 0);
	close(fd);
	dup2(FD_SPOOL, FD_NULL);
	dup2(FD_NULL, 1);
}

static void take_signals(void)
{
	sigset_t all, ours;
	int fd;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGABRT);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, STOP_SIGNAL);
	fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	BUG_IF(fd < 0 || dup3(fd, FD_SIGNAL, O_CLOEXEC) < 0);
	close(fd);
}

/* Only one parent per directory. One that was just killed may still have a child that has not closed its copy of the lock. */
static void take_lock(const char *sock)
{
	struct timespec wait = {.tv_nsec = LOCK_WAIT_MS * 1000000};
	char path[PATH_SIZE + 8];
	struct err err;
	int fd, rc = -1;

	snprintf(path, sizeof(path), "%s.lock", sock);
	for (size_t i = 0; rc < 0; i++) {
		rc = fs_lock(path, &fd, &err);
		if (rc < 0 && (err.kind != ERR_CONFLICT || i == LOCK_TRIES))
			die(&err);
		if (rc < 0)
			nanosleep(&wait, NULL);
	}
}

static void open_at(const char *path, int flags, int at)
{
	struct err err;
	int fd = open(path, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		if (err_sys(&err, errno, "opening '%s'", path))
			die(&err);
	}
	dup3(fd, at, O_CLOEXEC);
	close(fd);
}

static void open_files(const char *spool, const char *sock)
{
	char path[PATH_SIZE + 8];

	snprintf(path, sizeof(path), "%s.begun", sock);
	open_at(spool, O_RDWR | O_APPEND, FD_SPOOL);
	open_at(path, O_RDWR, FD_BEGUN);
}

static int bind_at(const char *sock)
{
	struct err err;
	int fd;

	if (usock_bind(sock, &fd, &err) < 0)
		die(&err);
	return fd;
}

static void start_listening(int fd)
{
	struct err err;

	if (listen(fd, SOMAXCONN) < 0 && err_sys(&err, errno, "listening"))
		die(&err);
}

static struct keeper_base make_base(const struct options *o)
{
	struct keeper_base base = {.parent = getpid(), .is_root = getuid() == 0};
	struct stat st;
	struct err err;

	base.server_uid = o->has_server ? o->server_uid : getuid();
	base.server_gid = o->has_server ? o->server_gid : getgid();
	if (stat(o->data, &st) < 0) {
		if (err_sys(&err, errno, "looking at directory '%s'", o->data))
			die(&err);
	}
	/* The directory itself, not its name: a copy of it is another, and a renamed one is the same. */
	snprintf(base.mark, sizeof(base.mark), "BERTH_KEEPER=%jx.%jx-", (uintmax_t)st.st_dev,
	        (uintmax_t)st.st_ino);
	return base;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct keeper_base base;
	char sock[PATH_SIZE];

	parse(argc, argv, &o);
	take_descriptors();
	/* Signals, too: what our starter ignored (nohup does) would be ignored by every job. */
	proc_begin("berth keeper");
	take_signals();
	umask(022);
	if (chdir("/") < 0)
		errno = 0;
	/* Not when we lead a process group already; jobs begin sessions of their own in any case. */
	if (setsid() < 0)
		errno = 0;
	prctl(PR_SET_CHILD_SUBREAPER, 1L);
	base = make_base(&o);
	base.pool = limits_pool_new(&base, o.data);
	base.driver = driver_paths_new(&base, o.data);
	if (o.sock)
		snprintf(sock, sizeof(sock), "%s", o.sock);
	else
		snprintf(sock, sizeof(sock), "%s/run/keeper.sock", o.data);
	rights_as_server(&base);
	take_lock(sock);
	open_files(o.spool, sock);
	o.parent.spool_path = o.spool;
	o.parent.listen_fd = bind_at(sock);
	rights_back(&base);
	/* Who connects sees whose rights this was called with; the helper talks to nobody but root. */
	start_listening(o.parent.listen_fd);
	log_info("keeper.ready", "socket=\"%s\" spool=\"%s\"", sock, o.spool);
	parent_run(&base, &o.parent);
	limits_pool_close(base.pool);
	free(base.driver);
	rights_as_server(&base);
	unlink(sock);
	log_info("keeper.end", "socket=\"%s\"", sock);
	return 0;
}
