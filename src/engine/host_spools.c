#include "engine/host_spools.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "plat/fs.h"
#include "plat/proc.h"

#define READ_BYTES (16 * KIB)
#define SUFFIX     ".spool"
#define EVENT_MAX  (sizeof(struct inotify_event) + NAME_MAX + 1)

struct file {
	uint32_t number;
	int fd;
	char *path;
	uint64_t pos;  /* read up to here */
	uint32_t refs; /* attempts whose end is not known to be durable */
};

struct spools {
	char *dir;
	int inotify;
	struct file *files; /* oldest first, never empty */
	size_t n, cap;
	uint64_t damaged_bytes;
	bool is_reading;
	uint8_t bytes[READ_BYTES];
};

static int open_file(struct spools *s, uint32_t number, int flags, struct err *err)
{
	struct file f = {.number = number};

	BUG_IF(asprintf(&f.path, "%s/%06u" SUFFIX, s->dir, number) < 0);
	/* To be written by keepers; for F_GETLK reading is enough. */
	f.fd = open(f.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	if (f.fd < 0) {
		int rc = err_sys(err, errno, "opening '%s'", f.path);

		free(f.path);
		return rc;
	}
	MEM_GROW(s->files, s->n, s->cap);
	s->files[s->n++] = f;
	return 0;
}

static void close_file(struct file *f)
{
	close(f->fd);
	free(f->path);
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Number of a file of this name, 0 when it is none of ours. */
static uint32_t number_of(const char *name)
{
	const char *dot = strrchr(name, '.');
	char digits[16];
	struct err ignored;
	uint64_t number;

	if (!dot || strcmp(dot, SUFFIX) != 0 || (size_t)(dot - name) >= sizeof(digits))
		return 0;
	snprintf(digits, sizeof(digits), "%.*s", (int)(dot - name), name);
	return num_parse_u64(digits, UINT32_MAX - 1, &number, &ignored) < 0 ? 0 : (uint32_t)number;
}

static int open_all(struct spools *s, struct err *err)
{
	uint32_t *numbers = NULL;
	size_t n = 0, cap = 0;
	struct dirent *entry;
	int rc = 0;
	DIR *d = opendir(s->dir);

	if (!d)
		return err_sys(err, errno, "reading '%s'", s->dir);
	while ((entry = readdir(d)) != NULL) {
		uint32_t number = number_of(entry->d_name);

		if (!number)
			continue;
		MEM_GROW(numbers, n, cap);
		numbers[n++] = number;
	}
	closedir(d);
	if (n)
		qsort(numbers, n, sizeof(*numbers), compare_numbers);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = open_file(s, numbers[i], 0, err);
	free(numbers);
	return rc;
}

int spools_open(const char *dir, bool is_new, struct spools **ret_spools, struct err *err)
{
	struct spools *s;
	int rc = fs_mkdir_p(dir, 0700, err);

	if (rc < 0)
		return rc;
	s = mem_zalloc(sizeof(*s));
	s->dir = mem_strdup(dir);
	s->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->inotify < 0 || inotify_add_watch(s->inotify, dir, IN_MODIFY) < 0)
		rc = err_sys(err, errno, "watching '%s'", dir);
	if (rc == 0)
		rc = open_all(s, err);
	if (rc == 0 && (is_new || s->n == 0))
		rc = spools_rotate(s, err);
	if (rc < 0) {
		spools_close(s);
		return rc;
	}
	*ret_spools = s;
	return 0;
}

void spools_close(struct spools *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		close_file(&s->files[i]);
	if (s->inotify >= 0)
		close(s->inotify);
	free(s->files);
	free(s->dir);
	free(s);
}

/* Nothing refers to it, all of it was read, and no keeper is left that could write to it. */
static bool may_go(const struct spools *s, const struct file *f)
{
	struct flock any = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat st;

	if (f->refs || f->number == spools_current(s))
		return false;
	return fstat(f->fd, &st) == 0 && (uint64_t)st.st_size == f->pos &&
	       fcntl(f->fd, F_GETLK, &any) == 0 && any.l_type == F_UNLCK;
}

static void drop_unused(struct spools *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		struct file *f = &s->files[i];

		if (may_go(s, f) && unlink(f->path) == 0)
			close_file(f);
		else
			s->files[kept++] = *f;
	}
	s->n = kept;
}

int spools_rotate(struct spools *s, struct err *err)
{
	uint32_t number = s->n ? s->files[s->n - 1].number + 1 : 1;
	int rc = open_file(s, number, O_CREAT | O_EXCL, err);

	if (rc < 0)
		return rc;
	drop_unused(s);
	return 0;
}

/* Takes the records at the front of what was read; returns the bytes that are done with. */
static size_t take_records(
        struct spools *s, uint32_t number, size_t len, spools_record_fn *fn, void *data)
{
	size_t at = 0;

	while (at < len) {
		struct spool_record r;
		struct err err;
		int used = spool_decode(s->bytes + at, len - at, &r, &err);

		if (used == 0)
			break;
		if (used < 0) {
			size_t skip = spool_skip(s->bytes + at, len - at);

			s->damaged_bytes += skip;
			at += skip;
			continue;
		}
		at += (size_t)used;
		fn(data, &r, number);
	}
	return at;
}

static struct file *find_file(const struct spools *s, uint32_t number)
{
	for (size_t i = s->n; i-- > 0;)
		if (s->files[i].number == number)
			return &s->files[i];
	return NULL;
}

static int read_file(
        struct spools *s, uint32_t number, spools_record_fn *fn, void *data, struct err *err)
{
	for (;;) {
		struct file *f = find_file(s, number);
		ssize_t got;
		size_t used;

		if (!f)
			return 0;
		got = pread(f->fd, s->bytes, READ_BYTES, (off_t)f->pos);
		if (got < 0)
			return err_sys(err, errno, "reading '%s'", f->path);
		used = take_records(s, number, (size_t)got, fn, data);
		/* The reader may have rotated, and then the files moved. */
		f = find_file(s, number);
		if (!f || used == 0)
			return 0;
		f->pos += used;
		if ((size_t)got < READ_BYTES)
			return 0;
	}
}

static void drain_inotify(struct spools *s)
{
	char events[4096];

	/* An event that did not fit is still to be read: only then another look. */
	while (read(s->inotify, events, sizeof(events)) > (ssize_t)(sizeof(events) - EVENT_MAX))
		;
}

int spools_read(struct spools *s, spools_record_fn *fn, void *data, struct err *err)
{
	int rc = 0;

	BUG_IF(s->is_reading);
	drain_inotify(s);
	s->is_reading = true;
	for (uint32_t n = s->files[0].number; n <= spools_current(s) && rc == 0; n++)
		rc = read_file(s, n, fn, data, err);
	s->is_reading = false;
	return rc;
}

void spools_hold(struct spools *s, uint32_t file)
{
	struct file *f = find_file(s, file);

	BUG_IF(!f);
	f->refs++;
}

void spools_release(struct spools *s, uint32_t file)
{
	struct file *f = find_file(s, file);

	BUG_IF(!f || f->refs == 0);
	f->refs--;
	/* Not while records are read: what the reader holds next may stand in the same file. */
	if (!s->is_reading && may_go(s, f))
		drop_unused(s);
}

uint32_t spools_current(const struct spools *s)
{
	return s->files[s->n - 1].number;
}

const char *spools_path(const struct spools *s, uint32_t file)
{
	struct file *f = find_file(s, file);

	BUG_IF(!f);
	return f->path;
}

uint64_t spools_size(const struct spools *s)
{
	struct stat st;

	return fstat(s->files[s->n - 1].fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

size_t spools_count(const struct spools *s)
{
	return s->n;
}

uint64_t spools_damaged_bytes(const struct spools *s)
{
	return s->damaged_bytes;
}

pid_t spools_holder(const struct spools *s, uint64_t epoch)
{
	pid_t pid = 0;

	for (size_t i = s->n; i-- > 0 && !pid;)
		pid = proc_byte_owner(s->files[i].fd, epoch);
	return pid;
}

int spools_fd(const struct spools *s)
{
	return s->inotify;
}
