#include "keeper/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/rights.h"

static int open_dir(int at, const char *path)
{
	return openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Nothing but what the server has made itself is given away, wherever the path may lead. */
static int give(const struct keeper_base *base, const struct launch *l, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "looking at directory '%s'", l->cwd);
	if (!base->is_root || st.st_uid == l->uid)
		return 0;
	if (st.st_uid != base->server_uid)
		return err_set(err, ERR_FORBIDDEN, "directory '%s' is of another account", l->cwd);
	if (fchownat(fd, "", l->uid, l->gid, AT_EMPTY_PATH) < 0)
		return err_sys(err, errno, "giving directory '%s' to its account", l->cwd);
	return 0;
}

int workdir_make(
        const struct keeper_base *base, const struct launch *l, int *ret_fd, struct err *err)
{
	int fd = -1, sys, rc;

	/* A keeper that was killed here may have given it away already: then the server's account cannot read it. */
	rights_as_server(base);
	if (mkdir(l->cwd, 0700) == 0 || errno == EEXIST)
		fd = open(l->cwd, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sys = errno;
	rights_back(base);
	if (fd < 0)
		return err_sys(err, sys, "making directory '%s'", l->cwd);
	rc = give(base, l, fd, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Removes the files of a directory and moves its directories to the top, under names of their own. Takes fd. */
static void empty_into(int top, int take_fd, unsigned *serial)
{
	DIR *dir = fdopendir(take_fd);
	struct dirent *e;
	char name[32];

	if (!dir) {
		close(take_fd);
		return;
	}
	while ((e = readdir(dir))) {
		if (is_dots(e->d_name) || unlinkat(take_fd, e->d_name, 0) == 0 ||
		        unlinkat(take_fd, e->d_name, AT_REMOVEDIR) == 0)
			continue;
		/* Moving a directory writes to it, too: its "..". */
		fchmodat(take_fd, e->d_name, 0700, 0);
		do
			snprintf(name, sizeof(name), ".berth-%u", (*serial)++);
		while (renameat2(take_fd, e->d_name, top, name, RENAME_NOREPLACE) < 0 &&
		        errno == EEXIST);
	}
	closedir(dir);
}

/* True when it is gone; a directory with directories in it may need another pass. */
static bool remove_entry(int top, const char *name, unsigned *serial)
{
	int fd;

	if (unlinkat(top, name, 0) == 0 || unlinkat(top, name, AT_REMOVEDIR) == 0)
		return true;
	fchmodat(top, name, 0700, 0);
	fd = open_dir(top, name);
	if (fd >= 0)
		empty_into(top, fd, serial);
	return unlinkat(top, name, AT_REMOVEDIR) == 0;
}

/* No recursion, and never more than two directories open, whatever the depth: what lies deeper is moved up first. */
static void empty(int top)
{
	unsigned serial = 0;
	bool is_more = true, is_moving = true;

	while (is_more && is_moving) {
		int fd = open_dir(top, ".");
		DIR *dir = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *e;

		is_more = is_moving = false;
		while (dir && (e = readdir(dir))) {
			if (is_dots(e->d_name))
				continue;
			is_more = true;
			is_moving |= remove_entry(top, e->d_name, &serial);
		}
		if (dir)
			closedir(dir);
	}
}

/* What the job has closed, too: its mode is changed by way of the descriptor, as no path leads there any more. */
static int open_closed(int at)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", at);
	if (chmod(path, 0700) < 0)
		return -1;
	return open_dir(at, ".");
}

void workdir_remove(const struct keeper_base *base, const struct launch *l)
{
	int at, fd;

	rights_as_server(base);
	at = open(l->cwd, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rights_back(base);
	if (at < 0)
		return;
	rights_as_account(base, l);
	fd = open_closed(at);
	if (fd >= 0) {
		empty(fd);
		close(fd);
	}
	rights_back(base);
	close(at);
	rights_as_server(base);
	rmdir(l->cwd);
	rights_back(base);
}
