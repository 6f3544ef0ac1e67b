/*
 * A directory of a test's own with a description of simulated devices in it, and fake-gpu to work on them.
 * fixture_new makes it, fixture_free takes it away again. One thread. Whatever goes wrong fails the test.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXTURE_ARGS 16

extern char **environ;

struct fixture {
	char dir[128];
	char path[160]; /* of the description */
};

static inline void fixture_describe(struct fixture *f, const char *text)
{
	FILE *out = fopen(f->path, "we");

	assert_non_null(out);
	assert_int_equal(fputs(text, out) < 0, 0);
	assert_int_equal(fclose(out), 0);
}

static inline void fixture_new(struct fixture *f, const char *text)
{
	snprintf(f->dir, sizeof(f->dir), "%.80s/berth-gpu-XXXXXX",
	        getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/d.sim", f->dir);
	fixture_describe(f, text);
}

static inline int fixture_remove_one(
        const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static inline void fixture_free(struct fixture *f)
{
	nftw(f->dir, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A file of the build directory. */
static inline const char *fixture_built(const char *name, char out[512])
{
	const char *build = getenv("BERTH_BUILD");

	assert_non_null(build);
	snprintf(out, 512, "%s/%s", build, name);
	return out;
}

/* Starts `fake-gpu DESCRIPTION WORD...`; line is cut at blanks. Its output goes to out_fd, or nowhere. */
static inline pid_t fixture_spawn(struct fixture *f, const char *line, int out_fd)
{
	char words[512], program[512], *argv[FIXTURE_ARGS], *save = NULL;
	posix_spawn_file_actions_t actions;
	size_t n = 0;
	pid_t pid;

	snprintf(words, sizeof(words), "%s", line);
	argv[n++] = (char *)(uintptr_t)fixture_built("fake/fake-gpu", program);
	argv[n++] = f->path;
	for (char *w = strtok_r(words, " ", &save); w && n < FIXTURE_ARGS - 1;
	        w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	posix_spawn_file_actions_init(&actions);
	if (out_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	else
		posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static inline int fixture_wait(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs a command of fake-gpu to its end; its exit code. */
static inline int fixture_run(struct fixture *f, const char *line)
{
	return fixture_wait(fixture_spawn(f, line, -1));
}

#define fixture_do(f, line) assert_int_equal(fixture_run(f, line), 0)

/*
 * Starts a process that holds memory of a device until fixture_let_go; returns when it does hold it.
 * The command that it becomes says one byte and then waits for the end of its input.
 */
struct holder {
	pid_t pid;
	int hold_fd;
};

static inline struct holder fixture_hold(struct fixture *f, const char *device, const char *bytes)
{
	int in[2], out[2];
	struct holder h;
	char byte, program[512];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	fixture_built("fake/fake-gpu", program);
	h.pid = fork();
	assert_true(h.pid >= 0);
	if (h.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(program, program, f->path, "use", device, bytes, "--", "sh", "-c",
		        "echo; read x", (char *)NULL);
		_exit(126);
	}
	close(in[0]);
	close(out[1]);
	assert_int_equal(read(out[0], &byte, 1), 1);
	close(out[0]);
	h.hold_fd = in[1];
	return h;
}

static inline void fixture_let_go(struct holder *h)
{
	close(h->hold_fd);
	fixture_wait(h->pid);
}
