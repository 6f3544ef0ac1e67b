#include "engine/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "engine/outside.h"
#include "engine/paths.h"
#include "base/mem.h"

/*
 * DESIGN. The index is walked by two cursors. The scan goes ahead to its end and sums up, per file, what has been
 * written and where the ring turns; the reader follows, and knows from those sums which entries the ring has written
 * over since. A position is a count of bytes written to one file from the start of the attempt.
 *
 * When the attempt is over its index may have been replaced. The new one is scanned whole; positions behind its gap are
 * counted from the end, and reading goes on at the position that was reached by the old one. An entry SPOOL_TURNING in the
 * old one says before that its files are being rearranged: what was read while it came is forgotten, and read again then.
 */

#define CACHE_ENTRIES 128

enum { FILE_OUT, FILE_ERR, N_FILES };

struct source {
	int fd; /* -1: not there (yet) */
	/* by the scan */
	uint64_t total;   /* bytes written, as far as the index tells */
	uint64_t end;     /* offset behind the last entry */
	uint64_t max_end; /* largest such offset */
	uint64_t middle;  /* where the ring begins, when is_ring */
	bool is_ring, has_gap;
	uint64_t behind_gap; /* bytes */
	/* by the reader */
	uint64_t at;        /* position of its next entry */
	uint64_t from;      /* positions before this one were read by an earlier index */
	uint64_t uncovered; /* bytes that no entry tells of, read */
};

struct reader {
	struct reader_options o;
	char *out_path, *err_path, *index_path, *helper, *user;
	int index_fd; /* -1: not there (yet) */
	ino_t index_ino;
	bool is_over, is_final; /* is_final: the index is the last one */
	bool is_turning;        /* the index says nothing of the files any more */
	bool is_tail_due;       /* the tail is sought when the files are in order */
	bool has_err;           /* stderr has a file of its own */
	uint64_t n_scanned;     /* entries */
	uint64_t next;          /* entry to read */
	uint64_t within;        /* bytes of it that are done */
	uint64_t to_skip;       /* bytes of what is wanted */
	uint64_t left_out;      /* bytes that the ring had written over, not told yet */
	struct source files[N_FILES];
	uint64_t cache_first, cache_n;
	struct spool_chunk cache[CACHE_ENTRIES];
};

/* Entries */

static bool get_entry(struct reader *r, uint64_t i, struct spool_chunk *ret)
{
	if (i < r->cache_first || i >= r->cache_first + r->cache_n) {
		uint64_t first = i / CACHE_ENTRIES * CACHE_ENTRIES;
		ssize_t got = r->index_fd < 0 ? 0
		                              : pread(r->index_fd, r->cache, sizeof(r->cache),
		                                        (off_t)(first * sizeof(r->cache[0])));

		r->cache_first = first;
		r->cache_n = got > 0 ? (uint64_t)got / sizeof(r->cache[0]) : 0;
		if (i >= first + r->cache_n)
			return false;
	}
	*ret = r->cache[i - r->cache_first];
	return true;
}

static bool is_gap(const struct spool_chunk *c)
{
	return c->stream == SPOOL_GAP || c->stream == SPOOL_GAP_STDERR;
}

static bool is_stderr(const struct spool_chunk *c)
{
	return c->stream == SPOOL_STDERR || c->stream == SPOOL_GAP_STDERR;
}

static struct source *source_of(struct reader *r, const struct spool_chunk *c)
{
	return &r->files[is_stderr(c) && r->has_err ? FILE_ERR : FILE_OUT];
}

static bool is_wanted(const struct reader *r, const struct spool_chunk *c)
{
	return is_stderr(c) ? r->o.want_stderr : r->o.want_stdout;
}

static void scan_entry(struct reader *r, const struct spool_chunk *c)
{
	struct source *f = source_of(r, c);

	if (c->stream == SPOOL_TURNING) {
		r->is_turning = true;
		return;
	}
	if (is_gap(c)) {
		f->has_gap = true;
		f->behind_gap = 0;
	} else {
		if (c->offset < f->end) {
			f->is_ring = true;
			f->middle = c->offset;
		}
		f->total += c->len;
		f->behind_gap += c->len;
	}
	f->end = c->offset + c->len;
	f->max_end = MAX(f->max_end, f->end);
}

static void scan(struct reader *r)
{
	struct spool_chunk c;

	while (get_entry(r, r->n_scanned, &c)) {
		scan_entry(r, &c);
		r->n_scanned++;
	}
}

/* Positions from the middle to here were written over by what came later. */
static uint64_t stale_end(const struct source *f)
{
	uint64_t ring = f->max_end - f->middle;

	return f->is_ring && f->total > f->middle + ring ? f->total - ring : 0;
}

/* Files */

static int open_here(const struct reader *r, const char *path, int *ret_fd, struct err *err)
{
	struct stat st, link;
	/* Not blocking: what a job calls its output may be a pipe or a device. */
	int fd = open(
	        path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (r->helper ? O_NOFOLLOW : 0));

	*ret_fd = -1;
	if (fd < 0 && errno == ENOENT) {
		if (!r->is_over || lstat(path, &link) < 0 || !S_ISLNK(link.st_mode))
			return 0;
		return err_set(err, ERR_NOT_FOUND, "the output was written to a file that is gone");
	}
	if (fd < 0)
		return err_sys(err, errno, "opening the output");
	if (fstat(fd, &st) < 0 || lstat(path, &link) < 0) {
		int sys = errno;

		close(fd);
		return err_sys(err, sys, "looking at the output");
	}
	if (!S_ISREG(st.st_mode) ||
	        (r->o.check_owner && S_ISLNK(link.st_mode) && st.st_uid != link.st_uid)) {
		close(fd);
		return err_set(
		        err, ERR_CONFLICT, "the output is not kept in a file of the job's account");
	}
	*ret_fd = fd;
	return 0;
}

/* This account's rights are those of whoever asks for output: nothing outside is opened with them. */
static int open_outside(const struct reader *r, const char *path, int *ret_fd, struct err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	int rc;

	*ret_fd = -1;
	if (n < 0)
		return err_sys(err, errno, "looking at the output");
	target[n] = '\0';
	if (!r->user)
		return err_set(err, ERR_INTERNAL, "nobody said whose output it is");
	rc = outside_open(r->helper, r->user, r->o.id, target, ret_fd, err);
	if (rc < 0 && err->kind == ERR_NOT_FOUND)
		return r->is_over ? err_set(err, ERR_NOT_FOUND,
		                            "the output was written to a file that is gone")
		                  : 0;
	return rc;
}

static bool is_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

static int open_output(const struct reader *r, const char *path, int *ret_fd, struct err *err)
{
	if (r->helper && is_link(path))
		return open_outside(r, path, ret_fd, err);
	return open_here(r, path, ret_fd, err);
}

static int open_index(struct reader *r, struct err *err)
{
	struct stat st;

	r->index_fd = open(r->index_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (r->index_fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "opening '%s'", r->index_path);
	if (fstat(r->index_fd, &st) < 0)
		return err_sys(err, errno, "looking at '%s'", r->index_path);
	r->index_ino = st.st_ino;
	return 0;
}

static int open_files(struct reader *r, struct err *err)
{
	int rc = 0;

	if (r->index_fd < 0)
		rc = open_index(r, err);
	if (rc == 0 && r->files[FILE_OUT].fd < 0)
		rc = open_output(r, r->out_path, &r->files[FILE_OUT].fd, err);
	if (rc == 0 && r->has_err && r->files[FILE_ERR].fd < 0)
		rc = open_output(r, r->err_path, &r->files[FILE_ERR].fd, err);
	return rc;
}

/* Its keeper has put the output in order: what the old index says of the files holds no more, and the end is near. */
static bool is_replaced(const struct reader *r)
{
	struct stat st;

	return r->index_fd >= 0 && stat(r->index_path, &st) == 0 && st.st_ino != r->index_ino;
}

/* The attempt is over: whether its index was replaced, and then goes on by the new one. */
static int take_final_index(struct reader *r, struct err *err)
{
	struct spool_chunk c;
	uint64_t totals[N_FILES];

	r->is_final = true;
	scan(r);
	if (!is_replaced(r))
		return 0;
	if (r->within && get_entry(r, r->next, &c) && !is_gap(&c))
		source_of(r, &c)->at += r->within;
	close(r->index_fd);
	r->cache_n = 0;
	r->n_scanned = r->next = r->within = 0;
	for (size_t i = 0; i < N_FILES; i++) {
		struct source *f = &r->files[i];

		totals[i] = f->total;
		*f = (struct source){.fd = f->fd, .from = f->at};
	}
	if (open_index(r, err) < 0)
		return -(int)err->kind;
	scan(r);
	for (size_t i = 0; i < N_FILES; i++)
		r->files[i].total = MAX(r->files[i].total, totals[i]);
	return 0;
}

/* From the end backwards */

/* Whether the wanted lines of the piece are enough: then *ret_skip bytes of it are not among them. */
static bool count_back(struct reader *r, int fd, uint64_t offset, uint64_t len, uint64_t *lines,
        bool *is_last, uint64_t *ret_skip)
{
	char bytes[16 * KIB];

	while (len) {
		size_t n = (size_t)MIN(len, sizeof(bytes));
		ssize_t got = pread(fd, bytes, n, (off_t)(offset + len - n));

		if (got != (ssize_t)n)
			return false;
		for (size_t i = n; i-- > 0;) {
			/* The line break at the very end belongs to the last line. */
			if (bytes[i] == '\n' && !*is_last && --*lines == 0) {
				*ret_skip = len - n + i + 1;
				return true;
			}
			*is_last = false;
		}
		len -= n;
	}
	return false;
}

/* Bytes of stdout that no entry tells of, once nothing more is to be expected. */
static uint64_t count_uncovered(const struct reader *r)
{
	const struct source *f = &r->files[FILE_OUT];
	struct stat st;

	if (f->fd < 0 || fstat(f->fd, &st) < 0 || (uint64_t)st.st_size <= f->max_end + f->uncovered)
		return 0;
	if (!r->is_over && r->n_scanned * sizeof(struct spool_chunk) <
	                           SPOOL_INDEX_MAX - sizeof(struct spool_chunk))
		return 0;
	return (uint64_t)st.st_size - f->max_end - f->uncovered;
}

static void seek_tail(struct reader *r)
{
	uint64_t lines = r->o.tail_lines, skip = 0, uncovered = count_uncovered(r);
	struct source *out = &r->files[FILE_OUT];
	struct spool_chunk c;
	bool is_last = true;

	for (size_t i = 0; i < N_FILES; i++)
		r->files[i].at = r->files[i].total;
	r->next = r->n_scanned;
	if (uncovered && r->o.want_stdout &&
	        count_back(r, out->fd, out->max_end, uncovered, &lines, &is_last, &skip)) {
		out->uncovered = skip;
		return;
	}
	while (r->next && get_entry(r, r->next - 1, &c)) {
		struct source *f = source_of(r, &c);
		uint64_t at = f->at - (is_gap(&c) ? 0 : c.len);

		if (!is_gap(&c) && f->is_ring && at >= f->middle && at < stale_end(f))
			return;
		r->next--;
		f->at = at;
		if (is_wanted(r, &c) && f->fd >= 0 &&
		        count_back(r, f->fd, c.offset, c.len, &lines, &is_last, &skip)) {
			r->within = skip;
			return;
		}
	}
}

/* Forwards */

/* Behind the gap of a final index positions are counted from the end. */
static void pass_entry(struct reader *r, const struct spool_chunk *c)
{
	struct source *f = source_of(r, c);

	if (is_gap(c))
		f->at = f->total - f->behind_gap;
	else
		f->at += c->len;
	r->next++;
	r->within = 0;
}

/* How many bytes of the entry are not to be read: written over, read before, not wanted. */
static uint64_t useless_bytes(struct reader *r, const struct spool_chunk *c)
{
	struct source *f = source_of(r, c);
	uint64_t stale = stale_end(f), n = 0;

	if (!is_wanted(r, c))
		return c->len;
	if (is_gap(c))
		return f->from && f->from >= f->total - f->behind_gap ? c->len : 0;
	if (f->from > f->at)
		n = MIN(c->len, f->from - f->at);
	if (!f->has_gap && f->is_ring && f->at >= f->middle && stale > f->at + n) {
		uint64_t gone = MIN(c->len, stale - f->at);

		r->left_out += gone - n;
		n = gone;
	}
	return n;
}

static size_t read_source(
        struct reader *r, struct source *f, uint64_t offset, uint64_t len, char *out, size_t max)
{
	uint64_t skip = MIN(len, r->to_skip);
	ssize_t got;

	if (skip) {
		r->to_skip -= skip;
		r->within += skip;
		return 0;
	}
	got = f->fd < 0 ? 0 : pread(f->fd, out, (size_t)MIN(len, max), (off_t)offset);
	if (got <= 0) {
		/* The file is shorter than its index says: somebody cut it. */
		r->within += len;
		return 0;
	}
	r->within += (uint64_t)got;
	return (size_t)got;
}

static enum console_frame frame_of(const struct spool_chunk *c)
{
	return is_stderr(c) ? CONSOLE_STDERR : CONSOLE_STDOUT;
}

/* Fills out with what entries tell of, as long as it is of one stream. */
static size_t read_entries(struct reader *r, char *out, size_t max, enum console_frame *frame)
{
	struct spool_chunk c;
	size_t n = 0;

	while (n < max && r->next < r->n_scanned && get_entry(r, r->next, &c)) {
		uint64_t useless = r->within ? 0 : useless_bytes(r, &c);

		r->within = MAX(r->within, useless);
		if (r->within >= c.len) {
			pass_entry(r, &c);
			continue;
		}
		if (n && frame_of(&c) != *frame)
			break;
		if (r->left_out)
			break;
		*frame = frame_of(&c);
		n += read_source(r, source_of(r, &c), c.offset + r->within, c.len - r->within,
		        out + n, max - n);
	}
	return n;
}

static size_t read_uncovered(struct reader *r, char *out, size_t max)
{
	struct source *f = &r->files[FILE_OUT];
	uint64_t len = count_uncovered(r);
	size_t n;

	if (!len || !r->o.want_stdout || r->next < r->n_scanned)
		return 0;
	do {
		r->within = 0;
		n = read_source(r, f, f->max_end + f->uncovered, len, out, max);
		f->uncovered += r->within;
		len -= r->within;
	} while (n == 0 && len);
	r->within = 0;
	return n;
}

static size_t tell_left_out(struct reader *r, char *out, size_t max)
{
	int n = snprintf(
	        out, max, "\n[berth: %llu bytes left out]\n", (unsigned long long)r->left_out);

	r->left_out = 0;
	return MIN((size_t)n, max - 1);
}

static size_t read_next(struct reader *r, void *out, size_t max, enum console_frame *ret_frame)
{
	size_t n = read_entries(r, out, max, ret_frame);

	if (n == 0 && r->left_out) {
		*ret_frame = CONSOLE_STDOUT;
		n = tell_left_out(r, out, max);
	}
	if (n == 0) {
		*ret_frame = CONSOLE_STDOUT;
		n = read_uncovered(r, out, max);
	}
	return n;
}

/* Whether the files began to be rearranged after `before`: then what was read since is as if it were not. */
static bool has_turned(struct reader *r, const struct reader *before)
{
	if (r->is_over)
		return false;
	scan(r);
	if (!r->is_turning)
		return false;
	*r = *before;
	scan(r);
	return true;
}

int reader_next(struct reader *r, void *out, size_t max, enum console_frame *ret_frame,
        size_t *ret_len, struct err *err)
{
	struct reader before;
	size_t n;
	int rc = open_files(r, err);

	if (rc == 0 && r->is_over && !r->is_final)
		rc = take_final_index(r, err);
	if (rc < 0 || (!r->is_over && is_replaced(r)))
		return rc;
	scan(r);
	if (r->is_turning && !r->is_over)
		return 0;
	if (r->is_tail_due)
		seek_tail(r);
	r->is_tail_due = false;
	before = *r;
	n = read_next(r, out, max, ret_frame);
	if (has_turned(r, &before))
		return 0;
	*ret_len = n;
	return n > 0;
}

/* Life */

void reader_set_over(struct reader *r)
{
	r->is_over = true;
}

int reader_open(const struct reader_options *o, struct reader **ret_reader, struct err *err)
{
	struct reader *r = mem_zalloc(sizeof(*r)), before;
	void *ctx = talloc_new(NULL);
	struct stat st;
	int rc;

	r->o = *o;
	r->o.data_dir = r->o.helper = r->o.user = NULL;
	r->helper = o->helper ? mem_strdup(o->helper) : NULL;
	r->user = o->user ? mem_strdup(o->user) : NULL;
	r->is_over = o->is_over;
	r->to_skip = o->offset;
	r->index_fd = r->files[FILE_OUT].fd = r->files[FILE_ERR].fd = -1;
	r->out_path = mem_strdup(paths_log(ctx, o->data_dir, o->id, o->attempt, "out"));
	r->err_path = mem_strdup(paths_log(ctx, o->data_dir, o->id, o->attempt, "err"));
	r->index_path = mem_strdup(paths_log(ctx, o->data_dir, o->id, o->attempt, "idx"));
	talloc_free(ctx);
	/* Made before the attempt starts, so that this does not change. */
	r->has_err = lstat(r->err_path, &st) == 0;
	rc = open_files(r, err);
	if (rc < 0) {
		reader_close(r);
		return rc;
	}
	scan(r);
	r->is_tail_due = o->tail_lines != 0;
	before = *r;
	if (r->is_tail_due && (r->is_over || !r->is_turning)) {
		seek_tail(r);
		r->is_tail_due = has_turned(r, &before);
	}
	*ret_reader = r;
	return 0;
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < N_FILES; i++)
		if (r->files[i].fd >= 0)
			close(r->files[i].fd);
	if (r->index_fd >= 0)
		close(r->index_fd);
	free(r->out_path);
	free(r->err_path);
	free(r->index_path);
	free(r->helper);
	free(r->user);
	free(r);
}
