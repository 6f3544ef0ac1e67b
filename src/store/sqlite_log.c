#include "store/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

/*
 * DESIGN. After a sync that failed, the kernel may call pages clean that never reached the disk: a later sync says nothing of them, and
 * they are read back from memory as if they were there. Within one connection that does no harm, because a failed batch is written
 * again to the same place. But whoever comes after it (a new process, a new connection) would read such a batch out of the
 * log as if it had been kept, and append to it; a power cut then makes a hole in the middle of the log, and everything behind it is
 * lost. So the log is written over with its own bytes, and synced, before anything is appended to what somebody else left.
 */
enum { PIECE_BYTES = 1 << 18 };

/* From its own bytes in memory to the disk, whatever the kernel thinks of them. */
static int write_over(int fd, uint8_t *piece)
{
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, piece, PIECE_BYTES, at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || pwrite(fd, piece, (size_t)n, at) != n)
			return -1;
		at += n;
	}
	return at ? fdatasync(fd) : 0;
}

int sqlite_log_renew(struct sqlite *q, struct err *err)
{
	char *path = sqlite3_mprintf("%s-wal", q->path);
	uint8_t *piece = NULL;
	int rc = 0, fd;

	BUG_IF(!path);
	/* The log alone: SQLite holds no locks on it that closing it here could drop. */
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		rc = err_sys(err, errno, "opening '%s'", path);
	if (fd >= 0) {
		piece = mem_zalloc(PIECE_BYTES);
		errno = 0;
		if (write_over(fd, piece) < 0)
			rc = err_sys(err, errno ? errno : ENOSPC, "writing '%s' again", path);
		free(piece);
		close(fd);
	}
	sqlite3_free(path);
	return rc;
}
