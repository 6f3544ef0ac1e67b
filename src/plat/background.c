#include "plat/background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plat/proc.h"

static int run(const struct background *b, const char *option, int in_fd, pid_t *ret_pid)
{
	char *argv[] = {(char *)(uintptr_t)b->name, (char *)(uintptr_t)option, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;
	int sys;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	if (in_fd < 0)
		posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	else
		posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, b->log_path,
	        O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	sys = posix_spawn(ret_pid, b->program, &files, &attr, argv, b->env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return sys;
}

int background_start(const struct background *b, pid_t *ret_pid)
{
	return run(b, "-d", -1, ret_pid);
}

int background_tell(const struct background *b, const char *word, pid_t *ret_pid)
{
	int ends[2], sys;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	sys = write(ends[1], word, strlen(word)) < 0 ? errno : run(b, NULL, ends[0], ret_pid);
	close(ends[0]);
	close(ends[1]);
	return sys;
}

/* 0: none. Whatever stands there in place of a file holds nobody up. */
static pid_t read_pid(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[16];
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[MAX(n, 0)] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

int background_find(const struct background *b)
{
	pid_t pid = read_pid(b->pid_path);
	int fd = pid > 1 ? proc_open(pid) : -1;

	/* Looked at after it was opened: so the descriptor is of no other. */
	if (fd >= 0 && (!proc_env_has(pid, b->mark) || background_is_gone_within(fd, 0))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void background_kill(const struct background *b)
{
	struct proc_list all = {0};

	if (proc_list_all(&all) == 0)
		for (size_t i = 0; i < all.n; i++)
			if (proc_env_has(all.items[i].pid, b->mark))
				kill(all.items[i].pid, SIGKILL);
	proc_list_done(&all);
}

bool background_is_gone_within(int pidfd, uint64_t wait_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, (int)wait_ms) > 0;
}
