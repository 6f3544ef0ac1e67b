#include "cli/account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"

#define SAID_MAX 4096

/* As the system's administrator would type it. */
NORETURN static void exec_useradd(const char *name, int out)
{
	static const char *const programs[] = {
	        "/usr/sbin/useradd", "/sbin/useradd", "/usr/bin/useradd"};
	const char *argv[16] = {"useradd", "--system", "--no-create-home", "--home-dir",
	        "/nonexistent", "--shell", "/usr/sbin/nologin", "--comment", "Berth"};
	size_t n = 9;
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", lang[] = "LC_ALL=C";
	char *env[] = {path, lang, NULL};
	sigset_t none;

	/* The group may be there already, for socket.group. */
	if (getgrnam(name)) {
		argv[n++] = "--gid";
		argv[n++] = name;
	}
	argv[n] = name;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close_range(3, ~0U, 0);
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		execve(programs[i], (char *const *)argv, env);
	dprintf(STDERR_FILENO, "useradd: %s", strerror(errno));
	_exit(127);
}

static void read_all(int fd, struct buf *b)
{
	ssize_t n = 1;

	while (n > 0) {
		uint8_t *room = buf_reserve(b, 512);
		n = room ? read(fd, room, 512) : 0;
		if (n > 0)
			buf_commit(b, (size_t)n);
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
}

static int run_useradd(const char *name, struct buf *said, struct err *err)
{
	int pipe[2], status = -1;

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	pid_t pid = fork();
	if (pid == 0)
		exec_useradd(name, pipe[1]);
	int sys = errno;
	close(pipe[1]);
	if (pid > 0)
		read_all(pipe[0], said);
	close(pipe[0]);
	if (pid < 0)
		return err_sys(err, sys, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	while (said->len && said->data[said->len - 1] == '\n')
		said->len--;
	for (size_t i = 0; i < said->len; i++)
		if (said->data[i] == '\n')
			said->data[i] = ';';
	return status == 0 ? 0 : err_set(err, ERR_IO, "%.300s", buf_str(said));
}

int account_make(const char *name, struct err *err)
{
	CLEANUP_BUF struct buf said = BUF_INIT(SAID_MAX);
	int rc = run_useradd(name, &said, err);

	if (getpwnam(name)) {
		if (rc == 0)
			cli_say("made the system account '%s', as which server and agent run",
			        name);
		return 0;
	}
	if (rc == 0)
		rc = err_set(err, ERR_IO, "useradd made it, but nobody knows it");
	(void)!err_wrap(err, "making the system account '%s', as which server and agent run", name);
	return err_hint(err,
	        "make it by hand, or name one that is there in berth.yaml: server: {user: NAME}");
}

/* In a child, because an account that was given up cannot be taken back. */
bool account_reaches(const struct passwd *pw, const char *path, int mode)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (initgroups(pw->pw_name, pw->pw_gid) || setgid(pw->pw_gid) || setuid(pw->pw_uid))
			_exit(1);
		_exit(access(path, mode) != 0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

bool account_find_closed(const struct passwd *pw, const char *path, char out_dir[4096])
{
	size_t len = strlen(path);

	if (account_reaches(pw, path, X_OK) || len >= 4096)
		return false;
	for (size_t i = 1; i <= len; i++) {
		if (i < len && path[i] != '/')
			continue;
		memcpy(out_dir, path, i);
		out_dir[i] = '\0';
		if (!account_reaches(pw, out_dir, X_OK))
			return true;
	}
	return false;
}
