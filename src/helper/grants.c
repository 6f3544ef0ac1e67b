#include "helper/grants.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/*
 * DESIGN. The data directory belongs to the server's account, which can move `grants` away and put a directory of its
 * own there; so all is reached through one descriptor, of a directory that is root's, and that nobody else can write. In
 * it are only names that root made. Below it, nothing needs to be distrusted.
 */
#define READ_BYTES 4096
#define JOB_NAME   24

static int open_grants(const char *data, struct err *err)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/grants", data);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == 0 && !(st.st_mode & 022))
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(err, ERR_FORBIDDEN, "'%s' is no directory that root alone can write", path);
}

static bool is_key(const char *key)
{
	return key && strlen(key) == LAUNCH_GRANT_LEN &&
	       strspn(key, "0123456789abcdef") == LAUNCH_GRANT_LEN;
}

/* The caller ends what is decoded. */
static int read_grant(int dir, const char *name, struct launch *ret, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4 + READ_BYTES);
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n = -1;

	if (fd < 0)
		return err_sys(err, errno, "grant %s", name);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0)
		while (buf_reserve(&b, READ_BYTES) &&
		        (n = read(fd, buf_reserve(&b, READ_BYTES), READ_BYTES)) > 0)
			buf_commit(&b, (size_t)n);
	close(fd);
	if (n != 0 || b.len <= 4 || launch_decode(b.data + 4, b.len - 4, ret, err) < 0)
		return err_set(err, ERR_CORRUPT, "grant %s is not whole", name);
	return 0;
}

static int none(struct err *err)
{
	return err_set(err, ERR_FORBIDDEN,
	        "nothing runs as root but what root itself submits with berth, on this machine (or: allow_root = yes in helper.conf)");
}

/* The job's own grant, in its place among those of jobs that have begun. */
static void job_path(const struct launch *l, const char *key, char out[64])
{
	snprintf(out, 64, "%" PRIu64 "/%s", l->job, key);
}

static bool is_there(int dir, const char *path)
{
	return faccessat(dir, path, F_OK, 0) == 0;
}

/* Root's client does the same when it hears the job's number: whoever comes second finds it done. */
static int take_to_job(int dir, const struct launch *l, struct err *err)
{
	char job[JOB_NAME], path[64];

	snprintf(job, sizeof(job), "%" PRIu64, l->job);
	job_path(l, l->grant, path);
	if ((mkdirat(dir, job, 0700) < 0 && errno != EEXIST) ||
	        (renameat(dir, l->grant, dir, path) < 0 && !is_there(dir, path)))
		return err_sys(err, errno, "grant of job %s", job);
	return 0;
}

static int check_start(int dir, const struct launch *l, const char *home, struct err *err)
{
	struct launch granted;
	char path[64];
	bool is_new;
	int rc;

	if (!is_key(l->grant))
		return none(err);
	job_path(l, l->grant, path);
	is_new = !is_there(dir, path);
	rc = read_grant(dir, is_new ? l->grant : path, &granted, err);
	/* It may have been moved just now. */
	if (rc < 0 && is_new && err->sys == ENOENT)
		rc = read_grant(dir, path, &granted, err);
	if (rc < 0)
		return err->sys == ENOENT ? none(err) : -(int)err->kind;
	rc = grants_compare(&granted, l, home, err);
	launch_done(&granted);
	return rc == 0 && is_new ? take_to_job(dir, l, err) : rc;
}

/* Of the job beside which an exec runs; 1: there is none. */
static int read_job_grant(int dir, const struct launch *l, struct launch *ret, struct err *err)
{
	char job[JOB_NAME], path[64] = "";
	struct dirent *entry;
	DIR *d;
	int fd;

	snprintf(job, sizeof(job), "%" PRIu64, l->job);
	fd = openat(dir, job, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && !*path && (entry = readdir(d)))
		if (is_key(entry->d_name))
			job_path(l, entry->d_name, path);
	if (d)
		closedir(d);
	return *path ? read_grant(dir, path, ret, err) : 1;
}

static int check_exec(int dir, const struct launch *l, const char *home, struct err *err)
{
	struct launch granted, job = {0}, whole;
	int rc;

	if (!is_key(l->grant))
		return none(err);
	if (read_grant(dir, l->grant, &granted, err) < 0)
		return err->sys == ENOENT ? none(err) : -(int)err->kind;
	rc = read_job_grant(dir, l, &job, err);
	/* Its environment and directory are the job's. */
	whole = granted;
	if (rc == 0) {
		whole.env = job.env;
		whole.cwd = job.cwd;
	}
	if (rc >= 0)
		rc = granted.kind != LAUNCH_EXEC || granted.job != l->job || granted.task != l->task
		             ? none(err)
		             : grants_compare(&whole, l, home, err);
	launch_done(&job);
	launch_done(&granted);
	if (rc == 0 && unlinkat(dir, l->grant, 0) < 0)
		rc = err_sys(err, errno, "grant of an exec");
	return rc;
}

static int check_open(int dir, const struct launch *l, struct err *err)
{
	struct launch job = {0};
	int rc = read_job_grant(dir, l, &job, err);
	bool is_its =
	        rc == 0 && ((job.out_path && grants_is_output(job.out_path, l->out_path)) ||
	                           (job.err_path && grants_is_output(job.err_path, l->out_path)));

	launch_done(&job);
	if (rc < 0)
		return rc;
	return is_its ? 0
	              : err_set(err, ERR_FORBIDDEN,
	                        "it is no output of a job that root submitted itself");
}

int grants_check(const char *data, const struct launch *l, const char *home, struct err *err)
{
	int dir = open_grants(data, err), rc;

	if (dir < 0)
		return dir;
	if (l->kind == LAUNCH_OPEN)
		rc = check_open(dir, l, err);
	else if (l->kind == LAUNCH_EXEC)
		rc = check_exec(dir, l, home, err);
	else
		rc = check_start(dir, l, home, err);
	close(dir);
	return rc;
}

void grants_forget(const char *data, uint64_t job)
{
	struct launch l = {.job = job};
	char name[JOB_NAME], path[64];
	struct dirent *entry;
	struct err err;
	int dir = open_grants(data, &err), fd;
	DIR *d;

	if (dir < 0)
		return;
	snprintf(name, sizeof(name), "%" PRIu64, job);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (entry = readdir(d))) {
		if (!is_key(entry->d_name))
			continue;
		job_path(&l, entry->d_name, path);
		unlinkat(dir, path, 0);
	}
	if (d) {
		closedir(d);
		unlinkat(dir, name, AT_REMOVEDIR);
	}
	close(dir);
}
