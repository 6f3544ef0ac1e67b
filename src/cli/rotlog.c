#include "cli/rotlog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/*
 * DESIGN. The directory, and the one that it stands in, may belong to another account, which must not choose where root
 * writes: a link instead of the directory counts only if it is our own, and nothing but a plain file of one name is opened.
 */
static int open_dir(const struct rotlog *l, struct err *err)
{
	char dir[PATH_MAX], target[PATH_MAX];
	struct stat st;
	ssize_t n;

	snprintf(dir, sizeof(dir), "%.*s", (int)(l->name - l->path - 1), l->path);
	int fd = open(dir, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "opening %s", dir);
	if (S_ISLNK(st.st_mode) && st.st_uid == geteuid()) {
		n = readlinkat(fd, "", target, sizeof(target) - 1);
		target[MAX(n, 0)] = '\0';
		close(fd);
		fd = *target == '/' ? open(target, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
		if (fd < 0)
			return err_sys(err, *target == '/' ? errno : ENOTDIR, "%s, a link", dir);
	} else if (!S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_FORBIDDEN, "%s is no directory", dir);
	}
	return fd;
}

static int open_file(struct rotlog *l, struct err *err)
{
	struct stat st;
	int dir = open_dir(l, err);

	if (dir < 0)
		return dir;
	int fd = openat(dir, l->name,
	        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	int sys = errno;
	close(dir);
	errno = sys;
	if (fd < 0)
		return err_sys(err, errno, "opening %s", l->path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
		close(fd);
		return err_set(err, ERR_FORBIDDEN, "%s is not a plain file of its own", l->path);
	}
	l->fd = fd;
	l->size = (uint64_t)st.st_size;
	return 0;
}

int rotlog_open(struct rotlog *l, const char *path, struct err *err)
{
	*l = (struct rotlog){.path = mem_strdup(path), .fd = -1};
	BUG_IF(!strrchr(l->path, '/'));
	l->name = strrchr(l->path, '/') + 1;
	int rc = open_file(l, err);
	if (rc)
		rotlog_close(l);
	return rc;
}

void rotlog_close(struct rotlog *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	l->path = NULL;
	l->fd = -1;
}

static void rotate(struct rotlog *l)
{
	struct err ignored;
	char *old = NULL;
	int dir = open_dir(l, &ignored);

	BUG_IF(asprintf(&old, "%s.1", l->name) < 0);
	if (dir >= 0) {
		renameat(dir, l->name, dir, old);
		close(dir);
	}
	free(old);
	close(l->fd);
	l->fd = -1;
	l->size = 0;
	if (open_file(l, &ignored))
		l->fd = -1;
}

static void keep_tail(struct rotlog *l, const char *data, size_t len)
{
	if (len > ROTLOG_TAIL) {
		data += len - ROTLOG_TAIL;
		len = ROTLOG_TAIL;
	}
	size_t over = l->tail_len + len > ROTLOG_TAIL ? l->tail_len + len - ROTLOG_TAIL : 0;
	memmove(l->tail, l->tail + over, l->tail_len - over);
	memcpy(l->tail + l->tail_len - over, data, len);
	l->tail_len += len - over;
}

/* As much as the file takes; the rest. */
static size_t put(struct rotlog *l, const char *data, size_t len)
{
	struct err ignored;
	ssize_t n = -1;

	if (l->fd < 0 && open_file(l, &ignored))
		l->fd = -1;
	if (l->fd >= 0)
		n = write(l->fd, data, len);
	if (n > 0)
		l->size += (uint64_t)n;
	return len - (size_t)MAX(n, 0);
}

/* True when nothing is left to be written. */
static bool catch_up(struct rotlog *l)
{
	char line[64];
	size_t len;

	if (l->lost) {
		len = (size_t)snprintf(line, sizeof(line), "\nwarn up.log lost_bytes=%llu\n",
		        (unsigned long long)l->lost);
		if (put(l, line, len))
			return false;
		l->lost = 0;
	}
	if (l->unsaved)
		l->unsaved = put(l, l->tail + l->tail_len - l->unsaved, l->unsaved);
	return l->unsaved == 0;
}

void rotlog_write(struct rotlog *l, const char *data, size_t len)
{
	size_t left = len;

	if (l->size + len > ROTLOG_MAX)
		rotate(l);
	if (catch_up(l))
		left = put(l, data, len);
	keep_tail(l, data, len);
	l->unsaved += left;
	if (l->unsaved > l->tail_len) {
		l->lost += l->unsaved - l->tail_len;
		l->unsaved = l->tail_len;
	}
}

void rotlog_say(struct rotlog *l, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 2);
	line[n] = '\n';
	rotlog_write(l, line, (size_t)n + 1);
}

const char *rotlog_last_lines(const struct rotlog *l, unsigned n, size_t *ret_len)
{
	size_t start = l->tail_len;

	if (start && l->tail[start - 1] == '\n')
		start--;
	while (start) {
		if (l->tail[start - 1] == '\n' && --n == 0)
			break;
		start--;
	}
	*ret_len = l->tail_len - start;
	return l->tail + start;
}
