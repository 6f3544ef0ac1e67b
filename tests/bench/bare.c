/*
 * The bare spawn-and-wait loop that Berth is measured against: runs a command N times, at most W at once, each with its
 * output in a file of its own. Prints the wall seconds.
 *   bare DIR N W COMMAND [ARG...]
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int spawn_one(const char *dir, long i, char **argv)
{
	posix_spawn_file_actions_t fa;
	char path[4200];
	pid_t pid;
	int rc;

	snprintf(path, sizeof(path), "%s/%ld.out", dir, i);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(
	        &fa, 1, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	rc = posix_spawn(&pid, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

int main(int argc, char **argv)
{
	long n = argc > 4 ? strtol(argv[2], NULL, 10) : 0,
	     at_once = argc > 4 ? strtol(argv[3], NULL, 10) : 0;
	long started = 0, running = 0;
	double begin = now();

	if (n <= 0 || at_once <= 0) {
		fprintf(stderr, "usage: bare DIR N AT_ONCE COMMAND [ARG...]\n");
		return 2;
	}
	while (started < n || running) {
		if (started < n && running < at_once) {
			if (spawn_one(argv[1], started++, argv + 4)) {
				perror("posix_spawn");
				return 1;
			}
			running++;
			continue;
		}
		if (wait(NULL) < 0)
			return 1;
		running--;
	}
	printf("%.6f\n", now() - begin);
	return 0;
}
