#include "keeper/ranks.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum { VARIABLE_MAX = 40 };

static const char master_addr[] = "127.0.0.1";

/* What each task has of its own. The message points to it. */
static struct own {
	char variables[LAUNCH_RANK_VARIABLES][VARIABLE_MAX];
	uint64_t cpus[LAUNCH_CPUS / 64]; /* of all */
	uint32_t cpus_each;              /* 0: each has all of them */
} own;

/* The socket stays open, and no task gets it: see DESIGN. */
static int take_port(uint16_t *ret_port, struct err *err)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	        bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return err_sys(err, errno, "choosing a port of %s", master_addr);
	*ret_port = ntohs(at.sin_port);
	return 0;
}

/* Room for them all behind what is left of the message's own. */
static void add_variables(struct launch *l)
{
	char **env;
	size_t n = 0;

	while (l->env[n])
		n++;
	env = mem_zalloc((n + LAUNCH_RANK_VARIABLES + 1) * sizeof(*env));
	n = 0;
	for (char **e = l->env; *e; e++)
		if (!launch_is_rank_variable(*e, strcspn(*e, "=")))
			env[n++] = *e;
	for (size_t i = 0; i < LAUNCH_RANK_VARIABLES; i++)
		env[n++] = own.variables[i];
	l->env = env;
}

PRINTF_LIKE(2, 3)
static void set(enum launch_rank_variable which, const char *fmt, ...)
{
	char *entry = own.variables[which];
	int n = snprintf(entry, VARIABLE_MAX, "%s=", launch_rank_variables[which]);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(entry + n, (size_t)(VARIABLE_MAX - n), fmt, ap);
	va_end(ap);
}

/* A share of the CPUs for each, where they can be divided. */
static void divide_cpus(const struct launch *l)
{
	uint32_t n = 0;

	memcpy(own.cpus, l->cpus, sizeof(own.cpus));
	for (size_t i = 0; i < ARRAY_LEN(l->cpus); i++)
		n += (uint32_t)__builtin_popcountll(l->cpus[i]);
	own.cpus_each = n % l->ranks ? 0 : n / l->ranks;
}

static int prepare(struct launch *l, struct err *err)
{
	uint16_t port = 0;
	int rc = take_port(&port, err);

	if (rc < 0)
		return rc;
	set(LAUNCH_BERTH_TASKS, "%u", l->ranks);
	set(LAUNCH_WORLD_SIZE, "%u", l->ranks);
	set(LAUNCH_LOCAL_WORLD_SIZE, "%u", l->ranks);
	set(LAUNCH_MASTER_ADDR, "%s", master_addr);
	set(LAUNCH_MASTER_PORT, "%u", port);
	add_variables(l);
	divide_cpus(l);
	return 0;
}

static void become(struct launch *l, uint32_t rank)
{
	uint32_t nth = 0;

	set(LAUNCH_BERTH_RANK, "%u", rank);
	set(LAUNCH_RANK, "%u", rank);
	set(LAUNCH_LOCAL_RANK, "%u", rank);
	if (!own.cpus_each)
		return;
	memset(l->cpus, 0, sizeof(l->cpus));
	for (size_t i = 0; i < LAUNCH_CPUS; i++)
		if (own.cpus[i / 64] >> i % 64 & 1 && nth++ / own.cpus_each == rank)
			l->cpus[i / 64] |= (uint64_t)1 << i % 64;
}

static bool is_failure(int wait_status)
{
	return !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;
}

/* Not reaped: its usage is still to be added. */
static bool has_failed(pid_t pid)
{
	siginfo_t end = {0};

	return waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       end.si_pid == pid && (end.si_code != CLD_EXITED || end.si_status != 0);
}

static int start_one(struct ranks *r, struct spawn *s, struct streams *io, uint32_t rank,
        struct spawn_failure *ret_failure, struct err *err)
{
	int rc = streams_of_rank(io, rank, s->stdio, err);

	if (rc == 0)
		rc = spawn_run(s, &r->pids[rank], ret_failure, err);
	streams_let_go_rank(io);
	if (rc < 0)
		return r->n > 1 ? err_wrap(err, "starting rank %u", rank) : rc;
	r->n_living++;
	return 0;
}

int ranks_start(struct ranks *r, struct spawn *s, struct launch *l, struct streams *io,
        struct spawn_failure *ret_failure, struct err *err)
{
	int rc = 0;

	*r = (struct ranks){.n = MAX(l->ranks, 1U)};
	if (l->ranks)
		rc = prepare(l, err);
	for (uint32_t i = 0; rc == 0 && i < r->n; i++) {
		if (l->ranks)
			become(l, i);
		rc = start_one(r, s, io, i, ret_failure, err);
		/* Where one hung before exec and was killed for it, the next would hang there, too. */
		if (rc == 0 && r->n > 1 && has_failed(r->pids[i]))
			break;
	}
	return rc;
}

void ranks_take_end(struct ranks *r, pid_t pid, int wait_status)
{
	uint32_t rank = 0;

	while (rank < r->n && r->pids[rank] != pid)
		rank++;
	if (rank == r->n)
		return;
	r->pids[rank] = 0;
	r->n_living--;
	if (!r->has_failed && is_failure(wait_status)) {
		r->has_failed = true;
		r->failed = rank;
		r->wait_status = wait_status;
	}
	r->is_over = r->has_failed || !r->n_living;
}
