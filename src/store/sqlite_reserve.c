#include "store/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plat/fs.h"

/* 1 MiB for the database, and room for the log, which cannot begin again while it cannot be copied. */
#define RESERVE_BYTES (5 * MIB)

static char *reserve_path(struct sqlite *q)
{
	char *path = sqlite3_mprintf("%s.reserve", q->path);

	BUG_IF(!path);
	return path;
}

int sqlite_reserve_release(struct store *s, struct err *err)
{
	char *path = reserve_path(sqlite_of(s));
	int rc = 0;

	if (unlink(path) < 0 && errno != ENOENT)
		rc = err_sys(err, errno, "giving up '%s'", path);
	sqlite3_free(path);
	return rc;
}

static int allocate(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int sys;

	if (fd < 0)
		return err_sys(err, errno, "making '%s'", path);
	sys = posix_fallocate(fd, 0, (off_t)RESERVE_BYTES);
	close(fd);
	if (sys == 0)
		return 0;
	unlink(path);
	return err_sys(err, sys, "making '%s'", path);
}

int sqlite_reserve_make(struct store *s, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	char *path = reserve_path(q);
	uint64_t free_bytes;
	struct stat st;
	int rc = 0;

	if (stat(path, &st) < 0 || (uint64_t)st.st_blocks * 512 < RESERVE_BYTES) {
		/* Where it took the last room, the next commit would fail at once. */
		rc = fs_free_bytes(q->path, &free_bytes, err);
		if (rc == 0 && free_bytes < 2 * RESERVE_BYTES)
			rc = err_set(err, ERR_NO_SPACE, "no room yet for '%s'", path);
		if (rc == 0)
			rc = allocate(path, err);
	}
	sqlite3_free(path);
	return rc;
}
