/*
 * What a keeper costs: N times /bin/true, W at once, first by a bare spawn-and-wait loop with its output in a file each,
 * then by START messages to a real keepers' parent, ends read from the spool; interleaved, best of three.
 *   keeper_bench [N [user|root|helper]]      as nobody, as root with keepers as nobody, or behind a helper
 * BERTH_BUILD names the directory of berth-keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/keeper/rig.h"
#include "base/num.h"
#include "plat/clock.h"
#include "plat/proc.h"

extern char **environ;

#ifndef ROUNDS
#define ROUNDS 3
#endif

struct cost {
	double wall_us; /* per job */
	double cpu_us;
};

static struct rig rig;
static uint64_t next_epoch = 1;

static double cpu_of(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* A process and all that it has waited for. */
static double cpu_of_pid(pid_t pid)
{
	unsigned long long ticks[4];
	char path[64], text[1024], *p;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	p = strrchr(text, ')');
	if (!p || sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
	                  &ticks[0], &ticks[1], &ticks[2], &ticks[3]) != 4)
		abort();
	return (double)(ticks[0] + ticks[1] + ticks[2] + ticks[3]) * 1e6 /
	       (double)sysconf(_SC_CLK_TCK);
}

/* The keepers' parent; and the helper before it, whose only child it then is. */
static double cpu_of_parent(void)
{
	struct proc_list below = {0};
	double us = cpu_of_pid(rig.parent);

	if (rig.mode == RIG_HELPER && proc_list_below(&below, rig.parent) == 0 && below.n)
		us += cpu_of_pid(below.items[0].pid);
	proc_list_done(&below);
	return us;
}

static void spawn_one(long i)
{
	static char name[] = "/bin/true";
	char *argv[] = {name, NULL};
	posix_spawn_file_actions_t fa;
	char path[256];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/logs/bare-%ld", rig.dir, i);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(
	        &fa, 1, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	if (posix_spawn(&pid, argv[0], &fa, NULL, argv, environ) != 0)
		abort();
	posix_spawn_file_actions_destroy(&fa);
}

static struct cost run_bare(long n, long at_once)
{
	double cpu = cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
	uint64_t begin = clock_mono_ns();

	for (long started = 0, running = 0; started < n || running;) {
		for (; running < at_once && started < n; running++)
			spawn_one(started++);
		if (waitpid(-1, NULL, 0) > 0)
			running--;
	}
	return (struct cost){(double)(clock_mono_ns() - begin) / 1e3 / (double)n,
	        (cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN) - cpu) / (double)n};
}

static struct cost run_keepers(long n, long at_once)
{
	double cpu = cpu_of(RUSAGE_SELF) + cpu_of_parent();
	uint64_t begin = clock_mono_ns(), end;
	static char name[] = "/bin/true";
	long started = 0, ended = 0;
	size_t seen = 0;

	rig.n_records = 0;
	while (ended < n) {
		for (; started - ended < at_once && started < n; started++) {
			struct launch l = rig_launch(&rig, next_epoch++, "");

			l.argv[0] = name;
			l.argv[1] = NULL;
			rig_send(&rig, &l);
		}
		rig_read(&rig, -1);
		for (; seen < rig.n_records; seen++)
			ended += rig.records[seen].kind == SPOOL_ENDED;
	}
	end = clock_mono_ns();
	/* The last keepers are still to be waited for by their parent. */
	while (rig_is_alive(&rig, next_epoch - 1))
		;
	return (struct cost){(double)(end - begin) / 1e3 / (double)n,
	        (cpu_of(RUSAGE_SELF) + cpu_of_parent() - cpu) / (double)n};
}

static void keep_best(struct cost *best, struct cost now)
{
	best->wall_us = MIN(best->wall_us, now.wall_us);
	best->cpu_us = MIN(best->cpu_us, now.cpu_us);
}

static enum rig_mode parse_mode(const char *text)
{
	if (strcmp(text, "root") == 0)
		return RIG_ROOT;
	if (strcmp(text, "helper") == 0)
		return RIG_HELPER;
	if (strcmp(text, "user") == 0)
		return RIG_USER;
	fprintf(stderr, "keeper_bench: '%s' is neither user nor root nor helper\n", text);
	exit(2);
}

int main(int argc, char **argv)
{
	static const long at_once[] = {1, 2, 4};
	uint64_t n = 2000;
	struct err err;

	if (argc > 1 && num_parse_u64(argv[1], RIG_RECORDS / 2 - 1, &n, &err) < 0) {
		fprintf(stderr, "keeper_bench: %s\n", err.text);
		return 2;
	}
	rig_start(&rig, argc > 2 ? parse_mode(argv[2]) : RIG_USER);
	printf("%lu times /bin/true   wall bare  keeper  ratio    cpu bare  keeper  ratio   (microseconds per job)\n",
	        (unsigned long)n);
	for (size_t i = 0; i < ARRAY_LEN(at_once); i++) {
		struct cost bare = {1e9, 1e9}, kept = {1e9, 1e9};

		for (int round = 0; round < ROUNDS; round++) {
			keep_best(&bare, run_bare((long)n, at_once[i]));
			keep_best(&kept, run_keepers((long)n, at_once[i]));
		}
		printf("%ld at once %22.0f %7.0f %6.2f %11.0f %7.0f %6.2f\n", at_once[i],
		        bare.wall_us, kept.wall_us, kept.wall_us / bare.wall_us, bare.cpu_us,
		        kept.cpu_us, kept.cpu_us / bare.cpu_us);
	}
	rig_stop(&rig);
	return 0;
}
