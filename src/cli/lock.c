#include "cli/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plat/fs.h"

static char *lock_path(const char *data_dir)
{
	char *path = NULL;

	BUG_IF(asprintf(&path, "%s/" LOCK_NAME, data_dir) < 0);
	return path;
}

/* The holder of a lock removes its file: what is locked must still be what the name stands for. */
static bool is_current(int fd, const char *path)
{
	struct stat mine, there;

	return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
	       mine.st_dev == there.st_dev;
}

static int take_once(const char *path, int *ret_fd, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return err_sys(err, errno, "opening %s", path);
	/* It will be written to: in a directory of another account's it may be another file, too. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 1) {
		close(fd);
		return err_set(err, ERR_FORBIDDEN, "%s is not a plain file of its own", path);
	}
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		int sys = errno;
		close(fd);
		if (sys == EAGAIN || sys == EACCES)
			return err_set(err, ERR_CONFLICT, "%s is held by another process", path);
		return err_sys(err, sys, "locking %s", path);
	}
	*ret_fd = fd;
	return 0;
}

int lock_take(const char *data_dir, const char *text, struct lock *ret_lock, struct err *err)
{
	char *path = lock_path(data_dir);
	int fd = -1, rc;

	for (;;) {
		rc = take_once(path, &fd, err);
		if (rc) {
			free(path);
			return rc;
		}
		if (is_current(fd, path))
			break;
		close(fd);
	}
	if (ftruncate(fd, 0) < 0)
		rc = err_sys(err, errno, "writing %s", path);
	if (rc == 0)
		rc = fs_write_all(fd, text, strlen(text), err);
	if (rc) {
		close(fd);
		free(path);
		return rc;
	}
	ret_lock->fd = fd;
	ret_lock->path = path;
	return 0;
}

void lock_drop(struct lock *l)
{
	unlink(l->path);
	close(l->fd);
	free(l->path);
	*l = (struct lock){.fd = -1};
}

bool lock_find_holder(const char *data_dir, struct lock_holder *ret_holder)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *path = lock_path(data_dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	free(path);
	if (fd < 0)
		return false;
	bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	if (held)
		ret_holder->pid = lock.l_pid;
	return held;
}

int lock_read_text(const char *data_dir, struct buf *b, struct err *err)
{
	char *path = lock_path(data_dir);
	struct stat st;
	int rc;

	/* In a directory that was given to another account, that one may have written it. */
	if (lstat(path, &st) < 0)
		rc = err_sys(err, errno, "reading %s", path);
	else if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0))
		rc = err_set(err, ERR_FORBIDDEN, "%s belongs to another account", path);
	else
		rc = fs_read(path, b, err);
	free(path);
	return rc;
}
