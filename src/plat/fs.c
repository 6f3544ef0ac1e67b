#include "plat/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_STEP 4096

static int open_retry(const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int make_one(const char *path, mode_t mode, struct err *err)
{
	struct stat st;

	if (mkdir(path, mode) == 0) {
		/* The umask may have taken bits away. */
		if (chmod(path, mode) < 0)
			return err_sys(err, errno, "setting the mode of '%s'", path);
		return 0;
	}
	/* Also for EROFS, EACCES: above a directory of ours may be ones that we could not make. */
	int sys = errno;
	if (stat(path, &st) < 0)
		return err_sys(err, sys, "making the directory '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_sys(err, ENOTDIR, "making the directory '%s'", path);
	return 0;
}

int fs_mkdir_p(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0)
		return err_sys(err, ENOENT, "making the directory ''");
	if (len >= sizeof(part))
		return err_sys(err, ENAMETOOLONG, "making the directory '%.100s...'", path);
	memcpy(part, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		int rc;

		if ((part[i] != '/' && part[i] != '\0') || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		rc = make_one(part, mode, err);
		if (rc < 0)
			return rc;
		part[i] = path[i];
	}
	return 0;
}

int fs_write_all(int fd, const void *data, size_t len, struct err *err)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(err, errno, "writing");
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_new(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
	int fd, rc;

	/* A leftover may have another owner or mode, or be a link. */
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, errno, "removing '%s'", path);
	fd = open_retry(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return err_sys(err, errno, "making '%s'", path);
	rc = fs_write_all(fd, data, len, err);
	if (rc < 0)
		rc = err_wrap(err, "'%s'", path);
	else if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
		rc = err_sys(err, errno, "writing '%s'", path);
	if (close(fd) < 0 && rc == 0)
		rc = err_sys(err, errno, "writing '%s'", path);
	return rc;
}

int fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *err)
{
	char tmp[PATH_MAX];
	int rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
		return err_sys(err, ENAMETOOLONG, "writing '%.100s...'", path);
	rc = write_new(tmp, data, len, mode, err);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = err_sys(err, errno, "renaming '%s' to '%s'", tmp, path);
	if (rc < 0) {
		unlink(tmp);
		return rc;
	}
	return fs_sync_parent(path, err);
}

int fs_read(const char *path, struct buf *b, struct err *err)
{
	size_t before = b->len;
	int fd = open_retry(path, O_RDONLY, 0);
	int rc = 0;

	if (fd < 0)
		return err_sys(err, errno, "opening '%s'", path);
	for (;;) {
		/* The size that stat tells is 0 in /proc, and may change: read until the end. At the ceiling, one byte more tells. */
		size_t room = b->max - b->len;
		uint8_t extra;
		bool is_at_max = room == 0;
		uint8_t *p = is_at_max ? &extra : buf_reserve(b, MIN(room, (size_t)READ_STEP));
		ssize_t n = read(fd, p, is_at_max ? 1 : MIN(room, (size_t)READ_STEP));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = err_sys(err, errno, "reading '%s'", path);
		else if (n > 0 && is_at_max)
			rc = err_set(err, ERR_TOO_LARGE,
			        "'%s' is larger than the %zu bytes that are allowed here", path,
			        b->max - before);
		if (n <= 0 || is_at_max)
			break;
		buf_commit(b, (size_t)n);
	}
	close(fd);
	if (rc < 0)
		b->len = before;
	return rc;
}

int fs_sync_dir(const char *path, struct err *err)
{
	int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);
	int sys = 0;

	if (fd < 0)
		return err_sys(err, errno, "opening the directory '%s'", path);
	if (fsync(fd) < 0)
		sys = errno;
	close(fd);
	/* Some file systems cannot sync a directory, and say so. */
	if (sys && sys != EINVAL)
		return err_sys(err, sys, "syncing the directory '%s'", path);
	return 0;
}

int fs_sync_parent(const char *path, struct err *err)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		return fs_sync_dir(".", err);
	if (len == 0)
		return fs_sync_dir("/", err);
	if (len >= sizeof(dir))
		return err_sys(err, ENAMETOOLONG, "syncing the directory of '%.100s...'", path);
	memcpy(dir, path, len);
	dir[len] = '\0';
	return fs_sync_dir(dir, err);
}

static int lock_conflict(const char *path, int fd, struct err *err)
{
	char text[24] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0)
		return err_set(err, ERR_CONFLICT, "'%s' is locked by process %ld", path, pid);
	return err_set(err, ERR_CONFLICT, "'%s' is locked by another process", path);
}

int fs_lock(const char *path, int *ret_fd, struct err *err)
{
	/* Belongs to the open file, not to the process: two holders in one process exclude each other, and closing another
	 * descriptor of the file does not let it go. */
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char text[24];
	int fd = open_retry(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	int rc, len;

	if (fd < 0)
		return err_sys(err, errno, "opening the lock '%s'", path);
	if (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
		if (errno == EAGAIN || errno == EACCES)
			rc = lock_conflict(path, fd, err);
		else
			rc = err_sys(err, errno, "locking '%s'", path);
		close(fd);
		return rc;
	}
	/* For people and for lock_conflict; a full disk takes the number away, not the lock. */
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) < 0)
		errno = 0;
	*ret_fd = fd;
	return 0;
}

void fs_unlock(int fd)
{
	if (fd < 0)
		return;
	if (ftruncate(fd, 0) < 0)
		errno = 0;
	close(fd);
}

int fs_dir_size(const char *path, uint64_t *ret_bytes, struct err *err)
{
	char *roots[] = {(char *)path, NULL};
	uint64_t bytes = 0;
	FTSENT *entry;
	FTS *fts;
	int sys = 0;

	fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (!fts)
		return err_sys(err, errno, "walking '%s'", path);
	while ((errno = 0, entry = fts_read(fts)) != NULL) {
		switch (entry->fts_info) {
		case FTS_DP: /* a directory was counted on the way in */
			break;
		case FTS_NS:
		case FTS_DNR:
		case FTS_ERR:
			if (entry->fts_errno != ENOENT || entry->fts_level == 0)
				sys = entry->fts_errno;
			break;
		default:
			bytes += (uint64_t)entry->fts_statp->st_blocks * 512;
		}
	}
	if (errno != 0)
		sys = errno;
	fts_close(fts);
	if (sys)
		return err_sys(err, sys, "walking '%s'", path);
	*ret_bytes = bytes;
	return 0;
}

int fs_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return err_sys(err, errno, "asking for the room at '%s'", path);
	*ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

int fs_free_files(const char *path, uint64_t *ret_n, struct err *err)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return err_sys(err, errno, "asking for the room at '%s'", path);
	*ret_n = st.f_files ? st.f_favail : UINT64_MAX;
	return 0;
}
