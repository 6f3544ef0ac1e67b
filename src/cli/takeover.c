#include "cli/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/lock.h"
#include "cli/parts.h"
#include "cli/setup.h"
#include "cli/supervisor.h"
#include "plat/clock.h"

#define MARK       "berth "
#define POLL_MS    20
#define LEAVING_MS 15000 /* parts that do not end are killed before that */

char *takeover_text(const char *flags)
{
	char *text = NULL;

	BUG_IF(asprintf(&text, MARK "%s\n%s", berth_version, flags) < 0);
	return text;
}

const char *takeover_flags(const char *text, char ret_version[TAKEOVER_VERSION_SIZE])
{
	size_t len = strlen(MARK);
	const char *end = strchr(text, '\n');

	ret_version[0] = '\0';
	if (strncmp(text, MARK, len) != 0 || !end)
		return text;
	snprintf(ret_version, TAKEOVER_VERSION_SIZE, "%.*s", (int)(end - text - (ptrdiff_t)len),
	        text + len);
	return end + 1;
}

/* What a process runs; false when that cannot be seen. */
static bool stat_program(pid_t pid, struct stat *ret_st)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return stat(path, ret_st) == 0;
}

bool takeover_is_due(pid_t holder, const char *version)
{
	struct stat st;

	if (holder <= 0)
		return false;
	return strcmp(version, berth_version) != 0 ||
	       (stat_program(holder, &st) && st.st_nlink == 0);
}

/* As the account that would serve it: the directory's owner can put anything in the place of what is stored. */
NORETURN static void exec_as_owner(const char *data_dir, int program, char **argv)
{
	struct stat st;

	if (geteuid() == 0 && (stat(data_dir, &st) < 0 || setgroups(0, NULL) < 0 ||
	                              setgid(st.st_gid) < 0 || setuid(st.st_uid) < 0))
		_exit(127);
	fexecve(program, argv, environ);
	_exit(127);
}

/* The server program is asked, which knows the store and the configuration; its complaint goes to stderr. */
static int check_can_serve(const char *data_dir, const char *config_path, struct err *err)
{
	struct parts_argv words = {0};
	char *path = NULL;
	int status = -1, rc = parts_find("berth-server", &path, err);

	if (rc)
		return rc;
	parts_argv_add(&words, "berth server");
	parts_argv_add_option(&words, "--data", data_dir);
	parts_argv_add_option(&words, "--config", config_path);
	parts_argv_add(&words, "--can-serve");
	int fd = open(path, O_PATH | O_CLOEXEC);
	pid_t pid = fork();
	if (pid == 0)
		exec_as_owner(data_dir, fd, words.v);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		rc = err_set(err, ERR_VERSION,
		        "berth %s cannot serve %s; who serves it now goes on", berth_version,
		        data_dir);
	close(fd);
	parts_argv_done(&words);
	free(path);
	return rc;
}

static bool still_holds(const char *data_dir, pid_t holder)
{
	struct lock_holder now;

	return lock_find_holder(data_dir, &now) && now.pid == holder;
}

int takeover_run(const char *data_dir, const char *config_path, pid_t holder, const char *version,
        struct err *err)
{
	uint64_t until_ms = clock_mono_ms() + LEAVING_MS;
	int rc = check_can_serve(data_dir, config_path, err);

	if (rc)
		return rc;
	if (!still_holds(data_dir, holder))
		return 0;
	cli_say("berth %s takes over from berth %s, process %d; jobs run on", berth_version,
	        version[0] ? version : "of no known version", (int)holder);
	if (kill(holder, SUPERVISOR_LEAVE) < 0 && errno != ESRCH)
		return err_sys(err, errno, "taking over from process %d", (int)holder);
	while (still_holds(data_dir, holder)) {
		/* Its parts end with it, and leave the jobs. */
		if (clock_mono_ms() >= until_ms)
			kill(holder, SIGKILL);
		interrupt_poll(NULL, 0, POLL_MS);
	}
	return 0;
}

void takeover_renew_keepers_parent(const char *data_dir)
{
	struct stat theirs, ours;
	pid_t parent = setup_find_keepers_parent(data_dir);
	char *path = NULL;
	struct err err;

	if (!parent || parts_find("berth-keeper", &path, &err))
		return;
	if (!stat_program(parent, &theirs) || stat(path, &ours) < 0 ||
	        theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino)
		setup_end_keepers_parent(data_dir);
	free(path);
}
