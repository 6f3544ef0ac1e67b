#include "store/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "plat/fs.h"

/*
 * DESIGN. SQLite's backup from the store's own connection: what that connection commits between two steps goes into the copy too, so
 * the copy is never begun again. Each step syncs what it copied, so that the end has little left to wait for, and a commit behind it on
 * the same disk neither.
 */

#define STEP_PAGES 512 /* 2 MiB */

struct sqlite_copy {
	struct store_copy base;
	struct sqlite *q;
	char *path;
	char *part;
	sqlite3 *to;
	sqlite3_backup *backup; /* NULL: the connection behind it is gone */
	int fd; /* of part, for syncing; closing it drops SQLite's locks there, and nobody else looks */
	bool is_complete;
};

void sqlite_copy_lose(struct sqlite_copy *copy)
{
	sqlite3_backup_finish(STEAL(copy->backup));
}

static void copy_free(struct sqlite_copy *copy)
{
	copy->q->copy = NULL;
	sqlite_copy_lose(copy);
	BUG_IF(sqlite3_close(copy->to) != SQLITE_OK);
	if (copy->fd >= 0)
		close(copy->fd);
	sqlite3_free(copy->part);
	sqlite3_free(copy->path);
	free(copy);
}

/* code: as the call returned it; the connections do not remember what a step met. */
static int copy_err(struct sqlite_copy *copy, int code, struct err *err)
{
	if ((code & 0xff) == SQLITE_FULL || errno == EFBIG || errno == ENOSPC || errno == EDQUOT)
		return err_set(err, ERR_NO_SPACE, "copying to '%s': no room", copy->path);
	return err_set(err, (code & 0xff) == SQLITE_CORRUPT ? ERR_CORRUPT : ERR_IO,
	        "copying '%s' to '%s': %s (%d)", copy->q->path, copy->path, sqlite3_errstr(code),
	        code);
}

static int copy_step(struct store_copy *base, bool *ret_is_complete, struct err *err)
{
	struct sqlite_copy *copy = CONTAINER_OF(base, struct sqlite_copy, base);
	int rc;

	if (!copy->backup)
		return err_set(err, ERR_IO, "copying '%s': its connection was lost", copy->q->path);
	errno = 0;
	rc = copy->is_complete ? SQLITE_DONE : sqlite3_backup_step(copy->backup, STEP_PAGES);
	/* Somebody else reads or writes: the next step tries again. */
	if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_BUSY && rc != SQLITE_LOCKED)
		return copy_err(copy, rc, err);
	if (fdatasync(copy->fd) < 0)
		return err_sys(err, errno, "copying to '%s'", copy->path);
	copy->is_complete = rc == SQLITE_DONE;
	*ret_is_complete = copy->is_complete;
	return 0;
}

static int put_in_place(struct sqlite_copy *copy, struct err *err)
{
	if (fsync(copy->fd) < 0)
		return err_sys(err, errno, "copying to '%s'", copy->path);
	/* Not rename: it would replace what somebody else has put there meanwhile. */
	if (link(copy->part, copy->path) < 0) {
		if (errno == EEXIST)
			return err_set(err, ERR_CONFLICT, "'%s' exists already", copy->path);
		return err_sys(err, errno, "naming '%s'", copy->path);
	}
	unlink(copy->part);
	return fs_sync_parent(copy->path, err);
}

static int copy_end(struct store_copy *base, struct err *err)
{
	struct sqlite_copy *copy = CONTAINER_OF(base, struct sqlite_copy, base);
	int rc = 0;

	if (copy->is_complete) {
		errno = 0;
		int code = sqlite3_backup_finish(STEAL(copy->backup));

		rc = code == SQLITE_OK ? put_in_place(copy, err) : copy_err(copy, code, err);
	}
	if (!copy->is_complete || rc < 0)
		unlink(copy->part);
	copy_free(copy);
	return rc;
}

static int open_target(struct sqlite_copy *copy, struct err *err)
{
	/* The copy counts only when it is complete, so nothing on the way to there needs a journal or a sync. */
	static const char settings[] =
	        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -512";

	if (access(copy->path, F_OK) == 0)
		return err_set(err, ERR_CONFLICT, "'%s' exists already", copy->path);
	if (unlink(copy->part) < 0 && errno != ENOENT)
		return err_sys(err, errno, "removing '%s'", copy->part);
	copy->fd = open(copy->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (copy->fd < 0)
		return err_sys(err, errno, "making '%s'", copy->part);
	errno = 0;
	if (sqlite3_open_v2(copy->part, &copy->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
	            NULL) != SQLITE_OK ||
	        sqlite3_exec(copy->to, settings, NULL, NULL, NULL) != SQLITE_OK)
		return copy_err(copy, sqlite3_extended_errcode(copy->to), err);
	copy->backup = sqlite3_backup_init(copy->to, "main", copy->q->db, "main");
	if (!copy->backup)
		return copy_err(copy, sqlite3_extended_errcode(copy->to), err);
	return 0;
}

int sqlite_copy_begin(
        struct store *s, const char *path, struct store_copy **ret_copy, struct err *err)
{
	struct sqlite *q = sqlite_of(s);
	struct sqlite_copy *copy;
	int rc = sqlite_ready(q, err);

	if (rc < 0)
		return rc;
	if (q->copy)
		return err_set(err, ERR_CONFLICT, "a copy of '%s' to '%s' is being made", q->path,
		        q->copy->path);
	copy = mem_zalloc(sizeof(*copy));
	copy->base.step = copy_step;
	copy->base.end = copy_end;
	copy->q = q;
	copy->fd = -1;
	copy->path = sqlite_path(path);
	copy->part = sqlite3_mprintf("%s.part", copy->path);
	BUG_IF(!copy->part);
	q->copy = copy;
	rc = open_target(copy, err);
	if (rc < 0) {
		if (copy->fd >= 0)
			unlink(copy->part);
		copy_free(copy);
		return rc;
	}
	*ret_copy = &copy->base;
	return 0;
}
